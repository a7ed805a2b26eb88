use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::config::{CompressionType, Listener, TimestampType, TopicConfig};

const STOCK: &str = include_str!("../fixtures/server.properties");

fn load(file: &str, overrides: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let overrides: Vec<_> = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    BrokerConfig::load(Some(file), &overrides)
}

fn refused(overrides: &[(&str, &str)]) -> String {
    load(STOCK, overrides).expect_err("it must be refused").to_string()
}

fn names(listeners: &[Listener]) -> Vec<&str> {
    listeners.iter().map(|l| l.name.as_str()).collect()
}

#[test]
fn the_stock_file_starts_unchanged() {
    let loaded = load(STOCK, &[]).unwrap();
    let config = loaded.config;
    assert_eq!(config.node_id, 1);
    assert_eq!(names(&config.listeners), ["PLAINTEXT"]);
    assert_eq!(names(&config.controller_listeners), ["CONTROLLER"]);
    assert_eq!((config.listeners[0].host.as_deref(), config.listeners[0].port), (None, 9092));
    assert_eq!(config.listeners[0].advertised_host, "localhost");
    assert_eq!(config.log_dirs, [PathBuf::from("/tmp/kraft-combined-logs")]);
    assert_eq!(config.log_retention_check_interval, Duration::from_secs(300));
    assert_eq!(config.offsets_topic_replication_factor, 1);
    let named = |is: fn(&Notice) -> Option<&String>| loaded.notices.iter().filter_map(is).collect::<Vec<_>>();
    let meaningless = named(|notice| if let Notice::MeaninglessHere(name) = notice { Some(name) } else { None });
    assert_eq!(meaningless, ["num.io.threads", "num.network.threads", "num.recovery.threads.per.data.dir"]);
    let unknown = named(|notice| if let Notice::Unknown(name) = notice { Some(name) } else { None });
    assert!(unknown.is_empty());
    let not_acting = named(|notice| if let Notice::NotActing(name) = notice { Some(name) } else { None });
    assert!(not_acting.iter().any(|name| *name == "transaction.state.log.min.isr"), "{not_acting:?}");
}

#[test]
fn listeners_without_a_host_advertise_the_name_of_the_machine_and_others_do_not_ask_for_it() {
    let listeners = "PLAINTEXT://:9092,INSIDE://127.0.0.1:9094,CONTROLLER://:9093";
    let map = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT";
    let given =
        [("listeners", listeners), ("advertised.listeners", listeners), ("listener.security.protocol.map", map)];
    let mut config = load(STOCK, &given).unwrap().config;
    config.set_hostname(|| "kafka.example".to_owned());
    let told: Vec<_> = config.listeners.iter().map(|l| l.advertised_host.as_str()).collect();
    assert_eq!(told, ["kafka.example", "127.0.0.1"]);
    assert_eq!(config.controller_listeners[0].advertised_host, "kafka.example");
    // The stock file advertises localhost.
    load(STOCK, &[]).unwrap().config.set_hostname(|| unreachable!("nobody needs the name"));
}

#[test]
fn without_a_file_a_broker_for_this_machine_alone_runs() {
    let loaded = BrokerConfig::load(None, &[]).unwrap();
    let config = loaded.config;
    assert_eq!(loaded.notices, []);
    assert_eq!(config.node_id, 1);
    assert_eq!(names(&config.listeners), ["PLAINTEXT"]);
    assert_eq!(names(&config.controller_listeners), Vec::<&str>::new());
    assert_eq!((config.listeners[0].host.as_deref(), config.listeners[0].port), (Some("127.0.0.1"), 9092));
    assert_eq!(config.log_dirs, [PathBuf::from("./data")]);
    assert_eq!((config.shards, config.admin_listener, config.durable_acks), (None, None, true));
    assert_eq!(config.max_connections, usize::try_from(i32::MAX).unwrap());
    assert_eq!(config.connections_max_idle, Duration::from_secs(600));
    assert_eq!(config.offsets_retention_ms, 7 * 24 * 3600 * 1000);
}

#[test]
fn the_command_line_is_stronger_than_the_file() {
    let loaded = load(STOCK, &[("num.partitions", " 7 "), ("kringle.shards", "2"), ("node.id", "5")]).unwrap();
    assert_eq!(loaded.config.num_partitions, 7);
    assert_eq!(loaded.config.shards, Some(2));
    assert_eq!(loaded.config.node_id, 5);
    let config = BrokerConfig::load(None, &[("log.dirs".into(), "/a".into())]).unwrap().config;
    assert_eq!(config.log_dirs, [PathBuf::from("/a")]);
}

#[test]
fn a_topic_without_settings_of_its_own_has_those_of_the_broker() {
    let given = [("log.retention.minutes", "5"), ("log.roll.hours", "2"), ("compression.type", "gzip")];
    let config = load(STOCK, &given).unwrap().config;
    let topic = TopicConfig::resolve(&Configs::new(), &DynamicConfigs::default(), &config);
    assert_eq!((topic.retention_ms, topic.segment_ms), (300_000, 7_200_000));
    assert_eq!(topic.compression, CompressionType::Gzip(None));
    assert_eq!(topic.message_timestamp_type, TimestampType::CreateTime);
    assert!(topic.delete() && !topic.compact());
    assert_eq!((topic.max_message_bytes, topic.segment_bytes), (1_048_588, 1 << 30));
}

#[test]
fn a_topics_own_settings_are_strongest_and_this_broker_beats_all_brokers() {
    let config = load(STOCK, &[]).unwrap().config;
    let configs =
        |pairs: &[(&str, &str)]| -> Configs { pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() };
    let dynamic = DynamicConfigs {
        broker: configs(&[("log.segment.bytes", "2000000")]),
        cluster: configs(&[("log.segment.bytes", "3000000"), ("log.retention.ms", "4000"), ("message.max.bytes", "9")]),
    };
    let own = configs(&[("retention.ms", "1000"), ("cleanup.policy", "compact,delete"), ("max.message.bytes", "bad")]);
    let topic = TopicConfig::resolve(&own, &dynamic, &config);
    assert_eq!((topic.retention_ms, topic.segment_bytes, topic.max_message_bytes), (1000, 2_000_000, 9));
    assert!(topic.delete() && topic.compact());
    let topic = TopicConfig::resolve(&Configs::new(), &dynamic, &config);
    assert_eq!(topic.retention_ms, 4000, "the file's log.retention.hours is hidden");
}

#[test]
fn what_changes_while_the_broker_runs_changes_its_settings_but_not_its_sockets() {
    let config = load(STOCK, &[]).unwrap().config;
    let mut dynamic = DynamicConfigs::default();
    dynamic.cluster.insert("max.connections".into(), "10".into());
    dynamic.broker.insert("listeners".into(), "PLAINTEXT://:1".into());
    let changed = config.with_dynamic(&dynamic);
    assert_eq!(changed.max_connections, 10);
    assert_eq!(changed.listeners, config.listeners);
}

#[test]
fn a_value_out_of_range_is_one_line_that_names_it() {
    assert_eq!(refused(&[("num.partitions", "0")]), "num.partitions=0: must be at least 1");
    assert_eq!(
        refused(&[("offsets.topic.replication.factor", "x")]),
        "offsets.topic.replication.factor=x: must be a whole number between -32768 and 32767"
    );
    assert_eq!(refused(&[("compression.type", "zip")]).lines().count(), 1);
    assert_eq!(refused(&[("log.dirs", "")]), "log.dirs=: must not be empty");
    assert_eq!(refused(&[("log.retention.ms", "0")]), "log.retention.ms=0: must be -1 (for ever) or at least 1");
    assert_eq!(refused(&[("kringle.shards", "-1")]), "kringle.shards=-1: must be between 0 and 1024");
    assert_eq!(
        refused(&[("offsets.topic.compression.codec", "5")]),
        "offsets.topic.compression.codec=5: must be 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) or 4 (zstd)"
    );
    assert_eq!(
        refused(&[("kringle.admin.listener", "here")]),
        "kringle.admin.listener=here: must be of the form address:port, with an IP address or localhost"
    );
}

#[test]
fn a_zookeeper_file_is_told_that_zookeeper_is_gone() {
    let error = load("broker.id=0\nzookeeper.connect=localhost:2181\n", &[]).unwrap_err().to_string();
    assert!(error.starts_with("zookeeper.connect=localhost:2181: ZooKeeper is gone since Kafka 4.0"), "{error}");
    assert_eq!(error.lines().count(), 1);
    let error = load("node.id=1", &[]).unwrap_err().to_string();
    assert_eq!(error, "process.roles: is not set; write process.roles=broker,controller");
}

#[test]
fn roles_and_quorums_that_are_not_served_are_refused() {
    let roles = |roles| refused(&[("process.roles", roles)]);
    assert_eq!(roles("broker"), "process.roles=broker: only broker,controller is served yet: one node that is both");
    assert_eq!(roles("zookeeper"), "process.roles=zookeeper: must be one of broker, controller");
    assert_eq!(
        refused(&[("controller.quorum.voters", "1@a:9093,2@b:9093")]),
        "controller.quorum.voters=1@a:9093,2@b:9093: a quorum of several nodes is not yet served: name one at most"
    );
    assert_eq!(
        refused(&[("controller.quorum.voters", "2@a:9093")]),
        "controller.quorum.voters=2@a:9093: must name this node, whose node.id is 1"
    );
    assert!(load(STOCK, &[("controller.quorum.voters", "1@localhost:9093")]).is_ok());
}

#[test]
fn directories_that_would_not_be_opened_are_refused() {
    assert_eq!(
        refused(&[("log.dirs", "/a, /b")]),
        "log.dirs=/a,/b: several log directories are not yet served: name one"
    );
    assert_eq!(
        refused(&[("metadata.log.dir", "/m")]),
        "metadata.log.dir=/m: a directory of its own is not yet served: it must be /tmp/kraft-combined-logs, as log.dirs"
    );
    assert!(load(STOCK, &[("metadata.log.dir", "/tmp/kraft-combined-logs")]).is_ok());
    assert!(refused(&[("remote.log.storage.system.enable", "true")]).contains("tiered storage is not yet served"));
}

#[test]
fn an_authorizer_is_refused_rather_than_left_out() {
    let refused = refused(&[("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")]);
    assert!(refused.ends_with(": authorization is not yet served; remove it"), "{refused}");
}

#[test]
fn unknown_names_are_warned_of_and_those_of_listeners_and_plugins_are_known() {
    let given = [
        ("num.partition", "3"),
        ("zookeeper.connect", "x"),
        ("listener.name.plaintext.max.connections", "10"),
        ("listener.name.x.nothing", "1"),
        ("super.users", "User:a"),
    ];
    let notices = load(STOCK, &given).unwrap().notices;
    let unknown: Vec<_> = notices.iter().filter(|n| matches!(n, Notice::Unknown(_))).collect();
    let expected = ["listener.name.x.nothing", "num.partition", "zookeeper.connect"];
    assert_eq!(unknown, expected.map(|n| Notice::Unknown(n.to_owned())).iter().collect::<Vec<_>>());
    assert!(notices.contains(&Notice::MeaninglessHere("super.users".to_owned())));
}

#[test]
fn broker_id_is_another_name_of_node_id() {
    let with = |id: &str| STOCK.replace("node.id=1", id);
    assert_eq!(load(&with("broker.id=3"), &[]).unwrap().config.node_id, 3);
    assert_eq!(
        load(&with("node.id=1\nbroker.id=2"), &[]).unwrap_err().to_string(),
        "broker.id=2: must be the same as node.id, which is 1"
    );
    assert_eq!(load(&with(""), &[]).unwrap_err().to_string(), "node.id: is not set; write node.id=1");
}

#[test]
fn a_broken_escape_names_its_line() {
    let error = load("a=b\nc=\\u1", &[]).unwrap_err().to_string();
    assert_eq!(error, "line 2: \\u must be followed by four hexadecimal digits");
}

#[test]
fn limits_per_address_are_read() {
    let config = load(STOCK, &[("max.connections.per.ip.overrides", "127.0.0.1:200, [::1]:3")]).unwrap().config;
    assert_eq!(config.max_connections_per_ip_overrides.len(), 2);
    assert_eq!(config.max_connections_per_ip_overrides[&"::1".parse::<std::net::IpAddr>().unwrap()], 3);
    assert_eq!(
        refused(&[("max.connections.per.ip.overrides", "host:3")]),
        "max.connections.per.ip.overrides=host:3: host:3 must be of the form address:count, with an IP address and not a name"
    );
    assert!(refused(&[("max.connections.per.ip", "0")]).contains("only together with"));
}
