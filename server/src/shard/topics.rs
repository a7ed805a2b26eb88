//! What the data path needs to know of a topic, resolved once from the metadata image and kept until it changes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use kringle_log::{Compression, LogConfig, Rules, TimestampType, TopicCompression, TopicPartition};
use kringle_protocol::Uuid;
use rustc_hash::FxHashMap;

use super::Shard;
use crate::config::{self, CompressionType, TopicConfig};

/// A topic as one shard sees it.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
    pub(crate) log_config: LogConfig,
}

impl Topic {
    /// What a partition of this topic accepts.
    pub(crate) fn rules(&self, partition: i32) -> Rules {
        self.log_config.rules(TopicPartition::new(self.name.clone(), partition))
    }
}

/// Resolved topics by name; emptied whenever the metadata changes.
#[derive(Default)]
pub(crate) struct Topics {
    by_name: RefCell<FxHashMap<String, Rc<Topic>>>,
}

impl Topics {
    pub(super) fn forget(&self) {
        self.by_name.borrow_mut().clear();
    }
}

impl Shard {
    /// The topic of that name.
    pub(crate) fn topic(&self, name: &str) -> Option<Rc<Topic>> {
        if let Some(topic) = self.topics.by_name.borrow().get(name) {
            return Some(topic.clone());
        }
        let image = self.image();
        let found = image.topic(name)?;
        let topic = Rc::new(Topic {
            name: Arc::from(name),
            id: found.id,
            partitions: i32::try_from(found.partitions.len()).expect("limited at creation"),
            log_config: log_config(&self.node.topic_config(&image, name)),
        });
        self.topics.by_name.borrow_mut().insert(name.to_owned(), topic.clone());
        Some(topic)
    }

    /// The topic of that id.
    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<Rc<Topic>> {
        let image = self.image();
        self.topic(&image.topic_by_id(id)?.name)
    }

    /// The topic of that name, if it has that partition.
    pub(crate) fn topic_with(&self, name: &str, partition: i32) -> Option<Rc<Topic>> {
        self.topic(name).filter(|topic| (0..topic.partitions).contains(&partition))
    }
}

/// How a topic's settings bear on its logs.
pub(crate) fn log_config(config: &TopicConfig) -> LogConfig {
    LogConfig {
        segment_bytes: config.segment_bytes,
        segment_ms: config.segment_ms,
        segment_jitter_ms: config.segment_jitter_ms,
        segment_index_bytes: config.segment_index_bytes,
        index_interval_bytes: config.index_interval_bytes,
        retention_ms: config.retention_ms,
        retention_bytes: config.retention_bytes,
        max_message_bytes: u32::try_from(config.max_message_bytes).unwrap_or(u32::MAX),
        delete: config.delete(),
        compact: config.compact(),
        max_compaction_lag_ms: config.max_compaction_lag_ms,
        flush_messages: config.flush_messages,
        flush_ms: config.flush_ms,
        file_delete_delay_ms: config.file_delete_delay_ms,
        preallocate: config.preallocate,
        compression: compression(config.compression),
        timestamp_type: match config.message_timestamp_type {
            config::TimestampType::CreateTime => TimestampType::CreateTime,
            config::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        timestamp_before_max_ms: config.message_timestamp_before_max_ms,
        timestamp_after_max_ms: config.message_timestamp_after_max_ms,
    }
}

fn compression(configured: CompressionType) -> TopicCompression {
    let level = |level: u32| i32::try_from(level).ok();
    match configured {
        CompressionType::Producer => TopicCompression::Producer,
        CompressionType::Uncompressed => TopicCompression::Codec(Compression::None, None),
        CompressionType::Gzip(chosen) => TopicCompression::Codec(Compression::Gzip, chosen.and_then(level)),
        CompressionType::Snappy => TopicCompression::Codec(Compression::Snappy, None),
        CompressionType::Lz4(chosen) => TopicCompression::Codec(Compression::Lz4, level(chosen)),
        CompressionType::Zstd(chosen) => TopicCompression::Codec(Compression::Zstd, Some(chosen)),
    }
}
