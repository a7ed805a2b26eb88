//! JoinGroup, the join phase, the vote, SyncGroup.

use super::*;

#[test]
fn a_new_dynamic_member_is_told_its_id_first_and_joins_with_it() {
    let mut bench = Bench::new();
    let (id, token) = bench.newcomer("g");
    assert!(id.starts_with("c-") && id.len() == 38, "client id and a UUID: {id}");
    assert_eq!(bench.answer(token), None, "the first join phase waits for others");
    bench.pass(2_999);
    assert_eq!(bench.answer(token), None);
    bench.pass(1);
    let response = bench.joined(token);
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert_eq!((&response.leader, &response.member_id), (&id, &id));
    assert_eq!(response.protocol_name.as_deref(), Some("range"));
    assert_eq!(response.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(response.members.len(), 1);
    assert_eq!(response.members[0].metadata, subscription(&["t"]));
}

#[test]
fn before_version_4_a_new_member_joins_at_once_and_names_are_never_null() {
    let mut bench = Bench::eager();
    let response = bench.join(0, join("g", ""));
    assert_eq!(response.error_code, 0);
    assert_eq!(bench.group("g").members[response.member_id.as_str()].rebalance_timeout_ms, SESSION_MS, "one timeout");
    let refused = bench.join(2, JoinGroupRequest { protocol_type: "connect".into(), ..join("g", "") });
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(refused.protocol_name.as_deref(), Some(""));
}

#[test]
fn requests_are_refused_in_kafkas_order() {
    let mut bench = Bench::new();
    let code = |response: JoinGroupResponse| (ErrorCode::from(response.error_code), response.member_id);
    let both = JoinGroupRequest { session_timeout_ms: 1, ..join("", "m") };
    assert_eq!(code(bench.join(9, both)), (ErrorCode::INVALID_GROUP_ID, "m".into()));
    for session_timeout_ms in [5_999, 1_800_001, -1] {
        let request = JoinGroupRequest { session_timeout_ms, ..join("g", "m") };
        assert_eq!(code(bench.join(9, request)), (ErrorCode::INVALID_SESSION_TIMEOUT, "m".into()));
    }
    assert_eq!(code(bench.join(9, join("g", "m"))), (ErrorCode::UNKNOWN_MEMBER_ID, "m".into()));
    assert!(bench.log.is_empty(), "nothing of that makes a group");
    for request in [
        JoinGroupRequest { protocol_type: String::new(), ..join("g", "") },
        JoinGroupRequest { protocols: Vec::new(), ..join("g", "") },
    ] {
        assert_eq!(code(bench.join(9, request)), (ErrorCode::INCONSISTENT_GROUP_PROTOCOL, String::new()));
    }
    assert_eq!(bench.state("g"), State::Empty, "but this does, in Kafka too");
    assert_eq!(code(bench.join(9, join("g", "m"))), (ErrorCode::UNKNOWN_MEMBER_ID, "m".into()));
}

#[test]
fn newcomers_extend_the_first_join_phase_up_to_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let (_, first) = bench.newcomer("g");
    for _ in 0..3 {
        bench.pass(2_000);
        bench.newcomer("g");
    }
    bench.pass(2_000);
    assert_eq!(bench.answer(first), None, "8 s have passed, each 3 s brought someone new");
    bench.pass(4_000);
    assert_eq!(bench.joined(first).generation_id, 1);
    assert_eq!(bench.group("g").members.len(), 4);
}

#[test]
fn a_rebalance_timeout_shorter_than_the_delay_is_not_extended() {
    let mut bench = Bench::new();
    let mut request = join("g", "");
    request.rebalance_timeout_ms = 1_000;
    let first = bench.ask(3, GroupRequest::Join(request.clone()));
    bench.settle();
    bench.pass(1_000);
    bench.ask(3, GroupRequest::Join(request));
    bench.pass(2_000);
    assert_eq!(bench.joined(first).generation_id, 1);
}

#[test]
fn only_the_leader_is_told_the_members() {
    let mut bench = Bench::new();
    let (leader, first) = bench.newcomer("g");
    let (_, second) = bench.newcomer("g");
    bench.pass(6_000);
    let (first, second) = (bench.joined(first), bench.joined(second));
    assert_eq!((first.leader.as_str(), second.leader.as_str()), (leader.as_str(), leader.as_str()));
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
}

#[test]
fn the_protocol_that_most_prefer_among_the_common_ones_wins() {
    let mut bench = Bench::new();
    let none = Bytes::new;
    let wishes: [&[(&str, Bytes)]; 3] = [
        &[("sticky", none()), ("range", none()), ("roundrobin", none())],
        &[("roundrobin", none()), ("range", none())],
        &[("range", none()), ("roundrobin", none())],
    ];
    let tokens: Vec<_> = wishes.iter().map(|wish| bench.ask(3, GroupRequest::Join(join_as("g", "", wish)))).collect();
    bench.settle();
    bench.pass(9_000);
    let names: Vec<_> = tokens.into_iter().map(|token| bench.joined(token).protocol_name).collect();
    assert_eq!(names, vec![Some("range".to_owned()); 3], "the first's next best wish is range");
}

#[test]
fn a_member_without_a_common_protocol_is_refused_and_nothing_changes() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    let refused = bench.join(3, join_as("g", "", &[("other", Bytes::new())]));
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let rejoining = bench.join(3, join_as("g", &ids[0], &[("other", Bytes::new())]));
    assert_eq!(ErrorCode::from(rejoining.error_code), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(bench.heartbeat(1, &ids[0]), ErrorCode::NONE);
}

#[test]
fn one_protocol_named_twice_is_no_way_to_break_the_vote() {
    let mut bench = Bench::eager();
    let response = bench.join(3, join_as("g", "", &[("x", Bytes::new()), ("x", Bytes::new())]));
    assert_eq!((response.error_code, response.protocol_name.as_deref()), (0, Some("x")));
}

#[test]
fn other_protocol_types_are_opaque() {
    let mut bench = Bench::eager();
    let metadata = Bytes::from_static(b"\xff\x00anything");
    let request =
        JoinGroupRequest { protocol_type: "connect".into(), ..join_as("g", "", &[("sessioned", metadata.clone())]) };
    let response = bench.join(3, request);
    assert_eq!(response.members[0].metadata, metadata);
    bench.assign(std::slice::from_ref(&response.member_id), &response.member_id, 1);
}

#[test]
fn a_follower_that_comes_back_unchanged_does_not_make_the_group_rebalance() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    let leader = (*bench.group("g").leader.clone().unwrap()).to_owned();
    let follower = ids.iter().find(|id| **id != leader).unwrap();
    let response = bench.join(9, join("g", follower));
    assert_eq!((response.error_code, response.generation_id, response.members.len()), (0, 1, 0));
    assert_eq!(bench.state("g"), State::Stable);
    let synced = bench.sync(sync("g", 1, follower, &[]));
    assert!(synced.assignment.starts_with(b"a"));
}

#[test]
fn the_leader_or_changed_metadata_makes_the_group_rebalance() {
    for changed in [false, true] {
        let mut bench = Bench::new();
        let ids = bench.stable(2);
        let leader = (*bench.group("g").leader.clone().unwrap()).to_owned();
        let other = ids.iter().find(|id| **id != leader).unwrap();
        let (comes, stays) = if changed { (other, &leader) } else { (&leader, other) };
        let metadata = subscription(if changed { &["t", "u"] } else { &["t"] });
        let token = bench.ask(9, GroupRequest::Join(join_as("g", comes, &[("range", metadata)])));
        assert_eq!(bench.heartbeat(1, stays), ErrorCode::REBALANCE_IN_PROGRESS);
        let second = bench.join(9, join("g", stays));
        assert_eq!(second.generation_id, 2);
        assert_eq!(bench.joined(token).generation_id, 2);
    }
}

#[test]
fn a_member_that_lost_its_answer_gets_it_again_before_the_assignment() {
    let mut bench = Bench::eager();
    let first = bench.join(3, join("g", ""));
    let again = bench.join(3, join("g", &first.member_id));
    assert_eq!(again, first);
    assert_eq!(bench.state("g"), State::CompletingRebalance);
}

#[test]
fn the_later_of_two_joins_of_one_member_counts() {
    let mut bench = Bench::new();
    let (id, first) = bench.newcomer("g");
    let second = bench.ask(9, GroupRequest::Join(join("g", &id)));
    assert_eq!(ErrorCode::from(bench.joined(first).error_code), ErrorCode::REBALANCE_IN_PROGRESS);
    bench.pass(3_000);
    assert_eq!(bench.joined(second).error_code, 0);
}

#[test]
fn followers_wait_for_the_leaders_assignment_and_its_commit() {
    let mut bench = Bench::new();
    let (leader, first) = bench.newcomer("g");
    let (follower, _) = bench.newcomer("g");
    bench.pass(6_000);
    bench.joined(first);
    let waits = bench.ask(5, GroupRequest::Sync(sync("g", 1, &follower, &[])));
    let assigns = bench.ask(5, GroupRequest::Sync(sync("g", 1, &leader, &[(&follower, "all"), ("stranger", "x")])));
    assert_eq!((bench.answer(waits), bench.answer(assigns)), (None, None), "nothing is committed yet");
    bench.settle();
    assert_eq!(bench.synced(waits).assignment, "all");
    let leaders = bench.synced(assigns);
    assert_eq!((leaders.assignment.len(), leaders.protocol_name.as_deref()), (0, Some("range")));
    assert_eq!(bench.state("g"), State::Stable);
}

#[test]
fn a_leader_that_asks_again_waits_for_the_assignment_that_is_under_way() {
    let mut bench = Bench::eager();
    let id = bench.join(3, join("g", "")).member_id;
    let first = bench.ask(5, GroupRequest::Sync(sync("g", 1, &id, &[(&id, "one")])));
    let second = bench.ask(5, GroupRequest::Sync(sync("g", 1, &id, &[(&id, "two")])));
    bench.settle();
    assert_eq!(ErrorCode::from(bench.synced(first).error_code), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(bench.synced(second).assignment, "one");
}

#[test]
fn a_sync_is_refused_in_kafkas_order() {
    let mut bench = Bench::eager();
    let code = |response: SyncGroupResponse| ErrorCode::from(response.error_code);
    assert_eq!(code(bench.sync(sync("", 1, "m", &[]))), ErrorCode::INVALID_GROUP_ID);
    assert_eq!(code(bench.sync(sync("g", 1, "m", &[]))), ErrorCode::UNKNOWN_MEMBER_ID);
    let id = bench.join(3, join("g", "")).member_id;
    assert_eq!(code(bench.sync(sync("g", 7, "m", &[]))), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(code(bench.sync(sync("g", 7, &id, &[]))), ErrorCode::ILLEGAL_GENERATION);
    let other_type = SyncGroupRequest { protocol_type: Some("connect".into()), ..sync("g", 1, &id, &[]) };
    assert_eq!(code(bench.sync(other_type)), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let other_name = SyncGroupRequest { protocol_name: Some("sticky".into()), ..sync("g", 1, &id, &[]) };
    assert_eq!(code(bench.sync(other_name)), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let waits = bench.ask(3, GroupRequest::Join(join("g", "")));
    assert_eq!(code(bench.sync(sync("g", 1, &id, &[]))), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(bench.answer(waits), None);
}

#[test]
fn a_full_group_takes_nobody_new_and_keeps_those_it_has() {
    let mut bench = Bench::with(GroupConfig { max_size: 1, ..GroupConfig::default() });
    let ids = bench.stable(1);
    let refused = bench.join(9, join("g", ""));
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(bench.heartbeat(1, &ids[0]), ErrorCode::NONE);
    let again = bench.ask(9, GroupRequest::Join(join("g", &ids[0])));
    assert_eq!(bench.joined(again).generation_id, 2);
}

#[test]
fn ids_that_never_come_back_are_bounded_and_expire() {
    let mut bench = Bench::with(GroupConfig { max_pending_members: 2, ..GroupConfig::default() });
    let code = |response: JoinGroupResponse| ErrorCode::from(response.error_code);
    assert_eq!(code(bench.join(9, join("g", ""))), ErrorCode::MEMBER_ID_REQUIRED);
    assert_eq!(code(bench.join(9, join("g", ""))), ErrorCode::MEMBER_ID_REQUIRED);
    assert_eq!(code(bench.join(9, join("g", ""))), ErrorCode::GROUP_MAX_SIZE_REACHED);
    bench.pass(i64::from(SESSION_MS));
    assert_eq!(code(bench.join(9, join("g", ""))), ErrorCode::MEMBER_ID_REQUIRED);
}

#[test]
fn groups_are_bounded() {
    let mut bench = Bench::with(GroupConfig { max_groups: 1, ..GroupConfig::default() });
    bench.join(9, join("g", ""));
    let refused = bench.join(9, join("h", ""));
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(bench.commit(9, commit("h", -1, "", 0, 1)), ErrorCode::COORDINATOR_NOT_AVAILABLE);
}
