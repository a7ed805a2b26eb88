//! A topic's settings, typed, as they act.

use super::broker::BrokerConfig;
use super::resolve::{Configs, DynamicConfigs, Effective};
use super::table;
use super::value::Value;

/// A topic's settings. Times are in milliseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`: how old records go.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type` with the level that belongs to it.
    pub compression: CompressionType,
    /// `delete.retention.ms`: how long a tombstone is kept after compaction.
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`
    pub file_delete_delay_ms: i64,
    /// `flush.messages`: records after which a log is synced; `i64::MAX` leaves it to the system.
    pub flush_messages: i64,
    /// `flush.ms`: likewise by time.
    pub flush_ms: i64,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `max.compaction.lag.ms`
    pub max_compaction_lag_ms: i64,
    /// `max.message.bytes`: the largest batch, as it is stored.
    pub max_message_bytes: usize,
    /// `message.timestamp.after.max.ms`: how far ahead of the clock a CreateTime may be.
    pub message_timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`: how far behind.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.type`
    pub message_timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`
    pub min_compaction_lag_ms: i64,
    /// `min.insync.replicas`: what acks=all needs.
    pub min_insync_replicas: usize,
    /// `preallocate`
    pub preallocate: bool,
    /// `retention.bytes` of a partition; -1 for no limit.
    pub retention_bytes: i64,
    /// `retention.ms`; -1 for ever.
    pub retention_ms: i64,
    /// `segment.bytes`, or `internal.segment.bytes` where that is set.
    pub segment_bytes: u32,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: i64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election_enable: bool,
}

/// `cleanup.policy`. Both may hold; with neither a log keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CleanupPolicy {
    /// Old segments are deleted.
    pub delete: bool,
    /// The last record of each key is kept.
    pub compact: bool,
}

/// `compression.type`: how batches are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    /// Uncompressed.
    Uncompressed,
    /// By gzip at this level, 1 to 9; none for the library's own.
    Gzip(Option<u32>),
    /// By snappy.
    Snappy,
    /// By lz4 at this level, 1 to 17.
    Lz4(u32),
    /// By zstd at this level, -131072 to 22.
    Zstd(i32),
}

/// `message.timestamp.type`: whose clock counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's.
    LogAppendTime,
}

impl TopicConfig {
    /// The settings of a topic with these overrides, on this broker.
    pub fn resolve(overrides: &Configs, dynamic: &DynamicConfigs, broker: &BrokerConfig) -> TopicConfig {
        let effective = Effective::new(&broker.given, dynamic);
        let source = Source { overrides, effective: &effective };
        let policy = source.list("cleanup.policy");
        TopicConfig {
            cleanup_policy: CleanupPolicy {
                delete: policy.iter().any(|p| p == "delete"),
                compact: policy.iter().any(|p| p == "compact"),
            },
            compression: source.compression(),
            delete_retention_ms: source.long("delete.retention.ms"),
            file_delete_delay_ms: source.long("file.delete.delay.ms"),
            flush_messages: source.long("flush.messages"),
            flush_ms: source.long("flush.ms"),
            index_interval_bytes: source.size("index.interval.bytes"),
            max_compaction_lag_ms: source.long("max.compaction.lag.ms"),
            max_message_bytes: source.count("max.message.bytes"),
            message_timestamp_after_max_ms: source.long("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: source.long("message.timestamp.before.max.ms"),
            message_timestamp_type: match source.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: source.double("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: source.long("min.compaction.lag.ms"),
            min_insync_replicas: source.count("min.insync.replicas"),
            preallocate: source.boolean("preallocate"),
            retention_bytes: source.long("retention.bytes"),
            retention_ms: source.long("retention.ms"),
            segment_bytes: match source.value("internal.segment.bytes") {
                Some(Value::Integer(n)) => u32::try_from(n).unwrap_or(1),
                _ => source.size("segment.bytes"),
            },
            segment_index_bytes: source.size("segment.index.bytes"),
            segment_jitter_ms: source.long("segment.jitter.ms"),
            segment_ms: source.long("segment.ms"),
            unclean_leader_election_enable: source.boolean("unclean.leader.election.enable"),
        }
    }

    /// Whether old segments are deleted.
    pub fn delete(&self) -> bool {
        self.cleanup_policy.delete
    }

    /// Whether the log is compacted.
    pub fn compact(&self) -> bool {
        self.cleanup_policy.compact
    }
}

/// The table, asked by name. A name that is not in it or has another type is a mistake in this file, which its tests
/// would find: they resolve every field.
struct Source<'a> {
    overrides: &'a Configs,
    effective: &'a Effective,
}

impl Source<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let setting = table::topic().get(name).unwrap_or_else(|| unreachable!("{name} is in the table"));
        self.effective.topic_value(setting, self.overrides)
    }

    fn long(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(Value::Integer(n)) => n,
            other => unreachable!("{name} is {other:?}"),
        }
    }

    fn size(&self, name: &str) -> u32 {
        u32::try_from(self.long(name)).expect("its range begins at 0 and its type is int")
    }

    fn count(&self, name: &str) -> usize {
        usize::try_from(self.long(name)).expect("its range begins at 0")
    }

    fn double(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Double(d)) => d,
            other => unreachable!("{name} is {other:?}"),
        }
    }

    fn boolean(&self, name: &str) -> bool {
        self.value(name) == Some(Value::Boolean(true))
    }

    fn text(&self, name: &str) -> String {
        match self.value(name) {
            Some(Value::Text(text)) => text,
            other => unreachable!("{name} is {other:?}"),
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(elements)) => elements,
            other => unreachable!("{name} is {other:?}"),
        }
    }

    fn compression(&self) -> CompressionType {
        match self.text("compression.type").as_str() {
            "uncompressed" => CompressionType::Uncompressed,
            "gzip" => CompressionType::Gzip(u32::try_from(self.long("compression.gzip.level")).ok()),
            "snappy" => CompressionType::Snappy,
            "lz4" => CompressionType::Lz4(self.size("compression.lz4.level")),
            "zstd" => {
                let level = self.long("compression.zstd.level");
                CompressionType::Zstd(i32::try_from(level).expect("its type is int"))
            }
            _ => CompressionType::Producer,
        }
    }
}
