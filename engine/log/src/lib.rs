//! Kafka's log on disk: records, segments, indexes, recovery, retention.
