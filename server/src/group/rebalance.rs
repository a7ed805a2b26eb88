//! The rebalance: its phases, what ends them, and who leaves by not being heard of.
//!
//! Empty or Stable -> PreparingRebalance (members join) -> CompletingRebalance (the leader assigns) -> Stable; a phase that
//! is left without members ends in Empty.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kringle_protocol::ErrorCode;
use kringle_protocol::sync_group_response::SyncGroupResponse;

use super::classic::{Group, InitialWait, State};
use super::timers::TimerKey;
use super::turn::Turn;
use super::{Coordinator, GroupResponse, records};

impl Coordinator {
    /// The timer of a join phase went off.
    pub(super) fn join_phase_ends(&mut self, group: &str) {
        let Some(group) = self.groups.get_mut(group) else { return };
        if group.state != State::PreparingRebalance {
            return;
        }
        match group.initial_wait {
            Some(wait) if group.new_member_added && wait.remaining_ms != 0 => {
                group.new_member_added = false;
                let delay_ms = wait.remaining_ms.min(i64::from(self.turn.config.initial_rebalance_delay_ms));
                let remaining_ms = (wait.remaining_ms - wait.delay_ms).max(0);
                group.initial_wait = Some(InitialWait { delay_ms, remaining_ms });
                self.turn.end_join_phase_in(group, delay_ms);
            }
            _ => self.turn.complete_join(group),
        }
    }

    /// The timer of a sync phase went off: who is not waiting for an assignment is gone.
    pub(super) fn sync_phase_ends(&mut self, group: &str) {
        let Some(group) = self.groups.get_mut(group) else { return };
        let syncing = matches!(group.state, State::CompletingRebalance | State::Stable);
        if !syncing || group.pending_sync.is_empty() {
            return;
        }
        for member in std::mem::take(&mut group.pending_sync) {
            self.turn.take_out(group, &member, ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.turn.prepare_rebalance(group);
    }

    /// A member was not heard of for its session timeout.
    pub(super) fn session_ends(&mut self, group: &str, member: &Arc<str>) {
        let Some(group) = self.groups.get_mut(group) else { return };
        if group.pending_join.remove(member) {
            if group.state == State::PreparingRebalance && group.has_all_members_joined() {
                self.turn.complete_join(group);
            }
        } else if group.members.get(member).is_some_and(|member| !member.is_parked()) {
            self.turn.take_out(group, member, ErrorCode::UNKNOWN_MEMBER_ID);
            match group.state {
                State::Stable | State::CompletingRebalance => self.turn.rebalance_or_complete(group),
                State::PreparingRebalance if group.has_all_members_joined() => self.turn.complete_join(group),
                State::PreparingRebalance | State::Empty => {}
            }
        }
    }
}

impl Turn {
    /// A member has shown that it is alive.
    pub(super) fn hear_of(&mut self, group: &Group, member: &str) {
        if let Some(member) = group.members.get(member) {
            self.expect_within(&group.id, &member.id, member.session_timeout_ms);
        }
    }

    /// Removes a member and answers what it had parked. What that does to the group is the caller's business.
    pub(super) fn take_out(&mut self, group: &mut Group, member: &str, code: ErrorCode) {
        let pending = group.pending_join.get(member).cloned();
        let removed = group.remove(member);
        if let Some(id) = pending.or_else(|| removed.as_ref().map(|member| member.id.clone())) {
            self.forget_session(&group.id, &id);
        }
        if let Some(mut removed) = removed {
            self.refuse_parked(removed.take_parked(), "", code);
        }
    }

    /// A group that is not rebalancing begins to; one that is may have been waiting for just this.
    pub(super) fn rebalance_or_complete(&mut self, group: &mut Group) {
        if group.state == State::PreparingRebalance {
            self.maybe_complete_join(group);
        } else {
            self.prepare_rebalance(group);
        }
    }

    /// The join phase begins.
    pub(super) fn prepare_rebalance(&mut self, group: &mut Group) {
        if group.state == State::CompletingRebalance {
            self.drop_assignments(group, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        group.assignment_in_flight = false;
        group.pending_sync.clear();
        self.timers.cancel(&TimerKey::Sync(group.id.clone()));
        let is_initial = group.state == State::Empty;
        group.become_state(State::PreparingRebalance, self.now_ms);
        if is_initial {
            // Members that start together are to be in the first generation together.
            let delay_ms = i64::from(self.config.initial_rebalance_delay_ms);
            let remaining_ms = (group.rebalance_timeout_ms() - delay_ms).max(0);
            group.initial_wait = Some(InitialWait { delay_ms, remaining_ms });
            self.end_join_phase_in(group, delay_ms);
        } else {
            group.initial_wait = None;
            if group.has_all_members_joined() {
                self.complete_join(group);
            } else {
                self.end_join_phase_in(group, group.rebalance_timeout_ms());
            }
        }
    }

    pub(super) fn end_join_phase_in(&mut self, group: &Group, delay_ms: i64) {
        self.timers.set(TimerKey::Join(group.id.clone()), self.now_ms.saturating_add(delay_ms));
    }

    /// Ends the join phase if all are there and it is not the first one, which takes its time.
    pub(super) fn maybe_complete_join(&mut self, group: &mut Group) {
        if group.state == State::PreparingRebalance
            && group.previous_state != State::Empty
            && group.has_all_members_joined()
        {
            self.complete_join(group);
        }
    }

    /// The join phase ends: dynamic members that did not come are out, the others get the new generation.
    pub(super) fn complete_join(&mut self, group: &mut Group) {
        self.timers.cancel(&TimerKey::Join(group.id.clone()));
        let absent = group.members.values().filter(|m| m.awaiting_join.is_none() && m.instance_id.is_none());
        let absent: Vec<Arc<str>> = absent.map(|member| member.id.clone()).collect();
        for member in absent {
            self.take_out(group, &member, ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if !group.elect_joined_leader() && !group.members.is_empty() {
            // Only static members are left and none has come: they have until their sessions end.
            group.initial_wait = None;
            return self.end_join_phase_in(group, group.rebalance_timeout_ms());
        }
        group.initial_wait = None;
        group.next_generation(self.now_ms);
        if group.state == State::Empty {
            // If this cannot be written, the members of the old generation come back with the log and time out again.
            let _unwritten = self.append_group(group, records::group(group, |_| Bytes::new()));
            return;
        }
        let ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
        for id in ids {
            if let Some(waiter) = group.take_join(&id) {
                self.reply_generation(waiter, group, &id, group.is_leader(&id));
            }
            if let Some(member) = group.members.get_mut(&id) {
                member.is_new = false;
                self.expect_within(&group.id, &id, member.session_timeout_ms);
            }
            group.pending_sync.insert(id);
        }
        let deadline_ms = self.now_ms.saturating_add(group.rebalance_timeout_ms());
        self.timers.set(TimerKey::Sync(group.id.clone()), deadline_ms);
    }

    /// Gives up the assignments of a generation that is not complete, and tells those who wait for them.
    fn drop_assignments(&mut self, group: &mut Group, code: ErrorCode) {
        for member in group.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(waiter) = member.awaiting_sync.take() {
                self.refuse_sync(waiter, code);
                self.expect_within(&group.id, &member.id, member.session_timeout_ms);
            }
        }
    }

    /// The leader's assignment is in the log: the group is stable, if nothing has happened to it since.
    pub(super) fn assignment_committed(
        &mut self,
        group: &mut Group,
        generation: i32,
        mut assignments: BTreeMap<String, Bytes>,
    ) {
        if group.state != State::CompletingRebalance || group.generation != generation {
            return;
        }
        group.assignment_in_flight = false;
        for member in group.members.values_mut() {
            member.assignment = assignments.remove(&*member.id).unwrap_or_default();
            if let Some(waiter) = member.awaiting_sync.take() {
                let response = SyncGroupResponse {
                    protocol_type: group.protocol_type.clone(),
                    protocol_name: group.protocol.clone(),
                    assignment: member.assignment.clone(),
                    ..SyncGroupResponse::default()
                };
                self.reply(waiter.token, GroupResponse::Sync(response));
                self.expect_within(&group.id, &member.id, member.session_timeout_ms);
            }
        }
        group.become_state(State::Stable, self.now_ms);
    }

    /// The log refused the leader's assignment: all begin again.
    pub(super) fn assignment_failed(&mut self, group: &mut Group, generation: i32, code: ErrorCode) {
        if group.state == State::CompletingRebalance && group.generation == generation {
            group.assignment_in_flight = false;
            self.drop_assignments(group, code);
            self.prepare_rebalance(group);
        }
    }
}
