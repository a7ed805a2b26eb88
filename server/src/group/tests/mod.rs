//! Histories: a coordinator with its log in memory, virtual time, and writes that end when the test says so.
//!
//! After every step the invariants are checked (see [`Bench::check`]).

mod joining;
mod leaving;
mod offsets;
mod random;
mod reading;
mod statics;
mod writes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use kringle_protocol::consumer_protocol_subscription::ConsumerProtocolSubscription;
use kringle_protocol::heartbeat_request::HeartbeatRequest;
use kringle_protocol::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use kringle_protocol::join_group_response::JoinGroupResponse;
use kringle_protocol::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use kringle_protocol::list_groups_request::ListGroupsRequest;
use kringle_protocol::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kringle_protocol::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kringle_protocol::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use kringle_protocol::sync_group_response::SyncGroupResponse;
use kringle_protocol::{ErrorCode, Message};

use super::classic::State;
use super::offsets::Reading;
use super::*;

pub(super) const SESSION_MS: i32 = 10_000;
pub(super) const REBALANCE_MS: i32 = 60_000;
pub(super) const START_MS: i64 = 1_700_000_000_000;

/// A coordinator and what is around it.
pub(super) struct Bench {
    pub(super) coordinator: Coordinator,
    pub(super) now_ms: i64,
    /// Committed records.
    pub(super) log: Vec<Record>,
    pub(super) in_flight: VecDeque<Write>,
    answers: BTreeMap<ReplyToken, GroupResponse>,
    asked: ReplyToken,
    taken: BTreeSet<ReplyToken>,
}

/// Random bytes that differ from call to call and are the same in each run.
pub(super) fn counting(mut count: u128) -> Random {
    Box::new(move || {
        count += 1;
        count.to_be_bytes()
    })
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::with(GroupConfig::default())
    }

    pub(super) fn with(config: GroupConfig) -> Bench {
        let mut coordinator = Coordinator::new(config, counting(0));
        let _nothing = coordinator.loaded(START_MS);
        Bench {
            coordinator,
            now_ms: START_MS,
            log: Vec::new(),
            in_flight: VecDeque::new(),
            answers: BTreeMap::new(),
            asked: 0,
            taken: BTreeSet::new(),
        }
    }

    /// No wait for others in the first join phase.
    pub(super) fn eager() -> Bench {
        Bench::with(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() })
    }

    fn take(&mut self, output: Output) {
        for (token, response) in output.replies {
            assert!((1..=self.asked).contains(&token), "an answer to nobody: {token}");
            assert!(!self.taken.contains(&token), "a second answer to {token}: {response:?}");
            let former = self.answers.insert(token, response);
            assert_eq!(former, None, "a second answer to {token}");
        }
        if let Some(write) = output.write {
            assert!(!write.records.is_empty());
            self.in_flight.push_back(write);
        }
        self.check();
    }

    /// Sends a request and leaves its writes under way.
    pub(super) fn ask(&mut self, version: i16, request: GroupRequest) -> ReplyToken {
        self.asked += 1;
        let who = Caller { client_id: "c".into(), client_host: "/127.0.0.1".into() };
        let output = self.coordinator.request(self.now_ms, &who, version, request, self.asked);
        self.take(output);
        self.asked
    }

    /// The answer, if it came.
    pub(super) fn answer(&mut self, token: ReplyToken) -> Option<GroupResponse> {
        let answer = self.answers.remove(&token)?;
        self.taken.insert(token);
        Some(answer)
    }

    /// Sends a request, commits what it writes, and takes the answer.
    pub(super) fn tell(&mut self, version: i16, request: GroupRequest) -> GroupResponse {
        let token = self.ask(version, request);
        self.settle();
        self.answer(token).expect("an answer")
    }

    /// Commits the oldest write.
    pub(super) fn commit_one(&mut self) {
        let write = self.in_flight.pop_front().expect("a write");
        self.log.extend(write.records);
        let output = self.coordinator.committed(write.id, self.now_ms);
        self.take(output);
    }

    /// The log refuses the oldest write.
    pub(super) fn fail_one(&mut self, code: ErrorCode) {
        let write = self.in_flight.pop_front().expect("a write");
        let output = self.coordinator.failed(write.id, code, self.now_ms);
        self.take(output);
    }

    pub(super) fn settle(&mut self) {
        while !self.in_flight.is_empty() {
            self.commit_one();
        }
    }

    /// Time passes; what is due happens at its time.
    pub(super) fn pass(&mut self, ms: i64) {
        let until_ms = self.now_ms + ms;
        while let Some(deadline_ms) = self.coordinator.next_deadline_ms().filter(|deadline_ms| *deadline_ms <= until_ms)
        {
            self.now_ms = self.now_ms.max(deadline_ms);
            let output = self.coordinator.tick(self.now_ms);
            self.take(output);
            self.settle();
        }
        self.now_ms = until_ms;
    }

    /// A coordinator that has read the log.
    pub(super) fn reloaded(&self) -> Coordinator {
        let mut fresh =
            Coordinator::new(self.coordinator.turn.config.clone(), counting(self.log.len() as u128 * 1_000));
        for (key, value) in &self.log {
            fresh.replay(key, value.as_deref()).expect("what was written can be read");
        }
        fresh
    }

    /// The process restarts: waiters are gone, the log stays.
    pub(super) fn restart(&mut self) {
        let fresh = self.reloaded();
        let former = std::mem::replace(&mut self.coordinator, fresh);
        drop(former);
        self.in_flight.clear();
        let output = self.coordinator.loaded(self.now_ms);
        self.take(output);
    }

    pub(super) fn group(&self, id: &str) -> &Group {
        &self.coordinator.groups[id]
    }

    pub(super) fn state(&self, id: &str) -> State {
        self.group(id).state
    }

    /// All that must hold after every step.
    fn check(&self) {
        let coordinator = &self.coordinator;
        let mut waiting = BTreeSet::new();
        for group in coordinator.groups.values() {
            let awaiting = group.members.values().filter(|m| m.awaiting_join.is_some()).count();
            assert_eq!(group.awaiting_join, awaiting, "parked joins are counted");
            assert_eq!(group.leader.is_some(), !group.members.is_empty(), "members have a leader");
            assert!(group.leader.as_ref().is_none_or(|leader| group.members.contains_key(leader)));
            assert_eq!(group.state == State::Empty, group.members.is_empty() && group.state == State::Empty);
            assert!(group.pending_join.iter().all(|id| !group.members.contains_key(id)));
            assert!(group.pending_sync.iter().all(|id| group.members.contains_key(id)), "who must sync is a member");
            for (instance, id) in &group.statics {
                assert_eq!(group.members[id].instance_id.as_ref(), Some(instance));
            }
            for member in group.members.values() {
                let syncs_now = matches!(group.state, State::CompletingRebalance);
                assert!(member.awaiting_sync.is_none() || syncs_now, "a sync waits for an assignment only");
                for waiter in member.awaiting_join.iter().chain(&member.awaiting_sync) {
                    assert!(waiting.insert(waiter.token), "a token waits in one place");
                    let answered = self.answers.contains_key(&waiter.token) || self.taken.contains(&waiter.token);
                    assert!(!answered, "who was answered waits no more");
                }
            }
            if group.state == State::Stable {
                assert!(group.protocol.is_some());
            }
        }
        if self.in_flight.is_empty() {
            self.check_replay();
        }
    }

    /// What replaying gives is what is there.
    fn check_replay(&self) {
        let fresh = self.reloaded();
        let live = &self.coordinator;
        let offsets = |coordinator: &Coordinator, group: &str| -> Vec<_> {
            let latest = coordinator.offsets.latest_of_group(group);
            latest.into_iter().map(|(key, offset, committed)| (key, offset.clone(), committed)).collect()
        };
        let names = |coordinator: &Coordinator| coordinator.groups.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&fresh), names(live), "the groups that are in the log are there");
        assert_eq!(fresh.offsets.len(), live.offsets.len());
        for (id, group) in &live.groups {
            assert!(group.visible);
            assert_eq!(offsets(&fresh, id), offsets(live, id), "offsets of {id}");
            let logged = &fresh.groups[id];
            if group.state == State::Stable {
                assert_eq!(logged.generation, group.generation);
                assert_eq!(logged.leader, group.leader);
                assert_eq!(logged.protocol, group.protocol);
                assert_eq!(logged.protocol_type, group.protocol_type);
                assert_eq!(logged.statics, group.statics);
                assert_eq!(logged.subscribed, group.subscribed);
                let members = |group: &Group| -> Vec<_> {
                    let of = |m: &classic::Member| {
                        let metadata = m.metadata(group.protocol.as_deref());
                        (m.id.clone(), m.session_timeout_ms, m.rebalance_timeout_ms, metadata, m.assignment.clone())
                    };
                    group.members.values().map(of).collect()
                };
                assert_eq!(members(logged), members(group));
            } else if group.state == State::Empty {
                assert_eq!((logged.generation, logged.members.len()), (group.generation, 0));
            }
        }
    }
}

// Requests with the values that most tests do not care about.

pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let topics = topics.iter().map(|topic| (*topic).into()).collect();
    let subscription = ConsumerProtocolSubscription { topics, ..ConsumerProtocolSubscription::default() };
    subscription.encode_versioned(0).expect("a subscription").into()
}

pub(super) fn join_as(group: &str, member: &str, protocols: &[(&str, Bytes)]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: protocols
            .iter()
            .map(|(name, metadata)| JoinGroupRequestProtocol { name: (*name).into(), metadata: metadata.clone() })
            .collect(),
        ..JoinGroupRequest::default()
    }
}

pub(super) fn join(group: &str, member: &str) -> JoinGroupRequest {
    join_as(group, member, &[("range", subscription(&["t"]))])
}

pub(super) fn join_static(group: &str, member: &str, instance: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.into()), ..join(group, member) }
}

pub(super) fn sync(group: &str, generation: i32, member: &str, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member, assignment)| SyncGroupRequestAssignment {
        member_id: (*member).into(),
        assignment: Bytes::copy_from_slice(assignment.as_bytes()),
    });
    SyncGroupRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        assignments: assignments.collect(),
        ..SyncGroupRequest::default()
    }
}

pub(super) fn heartbeat(group: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        ..HeartbeatRequest::default()
    }
}

pub(super) fn leave(group: &str, members: &[&str]) -> LeaveGroupRequest {
    let members = members.iter().map(|id| MemberIdentity { member_id: (*id).into(), ..MemberIdentity::default() });
    LeaveGroupRequest { group_id: group.into(), members: members.collect(), ..LeaveGroupRequest::default() }
}

pub(super) fn commit(group: &str, generation: i32, member: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: offset,
                committed_leader_epoch: 3,
                committed_metadata: Some("note".into()),
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    }
}

impl Bench {
    pub(super) fn join(&mut self, version: i16, request: JoinGroupRequest) -> JoinGroupResponse {
        let GroupResponse::Join(response) = self.tell(version, GroupRequest::Join(request)) else { panic!() };
        response
    }

    pub(super) fn joined(&mut self, token: ReplyToken) -> JoinGroupResponse {
        let Some(GroupResponse::Join(response)) = self.answer(token) else { panic!("no answer to the join") };
        response
    }

    pub(super) fn sync(&mut self, request: SyncGroupRequest) -> SyncGroupResponse {
        let GroupResponse::Sync(response) = self.tell(5, GroupRequest::Sync(request)) else { panic!() };
        response
    }

    pub(super) fn synced(&mut self, token: ReplyToken) -> SyncGroupResponse {
        let Some(GroupResponse::Sync(response)) = self.answer(token) else { panic!("no answer to the sync") };
        response
    }

    pub(super) fn heartbeat(&mut self, generation: i32, member: &str) -> ErrorCode {
        let request = GroupRequest::Heartbeat(heartbeat("g", generation, member));
        let GroupResponse::Heartbeat(response) = self.tell(4, request) else { panic!() };
        response.error_code.into()
    }

    pub(super) fn commit(&mut self, version: i16, request: OffsetCommitRequest) -> ErrorCode {
        let GroupResponse::OffsetCommit(response) = self.tell(version, GroupRequest::OffsetCommit(request)) else {
            panic!()
        };
        response.topics[0].partitions[0].error_code.into()
    }

    /// Offset of partition 0 of `t`, as clients see it.
    pub(super) fn fetch(&mut self, group: &str, partition: i32, require_stable: bool) -> ReplyToken {
        let topics = vec![OffsetFetchRequestTopics {
            name: "t".into(),
            partition_indexes: vec![partition],
            ..OffsetFetchRequestTopics::default()
        }];
        let group = OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(topics),
            ..OffsetFetchRequestGroup::default()
        };
        self.ask(8, GroupRequest::OffsetFetch { group, require_stable })
    }

    pub(super) fn fetched(&mut self, token: ReplyToken) -> i64 {
        let Some(GroupResponse::OffsetFetch(group)) = self.answer(token) else { panic!("no answer to the fetch") };
        group.topics[0].partitions[0].committed_offset
    }

    pub(super) fn offset(&mut self, group: &str) -> i64 {
        let token = self.fetch(group, 0, false);
        self.fetched(token)
    }

    /// A new dynamic member in the way of modern clients: an id first, then the join, which waits.
    pub(super) fn newcomer(&mut self, group: &str) -> (String, ReplyToken) {
        let first = self.join(9, join(group, ""));
        assert_eq!(ErrorCode::from(first.error_code), ErrorCode::MEMBER_ID_REQUIRED);
        let token = self.ask(9, GroupRequest::Join(join(group, &first.member_id)));
        self.settle();
        (first.member_id, token)
    }

    /// A stable group `g` of this many dynamic members; the first leads. Assignments are `a0`, `a1` ...
    pub(super) fn stable(&mut self, members: usize) -> Vec<String> {
        let joins: Vec<_> = (0..members).map(|_| self.newcomer("g")).collect();
        self.pass(6_000);
        let mut leader = String::new();
        let mut generation = 0;
        for (_, token) in &joins {
            let response = self.joined(*token);
            assert_eq!(response.error_code, 0);
            leader = response.leader;
            generation = response.generation_id;
        }
        let ids: Vec<String> = joins.into_iter().map(|(id, _)| id).collect();
        self.assign(&ids, &leader, generation);
        ids
    }

    /// All members sync; the leader assigns `a0` to the first, and so on.
    pub(super) fn assign(&mut self, ids: &[String], leader: &str, generation: i32) {
        let names: Vec<String> = (0..ids.len()).map(|i| format!("a{i}")).collect();
        let assignments: Vec<_> = ids.iter().zip(&names).map(|(id, name)| (id.as_str(), name.as_str())).collect();
        let mut tokens = Vec::new();
        for id in ids.iter().filter(|id| *id != leader) {
            tokens.push(self.ask(5, GroupRequest::Sync(sync("g", generation, id, &[]))));
        }
        tokens.push(self.ask(5, GroupRequest::Sync(sync("g", generation, leader, &assignments))));
        self.settle();
        for token in tokens {
            assert_eq!(self.synced(token).error_code, 0);
        }
        assert_eq!(self.state("g"), State::Stable);
    }
}
