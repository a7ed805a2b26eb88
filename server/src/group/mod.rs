//! The coordinator of classic consumer groups and of committed offsets, for one partition of `__consumer_offsets`.
//!
//! It lives on the shard that owns the partition and is pure: requests and the time go in, answers and records come out.
//! Behaviour, order of checks and error codes are those of Kafka 4.3.1's group coordinator.
//!
//! - [`Coordinator::replay`] for every record of the log, then [`Coordinator::loaded`], then requests.
//! - Records of an [`Output`] go into the log. Once they are committed the integrator calls [`Coordinator::committed`], or
//!   [`Coordinator::failed`] if the log refused them. Several writes may be under way.
//! - [`Coordinator::tick`] whenever [`Coordinator::next_deadline_ms`] has come.
//! - [`Coordinator::unload`] when the shard loses the partition; the coordinator is of no use then.
//!
//! Invariants: every token is answered exactly once; an answer that rests on records leaves after they are committed; who
//! only reads sees committed groups and offsets; the groups that are stable and the offsets are what replaying the committed records
//! gives. What a failed write would have changed is taken back.
//!
//! Time is milliseconds of the wall clock, kept steady (start of the process plus what a monotonic clock says since):
//! sessions are measured with it and it is written into the records. That it stands still or goes back does no harm.

mod classic;
mod commit;
mod delete;
mod describe;
mod expiry;
mod fetch;
mod java;
mod join;
mod load;
mod messages;
mod offsets;
mod rebalance;
mod records;
mod sync;
mod timers;
mod transactions;
mod turn;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kringle_protocol::ErrorCode;

use classic::Group;
use offsets::OffsetStore;
use timers::TimerKey;
use transactions::Transactions;
use turn::{Outstanding, Then, Turn};

pub use fetch::{join_offset_fetch, split_offset_fetch};
pub use java::partition_for;
pub use load::ReplayError;
pub use messages::{GroupRequest, GroupResponse};
pub use records::Record;

/// What the integrator knows a request by.
pub type ReplyToken = u64;

/// What a write is known by; later writes have greater ids.
pub type WriteId = u64;

/// Makes the random part of member ids.
pub type Random = Box<dyn FnMut() -> [u8; 16]>;

/// The settings of a coordinator; the names are Kafka's, units last.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// How long a member that does not yet know its id may be parked in a join phase; Kafka has no setting for it.
    pub new_member_join_timeout_ms: i32,
    /// `group.max.size`
    pub max_size: usize,
    /// Ids a group may have given out that did not come back. Kafka has no bound; here it is one against hostile clients.
    pub max_pending_members: usize,
    /// Groups of one partition. Kafka has no bound; a new group above it is answered COORDINATOR_NOT_AVAILABLE.
    pub max_groups: usize,
    /// `offset.metadata.max.bytes`; Kafka counts UTF-16 units.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: i64,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            new_member_join_timeout_ms: 300_000,
            max_size: 0x7fff_ffff,
            max_pending_members: 10_000,
            max_groups: 1_000_000,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            offsets_retention_check_interval_ms: 600_000,
        }
    }
}

/// Who sends a request.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The client id of the request header; empty for null.
    pub client_id: String,
    /// The address as Java prints it: `/127.0.0.1`.
    pub client_host: String,
}

/// What a call of the coordinator leads to.
#[derive(Debug, Default)]
pub struct Output {
    /// Answers that can leave now.
    pub replies: Vec<(ReplyToken, GroupResponse)>,
    /// Records for the log.
    pub write: Option<Write>,
}

/// Records for the log.
#[derive(Debug)]
pub struct Write {
    /// For [`Coordinator::committed`] or [`Coordinator::failed`].
    pub id: WriteId,
    /// Keys, and values or tombstones.
    pub records: Vec<Record>,
    /// They must be in one batch. Otherwise they may be spread over several; the write is committed with the last.
    pub atomic: bool,
}

/// The coordinator of the groups of one partition.
pub struct Coordinator {
    groups: BTreeMap<Arc<str>, Group>,
    offsets: OffsetStore,
    transactions: Transactions,
    outstanding: VecDeque<Outstanding>,
    turn: Turn,
    /// Where the search for old offsets goes on.
    expiry_after: Option<Arc<str>>,
    foreign_records: u64,
}

impl Coordinator {
    /// A coordinator that has read nothing yet.
    #[must_use]
    pub fn new(config: GroupConfig, random: Random) -> Coordinator {
        Coordinator {
            groups: BTreeMap::new(),
            offsets: OffsetStore::default(),
            transactions: Transactions::default(),
            outstanding: VecDeque::new(),
            turn: Turn::new(config, random),
            expiry_after: None,
            foreign_records: 0,
        }
    }

    /// All records are replayed: from now on members must be heard of.
    pub fn loaded(&mut self, now_ms: i64) -> Output {
        self.turn.now_ms = now_ms;
        self.start_sessions();
        self.turn
            .timers
            .set(TimerKey::Expiry, now_ms.saturating_add(self.turn.config.offsets_retention_check_interval_ms));
        self.finish()
    }

    /// Works on a request; its answer comes with this output or a later one, under the same token.
    pub fn request(
        &mut self,
        now_ms: i64,
        who: &Caller,
        version: i16,
        request: GroupRequest,
        token: ReplyToken,
    ) -> Output {
        self.turn.now_ms = now_ms;
        match request {
            GroupRequest::Join(request) => self.join(who, classic::Waiter { token, version }, request),
            GroupRequest::Sync(request) => self.sync(classic::Waiter { token, version }, request),
            GroupRequest::Heartbeat(request) => self.heartbeat(token, &request),
            GroupRequest::Leave(request) => self.leave(token, version, request),
            GroupRequest::OffsetCommit(request) => self.commit_offsets(token, version, &request),
            GroupRequest::OffsetFetch { group, require_stable } => self.fetch_offsets(token, &group, require_stable),
            GroupRequest::OffsetDelete(request) => self.delete_offsets(token, request),
            request @ (GroupRequest::Describe(_) | GroupRequest::List(_)) => self.read(token, version, request),
            GroupRequest::DeleteGroups(groups) => self.delete_groups(token, groups),
        }
        self.finish()
    }

    /// Does what is due.
    pub fn tick(&mut self, now_ms: i64) -> Output {
        self.turn.now_ms = now_ms;
        self.finish()
    }

    /// When [`Coordinator::tick`] is to be called next; a time in the past means at once.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.turn.timers.next_ms()
    }

    /// The records of a write are in the log for good: below the high watermark and durable.
    pub fn committed(&mut self, write: WriteId, now_ms: i64) -> Output {
        self.turn.now_ms = now_ms;
        if let Some(done) = self.take_outstanding(write) {
            for key in &done.offsets {
                self.offsets.committed(key, write);
                self.ensure_group(key);
            }
            for then in done.then {
                self.then_committed(then);
            }
        }
        self.finish()
    }

    /// The log refused the records of a write, with this code of the append.
    pub fn failed(&mut self, write: WriteId, code: ErrorCode, now_ms: i64) -> Output {
        self.turn.now_ms = now_ms;
        if let Some(failed) = self.take_outstanding(write) {
            for key in &failed.offsets {
                self.offsets.failed(key, write);
            }
            for mut group in failed.removed {
                group.pending_join.clear();
                self.groups.entry(group.id.clone()).or_insert(group);
            }
            for then in failed.then {
                self.then_failed(then, messages::append_error(code));
            }
        }
        self.finish()
    }

    /// The partition is lost: all that wait are told to look for the new coordinator.
    pub fn unload(&mut self) -> Vec<(ReplyToken, GroupResponse)> {
        let groups = std::mem::take(&mut self.groups);
        for mut group in groups.into_values() {
            self.turn.refuse_members(&mut group, ErrorCode::NOT_COORDINATOR);
        }
        for write in std::mem::take(&mut self.outstanding) {
            for then in write.then {
                match then {
                    Then::Reply { token, response } => {
                        self.turn.reply(token, response.into_error(ErrorCode::NOT_COORDINATOR));
                    }
                    Then::Read { token, version, request } => {
                        self.turn.reply(token, request.refused(version, ErrorCode::NOT_COORDINATOR));
                    }
                    Then::Logged(_) | Then::Assign { .. } | Then::StaticJoin(_) => {}
                }
            }
        }
        self.turn.timers.clear();
        std::mem::take(&mut self.turn.replies)
    }

    /// Records of other kinds of groups (KIP-848, share, streams) that were replayed and are not acted on.
    #[must_use]
    pub fn foreign_records(&self) -> u64 {
        self.foreign_records
    }

    /// Groups and committed offsets that are held, for metrics.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        (self.groups.len(), self.offsets.len())
    }

    /// Ends every call: does what is due by now and hands over what has come together.
    fn finish(&mut self) -> Output {
        while let Some(key) = self.turn.timers.pop_due(self.turn.now_ms) {
            match key {
                TimerKey::Join(group) => self.join_phase_ends(&group),
                TimerKey::Sync(group) => self.sync_phase_ends(&group),
                TimerKey::Session(group, member) => self.session_ends(&group, &member),
                TimerKey::Expiry => {
                    self.expire();
                    // What is left of a long search comes with the next call.
                    break;
                }
            }
        }
        let replies = std::mem::take(&mut self.turn.replies);
        let (outstanding, write) = self.turn.take_draft().unzip();
        self.outstanding.extend(outstanding);
        Output { replies, write }
    }

    fn take_outstanding(&mut self, write: WriteId) -> Option<Outstanding> {
        let at = self.outstanding.iter().position(|outstanding| outstanding.id == write);
        debug_assert!(at.is_some(), "a write ends once");
        self.outstanding.remove(at?)
    }

    /// Answers after all that is under way is committed, for it may be what the answer rests on.
    fn reply_after_writes(&mut self, token: ReplyToken, response: GroupResponse) {
        if self.turn.has_draft() {
            self.turn.then(Then::Reply { token, response });
        } else if let Some(last) = self.outstanding.back_mut() {
            last.then.push(Then::Reply { token, response });
        } else {
            self.turn.reply(token, response);
        }
    }

    fn then_committed(&mut self, then: Then) {
        match then {
            Then::Reply { token, response } => self.turn.reply(token, response),
            Then::Read { token, version, request } => self.read_now(token, version, request),
            Then::Logged(group) => {
                if let Some(group) = self.same_group(&group) {
                    group.visible = true;
                }
                for removed in self.removed_groups().filter(|removed| removed.incarnation == group.incarnation) {
                    removed.visible = true;
                }
            }
            Then::Assign { group, generation, assignments } => {
                if let Some(group) = self.groups.get_mut(&group.id).filter(|g| g.incarnation == group.incarnation) {
                    self.turn.assignment_committed(group, generation, assignments);
                }
            }
            Then::StaticJoin(join) => {
                if let Some(group) =
                    self.groups.get_mut(&join.group.id).filter(|g| g.incarnation == join.group.incarnation)
                {
                    self.turn.static_join_committed(group, &join);
                }
            }
        }
    }

    fn then_failed(&mut self, then: Then, code: ErrorCode) {
        match then {
            Then::Reply { token, response } => self.turn.reply(token, response.into_error(code)),
            Then::Read { token, version, request } => self.read_now(token, version, request),
            Then::Logged(group) => self.group_not_logged(&group, code),
            Then::Assign { group, generation, .. } => {
                if let Some(group) = self.groups.get_mut(&group.id).filter(|g| g.incarnation == group.incarnation) {
                    self.turn.assignment_failed(group, generation, code);
                }
            }
            Then::StaticJoin(join) => {
                if let Some(group) =
                    self.groups.get_mut(&join.group.id).filter(|g| g.incarnation == join.group.incarnation)
                {
                    self.turn.static_join_failed(group, *join, code);
                }
            }
        }
    }

    /// A record of the group was refused. If there was none before and none is to come, the group never was.
    fn group_not_logged(&mut self, name: &turn::GroupName, code: ErrorCode) {
        let by_others = |then: &Then| matches!(then, Then::Logged(other) if other.incarnation == name.incarnation);
        if self.outstanding.iter().flat_map(|write| &write.then).any(by_others) {
            return;
        }
        if self.same_group(name).is_some_and(|group| !group.visible)
            && let Some(mut group) = self.groups.remove(&name.id)
        {
            self.turn.refuse_members(&mut group, code);
            self.turn.cancel_timers(&group);
        }
        // Nor does a deletion that fails bring it back.
        for write in &mut self.outstanding {
            write.removed.retain(|removed| removed.visible || removed.incarnation != name.incarnation);
        }
    }

    fn same_group(&mut self, name: &turn::GroupName) -> Option<&mut Group> {
        self.groups.get_mut(&name.id).filter(|group| group.incarnation == name.incarnation)
    }

    /// Makes the group if it is not there; true if it was made. The record of it is the caller's business.
    fn make_group(&mut self, id: &str) -> Result<bool, ErrorCode> {
        if self.groups.contains_key(id) {
            return Ok(false);
        }
        if self.groups.len() >= self.turn.config.max_groups {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        let group = Group::new(id.into(), self.turn.next_incarnation(), self.turn.now_ms);
        self.groups.insert(group.id.clone(), group);
        Ok(true)
    }

    /// The group as those see it who only read.
    fn committed_group(&self, id: &str) -> Option<&Group> {
        let live = self.groups.get(id).filter(|group| group.visible);
        live.or_else(|| self.groups_on_their_way_out().find(|group| *group.id == *id))
    }

    /// Groups whose tombstones are not committed yet.
    fn groups_on_their_way_out(&self) -> impl Iterator<Item = &Group> {
        self.outstanding.iter().flat_map(|write| &write.removed).filter(|group| group.visible)
    }

    fn removed_groups(&mut self) -> impl Iterator<Item = &mut Group> {
        self.outstanding.iter_mut().flat_map(|write| &mut write.removed)
    }

    /// Who commits offsets has a group, by Kafka's rule; one whose making failed comes back with them.
    fn ensure_group(&mut self, key: &offsets::OffsetKey) {
        if !self.offsets.has_committed(key) {
            return;
        }
        // Where a deletion is under way, it is the one before it that they belong to.
        if let Some(group) = self.removed_groups().find(|group| group.id == key.group) {
            group.visible = true;
        } else if let Some(group) = self.groups.get_mut(&key.group) {
            group.visible = true;
        } else {
            let mut group = Group::new(key.group.clone(), self.turn.next_incarnation(), self.turn.now_ms);
            group.visible = true;
            self.groups.insert(group.id.clone(), group);
        }
    }
}
