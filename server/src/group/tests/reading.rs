//! DescribeGroups, ListGroups, DeleteGroups, and records that are not for this coordinator.

use kringle_protocol::describe_groups_response::DescribedGroup;

use super::*;

fn described(bench: &mut Bench, version: i16, group: &str) -> DescribedGroup {
    let GroupResponse::Describe(groups) = bench.tell(version, GroupRequest::Describe(vec![group.into()])) else {
        panic!()
    };
    groups.into_iter().next().unwrap()
}

fn listed(bench: &mut Bench, states: &[&str], types: &[&str]) -> Vec<String> {
    let request = ListGroupsRequest {
        states_filter: states.iter().map(|s| (*s).into()).collect(),
        types_filter: types.iter().map(|s| (*s).into()).collect(),
    };
    let GroupResponse::List(response) = bench.tell(5, GroupRequest::List(request)) else { panic!() };
    response
        .groups
        .into_iter()
        .map(|group| format!("{} {} {}", group.group_id, group.group_state, group.group_type))
        .collect()
}

fn deleted(bench: &mut Bench, group: &str) -> ErrorCode {
    let GroupResponse::DeleteGroups(results) = bench.tell(2, GroupRequest::DeleteGroups(vec![group.into()])) else {
        panic!()
    };
    results[0].error_code.into()
}

#[test]
fn an_unknown_group_is_dead_and_from_version_6_an_error() {
    let mut bench = Bench::new();
    let old = described(&mut bench, 5, "g");
    assert_eq!((old.error_code, old.group_state.as_str(), old.error_message), (0, "Dead", None));
    let new = described(&mut bench, 6, "g");
    assert_eq!((ErrorCode::from(new.error_code), new.group_state.as_str()), (ErrorCode::GROUP_ID_NOT_FOUND, "Dead"));
    assert_eq!(new.error_message.as_deref(), Some("Group g not found."));
}

#[test]
fn metadata_is_told_of_a_stable_group_only_and_the_last_assignment_always() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    let stable = described(&mut bench, 5, "g");
    assert_eq!((stable.group_state.as_str(), stable.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!(stable.protocol_type, "consumer");
    let member = &stable.members[0];
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("c", "/127.0.0.1"));
    assert_eq!((&member.member_metadata, &*member.member_assignment), (&subscription(&["t"]), &b"a0"[..]));
    bench.ask(3, GroupRequest::Join(join("g", "")));
    let moving = described(&mut bench, 5, "g");
    assert_eq!((moving.group_state.as_str(), moving.protocol_data.as_str()), ("PreparingRebalance", ""));
    assert!(moving.members.iter().all(|m| m.member_metadata.is_empty()));
    let assignments: BTreeMap<_, _> =
        moving.members.iter().map(|m| (m.member_id == ids[0], &*m.member_assignment)).collect();
    assert_eq!(assignments, BTreeMap::from([(true, &b"a0"[..]), (false, b"")]));
}

#[test]
fn who_reads_of_a_group_that_is_being_made_waits_until_that_is_certain() {
    for refused in [false, true] {
        let mut bench = Bench::eager();
        bench.ask(3, GroupRequest::Join(join("g", "")));
        let describe = bench.ask(5, GroupRequest::Describe(vec!["g".into()]));
        let list = bench.ask(5, GroupRequest::List(ListGroupsRequest::default()));
        let another = bench.ask(5, GroupRequest::Describe(vec!["h".into()]));
        assert_eq!((bench.answer(describe), bench.answer(list)), (None, None));
        assert!(bench.answer(another).is_some(), "it is not about the new group");
        if refused {
            bench.fail_one(ErrorCode::NOT_ENOUGH_REPLICAS)
        } else {
            bench.commit_one()
        }
        let Some(GroupResponse::Describe(groups)) = bench.answer(describe) else { panic!() };
        assert_eq!(groups[0].group_state, if refused { "Dead" } else { "CompletingRebalance" });
        let Some(GroupResponse::List(listed)) = bench.answer(list) else { panic!() };
        assert_eq!(listed.groups.len(), usize::from(!refused));
    }
}

#[test]
fn who_waits_to_read_is_told_when_the_partition_is_lost() {
    let mut bench = Bench::eager();
    bench.ask(3, GroupRequest::Join(join("g", "")));
    let describe = bench.ask(5, GroupRequest::Describe(vec!["g".into()]));
    let answers: BTreeMap<_, _> = bench.coordinator.unload().into_iter().collect();
    let Some(GroupResponse::Describe(groups)) = answers.get(&describe) else { panic!("no answer") };
    assert_eq!(ErrorCode::from(groups[0].error_code), ErrorCode::NOT_COORDINATOR);
}

#[test]
fn lists_are_filtered_by_state_and_type_without_regard_to_case() {
    let mut bench = Bench::new();
    bench.stable(1);
    bench.commit(8, commit("h", -1, "", 0, 1));
    let all = ["g Stable classic", "h Empty classic"];
    assert_eq!(listed(&mut bench, &[], &[]), all);
    assert_eq!(listed(&mut bench, &["STABLE ", "empty"], &["Classic"]), all);
    assert_eq!(listed(&mut bench, &["stable"], &[]), all[..1]);
    assert!(listed(&mut bench, &["nonsense"], &[]).is_empty());
    assert!(listed(&mut bench, &[], &["consumer"]).is_empty());
    assert!(listed(&mut bench, &[], &["nonsense"]).is_empty());
}

#[test]
fn only_empty_groups_are_deleted_and_their_offsets_go_with_them() {
    let mut bench = Bench::new();
    assert_eq!(deleted(&mut bench, "g"), ErrorCode::GROUP_ID_NOT_FOUND);
    let ids = bench.stable(1);
    bench.commit(8, commit("g", 1, &ids[0], 0, 1));
    assert_eq!(deleted(&mut bench, "g"), ErrorCode::NON_EMPTY_GROUP);
    bench.tell(5, GroupRequest::Leave(leave("g", &[&ids[0]])));
    assert_eq!(deleted(&mut bench, "g"), ErrorCode::NONE);
    assert_eq!(bench.coordinator.held(), (0, 0));
    assert_eq!(deleted(&mut bench, "g"), ErrorCode::GROUP_ID_NOT_FOUND);
    bench.restart();
    assert_eq!(bench.coordinator.held(), (0, 0));
}

#[test]
fn a_deletion_is_seen_when_it_is_committed_and_taken_back_when_it_is_refused() {
    let mut bench = Bench::new();
    bench.commit(8, commit("g", -1, "", 0, 1));
    let first = bench.ask(2, GroupRequest::DeleteGroups(vec!["g".into()]));
    let again = bench.ask(2, GroupRequest::DeleteGroups(vec!["g".into()]));
    assert_eq!(bench.answer(again), None, "that it is gone is not certain yet");
    assert_eq!(bench.offset("g"), 1);
    let state = bench.ask(5, GroupRequest::Describe(vec!["g".into()]));
    let Some(GroupResponse::Describe(groups)) = bench.answer(state) else { panic!() };
    assert_eq!(groups[0].group_state, "Empty");
    bench.fail_one(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    for token in [first, again] {
        let Some(GroupResponse::DeleteGroups(results)) = bench.answer(token) else { panic!() };
        assert_eq!(ErrorCode::from(results[0].error_code), ErrorCode::NOT_COORDINATOR);
    }
    assert_eq!(bench.offset("g"), 1);
    assert_eq!(deleted(&mut bench, "g"), ErrorCode::NONE);
}

#[test]
fn a_group_can_be_made_again_while_its_deletion_is_under_way() {
    for refused in [false, true] {
        let mut bench = Bench::new();
        bench.commit(8, commit("g", -1, "", 0, 1));
        bench.ask(2, GroupRequest::DeleteGroups(vec!["g".into()]));
        bench.ask(8, GroupRequest::OffsetCommit(commit("g", -1, "", 1, 2)));
        if refused {
            bench.fail_one(ErrorCode::NOT_ENOUGH_REPLICAS)
        } else {
            bench.commit_one()
        }
        bench.settle();
        assert_eq!(bench.coordinator.held(), (1, if refused { 2 } else { 1 }));
    }
}

#[test]
fn records_of_other_kinds_of_groups_are_counted_and_change_nothing() {
    let mut bench = Bench::new();
    bench.commit(8, commit("g", -1, "", 0, 1));
    let before = bench.coordinator.held();
    for record_type in 3..=23u8 {
        bench.coordinator.replay(&[0, record_type, 0, 1, b'x'], Some(&[0, 0, 1])).unwrap();
    }
    assert_eq!((bench.coordinator.foreign_records(), bench.coordinator.held()), (21, before));
}

#[test]
fn damaged_records_are_an_error_and_change_nothing() {
    let mut coordinator = Coordinator::new(GroupConfig::default(), counting(0));
    for (key, value) in [
        (&b""[..], Some(&b"\0\0"[..])),
        (b"\0\x01\0\x05g", Some(b"\0\0")),
        (b"\0\x02\0\x01g", Some(b"\0\x63")),
        (b"\0\x02\0\x01g", Some(b"\0\x03\x7f\xff")),
        (b"\0\x01\0\x01g\0\x01t\0\0\0\0", Some(b"\0\x04\0")),
    ] {
        assert!(coordinator.replay(key, value).is_err());
    }
    assert_eq!(coordinator.held(), (0, 0));
}
