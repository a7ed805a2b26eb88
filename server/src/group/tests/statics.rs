//! Static members (KIP-345, KIP-814).

use kringle_protocol::leave_group_request::MemberIdentity;

use super::*;

/// A stable group of the static members `i0`, `i1` ...; ids in that order.
fn stable_statics(bench: &mut Bench, members: usize) -> Vec<String> {
    let tokens: Vec<_> =
        (0..members).map(|i| bench.ask(9, GroupRequest::Join(join_static("g", "", &format!("i{i}"))))).collect();
    bench.settle();
    bench.pass(6_000);
    let joined: Vec<_> = tokens.into_iter().map(|token| bench.joined(token)).collect();
    let ids: Vec<String> = joined.iter().map(|response| response.member_id.clone()).collect();
    bench.assign(&ids, &joined[0].leader, 1);
    ids
}

fn follower_and_leader(bench: &Bench, ids: &[String]) -> (usize, usize) {
    let leader = ids.iter().position(|id| bench.group("g").is_leader(id)).unwrap();
    (1 - leader, leader)
}

#[test]
fn a_static_member_joins_at_once_under_the_name_of_its_instance() {
    let mut bench = Bench::eager();
    let response = bench.join(9, join_static("g", "", "i0"));
    assert_eq!(response.error_code, 0);
    assert!(response.member_id.starts_with("i0-"));
    assert_eq!(response.members[0].group_instance_id.as_deref(), Some("i0"));
}

#[test]
fn a_static_member_that_restarts_keeps_its_assignment_without_a_rebalance() {
    let mut bench = Bench::new();
    let ids = stable_statics(&mut bench, 2);
    let (follower, _) = follower_and_leader(&bench, &ids);
    let token = bench.ask(9, GroupRequest::Join(join_static("g", "", &format!("i{follower}"))));
    assert_eq!(bench.answer(token), None, "its new id is not in the log yet");
    bench.commit_one();
    let response = bench.joined(token);
    assert_eq!((response.error_code, response.generation_id, response.skip_assignment), (0, 1, false));
    assert_ne!(response.member_id, ids[follower]);
    assert!(response.members.is_empty());
    let synced = bench.sync(sync("g", 1, &response.member_id, &[]));
    assert_eq!(synced.assignment, format!("a{follower}"));
    assert_eq!(bench.state("g"), State::Stable);
}

#[test]
fn a_static_leader_that_restarts_is_told_to_skip_the_assignment_if_it_can_be() {
    for (version, skips) in [(9, true), (8, false)] {
        let mut bench = Bench::new();
        let ids = stable_statics(&mut bench, 2);
        let (_, leader) = follower_and_leader(&bench, &ids);
        let response = bench.join(version, join_static("g", "", &format!("i{leader}")));
        assert_eq!((response.error_code, response.generation_id), (0, 1));
        assert_eq!(response.skip_assignment, skips);
        assert_eq!(response.members.len(), if skips { 2 } else { 0 });
        // An older client must not think that it leads.
        assert_eq!(response.leader == response.member_id, skips);
        assert_eq!(response.leader == ids[leader], !skips);
        assert_eq!(bench.state("g"), State::Stable);
    }
}

#[test]
fn the_former_holder_of_an_instance_id_is_fenced() {
    let mut bench = Bench::new();
    let ids = stable_statics(&mut bench, 2);
    let new = bench.join(9, join_static("g", "", "i0")).member_id;
    let fenced = bench.join(9, join_static("g", &ids[0], "i0"));
    assert_eq!(ErrorCode::from(fenced.error_code), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(fenced.protocol_name, None);
    let old = SyncGroupRequest { group_instance_id: Some("i0".into()), ..sync("g", 1, &ids[0], &[]) };
    assert_eq!(ErrorCode::from(bench.sync(old).error_code), ErrorCode::FENCED_INSTANCE_ID);
    let beats = HeartbeatRequest { group_instance_id: Some("i0".into()), ..heartbeat("g", 1, &ids[0]) };
    let GroupResponse::Heartbeat(response) = bench.tell(4, GroupRequest::Heartbeat(beats)) else { panic!() };
    assert_eq!(ErrorCode::from(response.error_code), ErrorCode::FENCED_INSTANCE_ID);
    let commits = OffsetCommitRequest { group_instance_id: Some("i0".into()), ..commit("g", 1, &ids[0], 0, 1) };
    assert_eq!(bench.commit(9, commits), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(bench.heartbeat(1, &ids[0]), ErrorCode::UNKNOWN_MEMBER_ID, "without its instance id it is nobody");
    assert_eq!(bench.heartbeat(1, &new), ErrorCode::NONE);
}

#[test]
fn two_with_one_instance_id_in_a_join_phase_leave_only_the_later() {
    let mut bench = Bench::new();
    let first = bench.ask(9, GroupRequest::Join(join_static("g", "", "i0")));
    let second = bench.ask(9, GroupRequest::Join(join_static("g", "", "i0")));
    bench.settle();
    let fenced = bench.joined(first);
    assert_eq!(ErrorCode::from(fenced.error_code), ErrorCode::FENCED_INSTANCE_ID);
    bench.pass(6_000);
    let response = bench.joined(second);
    assert_eq!((response.error_code, response.members.len()), (0, 1));
}

#[test]
fn a_static_member_that_restarts_before_the_assignment_makes_all_begin_again() {
    let mut bench = Bench::new();
    let first = bench.ask(9, GroupRequest::Join(join_static("g", "", "i0")));
    bench.settle();
    bench.pass(3_000);
    let old = bench.joined(first).member_id;
    let waits = bench.ask(5, GroupRequest::Sync(sync("g", 1, &old, &[])));
    let token = bench.ask(9, GroupRequest::Join(join_static("g", "", "i0")));
    assert_eq!(ErrorCode::from(bench.synced(waits).error_code), ErrorCode::FENCED_INSTANCE_ID);
    bench.settle();
    assert_eq!(bench.joined(token).generation_id, 2);
}

#[test]
fn an_absent_static_member_stays_until_its_session_ends() {
    let mut bench = Bench::new();
    let tokens: Vec<_> = ["i0", "i1"]
        .map(|instance| {
            let mut request = join_static("g", "", instance);
            request.session_timeout_ms = 100_000;
            bench.ask(9, GroupRequest::Join(request))
        })
        .into();
    bench.settle();
    bench.pass(6_000);
    let joined: Vec<_> = tokens.into_iter().map(|token| bench.joined(token)).collect();
    let ids: Vec<String> = joined.iter().map(|response| response.member_id.clone()).collect();
    bench.assign(&ids, &joined[0].leader, 1);
    let mut changed = join_static("g", &ids[0], "i0");
    changed.protocols[0].metadata = subscription(&["u"]);
    changed.session_timeout_ms = 100_000;
    let token = bench.ask(9, GroupRequest::Join(changed));
    bench.pass(i64::from(REBALANCE_MS));
    let response = bench.joined(token);
    assert_eq!((response.generation_id, bench.group("g").members.len()), (2, 2));
    assert_eq!(response.members.len(), 2, "the one that is there leads now, and assigns to the absent one too");
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let mut bench = Bench::new();
    stable_statics(&mut bench, 2);
    let member = |instance: Option<&str>| MemberIdentity {
        group_instance_id: instance.map(Into::into),
        ..MemberIdentity::default()
    };
    let request = LeaveGroupRequest {
        group_id: "g".into(),
        members: vec![member(Some("i0")), member(Some("nobody")), member(None)],
        ..LeaveGroupRequest::default()
    };
    let GroupResponse::Leave(response) = bench.tell(5, GroupRequest::Leave(request)) else { panic!() };
    let codes: Vec<_> = response.members.iter().map(|member| ErrorCode::from(member.error_code)).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::UNKNOWN_MEMBER_ID]);
    assert_eq!(bench.state("g"), State::PreparingRebalance);
    assert_eq!(bench.group("g").statics.len(), 1);
}

#[test]
fn a_new_id_that_the_log_refuses_is_taken_back() {
    let mut bench = Bench::new();
    let ids = stable_statics(&mut bench, 2);
    let mut changed = join_static("g", "", "i0");
    changed.session_timeout_ms = 20_000;
    let token = bench.ask(9, GroupRequest::Join(changed));
    bench.fail_one(ErrorCode::NOT_ENOUGH_REPLICAS);
    let response = bench.joined(token);
    assert_eq!(ErrorCode::from(response.error_code), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(response.member_id, "");
    assert_eq!(bench.heartbeat(1, &ids[0]), ErrorCode::NONE);
    assert_eq!(bench.group("g").members[ids[0].as_str()].session_timeout_ms, SESSION_MS);
    assert_eq!(bench.group("g").statics["i0"], ids[0].as_str().into());
}

#[test]
fn a_new_id_under_way_when_the_group_rebalances_becomes_a_part_of_that() {
    let mut bench = Bench::new();
    let ids = stable_statics(&mut bench, 2);
    let token = bench.ask(9, GroupRequest::Join(join_static("g", "", "i0")));
    let other = bench.ask(9, GroupRequest::Join(join_as("g", &ids[1], &[("range", subscription(&["u"]))])));
    bench.settle();
    let (first, second) = (bench.joined(token), bench.joined(other));
    assert_eq!((first.generation_id, second.generation_id), (2, 2));
}
