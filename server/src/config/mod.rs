//! The configuration of a broker and its topics, exactly as Apache Kafka 4.3.1 has it: the same names, types, ranges,
//! defaults, documentation, sources and errors.
//!
//! Pure data and parsing: nothing here reads a file, a clock or a socket, and nothing changes after it is built. The tables
//! (`table`) say what settings there are; `load` makes a [`BrokerConfig`] from a file's text; `resolve` says which value
//! counts; [`TopicConfig`] is what a partition works by; `describe` and `alter` are what the APIs DescribeConfigs,
//! AlterConfigs, IncrementalAlterConfigs and CreateTopics ask.

mod alter;
mod broker;
mod describe;
mod error;
mod listeners;
mod listing;
mod load;
pub mod properties;
#[cfg(test)]
mod recorded;
mod resolve;
pub mod table;
mod topic;
pub mod value;

pub use alter::{Change, Judge, NewValue, Refusal, Target, validate_topic_override};
pub use broker::BrokerConfig;
pub use describe::{
    ConfigEntry, ConfigSource, CreatedConfig, Synonym, describe_broker, describe_broker_default,
    describe_client_metrics, describe_created, describe_group, describe_topic,
};
pub use error::ConfigError;
pub use listeners::Listener;
pub use listing::list_settings;
pub use load::{Loaded, Notice};
pub use resolve::{Configs, DynamicConfigs};
pub use topic::{CleanupPolicy, CompressionType, TimestampType, TopicConfig};
