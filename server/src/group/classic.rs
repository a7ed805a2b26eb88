//! [`Group`]: a classic group and its members, without what happens to them.
//!
//! Invariants: a leader is a member, and there is one whenever there are members; `awaiting_join` counts the members with
//! a parked JoinGroup; an id in `pending_join` is no member; an instance id names exactly one member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kringle_protocol::consumer_protocol_subscription::ConsumerProtocolSubscription;
use kringle_protocol::group_metadata_value::GroupMetadataValue;
use kringle_protocol::join_group_request::JoinGroupRequestProtocol;
use kringle_protocol::join_group_response::JoinGroupResponseMember;
use kringle_protocol::{ErrorCode, Message, Reader};

use super::ReplyToken;
use super::java::hash_map_place;

/// The protocol type whose metadata Kafka itself reads.
pub(super) const CONSUMER: &str = "consumer";

/// Kafka's states of a classic group. A dead one is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) token: ReplyToken,
    /// Of the request.
    pub(super) version: i16,
}

/// How the first join phase of an empty group goes on when its timer goes off.
#[derive(Debug, Clone, Copy)]
pub(super) struct InitialWait {
    pub(super) delay_ms: i64,
    pub(super) remaining_ms: i64,
}

/// A member of a classic group.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    pub(super) protocols: Vec<JoinGroupRequestProtocol>,
    pub(super) assignment: Bytes,
    pub(super) awaiting_join: Option<Waiter>,
    pub(super) awaiting_sync: Option<Waiter>,
    /// It has not yet learnt its id, so that it cannot send heartbeats.
    pub(super) is_new: bool,
}

impl Member {
    /// Its metadata for a protocol; empty if it does not have it.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let known = self.protocols.iter().find(|p| Some(p.name.as_str()) == protocol);
        known.map(|p| p.metadata.clone()).unwrap_or_default()
    }

    /// Whether it is known to be alive although its timer went off: a request of it is parked here.
    pub(super) fn is_parked(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    fn protocol_names(&self) -> BTreeSet<&str> {
        self.protocols.iter().map(|p| p.name.as_str()).collect()
    }
}

/// A classic group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Arc<str>,
    /// Tells a group from another one that had its name before.
    pub(super) incarnation: u64,
    /// The record that made it is committed: those who only read may know of it.
    pub(super) visible: bool,
    pub(super) state: State,
    pub(super) previous_state: State,
    pub(super) state_since_ms: Option<i64>,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<Arc<str>>,
    pub(super) members: BTreeMap<Arc<str>, Member>,
    pub(super) statics: BTreeMap<String, Arc<str>>,
    /// Ids that were given out with MEMBER_ID_REQUIRED and did not come back yet.
    pub(super) pending_join: BTreeSet<Arc<str>>,
    /// Members whose SyncGroup of this generation did not come yet.
    pub(super) pending_sync: BTreeSet<Arc<str>>,
    pub(super) awaiting_join: usize,
    /// Topics of the last generation, if all its members' metadata could be read.
    pub(super) subscribed: Option<BTreeSet<String>>,
    pub(super) initial_wait: Option<InitialWait>,
    pub(super) new_member_added: bool,
    /// The leader's assignment of this generation is on its way into the log.
    pub(super) assignment_in_flight: bool,
    /// How many members have a protocol.
    supported: BTreeMap<String, usize>,
}

impl Group {
    pub(super) fn new(id: Arc<str>, incarnation: u64, now_ms: i64) -> Group {
        Group {
            id,
            incarnation,
            visible: false,
            state: State::Empty,
            previous_state: State::Empty,
            state_since_ms: Some(now_ms),
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join: 0,
            subscribed: None,
            initial_wait: None,
            new_member_added: false,
            assignment_in_flight: false,
            supported: BTreeMap::new(),
        }
    }

    /// As a record has it.
    pub(super) fn from_record(id: Arc<str>, incarnation: u64, value: GroupMetadataValue) -> Group {
        let mut group = Group::new(id, incarnation, 0);
        group.visible = true;
        group.state = if value.members.is_empty() { State::Empty } else { State::Stable };
        group.state_since_ms = (value.current_state_timestamp != -1).then_some(value.current_state_timestamp);
        group.generation = value.generation;
        let protocol = value.protocol.clone().unwrap_or_default();
        for member in value.members {
            let session_timeout_ms = member.session_timeout;
            let never_said = member.rebalance_timeout == -1;
            let doubled = member.group_instance_id.as_ref().is_some_and(|id| group.statics.contains_key(id));
            if doubled || group.members.contains_key(member.member_id.as_str()) {
                continue;
            }
            group.add(Member {
                id: member.member_id.into(),
                instance_id: member.group_instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                rebalance_timeout_ms: if never_said { session_timeout_ms } else { member.rebalance_timeout },
                session_timeout_ms,
                protocols: vec![JoinGroupRequestProtocol { name: protocol.clone(), metadata: member.subscription }],
                assignment: member.assignment,
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            });
        }
        group.protocol_type = Some(value.protocol_type).filter(|text| !text.is_empty());
        group.protocol = value.protocol;
        if let Some(leader) = value.leader.and_then(|leader| group.members.get_key_value(leader.as_str())) {
            group.leader = Some(leader.0.clone());
        }
        group.subscribed = group.subscriptions();
        group
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// The leader's id, empty if there is none.
    pub(super) fn leader_name(&self) -> String {
        self.leader.as_deref().unwrap_or_default().into()
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// The longest of the members' rebalance timeouts.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| i64::from(member.rebalance_timeout_ms)).max().unwrap_or(0).max(0)
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// Adds a member that is not there yet. The first one decides about the protocol type (by [`Group::found`]).
    pub(super) fn add(&mut self, member: Member) {
        if let Some(instance_id) = &member.instance_id {
            let former = self.statics.insert(instance_id.clone(), member.id.clone());
            debug_assert!(former.is_none(), "an instance id names one member");
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_join.remove(&member.id);
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        self.count_protocols(&member, true);
        let former = self.members.insert(member.id.clone(), member);
        debug_assert!(former.is_none(), "a member is added once");
    }

    /// The first member of a group without members sets its protocol type.
    pub(super) fn found(&mut self, protocol_type: &str) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.into());
        }
    }

    /// Takes a member, or an id that was given out, away. What was parked comes back with it.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        let member = self.members.remove(id)?;
        self.count_protocols(&member, false);
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
        if let Some(instance_id) = &member.instance_id {
            self.statics.remove(instance_id);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member another id. What the old one had parked is returned: it is fenced.
    pub(super) fn replace_static(&mut self, instance_id: &str, old: &str, new: &Arc<str>) -> Vec<Parked> {
        let Some(mut member) = self.members.remove(old) else { return Vec::new() };
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
        let parked = member.take_parked();
        member.id = new.clone();
        member.is_new = false;
        self.members.insert(new.clone(), member);
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        self.statics.insert(instance_id.into(), new.clone());
        parked
    }

    /// Takes over what a JoinGroup says about a member; a JoinGroup parked before is returned.
    pub(super) fn update(&mut self, id: &str, terms: Terms, waiter: Option<Waiter>) -> Option<Waiter> {
        let mut member = self.members.remove(id)?;
        self.count_protocols(&member, false);
        member.protocols = terms.protocols;
        member.rebalance_timeout_ms = terms.rebalance_timeout_ms;
        member.session_timeout_ms = terms.session_timeout_ms;
        self.count_protocols(&member, true);
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
        self.awaiting_join += usize::from(waiter.is_some());
        let former = std::mem::replace(&mut member.awaiting_join, waiter);
        self.members.insert(member.id.clone(), member);
        former
    }

    /// Takes the parked JoinGroup of a member.
    pub(super) fn take_join(&mut self, id: &str) -> Option<Waiter> {
        let waiter = self.members.get_mut(id)?.awaiting_join.take()?;
        self.awaiting_join -= 1;
        Some(waiter)
    }

    fn count_protocols(&mut self, member: &Member, added: bool) {
        for name in member.protocol_names() {
            if added {
                *self.supported.entry(name.into()).or_default() += 1;
            } else if let Some(count) = self.supported.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(name);
                }
            }
        }
    }

    /// Whether one who has these protocols can be in the group.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let all = self.members.len();
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|p| self.supported.get(&p.name).copied().unwrap_or(0) == all)
    }

    /// The protocol that most members prefer among those that all have.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let common = |name: &str| self.supported.get(name) == Some(&self.members.len());
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(choice) = member.protocols.iter().find(|p| common(&p.name)) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let names = votes.len();
        // Among equals the one that Kafka's hash map comes to first.
        let best =
            votes.into_iter().min_by_key(|(name, count)| (std::cmp::Reverse(*count), hash_map_place(name, names)));
        best.map(|(name, _)| name.into())
    }

    /// The next generation begins; who is to answer is told by the members.
    pub(super) fn next_generation(&mut self, now_ms: i64) {
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.protocol = self.select_protocol();
        self.subscribed = self.subscriptions();
        self.pending_sync.clear();
        let state = if self.members.is_empty() { State::Empty } else { State::CompletingRebalance };
        self.become_state(state, now_ms);
    }

    pub(super) fn become_state(&mut self, state: State, now_ms: i64) {
        debug_assert!(
            match state {
                State::PreparingRebalance => self.state != State::PreparingRebalance,
                State::CompletingRebalance | State::Empty => self.state == State::PreparingRebalance,
                State::Stable => self.state == State::CompletingRebalance,
            },
            "{:?} does not follow {:?}",
            state,
            self.state
        );
        self.previous_state = self.state;
        self.state = state;
        self.state_since_ms = Some(now_ms);
    }

    /// Makes sure that the leader is one of those who joined. False if none did.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &&Member| member.awaiting_join.is_some();
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).as_ref().is_some_and(joined) {
            return true;
        }
        let Some(member) = self.members.values().find(joined) else { return false };
        self.leader = Some(member.id.clone());
        true
    }

    /// All topics that the members of this generation subscribe to, if Kafka can read that.
    pub(super) fn subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let mut r = Reader::new(member.metadata(Some(protocol)));
            r.i16().ok()?;
            // Version 0 is how every version begins.
            topics.extend(ConsumerProtocolSubscription::decode(&mut r, 0).ok()?.topics);
        }
        Some(topics)
    }

    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or(self.uses_consumer_protocol(), |topics| topics.contains(topic))
    }

    /// Who asks must be a member, and the current holder of its instance id.
    pub(super) fn validate_member(&self, member: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.statics.get(instance_id) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(holder) if **holder != *member => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    /// The members with the metadata of the chosen protocol, as the leader is told.
    pub(super) fn member_list(&self) -> Vec<JoinGroupResponseMember> {
        let one = |member: &Member| JoinGroupResponseMember {
            member_id: (*member.id).into(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(self.protocol.as_deref()),
        };
        self.members.values().map(one).collect()
    }
}

/// What a JoinGroup says about a member.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) protocols: Vec<JoinGroupRequestProtocol>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
}

/// A request that was parked with a member.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parked {
    Join(Waiter),
    Sync(Waiter),
}

impl Member {
    /// Takes what is parked. Whoever has the member in a group keeps the group's count.
    pub(super) fn take_parked(&mut self) -> Vec<Parked> {
        let join = self.awaiting_join.take().map(Parked::Join);
        let sync = self.awaiting_sync.take().map(Parked::Sync);
        join.into_iter().chain(sync).collect()
    }
}
