use super::*;
use crate::config::recorded::{broker, configs, dynamic_later};

/// Kafka's recorded answers; its head says how they read.
const RECORDED: &str = include_str!("../fixtures/altered.txt");

/// Where Kringle means to answer otherwise, by what was asked: it binds its sockets once, and resolves no names here.
const MEANT: [&str; 6] = [
    "Slisteners=PLAINTEXT://:1",
    "Slistener.security.protocol.map=PLAINTEXT:PLAINTEXT",
    "Smax.connections.per.ip.overrides=nosuchhost.invalid:5",
    "Alisteners=EXT://:1",
    "Slisteners=PLAINTEXT://127.0.0.1:20300,CONTROLLER://127.0.0.1:20301,EXT://127.0.0.1:20309",
    "Slisteners=PLAINTEXT://127.0.0.1:20300,CONTROLLER://127.0.0.1:20301,EXT://127.0.0.1:20309 | \
     Slistener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,EXT:PLAINTEXT",
];

fn new_value(text: &str) -> NewValue {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

fn change(text: &str) -> Change {
    let operation = match &text[..1] {
        "S" => 0,
        "D" => 1,
        "A" => 2,
        "U" => 3,
        digit => digit.parse().unwrap(),
    };
    let (name, value) = new_value(&text[1..]);
    Change { name, operation, value }
}

/// `None` when all is well.
fn answer(kind: &str, resource: i8, name: &str, asked: &str) -> Option<Refusal> {
    let (broker, dynamic) = (broker(), dynamic_later());
    let judge = Judge { broker: &broker, dynamic: &dynamic, elr: true };
    let group = configs(&[("consumer.session.timeout.ms", "55000"), ("share.isolation.level", "read_committed")]);
    let none = Configs::new();
    let current = match (resource, name) {
        (4, "") => &dynamic.cluster,
        (4, "7") => &dynamic.broker,
        (32, "g1") => &group,
        _ => &none,
    };
    let target = Target { kind: resource, name, current, exists: name == "plain" };
    let asked: Vec<&str> = asked.split(" | ").filter(|text| !text.is_empty()).collect();
    match kind {
        "inc" => judge.incremental(&target, &asked.into_iter().map(change).collect::<Vec<_>>()).err(),
        "leg" => judge.replace(&target, &asked.into_iter().map(new_value).collect::<Vec<_>>()).err(),
        "create" => judge.created(&asked.into_iter().map(new_value).collect::<Vec<_>>()).err(),
        other => panic!("{other}"),
    }
}

#[test]
fn changes_are_refused_as_kafka_refuses_them() {
    let mut different = Vec::new();
    let mut compared = 0;
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [kind, resource, name, asked, code, message] = cells[..] else { panic!("{line}") };
        // Names of topics are checked by the caller.
        if MEANT.contains(&asked) || name == "a/b" {
            continue;
        }
        compared += 1;
        let ours = answer(kind, resource.parse().unwrap(), name, asked);
        let shown = match &ours {
            None => "0\t\\N".to_owned(),
            Some(refusal) => format!("{}\t{}", refusal.code, refusal.message.as_deref().unwrap_or("\\N")),
        };
        if shown != format!("{code}\t{message}") {
            different.push(format!("{kind} {resource} {name} {asked}\n  ours  {shown}\n  kafka {code}\t{message}"));
        }
    }
    assert!(different.is_empty(), "{} of {compared} differ:\n{}", different.len(), different.join("\n"));
    assert!(compared > 200, "only {compared} were compared");
}

fn target<'a>(kind: i8, name: &'a str, current: &'a Configs) -> Target<'a> {
    Target { kind, name, current, exists: true }
}

fn written(values: &[(&str, Option<&str>)]) -> Vec<NewValue> {
    values.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
}

#[test]
fn a_list_grows_from_its_default_and_blanks_around_elements_count() {
    let (broker, dynamic, none) = (broker(), dynamic_later(), Configs::new());
    let judge = Judge { broker: &broker, dynamic: &dynamic, elr: true };
    let policy = |current: &Configs, op: &str| judge.incremental(&target(2, "t", current), &[change(op)]).unwrap();
    let is = |value: &str| written(&[("cleanup.policy", Some(value))]);
    assert_eq!(policy(&none, "Acleanup.policy= compact"), is("delete, compact"));
    let now = configs(&[("cleanup.policy", "delete, compact")]);
    assert_eq!(policy(&now, "Ucleanup.policy=compact"), []);
    assert_eq!(policy(&now, "Ucleanup.policy= compact,delete"), is(""));
    assert_eq!(policy(&now, "Dcleanup.policy"), written(&[("cleanup.policy", None)]));
}

#[test]
fn what_a_topic_has_already_is_not_written_again_but_what_a_broker_has_is() {
    let (broker, dynamic) = (broker(), dynamic_later());
    let judge = Judge { broker: &broker, dynamic: &dynamic, elr: true };
    let now = configs(&[("retention.ms", "5")]);
    assert_eq!(judge.incremental(&target(2, "t", &now), &[change("Sretention.ms=5")]), Ok(vec![]));
    let now = configs(&[("log.retention.ms", "5")]);
    let again = judge.incremental(&target(4, "7", &now), &[change("Slog.retention.ms=5")]);
    assert_eq!(again, Ok(written(&[("log.retention.ms", Some("5"))])));
}

#[test]
fn replacing_deletes_what_is_left_out() {
    let (broker, dynamic) = (broker(), dynamic_later());
    let judge = Judge { broker: &broker, dynamic: &dynamic, elr: true };
    let now = configs(&[("retention.ms", "5"), ("segment.ms", "6"), ("flush.ms", "7")]);
    let new = [new_value("segment.ms=6"), new_value("flush.ms=8")];
    let asked = judge.replace(&target(2, "t", &now), &new);
    assert_eq!(asked, Ok(written(&[("flush.ms", Some("8")), ("retention.ms", None)])));
}

#[test]
fn without_elr_each_broker_has_its_own_min_insync_replicas() {
    let (broker, dynamic, none) = (broker(), dynamic_later(), Configs::new());
    let judge = Judge { broker: &broker, dynamic: &dynamic, elr: false };
    assert!(judge.incremental(&target(4, "7", &none), &[change("Smin.insync.replicas=1")]).is_ok());
    assert!(judge.incremental(&target(4, "", &none), &[change("Dmin.insync.replicas")]).is_ok());
}

#[test]
fn kringles_own_settings_do_not_change_while_it_runs() {
    let refusal = answer("inc", 4, "7", "Skringle.shards=3").unwrap();
    assert_eq!(refusal, Refusal::request("Cannot update these configs dynamically: [kringle.shards]"));
}

#[test]
fn one_setting_of_a_topic_is_checked_by_itself() {
    assert_eq!(validate_topic_override("retention.ms", "-1"), Ok(()));
    assert_eq!(validate_topic_override("foo", "1"), Err("Unknown topic config name: foo".to_owned()));
    let refused = "Invalid value -1 for configuration segment.bytes: Value must be at least 1048576";
    assert_eq!(validate_topic_override("segment.bytes", "-1"), Err(refused.to_owned()));
}
