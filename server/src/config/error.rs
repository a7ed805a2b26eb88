//! Why a broker does not start with the settings it was given. Each is one line that names the setting, its value and what
//! it must be.

use super::properties::BadEscape;

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value is not what it must be, alone or beside others.
    #[error("{name}={value}: {must}")]
    Value {
        /// The setting.
        name: String,
        /// Its value as given; passwords are hidden.
        value: String,
        /// What is wrong with it.
        must: String,
    },
    /// A setting that has no default is not there.
    #[error("{name}: is not set; {must}")]
    Missing {
        /// The setting.
        name: &'static str,
        /// What to write.
        must: &'static str,
    },
    /// The file was made for a Kafka that used ZooKeeper.
    #[error(
        "zookeeper.connect={0}: ZooKeeper is gone since Kafka 4.0; remove it and set process.roles=broker,controller and node.id"
    )]
    ZooKeeper(String),
    /// The file's text is broken.
    #[error("{0}")]
    Text(BadEscape),
}

impl ConfigError {
    pub(super) fn value(name: &str, value: impl Into<String>, must: impl Into<String>) -> ConfigError {
        ConfigError::Value { name: name.to_owned(), value: value.into(), must: must.into() }
    }
}
