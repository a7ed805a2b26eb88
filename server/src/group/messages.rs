//! What goes into a coordinator and comes out, and how a request or an answer becomes an error.

use kringle_protocol::ErrorCode;
use kringle_protocol::delete_groups_response::DeletableGroupResult;
use kringle_protocol::describe_groups_response::DescribedGroup;
use kringle_protocol::heartbeat_request::HeartbeatRequest;
use kringle_protocol::heartbeat_response::HeartbeatResponse;
use kringle_protocol::join_group_request::JoinGroupRequest;
use kringle_protocol::join_group_response::JoinGroupResponse;
use kringle_protocol::leave_group_request::LeaveGroupRequest;
use kringle_protocol::leave_group_response::LeaveGroupResponse;
use kringle_protocol::list_groups_request::ListGroupsRequest;
use kringle_protocol::list_groups_response::ListGroupsResponse;
use kringle_protocol::offset_commit_request::OffsetCommitRequest;
use kringle_protocol::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kringle_protocol::offset_delete_request::OffsetDeleteRequest;
use kringle_protocol::offset_delete_response::OffsetDeleteResponse;
use kringle_protocol::offset_fetch_request::OffsetFetchRequestGroup;
use kringle_protocol::offset_fetch_response::OffsetFetchResponseGroup;
use kringle_protocol::sync_group_request::SyncGroupRequest;
use kringle_protocol::sync_group_response::SyncGroupResponse;

/// From here on a JoinGroup that ends without a protocol names it null.
const NO_PROTOCOL_IS_NULL_FROM: i16 = 7;

/// A request to the coordinator of the groups it names.
#[derive(Debug, Clone)]
pub enum GroupRequest {
    /// JoinGroup
    Join(JoinGroupRequest),
    /// SyncGroup
    Sync(SyncGroupRequest),
    /// Heartbeat
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup
    Leave(LeaveGroupRequest),
    /// OffsetCommit with the topics that exist; names and ids are both filled in, whatever the version.
    OffsetCommit(OffsetCommitRequest),
    /// One group of an OffsetFetch (see [`super::split_offset_fetch`]), with the topics' names filled in.
    OffsetFetch {
        /// The group; null topics are all topics.
        group: OffsetFetchRequestGroup,
        /// Answer after the writes that are under way.
        require_stable: bool,
    },
    /// OffsetDelete with the topics that exist.
    OffsetDelete(OffsetDeleteRequest),
    /// The groups of a DescribeGroups that live in this partition.
    Describe(Vec<String>),
    /// ListGroups; every coordinator is asked and the answers are put together.
    List(ListGroupsRequest),
    /// The groups of a DeleteGroups that live in this partition.
    DeleteGroups(Vec<String>),
}

/// The answer to a [`GroupRequest`]: of the same name, and of the same version where it is a whole response.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "named like the requests")]
pub enum GroupResponse {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponseGroup),
    OffsetDelete(OffsetDeleteResponse),
    Describe(Vec<DescribedGroup>),
    List(ListGroupsResponse),
    DeleteGroups(Vec<DeletableGroupResult>),
}

impl GroupRequest {
    /// The group that decides which coordinator is asked, where the request names one.
    #[must_use]
    pub fn group_id(&self) -> Option<&str> {
        match self {
            GroupRequest::Join(request) => Some(&request.group_id),
            GroupRequest::Sync(request) => Some(&request.group_id),
            GroupRequest::Heartbeat(request) => Some(&request.group_id),
            GroupRequest::Leave(request) => Some(&request.group_id),
            GroupRequest::OffsetCommit(request) => Some(&request.group_id),
            GroupRequest::OffsetFetch { group, .. } => Some(&group.group_id),
            GroupRequest::OffsetDelete(request) => Some(&request.group_id),
            GroupRequest::Describe(_) | GroupRequest::List(_) | GroupRequest::DeleteGroups(_) => None,
        }
    }

    /// The answer while there is no coordinator: COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR ...
    #[must_use]
    pub fn refused(&self, version: i16, code: ErrorCode) -> GroupResponse {
        let error_code = code.code();
        match self {
            GroupRequest::Join(_) => {
                let protocol_name = protocol_name_in(version, None);
                GroupResponse::Join(JoinGroupResponse { error_code, protocol_name, ..JoinGroupResponse::default() })
            }
            GroupRequest::Sync(_) => {
                GroupResponse::Sync(SyncGroupResponse { error_code, ..SyncGroupResponse::default() })
            }
            // A group that is being loaded keeps its members.
            GroupRequest::Heartbeat(_) if code == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => {
                GroupResponse::Heartbeat(HeartbeatResponse::default())
            }
            GroupRequest::Heartbeat(_) => {
                GroupResponse::Heartbeat(HeartbeatResponse { error_code, ..HeartbeatResponse::default() })
            }
            GroupRequest::Leave(_) => {
                GroupResponse::Leave(LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() })
            }
            GroupRequest::OffsetCommit(request) => GroupResponse::OffsetCommit(commit_response(request, code)),
            GroupRequest::OffsetFetch { group, .. } => GroupResponse::OffsetFetch(OffsetFetchResponseGroup {
                group_id: group.group_id.clone(),
                error_code,
                ..OffsetFetchResponseGroup::default()
            }),
            GroupRequest::OffsetDelete(_) => {
                GroupResponse::OffsetDelete(OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() })
            }
            GroupRequest::Describe(groups) => GroupResponse::Describe(
                groups
                    .iter()
                    .map(|group_id| DescribedGroup {
                        group_id: group_id.clone(),
                        error_code,
                        ..DescribedGroup::default()
                    })
                    .collect(),
            ),
            GroupRequest::List(_) => {
                GroupResponse::List(ListGroupsResponse { error_code, ..ListGroupsResponse::default() })
            }
            GroupRequest::DeleteGroups(groups) => GroupResponse::DeleteGroups(
                groups.iter().map(|group_id| DeletableGroupResult { group_id: group_id.clone(), error_code }).collect(),
            ),
        }
    }
}

/// The protocol of a JoinGroup's answer where there is none: empty in old versions, which know no null, null in others.
pub(super) fn protocol_name_in(version: i16, name: Option<String>) -> Option<String> {
    if version < NO_PROTOCOL_IS_NULL_FROM {
        Some(name.unwrap_or_default())
    } else {
        name.filter(|name| !name.is_empty())
    }
}

/// OffsetCommit's answer with one code for every partition.
pub(super) fn commit_response(request: &OffsetCommitRequest, code: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: code.code(),
            })
            .collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}

impl GroupResponse {
    /// What is sent instead when the records it rests on were refused.
    pub(super) fn into_error(self, code: ErrorCode) -> GroupResponse {
        let error_code = code.code();
        match self {
            GroupResponse::Join(_) => GroupResponse::Join(JoinGroupResponse {
                error_code,
                protocol_name: None,
                ..JoinGroupResponse::default()
            }),
            GroupResponse::Sync(_) => {
                GroupResponse::Sync(SyncGroupResponse { error_code, ..SyncGroupResponse::default() })
            }
            GroupResponse::Heartbeat(_) => {
                GroupResponse::Heartbeat(HeartbeatResponse { error_code, ..HeartbeatResponse::default() })
            }
            GroupResponse::Leave(_) => {
                GroupResponse::Leave(LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() })
            }
            GroupResponse::OffsetCommit(mut response) => {
                for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    partition.error_code = error_code;
                }
                GroupResponse::OffsetCommit(response)
            }
            GroupResponse::OffsetFetch(group) => {
                // Consumers before 3.9 do not know COORDINATOR_NOT_AVAILABLE here.
                let not_available = code == ErrorCode::COORDINATOR_NOT_AVAILABLE;
                let code = if not_available { ErrorCode::NOT_COORDINATOR } else { code };
                GroupResponse::OffsetFetch(OffsetFetchResponseGroup {
                    group_id: group.group_id,
                    error_code: code.code(),
                    ..OffsetFetchResponseGroup::default()
                })
            }
            GroupResponse::OffsetDelete(_) => {
                GroupResponse::OffsetDelete(OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() })
            }
            GroupResponse::DeleteGroups(mut results) => {
                results.iter_mut().for_each(|result| result.error_code = error_code);
                GroupResponse::DeleteGroups(results)
            }
            read @ (GroupResponse::Describe(_) | GroupResponse::List(_)) => read,
        }
    }
}

/// What a client is told when an append failed with this code.
pub(super) fn append_error(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::NOT_ENOUGH_REPLICAS | ErrorCode::REQUEST_TIMED_OUT => {
            ErrorCode::COORDINATOR_NOT_AVAILABLE
        }
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE | ErrorCode::INVALID_FETCH_SIZE => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        other => other,
    }
}
