//! The Kafka broker whose answers were recorded in `fixtures/`, as the tests know it.

use super::{BrokerConfig, Configs, DynamicConfigs};

/// Its file.
pub(super) fn broker() -> BrokerConfig {
    BrokerConfig::load(Some(include_str!("fixtures/described.properties")), &[]).unwrap().config
}

/// Settings from a short list.
pub(super) fn configs(pairs: &[(&str, &str)]) -> Configs {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// What was set while it ran, at the time of the later answers.
pub(super) fn dynamic_later() -> DynamicConfigs {
    DynamicConfigs {
        broker: configs(&[
            ("compression.type", "lz4"),
            ("log.segment.bytes", "1048576"),
            ("follower.replication.throttled.rate", "77"),
            ("background.threads", "12"),
            ("log.flush.interval.ms", "1000"),
            ("listener.name.external.ssl.keystore.location", "/x"),
        ]),
        cluster: configs(&[
            ("log.retention.ms", "7200000"),
            ("compression.type", "gzip"),
            ("log.cleaner.threads", "2"),
            ("message.max.bytes", "3000000"),
            ("leader.replication.throttled.rate", "1000"),
            ("min.insync.replicas", "1"),
            ("max.connections", "5000"),
        ]),
    }
}
