//! DescribeGroups and ListGroups: they see groups whose making is committed, in the state they are in.

use std::collections::BTreeSet;

use kringle_protocol::ErrorCode;
use kringle_protocol::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kringle_protocol::list_groups_request::ListGroupsRequest;
use kringle_protocol::list_groups_response::{ListGroupsResponse, ListedGroup};

use super::classic::{Group, Member, State};
use super::turn::Then;
use super::{Coordinator, GroupRequest, GroupResponse, ReplyToken};

/// From here on a group that is not there is an error; before it is a dead group.
const GROUP_ID_NOT_FOUND_FROM: i16 = 6;
/// What a group is that never existed, or does no more.
const DEAD: &str = "Dead";
/// The type of all groups here.
const CLASSIC: &str = "classic";

impl Coordinator {
    /// A reading request comes: if it is about a group that is being made, it waits until that is certain, so that who was
    /// answered a JoinGroup finds the group.
    pub(super) fn read(&mut self, token: ReplyToken, version: i16, request: GroupRequest) {
        let being_made = match &request {
            GroupRequest::Describe(ids) => {
                ids.iter().any(|id| self.groups.get(&**id).is_some_and(|group| !group.visible))
            }
            _ => self.groups.values().any(|group| !group.visible),
        };
        match self.outstanding.back_mut() {
            Some(last) if being_made => last.then.push(Then::Read { token, version, request }),
            _ => self.read_now(token, version, request),
        }
    }

    /// Works on a reading request with what is committed now.
    pub(super) fn read_now(&mut self, token: ReplyToken, version: i16, request: GroupRequest) {
        match request {
            GroupRequest::Describe(groups) => self.describe(token, version, groups),
            GroupRequest::List(request) => self.list(token, &request),
            other => debug_assert!(false, "not a reading request: {other:?}"),
        }
    }

    fn describe(&mut self, token: ReplyToken, version: i16, groups: Vec<String>) {
        let described = groups.into_iter().map(|group_id| match self.committed_group(&group_id) {
            Some(group) => describe(group),
            None => {
                let mut group = DescribedGroup { group_state: DEAD.into(), ..DescribedGroup::default() };
                if version >= GROUP_ID_NOT_FOUND_FROM {
                    group.error_code = ErrorCode::GROUP_ID_NOT_FOUND.code();
                    group.error_message = Some(format!("Group {group_id} not found."));
                }
                group.group_id = group_id;
                group
            }
        });
        let described = described.collect();
        self.turn.reply(token, GroupResponse::Describe(described));
    }

    fn list(&mut self, token: ReplyToken, request: &ListGroupsRequest) {
        let states: BTreeSet<String> = request.states_filter.iter().map(|s| s.to_lowercase().trim().into()).collect();
        let types = &request.types_filter;
        let type_fits = types.is_empty() || types.iter().any(|name| name.to_lowercase() == CLASSIC);
        let fits =
            |group: &&Group| type_fits && (states.is_empty() || states.contains(&group.state.name().to_lowercase()));
        let live = self.groups.values().filter(|group| group.visible);
        let leaving = self.groups_on_their_way_out();
        let leaving = leaving.filter(|group| !self.groups.get(&group.id).is_some_and(|live| live.visible));
        let listed = live.chain(leaving).filter(fits).map(|group| ListedGroup {
            group_id: (*group.id).into(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            group_state: group.state.name().into(),
            group_type: CLASSIC.into(),
        });
        let response = ListGroupsResponse { groups: listed.collect(), ..ListGroupsResponse::default() };
        self.turn.reply(token, GroupResponse::List(response));
    }
}

fn describe(group: &Group) -> DescribedGroup {
    let stable = group.state == State::Stable;
    let member = |member: &Member| {
        let mut described = DescribedGroupMember {
            member_id: (*member.id).into(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            // While the group rebalances: what it had before.
            member_assignment: member.assignment.clone(),
            ..DescribedGroupMember::default()
        };
        if stable {
            described.member_metadata = member.metadata(group.protocol.as_deref());
        }
        described
    };
    DescribedGroup {
        group_id: (*group.id).into(),
        group_state: group.state.name().into(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol_data: group.protocol.clone().filter(|_| stable).unwrap_or_default(),
        members: group.members.values().map(member).collect(),
        ..DescribedGroup::default()
    }
}
