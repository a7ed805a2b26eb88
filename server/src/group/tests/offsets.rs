//! OffsetCommit, OffsetFetch, OffsetDelete, and what goes by itself.

use kringle_protocol::Reader;
use kringle_protocol::Uuid;
use kringle_protocol::offset_commit_value::OffsetCommitValue;
use kringle_protocol::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::super::offsets::Offset;
use super::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn delete_offset(bench: &mut Bench, group: &str, topic: &str) -> (ErrorCode, Option<ErrorCode>) {
    let request = OffsetDeleteRequest {
        group_id: group.into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    let GroupResponse::OffsetDelete(response) = bench.tell(0, GroupRequest::OffsetDelete(request)) else { panic!() };
    let partition = response.topics.first().map(|topic| topic.partitions[0].error_code.into());
    (response.error_code.into(), partition)
}

#[test]
fn a_consumer_without_a_group_commits_and_reads_back() {
    let mut bench = Bench::new();
    assert_eq!(bench.offset("g"), -1);
    assert_eq!(bench.commit(2, commit("g", -1, "", 0, 42)), ErrorCode::NONE);
    assert_eq!(bench.offset("g"), 42);
    bench.restart();
    let token = bench.fetch("g", 0, false);
    let Some(GroupResponse::OffsetFetch(group)) = bench.answer(token) else { panic!() };
    let partition = &group.topics[0].partitions[0];
    assert_eq!((partition.committed_offset, partition.committed_leader_epoch), (42, 3));
    assert_eq!(partition.metadata.as_deref(), Some("note"));
    assert_eq!(bench.state("g"), State::Empty);
}

#[test]
fn what_is_not_committed_is_not_seen() {
    let mut bench = Bench::new();
    bench.commit(8, commit("g", -1, "", 0, 1));
    let commits = bench.ask(8, GroupRequest::OffsetCommit(commit("g", -1, "", 0, 2)));
    assert_eq!(bench.offset("g"), 1, "who only reads sees what is committed");
    let stable = bench.fetch("g", 0, true);
    assert_eq!(bench.answer(stable), None, "who wants the latest waits for it");
    assert_eq!(bench.answer(commits), None);
    bench.commit_one();
    assert_eq!(bench.fetched(stable), 2);
    assert_eq!(bench.offset("g"), 2);
}

#[test]
fn a_group_that_is_not_committed_is_not_seen_either() {
    let mut bench = Bench::new();
    bench.ask(8, GroupRequest::OffsetCommit(commit("g", -1, "", 0, 2)));
    assert_eq!(bench.offset("g"), -1);
    let listing = bench.ask(5, GroupRequest::List(ListGroupsRequest::default()));
    assert_eq!(bench.answer(listing), None, "whether there is a group is not certain yet");
    bench.commit_one();
    let Some(GroupResponse::List(listed)) = bench.answer(listing) else { panic!() };
    assert_eq!((listed.groups.len(), bench.offset("g")), (1, 2));
}

#[test]
fn null_topics_are_all_topics_and_an_unknown_group_has_none() {
    let mut bench = Bench::new();
    bench.commit(8, commit("g", -1, "", 0, 7));
    bench.commit(8, commit("g", -1, "", 5, 8));
    for (group, count) in [("g", 1), ("h", 0)] {
        let group =
            OffsetFetchRequestGroup { group_id: group.into(), topics: None, ..OffsetFetchRequestGroup::default() };
        let request = GroupRequest::OffsetFetch { group, require_stable: false };
        let GroupResponse::OffsetFetch(response) = bench.tell(8, request) else { panic!() };
        assert_eq!((response.topics.len(), response.error_code), (count, 0));
        assert!(response.topics.iter().all(|topic| topic.partitions.len() == 2));
    }
}

#[test]
fn commits_are_refused_as_kafka_refuses_them() {
    let mut bench = Bench::new();
    assert_eq!(bench.commit(9, commit("g", 0, "m", 0, 1)), ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(bench.commit(8, commit("g", 0, "m", 0, 1)), ErrorCode::ILLEGAL_GENERATION);
    let ids = bench.stable(1);
    assert_eq!(bench.commit(8, commit("g", -1, "", 0, 1)), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.commit(8, commit("g", 1, "m", 0, 1)), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.commit(8, commit("g", 2, &ids[0], 0, 1)), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(bench.commit(8, commit("g", -1, &ids[0], 0, 1)), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(bench.commit(8, commit("g", 1, &ids[0], 0, 1)), ErrorCode::NONE);
    let token = bench.ask(9, GroupRequest::Join(join("g", &ids[0])));
    bench.joined(token);
    assert_eq!(bench.state("g"), State::CompletingRebalance);
    assert_eq!(bench.commit(8, commit("g", 2, &ids[0], 0, 1)), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_commit_while_others_rejoin_is_taken_and_shows_that_the_member_is_alive() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    bench.ask(9, GroupRequest::Join(join_as("g", &ids[0], &[("range", subscription(&["u"]))])));
    for _ in 0..3 {
        bench.pass(8_000);
        assert_eq!(bench.commit(8, commit("g", 1, &ids[1], 0, 1)), ErrorCode::NONE);
    }
    assert_eq!(bench.heartbeat(1, &ids[1]), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn metadata_is_counted_in_utf16_units_and_only_its_partition_is_refused() {
    let mut bench = Bench::with(GroupConfig { offset_metadata_max_bytes: 4, ..GroupConfig::default() });
    let mut request = commit("g", -1, "", 0, 1);
    let mut other = request.topics[0].partitions[0].clone();
    request.topics[0].partitions[0].committed_metadata = Some("😀😀".into());
    other.partition_index = 1;
    other.committed_metadata = Some("12345".into());
    request.topics[0].partitions.push(other);
    let GroupResponse::OffsetCommit(response) = bench.tell(8, GroupRequest::OffsetCommit(request)) else { panic!() };
    let codes: Vec<_> = response.topics[0].partitions.iter().map(|p| ErrorCode::from(p.error_code)).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::OFFSET_METADATA_TOO_LARGE]);
    assert_eq!(bench.offset("g"), 1);
}

#[test]
fn a_commit_of_nothing_leaves_no_group_behind() {
    let mut bench = Bench::with(GroupConfig { offset_metadata_max_bytes: 1, ..GroupConfig::default() });
    assert_eq!(bench.commit(8, commit("g", -1, "", 0, 1)), ErrorCode::OFFSET_METADATA_TOO_LARGE);
    assert_eq!(bench.coordinator.held(), (0, 0));
}

#[test]
fn records_are_kafkas_bytes() {
    let mut bench = Bench::new();
    let mut request = commit("g", -1, "", 0, 42);
    request.topics[0].topic_id = Uuid::from_bytes([7; 16]);
    bench.commit(10, request.clone());
    let (key, value) = bench.log[0].clone();
    assert_eq!(key, &b"\0\x01\0\x01g\0\x01t\0\0\0\0"[..]);
    let value = value.unwrap();
    let time = START_MS.to_be_bytes();
    let expected = [&b"\0\x04\0\0\0\0\0\0\0\x2a\0\0\0\x03\x05note"[..], &time, b"\x01\0\x10", &[7; 16]].concat();
    assert_eq!(value, expected);
    request.retention_time_ms = 1_000;
    bench.commit(2, request);
    let (_, value) = bench.log[1].clone();
    let mut r = Reader::new(value.unwrap());
    assert_eq!(r.i16().unwrap(), 1, "an expiry of its own needs version 1");
    assert_eq!(OffsetCommitValue::decode(&mut r, 1).unwrap().expire_timestamp, START_MS + 1_000);
}

#[test]
fn offsets_of_an_empty_group_expire_after_the_retention_and_the_group_with_them() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    bench.commit(8, commit("g", 1, &ids[0], 0, 1));
    bench.tell(5, GroupRequest::Leave(leave("g", &[&ids[0]])));
    bench.pass(7 * DAY_MS - 1_000_000);
    assert_eq!(bench.offset("g"), 1);
    bench.pass(2_000_000);
    assert_eq!(bench.offset("g"), -1);
    assert_eq!(bench.coordinator.held(), (0, 0));
    bench.restart();
    assert_eq!(bench.coordinator.held(), (0, 0));
}

#[test]
fn offsets_of_a_simple_consumer_expire_after_its_last_commit() {
    let mut bench = Bench::new();
    bench.commit(8, commit("g", -1, "", 0, 1));
    bench.pass(4 * DAY_MS);
    bench.commit(8, commit("g", -1, "", 1, 1));
    bench.pass(4 * DAY_MS);
    assert_eq!(bench.coordinator.held(), (1, 1), "one of two is old");
    bench.pass(4 * DAY_MS);
    assert_eq!(bench.coordinator.held(), (0, 0));
}

#[test]
fn a_retention_of_its_own_beats_the_brokers() {
    let mut bench = Bench::new();
    bench.commit(2, OffsetCommitRequest { retention_time_ms: 1_000, ..commit("g", -1, "", 0, 1) });
    bench.pass(600_000);
    assert_eq!(bench.coordinator.held(), (0, 0));
}

#[test]
fn in_a_group_with_members_only_topics_nobody_reads_expire() {
    let mut bench = Bench::new();
    let mut other = commit("g", -1, "", 0, 5);
    other.topics[0].name = "u".into();
    bench.commit(8, other);
    bench.commit(8, commit("g", -1, "", 0, 6));
    let ids = bench.stable(1);
    for _ in 0..1_300 {
        bench.pass(9 * 60_000 / 60);
        bench.heartbeat(1, &ids[0]);
    }
    let before = bench.coordinator.held();
    bench.now_ms += 8 * DAY_MS;
    bench.coordinator.turn.timers.set(TimerKey::Session("g".into(), ids[0].as_str().into()), bench.now_ms + 1_000_000);
    bench.pass(600_000);
    assert_eq!((before, bench.coordinator.held()), ((1, 2), (1, 1)));
    assert_eq!(bench.offset("g"), 6);
}

#[test]
fn a_topics_end_takes_its_offsets_but_not_those_of_its_successor() {
    let mut bench = Bench::new();
    let (old, new) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    for (group, id) in [("a", old), ("b", new), ("c", Uuid::ZERO)] {
        let mut request = commit(group, -1, "", 0, 9);
        request.topics[0].topic_id = id;
        bench.commit(10, request);
    }
    let output = bench.coordinator.topics_deleted(&[("t".into(), old)], bench.now_ms);
    bench.take(output);
    bench.settle();
    let left: Vec<_> = ["a", "b", "c"].map(|group| bench.offset(group)).into();
    assert_eq!(left, [-1, 9, -1]);
}

#[test]
fn offsets_are_deleted_unless_the_group_reads_the_topic() {
    let mut bench = Bench::new();
    assert_eq!(delete_offset(&mut bench, "g", "t"), (ErrorCode::GROUP_ID_NOT_FOUND, None));
    assert_eq!(delete_offset(&mut bench, "", "t"), (ErrorCode::INVALID_GROUP_ID, None));
    let ids = bench.stable(1);
    let mut other = commit("g", 1, &ids[0], 0, 5);
    other.topics[0].name = "u".into();
    bench.commit(8, other);
    assert_eq!(delete_offset(&mut bench, "g", "t"), (ErrorCode::NONE, Some(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC)));
    assert_eq!(delete_offset(&mut bench, "g", "u"), (ErrorCode::NONE, Some(ErrorCode::NONE)));
    assert_eq!(delete_offset(&mut bench, "g", "u"), (ErrorCode::NONE, Some(ErrorCode::NONE)), "gone is gone");
    assert_eq!(bench.coordinator.held().1, 0);
}

#[test]
fn of_members_that_are_no_consumers_no_offsets_are_deleted() {
    let mut bench = Bench::eager();
    bench.join(3, JoinGroupRequest { protocol_type: "connect".into(), ..join("g", "") });
    assert_eq!(delete_offset(&mut bench, "g", "t"), (ErrorCode::NON_EMPTY_GROUP, None));
}

#[test]
fn offsets_of_an_open_transaction_are_unstable_and_count_when_it_is_committed() {
    for committed in [true, false] {
        let mut bench = Bench::new();
        bench.commit(8, commit("g", -1, "", 0, 1));
        let (key, value) = records::offset(
            "g",
            "t",
            0,
            Some(&Offset {
                offset: 2,
                leader_epoch: -1,
                metadata: String::new(),
                commit_timestamp_ms: START_MS,
                expire_timestamp_ms: -1,
                topic_id: Uuid::ZERO,
            }),
        )
        .unwrap();
        let mut fresh = bench.reloaded();
        fresh.replay_in_transaction(7, &key, value.as_deref()).unwrap();
        let group = OffsetFetchRequestGroup {
            group_id: "g".into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".into(),
                partition_indexes: vec![0],
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        };
        for (require_stable, code, offset) in
            [(false, ErrorCode::NONE, 1), (true, ErrorCode::UNSTABLE_OFFSET_COMMIT, -1)]
        {
            let request = GroupRequest::OffsetFetch { group: group.clone(), require_stable };
            let output = fresh.request(START_MS, &Caller::default(), 8, request, 1);
            let [(1, GroupResponse::OffsetFetch(response))] = output.replies.as_slice() else { panic!() };
            let partition = &response.topics[0].partitions[0];
            assert_eq!((ErrorCode::from(partition.error_code), partition.committed_offset), (code, offset));
        }
        fresh.replay_marker(7, committed);
        let read = fresh.offsets.read("g", "t", 0, Reading::Committed).unwrap();
        assert_eq!(read.offset, if committed { 2 } else { 1 });
    }
}

#[test]
fn the_forms_of_an_offset_fetch_hold_the_same() {
    let request = kringle_protocol::offset_fetch_request::OffsetFetchRequest {
        group_id: "g".into(),
        topics: None,
        ..Default::default()
    };
    let split = split_offset_fetch(7, request);
    assert_eq!((split.len(), split[0].group_id.as_str(), &split[0].topics), (1, "g", &None));
    let answer = |code| kringle_protocol::offset_fetch_response::OffsetFetchResponseGroup {
        error_code: code,
        topics: vec![kringle_protocol::offset_fetch_response::OffsetFetchResponseTopics {
            name: "t".into(),
            partitions: vec![Default::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(join_offset_fetch(8, vec![answer(0), answer(0)]).groups.len(), 2);
    let joined = join_offset_fetch(7, vec![answer(16)]);
    assert_eq!((joined.error_code, joined.topics[0].partitions[0].error_code), (16, 0));
    assert_eq!(join_offset_fetch(1, vec![answer(16)]).topics[0].partitions[0].error_code, 16);
}
