use std::collections::BTreeMap;

use super::*;
use crate::config::recorded::{broker, configs, dynamic_later};

/// Kafka's recorded answers; its head says how they read.
const RECORDED: &str = include_str!("../fixtures/described.txt");

/// What the recorded broker knew before anything was changed: the controller sets this when ELR is on.
fn dynamic_at_first() -> DynamicConfigs {
    DynamicConfigs { broker: Configs::new(), cluster: configs(&[("min.insync.replicas", "1")]) }
}

fn tuned() -> Configs {
    configs(&[
        ("retention.ms", "3600000"),
        ("cleanup.policy", "compact, delete"),
        ("min.cleanable.dirty.ratio", "0.4"),
        ("max.message.bytes", " 5000 "),
        ("leader.replication.throttled.replicas", "0:1,1:1"),
        ("preallocate", "TRUE"),
    ])
}

/// The recorded lines under a heading, at first or later.
fn recorded(heading: &str, later: bool) -> BTreeMap<String, String> {
    let (first, second) = RECORDED.split_once("##### dynamic\n").unwrap();
    let section = if later { second } else { first };
    let (_, rest) = section.split_once(&format!("# {heading}\n")).unwrap();
    let lines = rest.lines().take_while(|line| !line.starts_with('#'));
    lines.map(|line| (line.split('\t').next().unwrap().to_owned(), line.to_owned())).collect()
}

fn source_name(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => "DYNAMIC_TOPIC_CONFIG",
        ConfigSource::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
        ConfigSource::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
        ConfigSource::Default => "DEFAULT_CONFIG",
        ConfigSource::Group => "DYNAMIC_GROUP_CONFIG",
        ConfigSource::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
    }
}

fn line(entry: &ConfigEntry) -> String {
    let null = |value: &Option<String>| value.clone().unwrap_or_else(|| "\\N".to_owned());
    let synonyms: Vec<_> =
        entry.synonyms.iter().map(|s| format!("{}={}@{}", s.name, null(&s.value), source_name(s.source))).collect();
    [
        entry.name.clone(),
        null(&entry.value),
        format!("{:?}", entry.config_type).to_uppercase(),
        source_name(entry.source).to_owned(),
        if entry.read_only { "ro" } else { "rw" }.to_owned(),
        if entry.is_sensitive { "sensitive" } else { "plain" }.to_owned(),
        synonyms.join(" ; "),
        entry.documentation.map_or("\\N".to_owned(), |text| text.encode_utf16().count().to_string()),
    ]
    .join("\t")
}

/// Compares entry by entry and shows all that differ.
fn assert_as_recorded(entries: &[ConfigEntry], heading: &str, later: bool) {
    let mut kafka = recorded(heading, later);
    let mut different = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.name.starts_with("kringle.")) {
        let ours = line(entry);
        match kafka.remove(&entry.name) {
            Some(theirs) if theirs == ours => {}
            theirs => different.push(format!("ours  {ours}\nkafka {}", theirs.unwrap_or_default())),
        }
    }
    different.extend(kafka.into_values().map(|theirs| format!("ours  \nkafka {theirs}")));
    assert!(different.is_empty(), "{heading}, later {later}:\n{}", different.join("\n"));
}

#[test]
fn topics_are_described_as_kafka_describes_them() {
    let broker = broker();
    for (later, dynamic) in [(false, dynamic_at_first()), (true, dynamic_later())] {
        assert_as_recorded(&describe_topic(&Configs::new(), &dynamic, &broker), "TOPIC plain", later);
        assert_as_recorded(&describe_topic(&tuned(), &dynamic, &broker), "TOPIC tuned", later);
    }
}

#[test]
fn brokers_are_described_as_kafka_describes_them() {
    let broker = broker();
    for (later, dynamic) in [(false, dynamic_at_first()), (true, dynamic_later())] {
        assert_as_recorded(&describe_broker(&dynamic, &broker), "BROKER 7", later);
        assert_as_recorded(&describe_broker_default(&dynamic, &broker), "BROKER ", later);
    }
}

#[test]
fn groups_are_described_as_kafka_describes_them() {
    let broker = broker();
    assert_as_recorded(&describe_group(&Configs::new(), &dynamic_at_first(), &broker), "GROUP g1", false);
    let own = configs(&[("consumer.session.timeout.ms", "55000"), ("share.isolation.level", "read_committed")]);
    assert_as_recorded(&describe_group(&own, &dynamic_later(), &broker), "GROUP g1", true);
}

#[test]
fn a_created_topic_lists_values_as_they_were_given_with_kafkas_sources() {
    let own = configs(&[("retention.ms", "5"), ("cleanup.policy", " compact"), ("max.message.bytes", " 7 ")]);
    let created = describe_created(&own, &dynamic_later(), &broker());
    assert_eq!(created.len(), 33);
    let of = |name: &str| {
        let entry = created.iter().find(|entry| entry.name == name).unwrap();
        (entry.value.as_deref().unwrap(), entry.source)
    };
    assert_eq!(of("cleanup.policy"), (" compact", ConfigSource::Topic));
    assert_eq!(of("max.message.bytes"), (" 7 ", ConfigSource::Topic));
    assert_eq!(of("compression.type"), ("lz4", ConfigSource::DynamicBroker));
    assert_eq!(of("flush.ms"), ("1000", ConfigSource::DynamicBroker));
    assert_eq!(of("min.insync.replicas"), ("1", ConfigSource::DynamicDefaultBroker));
    assert_eq!(of("segment.ms"), ("18000000", ConfigSource::StaticBroker));
    assert_eq!(of("segment.jitter.ms"), ("60000", ConfigSource::StaticBroker));
    assert_eq!(of("local.retention.ms"), ("-2", ConfigSource::Default));
}

#[test]
fn an_internal_setting_is_listed_only_where_it_was_given() {
    let names = |own: &Configs| -> Vec<String> {
        let entries = describe_topic(own, &DynamicConfigs::default(), &broker());
        entries.into_iter().map(|entry| entry.name).collect()
    };
    let internal = "internal.segment.bytes".to_owned();
    assert!(!names(&Configs::new()).contains(&internal));
    assert!(names(&configs(&[("internal.segment.bytes", "100")])).contains(&internal));
}
