//! What happens when the log refuses, or is slow.

use super::*;

#[test]
fn append_errors_become_what_clients_understand() {
    for (append, told) in [
        (ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        (ErrorCode::REQUEST_TIMED_OUT, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        (ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NOT_COORDINATOR),
        (ErrorCode::RECORD_LIST_TOO_LARGE, ErrorCode::UNKNOWN_SERVER_ERROR),
        (ErrorCode::NOT_COORDINATOR, ErrorCode::NOT_COORDINATOR),
    ] {
        let mut bench = Bench::new();
        bench.commit(8, commit("g", -1, "", 0, 1));
        let token = bench.ask(8, GroupRequest::OffsetCommit(commit("g", -1, "", 0, 2)));
        bench.fail_one(append);
        let Some(GroupResponse::OffsetCommit(response)) = bench.answer(token) else { panic!() };
        assert_eq!(ErrorCode::from(response.topics[0].partitions[0].error_code), told);
        assert_eq!(bench.offset("g"), 1, "what was committed before stays");
    }
}

#[test]
fn a_later_commit_survives_the_failure_of_an_earlier_one() {
    let mut bench = Bench::new();
    let first = bench.ask(8, GroupRequest::OffsetCommit(commit("g", -1, "", 0, 1)));
    let second = bench.ask(8, GroupRequest::OffsetCommit(commit("g", -1, "", 0, 2)));
    bench.fail_one(ErrorCode::NOT_ENOUGH_REPLICAS);
    bench.commit_one();
    assert!(bench.answer(first).is_some() && bench.answer(second).is_some());
    assert_eq!(bench.offset("g"), 2);
}

#[test]
fn an_assignment_that_the_log_refuses_makes_all_join_again() {
    let mut bench = Bench::eager();
    let id = bench.join(3, join("g", "")).member_id;
    let token = bench.ask(5, GroupRequest::Sync(sync("g", 1, &id, &[(&id, "x")])));
    bench.fail_one(ErrorCode::NOT_ENOUGH_REPLICAS);
    assert_eq!(ErrorCode::from(bench.synced(token).error_code), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(bench.heartbeat(1, &id), ErrorCode::REBALANCE_IN_PROGRESS);
    let token = bench.ask(3, GroupRequest::Join(join("g", &id)));
    assert_eq!(bench.joined(token).generation_id, 2);
    bench.assign(std::slice::from_ref(&id), &id, 2);
}

#[test]
fn an_assignment_that_comes_too_late_is_not_for_the_new_generation() {
    let mut bench = Bench::eager();
    let id = bench.join(3, join("g", "")).member_id;
    let old = bench.ask(5, GroupRequest::Sync(sync("g", 1, &id, &[(&id, "old")])));
    let waits = bench.ask(3, GroupRequest::Join(join_as("g", &id, &[("range", subscription(&["u"]))])));
    assert_eq!(ErrorCode::from(bench.synced(old).error_code), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(bench.joined(waits).generation_id, 2);
    bench.commit_one();
    assert_eq!(bench.state("g"), State::CompletingRebalance);
    let synced = bench.sync(sync("g", 2, &id, &[(&id, "new")]));
    assert_eq!(synced.assignment, "new");
}

#[test]
fn a_group_whose_making_the_log_refuses_is_gone_and_who_waits_in_it_is_told() {
    let mut bench = Bench::new();
    let token = bench.ask(3, GroupRequest::Join(join("g", "")));
    bench.fail_one(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(ErrorCode::from(bench.joined(token).error_code), ErrorCode::NOT_COORDINATOR);
    assert_eq!(bench.coordinator.held(), (0, 0));
    bench.pass(1_000_000);
}

#[test]
fn an_empty_group_that_the_log_refuses_is_empty_all_the_same() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    let token = bench.ask(5, GroupRequest::Leave(leave("g", &[&ids[0]])));
    let write = bench.in_flight.pop_front().unwrap();
    let output = bench.coordinator.failed(write.id, ErrorCode::NOT_ENOUGH_REPLICAS, bench.now_ms);
    let [(answered, GroupResponse::Leave(response))] = output.replies.as_slice() else { panic!() };
    assert_eq!((*answered, ErrorCode::from(response.error_code)), (token, ErrorCode::COORDINATOR_NOT_AVAILABLE));
    assert_eq!(bench.state("g"), State::Empty);
}

#[test]
fn a_name_too_long_for_a_record_is_refused_and_nothing_is_kept() {
    let mut bench = Bench::new();
    let long = "x".repeat(40_000);
    let response = bench.join(3, join(&long, ""));
    assert_eq!(ErrorCode::from(response.error_code), ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(bench.commit(8, commit(&long, -1, "", 0, 1)), ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(bench.coordinator.held(), (0, 0));
}
