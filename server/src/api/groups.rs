//! The APIs of consumer groups (keys 10 to 16, 42): each finds the group's coordinator and passes on what it answers.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use kringle_protocol::ErrorCode;
use kringle_protocol::find_coordinator_response::Coordinator;
use kringle_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::Context;
use crate::group::{Caller, GroupRequest, GroupResponse};
use crate::names::CONSUMER_OFFSETS;

/// All operations a principal may do on a group when there is no authorizer.
const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// FindCoordinator's kinds of key.
const KEY_GROUP: i8 = 0;
const KEY_TRANSACTION: i8 = 1;
const KEY_SHARE: i8 = 2;

/// The version from which a SyncGroup says which protocol it is about.
const SYNC_NAMES_PROTOCOL_FROM_VERSION: i16 = 5;

/// The version from which several keys are asked at once.
const BATCHED_FROM_VERSION: i16 = 4;

impl Context {
    /// Who asks, as group members are described.
    pub(super) fn caller(&self) -> Caller {
        Caller { client_id: self.client_id.clone(), client_host: self.connection.client_host() }
    }
}

/// Sends a request to the coordinator of the group it names and unwraps the answer of the same name.
macro_rules! coordinate {
    ($context:expr, $kind:ident, $group_id:expr, $request:expr) => {
        match $context.coordinate(&$group_id, $request).await {
            GroupResponse::$kind(response) => response,
            other => unreachable!("a coordinator answers what it is asked, not {other:?}"),
        }
    };
}
pub(super) use coordinate;

impl Context {
    /// Asks the coordinator of a group, wherever it lives; errors on the way are answers too.
    pub(super) async fn coordinate(&self, group_id: &str, request: GroupRequest) -> GroupResponse {
        self.shard.coordinate(group_id, self.caller(), self.version, request).await
    }
}

/// JoinGroup: waits until the group's next generation is formed.
pub(crate) async fn join(context: Context, request: JoinGroupRequest) -> JoinGroupResponse {
    coordinate!(context, Join, request.group_id.clone(), GroupRequest::Join(request))
}

/// SyncGroup: waits for the leader's assignment.
pub(crate) async fn sync(context: Context, request: SyncGroupRequest) -> SyncGroupResponse {
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if context.version >= SYNC_NAMES_PROTOCOL_FROM_VERSION && !named {
        let error_code = ErrorCode::INCONSISTENT_GROUP_PROTOCOL.into();
        return SyncGroupResponse { error_code, ..SyncGroupResponse::default() };
    }
    coordinate!(context, Sync, request.group_id.clone(), GroupRequest::Sync(request))
}

/// Heartbeat: keeps a member alive.
pub(crate) async fn heartbeat(context: Context, request: HeartbeatRequest) -> HeartbeatResponse {
    coordinate!(context, Heartbeat, request.group_id.clone(), GroupRequest::Heartbeat(request))
}

/// LeaveGroup: removes members.
pub(crate) async fn leave(context: Context, request: LeaveGroupRequest) -> LeaveGroupResponse {
    coordinate!(context, Leave, request.group_id.clone(), GroupRequest::Leave(request))
}

/// DescribeGroups: each group by its own coordinator.
pub(crate) async fn describe(context: Context, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let context = &context;
    let described = request.groups.into_iter().map(|group_id| async move {
        coordinate!(context, Describe, group_id, GroupRequest::Describe(vec![group_id.clone()]))
    });
    let mut groups: Vec<_> = join_all(described).await.into_iter().flatten().collect();
    if request.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| group.error_code == 0) {
            group.authorized_operations = GROUP_OPERATIONS;
        }
    }
    DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }
}

/// ListGroups: all coordinators of the node together.
pub(crate) async fn list(context: Context, request: ListGroupsRequest) -> ListGroupsResponse {
    let shard = &context.shard;
    let Some(topic) = shard.topic(CONSUMER_OFFSETS) else { return ListGroupsResponse::default() };
    let asked = (0..topic.partitions).map(|partition| {
        shard.coordinate_on(partition, context.caller(), context.version, GroupRequest::List(request.clone()))
    });
    let mut response = ListGroupsResponse::default();
    for answer in join_all(asked).await {
        if let GroupResponse::List(listed) = answer {
            response.groups.extend(listed.groups);
            response.error_code = response.error_code.max(listed.error_code);
        }
    }
    response
}

/// DeleteGroups: each group once, by its own coordinator.
pub(crate) async fn delete(context: Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let context = &context;
    let mut seen = BTreeSet::new();
    let once = request.groups_names.into_iter().filter(|group_id| seen.insert(group_id.clone()));
    let results = once.map(|group_id| async move {
        coordinate!(context, DeleteGroups, group_id, GroupRequest::DeleteGroups(vec![group_id.clone()]))
    });
    let results = join_all(results).await.into_iter().flatten().collect();
    DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
}

/// FindCoordinator: this broker, once the internal topic exists; asking for it creates it.
pub(crate) async fn find_coordinator(context: Context, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let batched = context.version >= BATCHED_FROM_VERSION;
    let keys = if batched { request.coordinator_keys } else { vec![request.key] };
    let mut coordinators = Vec::with_capacity(keys.len());
    for key in keys {
        coordinators.push(match coordinator(&context, request.key_type).await {
            Ok((host, port)) => Coordinator {
                key,
                node_id: context.shard.node.node_id,
                host,
                port,
                error_message: Some(if batched { String::new() } else { ErrorCode::NONE.name().to_owned() }),
                ..Coordinator::default()
            },
            Err(error) => Coordinator {
                key,
                node_id: -1,
                port: -1,
                error_code: error.into(),
                error_message: Some(why_none(request.key_type, error, batched).to_owned()),
                ..Coordinator::default()
            },
        });
    }
    if batched {
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    let only = coordinators.pop().unwrap_or_default();
    FindCoordinatorResponse {
        error_code: only.error_code,
        error_message: only.error_message,
        node_id: only.node_id,
        host: only.host,
        port: only.port,
        ..FindCoordinatorResponse::default()
    }
}

/// The words beside an error code. Later versions have none for a kind of key that Kafka knows.
fn why_none(key_type: i8, error: ErrorCode, batched: bool) -> &'static str {
    match key_type {
        KEY_TRANSACTION => "This broker does not serve transactions.",
        KEY_GROUP | KEY_SHARE if batched => "",
        _ => error.message(),
    }
}

/// Where the coordinator of one key listens.
async fn coordinator(context: &Context, key_type: i8) -> Result<(String, i32), ErrorCode> {
    let node = &context.shard.node;
    match key_type {
        KEY_GROUP => {}
        // Not served yet. An error that may pass would have a producer ask until it gives up without a reason.
        KEY_TRANSACTION => return Err(ErrorCode::UNSUPPORTED_VERSION),
        _ => return Err(ErrorCode::INVALID_REQUEST),
    }
    if context.shard.topic(CONSUMER_OFFSETS).is_none() {
        node.create_topic(CONSUMER_OFFSETS).await;
        return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    }
    Ok(node.advertised(context.connection.listener))
}
