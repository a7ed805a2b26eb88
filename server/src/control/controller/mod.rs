//! The decisions of the controller: from the image, a request and the time to records and a response. Pure: nothing is
//! written here, and nothing changes until the records are applied.
//!
//! The order of the checks and the texts are Kafka's (ReplicationControlManager, ConfigurationControlManager,
//! FeatureControlManager, and ControllerApis before them): clients and tests read them.

pub mod configs;
pub mod features;
pub mod partitions;
pub mod producer_ids;
pub mod registration;
pub mod topics;

use kringle_protocol::create_topics_response::CreatableTopicConfigs;
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::{ErrorCode, Uuid};

use super::image::{Configs, Image, ResourceType};

/// What the controller decides by, besides the request.
pub struct Context<'a> {
    /// The metadata as it is.
    pub image: &'a Image,
    /// Which configurations exist and what they may be.
    pub schema: &'a dyn ConfigSchema,
    /// This node.
    pub node_id: i32,
    /// `num.partitions`.
    pub default_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// Makes new ids.
    pub random: &'a mut dyn FnMut() -> [u8; 16],
}

/// The records that make a request's change, all or nothing, and its response.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<R> {
    /// To be appended as one metadata transaction or one batch.
    pub records: Vec<MetadataRecord>,
    /// To be answered once the records are applied everywhere.
    pub response: R,
}

/// Why something is refused, as the client will see it. Without a message the client shows the text of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kafka's error.
    pub code: ErrorCode,
    /// Kafka's words.
    pub message: Option<String>,
}

impl Refusal {
    /// A refusal with words of its own.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: Some(message.into()) }
    }

    /// A refusal that says what its code says.
    pub fn bare(code: ErrorCode) -> Refusal {
        Refusal { code, message: None }
    }
}

/// What is known about configurations; `crate::config` implements it.
pub trait ConfigSchema {
    /// Checks all overrides that a resource would have. A broker's are those of this node when `name` is not empty.
    ///
    /// # Errors
    /// INVALID_CONFIG with Kafka's words, or INVALID_REQUEST for a broker.
    fn validate(&self, kind: ResourceType, name: &str, configs: &Configs) -> Result<(), Refusal>;

    /// Whether the values are lists, so that APPEND and SUBTRACT work.
    fn is_list(&self, kind: ResourceType, config: &str) -> bool;

    /// What holds when nothing is configured, as text; only asked of lists.
    fn default_of(&self, kind: ResourceType, config: &str) -> Option<String>;

    /// All configurations of a topic with these overrides, by name, as CreateTopics returns them.
    fn describe_topic(&self, image: &Image, overrides: &Configs) -> Vec<CreatableTopicConfigs>;
}

impl Context<'_> {
    /// An id that is no reserved one and does not begin with a dash, which tools would take for a flag.
    pub(super) fn new_id(&mut self) -> Uuid {
        loop {
            let mut bytes = (self.random)();
            // Version 4, variant 2, as Java's UUID.randomUUID.
            bytes[6] = bytes[6] & 0x0f | 0x40;
            bytes[8] = bytes[8] & 0x3f | 0x80;
            // Base64 writes '-' for 62: the first six bits.
            if bytes[0] >> 2 != 62 {
                return Uuid::from_bytes(bytes);
            }
        }
    }

    /// Whether a broker may be given replicas and lead them.
    fn is_active(&self, broker: i32) -> bool {
        self.image.broker(broker).is_some_and(|broker| !broker.fenced && !broker.in_controlled_shutdown)
    }
}
