//! JoinGroup: who comes, and under which id. What a join does to the group is in [`super::rebalance`].

use std::sync::Arc;

use bytes::Bytes;
use kringle_protocol::join_group_request::JoinGroupRequest;
use kringle_protocol::join_group_response::JoinGroupResponse;
use kringle_protocol::{ErrorCode, MAX_STRING_BYTES};

use super::classic::{Group, Member, State, Terms, Waiter};
use super::turn::{GroupName, StaticJoin, Then, Turn};
use super::{Caller, Coordinator, records};

/// From here on a new dynamic member is given an id first and joins with it.
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// From here on a static leader that comes back is told not to assign again.
const SKIP_ASSIGNMENT_FROM: i16 = 9;

/// A JoinGroup on its way.
struct Joining<'a> {
    who: &'a Caller,
    waiter: Waiter,
    request: JoinGroupRequest,
}

impl Joining<'_> {
    fn terms(&mut self) -> Terms {
        let session_timeout_ms = self.request.session_timeout_ms;
        // Version 0 has one timeout for both.
        let version_0 = self.waiter.version == 0;
        Terms {
            protocols: std::mem::take(&mut self.request.protocols),
            rebalance_timeout_ms: if version_0 { session_timeout_ms } else { self.request.rebalance_timeout_ms },
            session_timeout_ms,
        }
    }
}

impl Coordinator {
    pub(super) fn join(&mut self, who: &Caller, waiter: Waiter, request: JoinGroupRequest) {
        let config = &self.turn.config;
        let timeouts = config.min_session_timeout_ms..=config.max_session_timeout_ms;
        if request.group_id.is_empty() {
            return self.turn.refuse_join(waiter, &request.member_id, ErrorCode::INVALID_GROUP_ID);
        }
        if !timeouts.contains(&request.session_timeout_ms) {
            return self.turn.refuse_join(waiter, &request.member_id, ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        let group_id = request.group_id.clone();
        let unknown = request.member_id.is_empty();
        let is_new = match if unknown { self.make_group(&group_id) } else { Ok(false) } {
            Ok(is_new) => is_new,
            Err(code) => return self.turn.refuse_join(waiter, "", code),
        };
        let Some(group) = self.groups.get_mut(&*group_id) else {
            return self.turn.refuse_join(waiter, &request.member_id, ErrorCode::UNKNOWN_MEMBER_ID);
        };
        let turn = &mut self.turn;
        let joining = Joining { who, waiter, request };
        if !turn.accepts(group, &joining.request.member_id) {
            turn.take_out(group, &joining.request.member_id, ErrorCode::GROUP_MAX_SIZE_REACHED);
            turn.refuse_join(waiter, "", ErrorCode::GROUP_MAX_SIZE_REACHED);
        } else if unknown {
            turn.join_new(group, joining);
        } else {
            turn.join_existing(group, joining);
        }
        if is_new {
            // Even if the member was refused: a group that was made is there, as it is in Kafka.
            if let Err(code) = turn.append_group(group, records::new_group(group)) {
                turn.refuse_members(group, code);
                turn.cancel_timers(group);
                self.groups.remove(&*group_id);
            }
        }
    }
}

impl Turn {
    /// Whether there is room, counted as Kafka counts it.
    fn accepts(&self, group: &Group, member: &str) -> bool {
        let max = self.config.max_size;
        let known = group.members.get(member);
        match group.state {
            State::Empty => true,
            State::PreparingRebalance => {
                known.is_some_and(|member| member.awaiting_join.is_some()) || group.awaiting_join < max
            }
            State::CompletingRebalance | State::Stable => known.is_some() || group.members.len() < max,
        }
    }

    fn join_new(&mut self, group: &mut Group, joining: Joining<'_>) {
        let Joining { who, waiter, request } = &joining;
        let waiter = *waiter;
        if !group.supports(&request.protocol_type, &request.protocols) {
            return self.refuse_join(waiter, "", ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let new_id = self.new_member_id(request.group_instance_id.as_ref().unwrap_or(&who.client_id));
        if new_id.len() > MAX_STRING_BYTES {
            return self.refuse_join(waiter, "", ErrorCode::UNKNOWN_SERVER_ERROR);
        }
        if let Some(instance_id) = &request.group_instance_id {
            match group.statics.get(instance_id).cloned() {
                Some(old) => self.replace_static(group, joining, old, new_id),
                None => self.add_member(group, joining, new_id),
            }
        } else if waiter.version >= MEMBER_ID_REQUIRED_FROM {
            if group.pending_join.len() >= self.config.max_pending_members {
                return self.refuse_join(waiter, "", ErrorCode::GROUP_MAX_SIZE_REACHED);
            }
            group.pending_join.insert(new_id.clone());
            self.expect_within(&group.id, &new_id, request.session_timeout_ms);
            self.refuse_join(waiter, &new_id, ErrorCode::MEMBER_ID_REQUIRED);
        } else {
            self.add_member(group, joining, new_id);
        }
    }

    fn join_existing(&mut self, group: &mut Group, mut joining: Joining<'_>) {
        let waiter = joining.waiter;
        let request = &joining.request;
        let id = request.member_id.as_str();
        if !group.supports(&request.protocol_type, &request.protocols) {
            return self.refuse_join(waiter, id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if let Some(id) = group.pending_join.get(id).cloned() {
            if request.group_instance_id.is_some() {
                // Only dynamic members are given an id first.
                return self.refuse_join(waiter, "", ErrorCode::UNKNOWN_SERVER_ERROR);
            }
            return self.add_member(group, joining, id);
        }
        let known = group.validate_member(id, request.group_instance_id.as_deref());
        let Some(member) = known.and_then(|()| group.members.get(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)).ok() else {
            let code = known.err().unwrap_or(ErrorCode::UNKNOWN_MEMBER_ID);
            let response = JoinGroupResponse {
                member_id: id.into(),
                error_code: code.code(),
                protocol_name: None,
                ..JoinGroupResponse::default()
            };
            return self.reply_join(waiter, response);
        };
        let unchanged = member.protocols == request.protocols;
        let is_leader = group.is_leader(id);
        match group.state {
            // It lost the answer, or nothing has changed for it.
            State::CompletingRebalance if unchanged => self.reply_generation(waiter, group, id, is_leader),
            State::Stable if unchanged && !is_leader => self.reply_generation(waiter, group, id, false),
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                let id = member.id.clone();
                let former = group.update(&id, joining.terms(), Some(waiter));
                self.supersede(former, &id);
                self.rebalance_or_complete(group);
            }
            State::Empty => self.refuse_join(waiter, id, ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    /// A member asked again before it had its answer: the earlier request, whose connection is most likely gone, is told
    /// to do what the later one did.
    pub(super) fn supersede(&mut self, former: Option<Waiter>, member: &str) {
        if let Some(former) = former {
            self.refuse_join(former, member, ErrorCode::REBALANCE_IN_PROGRESS);
        }
    }

    fn add_member(&mut self, group: &mut Group, mut joining: Joining<'_>, id: Arc<str>) {
        let Terms { protocols, rebalance_timeout_ms, session_timeout_ms } = joining.terms();
        if group.state == State::PreparingRebalance && group.previous_state == State::Empty {
            group.new_member_added = true;
        }
        group.found(&joining.request.protocol_type);
        group.add(Member {
            id: id.clone(),
            instance_id: joining.request.group_instance_id,
            client_id: joining.who.client_id.clone(),
            client_host: joining.who.client_host.clone(),
            rebalance_timeout_ms,
            session_timeout_ms,
            protocols,
            assignment: Bytes::new(),
            awaiting_join: Some(joining.waiter),
            awaiting_sync: None,
            is_new: true,
        });
        // It cannot send heartbeats before it is answered, and nobody would notice that it is gone.
        self.expect_within(&group.id, &id, self.config.new_member_join_timeout_ms);
        self.rebalance_or_complete(group);
    }

    fn replace_static(&mut self, group: &mut Group, mut joining: Joining<'_>, old: Arc<str>, new: Arc<str>) {
        let old_leader = group.leader_name();
        let Some(member) = group.members.get(&old) else { return self.add_member(group, joining, new) };
        let instance_id = member.instance_id.clone().unwrap_or_default();
        let old_terms = Terms {
            protocols: member.protocols.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
        };
        let fenced = group.replace_static(&instance_id, &old, &new);
        self.refuse_fenced(fenced, &old);
        self.forget_session(&group.id, &old);
        self.expect_within(&group.id, &new, old_terms.session_timeout_ms);
        let waiter = joining.waiter;
        group.update(&new, joining.terms(), Some(waiter));
        match group.state {
            State::Stable if group.select_protocol() == group.protocol => {
                match self.append_group(group, records::group(group, |member| member.assignment.clone())) {
                    Ok(()) => self.then(Then::StaticJoin(Box::new(StaticJoin {
                        group: GroupName::from(&*group),
                        instance_id,
                        old,
                        new,
                        waiter,
                        old_leader,
                        old_terms,
                    }))),
                    Err(code) => {
                        group.take_join(&new);
                        self.refuse_join(waiter, "", code);
                    }
                }
            }
            State::Stable => self.rebalance_or_complete(group),
            // The leader may have been told of the old id.
            State::CompletingRebalance => self.prepare_rebalance(group),
            State::PreparingRebalance | State::Empty => self.maybe_complete_join(group),
        }
    }

    fn refuse_fenced(&mut self, parked: Vec<super::classic::Parked>, member: &str) {
        for parked in parked {
            match parked {
                super::classic::Parked::Join(waiter) => {
                    let response = JoinGroupResponse {
                        member_id: member.into(),
                        error_code: ErrorCode::FENCED_INSTANCE_ID.code(),
                        protocol_name: None,
                        ..JoinGroupResponse::default()
                    };
                    self.reply_join(waiter, response);
                }
                super::classic::Parked::Sync(waiter) => self.refuse_sync(waiter, ErrorCode::FENCED_INSTANCE_ID),
            }
        }
    }

    /// The new id of a static member is in the log.
    pub(super) fn static_join_committed(&mut self, group: &mut Group, join: &StaticJoin) {
        if group.state == State::Stable {
            // It may have come back with other topics; the record says so, and who loads it will know.
            group.subscribed = group.subscriptions();
        }
        let waits = group.members.get(&join.new).and_then(|member| member.awaiting_join) == Some(join.waiter);
        // If the group has begun to rebalance, the join has become a part of that.
        if !waits || matches!(group.state, State::PreparingRebalance | State::Empty) {
            return;
        }
        group.take_join(&join.new);
        let skip = join.waiter.version >= SKIP_ASSIGNMENT_FROM && group.is_leader(&join.new);
        let before_skipping = join.waiter.version < SKIP_ASSIGNMENT_FROM;
        let response = JoinGroupResponse {
            generation_id: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol_name: group.protocol.clone(),
            // An older leader is not to know that it still leads, or it would assign again.
            leader: if before_skipping { join.old_leader.clone() } else { group.leader_name() },
            skip_assignment: skip,
            member_id: (*join.new).into(),
            members: if skip { group.member_list() } else { Vec::new() },
            ..JoinGroupResponse::default()
        };
        self.reply_join(join.waiter, response);
        self.hear_of(group, &join.new);
    }

    /// The log refused the new id of a static member: the old one is right again.
    pub(super) fn static_join_failed(&mut self, group: &mut Group, join: StaticJoin, code: ErrorCode) {
        if group.statics.get(&join.instance_id) != Some(&join.new) {
            return;
        }
        let waiter = group.update(&join.new, join.old_terms, None);
        let parked = group.replace_static(&join.instance_id, &join.new, &join.old);
        self.refuse_fenced(parked, &join.new);
        self.forget_session(&group.id, &join.new);
        self.hear_of(group, &join.old);
        if let Some(waiter) = waiter {
            let response = JoinGroupResponse {
                error_code: code.code(),
                generation_id: group.generation,
                protocol_type: group.protocol_type.clone(),
                protocol_name: group.protocol.clone(),
                leader: join.old_leader,
                ..JoinGroupResponse::default()
            };
            self.reply_join(waiter, response);
        }
    }
}
