//! The decisions of the controller: from the image, a request and the time to records and a response. Pure: nothing is
//! written here, and nothing changes until the records are applied.
//!
//! The order of the checks and the texts are Kafka's (ReplicationControlManager, ConfigurationControlManager,
//! FeatureControlManager, and ControllerApis before them): clients and tests read them.

pub mod configs;
pub mod elections;
pub mod features;
pub mod partitions;
pub mod producer_ids;
pub mod registration;
pub mod topics;

use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::{ErrorCode, Uuid};

use super::image::{Image, ResourceType};
use crate::config::{self, BrokerConfig, DynamicConfigs};

/// What the controller decides by, besides the request.
pub struct Context<'a> {
    /// The metadata as it is.
    pub image: &'a Image,
    /// This node's settings.
    pub config: &'a BrokerConfig,
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

impl From<config::Refusal> for Refusal {
    fn from(refusal: config::Refusal) -> Refusal {
        Refusal { code: ErrorCode::from(refusal.code), message: refusal.message }
    }
}

impl Context<'_> {
    fn new_id(&mut self) -> Uuid {
        new_id(&mut *self.random)
    }

    /// What was configured for brokers while they run.
    fn dynamic(&self) -> DynamicConfigs {
        let of = |name: &str| self.image.configs(ResourceType::Broker, name).cloned().unwrap_or_default();
        DynamicConfigs { broker: of(&self.config.node_id.to_string()), cluster: of("") }
    }
}

/// An id that is no reserved one and does not begin with a dash, which tools would take for a flag.
pub fn new_id(random: &mut dyn FnMut() -> [u8; 16]) -> Uuid {
    loop {
        let mut bytes = random();
        // Version 4, variant 2, as Java's UUID.randomUUID.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        // Base64 writes '-' for 62: the first six bits.
        if bytes[0] >> 2 != 62 {
            return Uuid::from_bytes(bytes);
        }
    }
}
