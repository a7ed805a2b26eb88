//! A member of a consumer group, in the classic protocol: joins, is given partitions, sends heartbeats, commits, leaves.
//!
//! What the protocol expects of a member is not an error: that it must take its id first, and that it must join again because
//! others came or went. Everything else is counted as one.

use kringle_client::{ClientError, Connection};
use kringle_protocol::consumer_protocol_assignment::TopicPartition;
use kringle_protocol::join_group_request::JoinGroupRequestProtocol;
use kringle_protocol::leave_group_request::MemberIdentity;
use kringle_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, FindCoordinatorRequest, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};
use kringle_protocol::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kringle_protocol::sync_group_request::SyncGroupRequestAssignment;
use kringle_protocol::{Bytes, ErrorCode, Message, Reader};
use kringle_runtime::Rt;

use crate::cluster::{CLIENT_ID, Cluster, PATIENCE, RETRY};
use crate::error::BenchError;

const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "roundrobin";
const SESSION_TIMEOUT_MS: i32 = 10_000;
const REBALANCE_TIMEOUT_MS: i32 = 10_000;
/// The version of what members say to each other.
const MEMBER_PROTOCOL: i16 = 0;
/// The last version that names topics in commits.
const LAST_COMMIT_BY_NAME: i16 = 9;

/// What a request of a member came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    /// The group is changing: join again.
    Rejoin,
}

/// Why a request of a member failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemberError {
    #[error("{request}: {code}")]
    Refused { request: &'static str, code: ErrorCode },
    #[error(transparent)]
    Broken(#[from] ClientError),
}

/// A member, in the group or not.
pub(crate) struct Member {
    link: Connection,
    cluster: Cluster,
    group: String,
    id: String,
    generation: i32,
    /// Topic by name, and its partitions.
    assigned: Vec<TopicPartition>,
    /// What it commits next; grows so that each commit says something new.
    committed: i64,
}

impl Member {
    /// Finds the group's coordinator and connects to it.
    pub(crate) async fn open(rt: &Rt, cluster: &Cluster, group: &str) -> Result<Member, BenchError> {
        let bootstrap = Connection::open(rt, cluster.bootstrap, CLIENT_ID).await?;
        let version = cluster.versions.best::<FindCoordinatorRequest>()?;
        let mut request = FindCoordinatorRequest::default();
        if version >= 4 {
            request.coordinator_keys = vec![group.to_owned()];
        } else {
            group.clone_into(&mut request.key);
        }
        let deadline = rt.now() + PATIENCE;
        let node_id = loop {
            let answer = bootstrap.call(version, &request).await?;
            let found = answer.coordinators.first().map(|found| (found.error_code, found.node_id));
            let (code, node_id) = found.unwrap_or((answer.error_code, answer.node_id));
            let code = ErrorCode::from(code);
            if !code.is_error() {
                break node_id;
            }
            if !code.is_retriable() || rt.now() > deadline {
                return Err(BenchError::Refused { what: format!("the coordinator of {group}"), code });
            }
            rt.sleep(RETRY).await;
        };
        let link = Connection::open(rt, cluster.address_of(node_id), CLIENT_ID).await?;
        // On a broker that has had no groups so far the coordinator takes a while: members that do not exist are asked about
        // until it says so.
        let question =
            HeartbeatRequest { group_id: group.to_owned(), member_id: CLIENT_ID.to_owned(), ..Default::default() };
        let version = cluster.versions.best::<HeartbeatRequest>()?;
        while is_coming_up(ErrorCode::from(link.call(version, &question).await?.error_code)) && rt.now() < deadline {
            rt.sleep(RETRY).await;
        }
        Ok(Member {
            link,
            cluster: cluster.clone(),
            group: group.to_owned(),
            id: String::new(),
            generation: -1,
            assigned: Vec::new(),
            committed: 0,
        })
    }

    /// Joins until it has an assignment. True where it led the group into this generation.
    pub(crate) async fn join(&mut self) -> Result<bool, MemberError> {
        loop {
            let answer = self.link.call(self.version::<JoinGroupRequest>()?, &self.join_request()?).await?;
            let code = ErrorCode::from(answer.error_code);
            match code {
                ErrorCode::NONE => {
                    self.id.clone_from(&answer.member_id);
                    self.generation = answer.generation_id;
                    if let Outcome::Done = self.sync(&answer).await? {
                        return Ok(answer.leader == answer.member_id);
                    }
                }
                ErrorCode::MEMBER_ID_REQUIRED => self.id = answer.member_id,
                ErrorCode::REBALANCE_IN_PROGRESS => {}
                code => return Err(self.refused("join", code)),
            }
        }
    }

    /// Tells that it lives.
    pub(crate) async fn heartbeat(&mut self) -> Result<Outcome, MemberError> {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            ..Default::default()
        };
        let answer = self.link.call(self.version::<HeartbeatRequest>()?, &request).await?;
        self.outcome("heartbeat", answer.error_code)
    }

    /// Commits an offset for each of its partitions. `None`: it has none.
    pub(crate) async fn commit(&mut self) -> Result<Option<Outcome>, MemberError> {
        if self.assigned.is_empty() {
            return Ok(None);
        }
        self.committed += 1;
        let partition = |index: &i32| OffsetCommitRequestPartition {
            partition_index: *index,
            committed_offset: self.committed,
            committed_metadata: Some(String::new()),
            ..Default::default()
        };
        let topics = self.assigned.iter().map(|assigned| OffsetCommitRequestTopic {
            name: assigned.topic.clone(),
            partitions: assigned.partitions.iter().map(partition).collect(),
            ..Default::default()
        });
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.id.clone(),
            topics: topics.collect(),
            ..Default::default()
        };
        let version = self.version::<OffsetCommitRequest>()?.min(LAST_COMMIT_BY_NAME);
        let answer = self.link.call(version, &request).await?;
        let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        let code = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
        self.outcome("commit", code).map(Some)
    }

    /// Leaves; it is as new afterwards.
    pub(crate) async fn leave(&mut self) -> Result<(), MemberError> {
        let version = self.version::<LeaveGroupRequest>()?;
        let mut request = LeaveGroupRequest { group_id: self.group.clone(), ..Default::default() };
        let id = std::mem::take(&mut self.id);
        self.assigned.clear();
        if version >= 3 {
            request.members = vec![MemberIdentity { member_id: id, ..Default::default() }];
        } else {
            request.member_id = id;
        }
        let answer = self.link.call(version, &request).await?;
        let of_member = answer.members.first().map_or(0, |member| member.error_code);
        let code = if answer.error_code == 0 { of_member } else { answer.error_code };
        self.outcome("leave", code).map(drop)
    }

    /// Takes the assignment; the leader makes it for all.
    async fn sync(&mut self, joined: &JoinGroupResponse) -> Result<Outcome, MemberError> {
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(ASSIGNOR.to_owned()),
            assignments: if joined.leader == joined.member_id { self.assign(joined)? } else { Vec::new() },
            ..Default::default()
        };
        let version = self.version::<SyncGroupRequest>()?;
        let answer = self.link.call(version, &request).await?;
        let outcome = self.outcome("sync", answer.error_code)?;
        if let Outcome::Done = outcome {
            let decoded = ConsumerProtocolAssignment::decode_versioned(&mut Reader::new(answer.assignment));
            let api = kringle_protocol::ApiKey::SYNC_GROUP;
            let failed = |source| ClientError::Decode { api, version, source };
            self.assigned = decoded.map_err(failed)?.assigned_partitions;
        }
        Ok(outcome)
    }

    /// Deals the partitions out, one after the other.
    fn assign(&self, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, MemberError> {
        let count = joined.members.len().max(1);
        let places = self.cluster.places();
        let deal = |number: usize| {
            let mut assignment = ConsumerProtocolAssignment::default();
            for place in places.iter().skip(number).step_by(count) {
                let topic = &self.cluster.topics[place.topic].name;
                let mine = &mut assignment.assigned_partitions;
                match mine.iter_mut().find(|known| known.topic == *topic) {
                    Some(known) => known.partitions.push(place.partition),
                    None => mine.push(TopicPartition { topic: topic.clone(), partitions: vec![place.partition] }),
                }
            }
            assignment
        };
        let each = joined.members.iter().enumerate().map(|(number, member)| {
            Ok(SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment: said(&deal(number))? })
        });
        each.collect()
    }

    fn join_request(&self) -> Result<JoinGroupRequest, MemberError> {
        let topics = self.cluster.topics.iter().map(|topic| topic.name.clone()).collect();
        let subscription = ConsumerProtocolSubscription { topics, ..Default::default() };
        Ok(JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: self.id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinGroupRequestProtocol { name: ASSIGNOR.to_owned(), metadata: said(&subscription)? }],
            ..Default::default()
        })
    }

    fn outcome(&mut self, request: &'static str, code: i16) -> Result<Outcome, MemberError> {
        match ErrorCode::from(code) {
            ErrorCode::NONE => Ok(Outcome::Done),
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => Ok(Outcome::Rejoin),
            code => Err(self.refused(request, code)),
        }
    }

    /// The next join begins anew.
    fn refused(&mut self, request: &'static str, code: ErrorCode) -> MemberError {
        self.id.clear();
        MemberError::Refused { request, code }
    }

    fn version<R: kringle_protocol::Request>(&self) -> Result<i16, ClientError> {
        self.cluster.versions.best::<R>()
    }
}

/// The coordinator is not at work yet.
fn is_coming_up(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS | ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR
    )
}

/// What members say to each other, which the broker only hands on.
fn said<M: Message>(message: &M) -> Result<Bytes, ClientError> {
    let api = kringle_protocol::ApiKey::JOIN_GROUP;
    let failed = |source| ClientError::Encode { api, version: MEMBER_PROTOCOL, source };
    message.encode_versioned(MEMBER_PROTOCOL).map(bytes::BytesMut::freeze).map_err(failed)
}
