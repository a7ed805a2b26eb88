//! SyncGroup, Heartbeat and LeaveGroup.

use std::collections::BTreeMap;

use bytes::Bytes;
use kringle_protocol::ErrorCode;
use kringle_protocol::heartbeat_request::HeartbeatRequest;
use kringle_protocol::heartbeat_response::HeartbeatResponse;
use kringle_protocol::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use kringle_protocol::leave_group_response::{LeaveGroupResponse, MemberResponse};
use kringle_protocol::sync_group_request::SyncGroupRequest;
use kringle_protocol::sync_group_response::SyncGroupResponse;

use super::classic::{Group, State, Waiter};
use super::timers::TimerKey;
use super::turn::{GroupName, Then, Turn};
use super::{Coordinator, GroupResponse, ReplyToken, records};

/// From here on a LeaveGroup names several members.
const LEAVE_BATCH_FROM: i16 = 3;

impl Coordinator {
    pub(super) fn sync(&mut self, waiter: Waiter, request: SyncGroupRequest) {
        if request.group_id.is_empty() {
            return self.turn.refuse_sync(waiter, ErrorCode::INVALID_GROUP_ID);
        }
        let group = self.groups.get_mut(&*request.group_id).filter(|group| group.state != State::Empty);
        let Some(group) = group else { return self.turn.refuse_sync(waiter, ErrorCode::UNKNOWN_MEMBER_ID) };
        if let Err(code) = validate_sync(group, &request) {
            return self.turn.refuse_sync(waiter, code);
        }
        match group.state {
            State::CompletingRebalance => self.turn.await_assignment(group, waiter, request),
            State::Stable => self.turn.tell_assignment(group, waiter, &request.member_id),
            State::PreparingRebalance | State::Empty => {
                self.turn.refuse_sync(waiter, ErrorCode::REBALANCE_IN_PROGRESS);
            }
        }
    }

    pub(super) fn heartbeat(&mut self, token: ReplyToken, request: &HeartbeatRequest) {
        let code = match self.check_heartbeat(request) {
            Ok(()) => ErrorCode::NONE,
            Err(code) => code,
        };
        let response = HeartbeatResponse { error_code: code.code(), ..HeartbeatResponse::default() };
        self.turn.reply(token, GroupResponse::Heartbeat(response));
    }

    fn check_heartbeat(&mut self, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let group = self.groups.get(&*request.group_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        group.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != group.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        self.turn.hear_of(group, &request.member_id);
        match group.state {
            State::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Empty | State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, token: ReplyToken, version: i16, request: LeaveGroupRequest) {
        if request.group_id.is_empty() {
            return self.reply_leave(token, version, Err(ErrorCode::INVALID_GROUP_ID));
        }
        let leaving = if version >= LEAVE_BATCH_FROM {
            request.members
        } else {
            vec![MemberIdentity { member_id: request.member_id, ..MemberIdentity::default() }]
        };
        let mut group = self.groups.get_mut(&*request.group_id);
        let mut members = Vec::with_capacity(leaving.len());
        for member in leaving {
            let code = match &mut group {
                Some(group) => self.turn.leave_one(group, &member).err().unwrap_or(ErrorCode::NONE),
                None => ErrorCode::UNKNOWN_MEMBER_ID,
            };
            members.push(MemberResponse {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                error_code: code.code(),
            });
        }
        let someone_left = members.iter().any(|member| member.error_code == ErrorCode::NONE.code());
        if let Some(group) = group.filter(|group| someone_left && group.state != State::Empty) {
            self.turn.rebalance_or_complete(group);
        }
        self.reply_leave(token, version, Ok(members));
    }

    fn reply_leave(&mut self, token: ReplyToken, version: i16, result: Result<Vec<MemberResponse>, ErrorCode>) {
        let mut response = LeaveGroupResponse::default();
        match result {
            Ok(members) if version >= LEAVE_BATCH_FROM => response.members = members,
            Ok(members) => response.error_code = members.first().map_or(0, |member| member.error_code),
            Err(code) => response.error_code = code.code(),
        }
        let response = GroupResponse::Leave(response);
        if self.turn.has_draft() {
            self.turn.then(Then::Reply { token, response });
        } else {
            self.turn.reply(token, response);
        }
    }
}

fn validate_sync(group: &Group, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
    group.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation {
        return Err(ErrorCode::ILLEGAL_GENERATION);
    }
    let differs = |said: &Option<String>, known: &Option<String>| said.is_some() && known.is_some() && said != known;
    if differs(&request.protocol_type, &group.protocol_type) || differs(&request.protocol_name, &group.protocol) {
        return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    Ok(())
}

impl Turn {
    /// Parks a SyncGroup. The leader's brings the assignment of all.
    fn await_assignment(&mut self, group: &mut Group, waiter: Waiter, request: SyncGroupRequest) {
        let Some(member) = group.members.get_mut(&*request.member_id) else { return };
        if let Some(former) = member.awaiting_sync.replace(waiter) {
            self.refuse_sync(former, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.has_synced(group, &request.member_id);
        // One that is under way is the one that counts; a leader that asks again waits for it.
        if !group.is_leader(&request.member_id) || group.assignment_in_flight {
            return;
        }
        let assignments: BTreeMap<String, Bytes> =
            request.assignments.into_iter().map(|one| (one.member_id, one.assignment)).collect();
        let record = records::group(group, |member| assignments.get(&*member.id).cloned().unwrap_or_default());
        match self.append_group(group, record) {
            Ok(()) => {
                group.assignment_in_flight = true;
                self.then(Then::Assign { group: GroupName::from(&*group), generation: group.generation, assignments });
            }
            Err(code) => self.assignment_failed(group, group.generation, code),
        }
    }

    fn tell_assignment(&mut self, group: &mut Group, waiter: Waiter, member: &str) {
        self.has_synced(group, member);
        let response = SyncGroupResponse {
            protocol_type: group.protocol_type.clone(),
            protocol_name: group.protocol.clone(),
            assignment: group.members.get(member).map(|member| member.assignment.clone()).unwrap_or_default(),
            ..SyncGroupResponse::default()
        };
        self.reply(waiter.token, GroupResponse::Sync(response));
    }

    fn has_synced(&mut self, group: &mut Group, member: &str) {
        group.pending_sync.remove(member);
        if group.pending_sync.is_empty() {
            self.timers.cancel(&TimerKey::Sync(group.id.clone()));
        }
    }

    fn leave_one(&mut self, group: &mut Group, leaving: &MemberIdentity) -> Result<(), ErrorCode> {
        let instance_id = leaving.group_instance_id.as_deref();
        if leaving.member_id.is_empty() {
            // An administrator removes a static member.
            let id = instance_id.and_then(|id| group.statics.get(id)).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?.clone();
            self.take_out(group, &id, ErrorCode::UNKNOWN_MEMBER_ID);
            return Ok(());
        }
        if !group.pending_join.contains(&*leaving.member_id) {
            group.validate_member(&leaving.member_id, instance_id)?;
        }
        self.take_out(group, &leaving.member_id, ErrorCode::UNKNOWN_MEMBER_ID);
        Ok(())
    }
}
