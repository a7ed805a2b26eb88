//! [`Turn`]: what one call of the coordinator brings together (answers, records, timers), and what all calls share.
//!
//! A group's handlers borrow the group and the turn, never the whole coordinator.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kringle_protocol::join_group_response::JoinGroupResponse;
use kringle_protocol::sync_group_response::SyncGroupResponse;
use kringle_protocol::{EncodeError, ErrorCode};

use super::classic::{Group, Parked, Terms, Waiter};
use super::offsets::OffsetKey;
use super::timers::{TimerKey, Timers};
use super::{GroupConfig, GroupRequest, GroupResponse, Random, Record, ReplyToken, Write, WriteId, java, messages};

/// A group, and none that has its name later.
#[derive(Debug, Clone)]
pub(super) struct GroupName {
    pub(super) id: Arc<str>,
    pub(super) incarnation: u64,
}

impl From<&Group> for GroupName {
    fn from(group: &Group) -> GroupName {
        GroupName { id: group.id.clone(), incarnation: group.incarnation }
    }
}

/// What happens once a write is committed, or has failed.
#[derive(Debug)]
pub(super) enum Then {
    /// This answer, or its error.
    Reply { token: ReplyToken, response: GroupResponse },
    /// This reading request is worked on: a group that it asks about was not certain to be there.
    Read { token: ReplyToken, version: i16, request: GroupRequest },
    /// The group is in the log and may be seen; if it never came there, it is gone with all who wait in it.
    Logged(GroupName),
    /// The members get their assignment, or rebalance again.
    Assign { group: GroupName, generation: i32, assignments: BTreeMap<String, Bytes> },
    /// A static member is known by its new id, or by its old one again.
    StaticJoin(Box<StaticJoin>),
}

/// A static member that came back under another id while its group was stable.
#[derive(Debug)]
pub(super) struct StaticJoin {
    pub(super) group: GroupName,
    pub(super) instance_id: String,
    pub(super) old: Arc<str>,
    pub(super) new: Arc<str>,
    pub(super) waiter: Waiter,
    pub(super) old_leader: String,
    pub(super) old_terms: Terms,
}

/// A write that is neither committed nor failed.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) id: WriteId,
    pub(super) offsets: Vec<OffsetKey>,
    /// Groups it takes away; they are still seen by those who only read.
    pub(super) removed: Vec<Group>,
    pub(super) then: Vec<Then>,
}

/// What one call brings together, and what all calls share.
pub(super) struct Turn {
    pub(super) now_ms: i64,
    pub(super) config: GroupConfig,
    pub(super) timers: Timers,
    pub(super) replies: Vec<(ReplyToken, GroupResponse)>,
    random: Random,
    incarnations: u64,
    next_write: WriteId,
    records: Vec<Record>,
    atomic: bool,
    draft: Outstanding,
}

impl Turn {
    pub(super) fn new(config: GroupConfig, random: Random) -> Turn {
        let draft = Outstanding { id: 1, offsets: Vec::new(), removed: Vec::new(), then: Vec::new() };
        Turn {
            now_ms: 0,
            config,
            timers: Timers::default(),
            replies: Vec::new(),
            random,
            incarnations: 0,
            next_write: 1,
            records: Vec::new(),
            atomic: true,
            draft,
        }
    }

    pub(super) fn next_incarnation(&mut self) -> u64 {
        self.incarnations += 1;
        self.incarnations
    }

    /// An id for a new member: after its instance id if it has one, else after its client.
    pub(super) fn new_member_id(&mut self, prefix: &str) -> Arc<str> {
        format!("{prefix}-{}", java::uuid_text((self.random)())).into()
    }

    pub(super) fn reply(&mut self, token: ReplyToken, response: GroupResponse) {
        self.replies.push((token, response));
    }

    pub(super) fn reply_join(&mut self, waiter: Waiter, mut response: JoinGroupResponse) {
        response.protocol_name = messages::protocol_name_in(waiter.version, response.protocol_name);
        self.reply(waiter.token, GroupResponse::Join(response));
    }

    pub(super) fn refuse_join(&mut self, waiter: Waiter, member: &str, code: ErrorCode) {
        let response =
            JoinGroupResponse { member_id: member.into(), error_code: code.code(), ..JoinGroupResponse::default() };
        self.reply_join(waiter, response);
    }

    pub(super) fn refuse_sync(&mut self, waiter: Waiter, code: ErrorCode) {
        let response = SyncGroupResponse { error_code: code.code(), ..SyncGroupResponse::default() };
        self.reply(waiter.token, GroupResponse::Sync(response));
    }

    /// Answers what a member had parked.
    pub(super) fn refuse_parked(&mut self, parked: Vec<Parked>, member: &str, code: ErrorCode) {
        for parked in parked {
            match parked {
                Parked::Join(waiter) => self.refuse_join(waiter, member, code),
                Parked::Sync(waiter) => self.refuse_sync(waiter, code),
            }
        }
    }

    /// Answers all who wait in a group.
    pub(super) fn refuse_members(&mut self, group: &mut Group, code: ErrorCode) {
        group.awaiting_join = 0;
        for member in group.members.values_mut() {
            let parked = member.take_parked();
            self.refuse_parked(parked, &member.id, code);
        }
    }

    /// Answers a JoinGroup with the generation as it stands.
    pub(super) fn reply_generation(&mut self, waiter: Waiter, group: &Group, member: &str, as_leader: bool) {
        let response = JoinGroupResponse {
            generation_id: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol_name: group.protocol.clone(),
            leader: group.leader_name(),
            member_id: member.into(),
            members: if as_leader { group.member_list() } else { Vec::new() },
            ..JoinGroupResponse::default()
        };
        self.reply_join(waiter, response);
    }

    // Records.

    /// The id that the records gathered in this call will go out under.
    pub(super) fn write_id(&self) -> WriteId {
        self.next_write
    }

    pub(super) fn has_draft(&self) -> bool {
        !self.records.is_empty()
    }

    /// Adds a record to the write. One that the format cannot carry (a name above 32 KiB) is the caller's error.
    pub(super) fn append(&mut self, record: Result<Record, EncodeError>) -> Result<(), ErrorCode> {
        self.records.push(record.map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?);
        Ok(())
    }

    /// Adds the record of a group to the write.
    pub(super) fn append_group(&mut self, group: &Group, record: Result<Record, EncodeError>) -> Result<(), ErrorCode> {
        self.append(record)?;
        self.then(Then::Logged(group.into()));
        Ok(())
    }

    pub(super) fn touch_offset(&mut self, key: OffsetKey) {
        self.draft.offsets.push(key);
    }

    pub(super) fn remove_group(&mut self, group: Group) {
        self.cancel_timers(&group);
        self.draft.removed.push(group);
    }

    pub(super) fn then(&mut self, then: Then) {
        self.draft.then.push(then);
    }

    pub(super) fn may_be_split(&mut self) {
        self.atomic = false;
    }

    pub(super) fn records_len(&self) -> usize {
        self.records.len()
    }

    /// Ends the write that this call made, if it made one.
    pub(super) fn take_draft(&mut self) -> Option<(Outstanding, Write)> {
        let records = std::mem::take(&mut self.records);
        let atomic = std::mem::replace(&mut self.atomic, true);
        if records.is_empty() {
            debug_assert!(self.draft.then.is_empty() && self.draft.offsets.is_empty(), "what waits, waits for records");
            return None;
        }
        let id = self.next_write;
        self.next_write += 1;
        let next = Outstanding { id: self.next_write, offsets: Vec::new(), removed: Vec::new(), then: Vec::new() };
        let outstanding = std::mem::replace(&mut self.draft, next);
        Some((outstanding, Write { id, records, atomic }))
    }

    // Timers.

    /// The member must be heard of within this time from now on.
    pub(super) fn expect_within(&mut self, group: &Arc<str>, member: &Arc<str>, timeout_ms: i32) {
        let key = TimerKey::Session(group.clone(), member.clone());
        self.timers.set(key, self.now_ms.saturating_add(i64::from(timeout_ms)));
    }

    pub(super) fn forget_session(&mut self, group: &Arc<str>, member: &Arc<str>) {
        self.timers.cancel(&TimerKey::Session(group.clone(), member.clone()));
    }

    pub(super) fn cancel_timers(&mut self, group: &Group) {
        self.timers.cancel(&TimerKey::Join(group.id.clone()));
        self.timers.cancel(&TimerKey::Sync(group.id.clone()));
        for member in group.members.keys().chain(&group.pending_join) {
            self.forget_session(&group.id, member);
        }
    }
}
