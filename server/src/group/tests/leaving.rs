//! Heartbeats, sessions, timeouts of the phases, LeaveGroup.

use super::*;

fn codes(response: GroupResponse) -> Vec<ErrorCode> {
    let GroupResponse::Leave(response) = response else { panic!() };
    assert_eq!(response.error_code, 0);
    response.members.into_iter().map(|member| member.error_code.into()).collect()
}

#[test]
fn a_member_that_is_not_heard_of_is_out_and_the_others_rebalance() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    bench.pass(9_000);
    assert_eq!(bench.heartbeat(1, &ids[0]), ErrorCode::NONE);
    bench.pass(1_000);
    assert_eq!(bench.heartbeat(1, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(bench.heartbeat(1, &ids[1]), ErrorCode::UNKNOWN_MEMBER_ID);
    let token = bench.ask(9, GroupRequest::Join(join("g", &ids[0])));
    let response = bench.joined(token);
    assert_eq!((response.generation_id, response.members.len()), (2, 1));
}

#[test]
fn heartbeats_are_refused_in_kafkas_order() {
    let mut bench = Bench::new();
    assert_eq!(bench.heartbeat(1, "m"), ErrorCode::UNKNOWN_MEMBER_ID);
    let (pending, _) = bench.newcomer("g");
    assert_eq!(bench.heartbeat(7, "m"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.heartbeat(7, &pending), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(bench.heartbeat(0, &pending), ErrorCode::REBALANCE_IN_PROGRESS);
    let empty = GroupRequest::Heartbeat(heartbeat("", 0, "m"));
    let GroupResponse::Heartbeat(response) = bench.tell(4, empty) else { panic!() };
    assert_eq!(ErrorCode::from(response.error_code), ErrorCode::INVALID_GROUP_ID);
}

#[test]
fn a_group_whose_last_member_expires_is_empty_and_its_generation_goes_on() {
    let mut bench = Bench::new();
    bench.stable(1);
    bench.pass(i64::from(SESSION_MS));
    assert_eq!((bench.state("g"), bench.group("g").generation), (State::Empty, 2));
    bench.restart();
    assert_eq!((bench.state("g"), bench.group("g").generation), (State::Empty, 2));
    let (_, token) = bench.newcomer("g");
    bench.pass(3_000);
    assert_eq!(bench.joined(token).generation_id, 3);
}

#[test]
fn dynamic_members_that_do_not_rejoin_are_out_at_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    let token = bench.ask(9, GroupRequest::Join(join_as("g", &ids[0], &[("range", subscription(&["u"]))])));
    for _ in 0..10 {
        bench.pass(5_999);
        bench.heartbeat(1, &ids[1]);
        assert_eq!(bench.answer(token), None);
    }
    bench.pass(10);
    let response = bench.joined(token);
    assert_eq!((response.generation_id, response.members.len()), (2, 1));
    assert_eq!(bench.heartbeat(1, &ids[1]), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn members_that_do_not_sync_in_time_are_out() {
    let mut bench = Bench::new();
    let (a, first) = bench.newcomer("g");
    let (b, second) = bench.newcomer("g");
    bench.pass(6_000);
    bench.joined(second);
    let leader = bench.joined(first).leader;
    let lazy = if leader == a { b } else { a };
    let token = bench.ask(5, GroupRequest::Sync(sync("g", 1, &leader, &[])));
    bench.settle();
    bench.synced(token);
    for _ in 0..12 {
        bench.pass(4_999);
        assert_eq!(bench.heartbeat(1, &leader), ErrorCode::NONE);
        assert_eq!(bench.heartbeat(1, &lazy), ErrorCode::NONE);
    }
    bench.pass(100);
    assert_eq!(bench.heartbeat(1, &lazy), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.heartbeat(1, &leader), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_new_member_that_is_parked_too_long_is_told_that_it_is_unknown() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    let slow = JoinGroupRequest { rebalance_timeout_ms: 1_000_000, ..join("g", "") };
    let token = bench.ask(3, GroupRequest::Join(slow));
    for _ in 0..40 {
        bench.pass(7_499);
        assert_eq!(bench.heartbeat(1, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    }
    assert_eq!(bench.answer(token), None);
    bench.pass(100);
    let response = bench.joined(token);
    assert_eq!(ErrorCode::from(response.error_code), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(response.member_id, "");
}

#[test]
fn leaving_names_each_member_and_the_others_rebalance() {
    let mut bench = Bench::new();
    let ids = bench.stable(3);
    let left = codes(bench.tell(5, GroupRequest::Leave(leave("g", &[&ids[0], "stranger", &ids[1]]))));
    assert_eq!(left, [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::NONE]);
    assert_eq!(bench.heartbeat(1, &ids[2]), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn leaving_before_version_3_answers_with_one_code() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    for (id, code) in [("stranger", ErrorCode::UNKNOWN_MEMBER_ID), (ids[0].as_str(), ErrorCode::NONE)] {
        let request = LeaveGroupRequest { group_id: "g".into(), member_id: id.into(), ..LeaveGroupRequest::default() };
        let GroupResponse::Leave(response) = bench.tell(2, GroupRequest::Leave(request)) else { panic!() };
        assert_eq!((ErrorCode::from(response.error_code), response.members.len()), (code, 0));
    }
    assert_eq!(bench.state("g"), State::Empty);
}

#[test]
fn the_last_to_leave_is_answered_when_the_empty_group_is_in_the_log() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    let token = bench.ask(5, GroupRequest::Leave(leave("g", &[&ids[0]])));
    assert_eq!(bench.answer(token), None);
    bench.commit_one();
    assert_eq!(codes(bench.answer(token).unwrap()), [ErrorCode::NONE]);
}

#[test]
fn leaving_an_unknown_group_is_an_error_of_each_member() {
    let mut bench = Bench::new();
    assert_eq!(codes(bench.tell(5, GroupRequest::Leave(leave("g", &["m"])))), [ErrorCode::UNKNOWN_MEMBER_ID]);
}

#[test]
fn an_id_that_was_given_out_can_leave_and_no_longer_holds_up_the_others() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    let pending = bench.join(9, join("g", "")).member_id;
    let token = bench.ask(9, GroupRequest::Join(join("g", &ids[0])));
    assert_eq!(bench.answer(token), None, "it waits for the one that was given an id");
    assert_eq!(codes(bench.tell(5, GroupRequest::Leave(leave("g", &[&pending])))), [ErrorCode::NONE]);
    assert_eq!(bench.joined(token).generation_id, 2);
}

#[test]
fn a_group_goes_on_after_a_restart_and_its_members_get_a_whole_session() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    bench.pass(9_999);
    bench.restart();
    bench.pass(9_999);
    assert_eq!(bench.heartbeat(1, &ids[0]), ErrorCode::NONE);
    let synced = bench.sync(sync("g", 1, &ids[1], &[]));
    assert_eq!(synced.assignment, "a1");
    assert_eq!(bench.heartbeat(1, &ids[1]), ErrorCode::NONE);
    bench.pass(1);
    assert_eq!(bench.heartbeat(1, &ids[0]), ErrorCode::NONE);
}

#[test]
fn losing_the_partition_answers_all_that_wait() {
    let mut bench = Bench::eager();
    let id = bench.join(3, join("g", "")).member_id;
    let syncs = bench.ask(5, GroupRequest::Sync(sync("g", 1, &id, &[])));
    let commits = bench.ask(8, GroupRequest::OffsetCommit(commit("h", -1, "", 0, 1)));
    let mut tokens: Vec<_> = bench.coordinator.unload().into_iter().collect();
    tokens.sort_by_key(|(token, _)| *token);
    let [(first, GroupResponse::Sync(sync)), (second, GroupResponse::OffsetCommit(commit))] = tokens.as_slice() else {
        panic!("{tokens:?}")
    };
    assert_eq!((*first, *second), (syncs, commits));
    assert_eq!(ErrorCode::from(sync.error_code), ErrorCode::NOT_COORDINATOR);
    assert_eq!(ErrorCode::from(commit.topics[0].partitions[0].error_code), ErrorCode::NOT_COORDINATOR);
    assert_eq!(bench.coordinator.next_deadline_ms(), None);
}
