//! The settings of one log: Kafka's topic configs that act here, under Kafka's defaults.

use crate::batch::TimestampType;
use crate::compression::Compression;
use crate::topic_partition::TopicPartition;
use crate::validate::{DEFAULT_DECODED_LIMIT_BYTES, Rules};

/// What a topic does about the codec of what it is sent (topic config `compression.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TopicCompression {
    /// Keeps what the producer chose (`producer`).
    #[default]
    Producer,
    /// Recompresses to this codec at this level (`None`: the codec's default) unless it is the batch's already.
    /// `Codec(Compression::None, None)` is `uncompressed`.
    Codec(Compression, Option<i32>),
}

/// Settings of a log. `Default` is Kafka's; names are the topic configs'. Times in milliseconds, -1 where Kafka has -1 for "no limit".
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is closed before it grows larger. At most 2^31 - 1: Kafka's positions are 32 bits wide.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is closed this long after its first batch.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: up to this much less, so that partitions do not roll together.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment is closed when an index is this large.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: at most one index entry for this many bytes.
    pub index_interval_bytes: u32,
    /// `retention.ms`: segments whose newest record is older are deleted.
    pub retention_ms: i64,
    /// `retention.bytes`: the oldest segments are deleted while the log stays at least this large.
    pub retention_bytes: i64,
    /// `max.message.bytes`: largest batch, as sent and as stored.
    pub max_message_bytes: u32,
    /// `cleanup.policy` names `delete`.
    pub delete: bool,
    /// `cleanup.policy` names `compact`: every record needs a key.
    pub compact: bool,
    /// `max.compaction.lag.ms`: bounds `segment.ms` of compacted topics.
    pub max_compaction_lag_ms: i64,
    /// `flush.messages`: sync after so many records.
    pub flush_messages: i64,
    /// `flush.ms`: sync this long after the first unsynced record.
    pub flush_ms: i64,
    /// `file.delete.delay.ms`: deleted segments stay on disk, renamed, for this long.
    pub file_delete_delay_ms: i64,
    /// `preallocate`: reserve a new segment's space at once.
    pub preallocate: bool,
    /// `compression.type` with the level of its codec.
    pub compression: TopicCompression,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a record's timestamp may lie in the past.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far in the future.
    pub timestamp_after_max_ms: i64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            max_message_bytes: (1 << 20) + 12,
            delete: true,
            compact: false,
            max_compaction_lag_ms: i64::MAX,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            file_delete_delay_ms: 60_000,
            preallocate: false,
            compression: TopicCompression::Producer,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
        }
    }
}

impl LogConfig {
    /// What is reserved for a new segment at once.
    pub(crate) fn preallocated_bytes(&self) -> Option<u64> {
        self.preallocate.then_some(u64::from(self.segment_bytes))
    }

    /// What [`crate::validate()`] needs to know of a partition with these settings.
    pub fn rules(&self, partition: TopicPartition) -> Rules {
        Rules {
            partition,
            compression: self.compression,
            timestamp_type: self.timestamp_type,
            timestamp_before_max_ms: self.timestamp_before_max_ms,
            timestamp_after_max_ms: self.timestamp_after_max_ms,
            compacted: self.compact,
            max_message_bytes: self.max_message_bytes,
            segment_bytes: self.segment_bytes,
            zstd_allowed: true,
            decoded_limit_bytes: DEFAULT_DECODED_LIMIT_BYTES,
        }
    }

    /// How long a segment may stay open: `segment.ms`, bounded by the compaction lag of compacted topics.
    pub(crate) fn max_segment_ms(&self) -> i64 {
        if self.compact { self.segment_ms.min(self.max_compaction_lag_ms) } else { self.segment_ms }
    }
}
