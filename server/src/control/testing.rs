//! What the tests of the control plane share: an image with this broker in it, and a small schema of configurations.

use kringle_protocol::create_topics_response::CreatableTopicConfigs;
use kringle_protocol::messages::FeatureLevelRecord;
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::{ErrorCode, Uuid};

use super::controller::registration::{self, Endpoint, Registration};
use super::controller::{ConfigSchema, Context, Refusal};
use super::features::{LATEST_METADATA_VERSION, METADATA_VERSION};
use super::image::{Configs, Image, ImageDelta, ResourceType};

pub(super) const NODE: i32 = 1;
pub(super) const DIRECTORY: Uuid = Uuid::from_bytes([7; 16]);

/// `retention.ms` must be a number, `cleanup.policy` is a list; nothing else exists.
pub(super) struct SmallSchema;

impl ConfigSchema for SmallSchema {
    fn validate(&self, _: ResourceType, _: &str, configs: &Configs) -> Result<(), Refusal> {
        for (name, value) in configs {
            let fits = match name.as_str() {
                "retention.ms" | "min.insync.replicas" => value.parse::<i64>().is_ok(),
                "cleanup.policy" => true,
                _ => false,
            };
            if !fits {
                return Err(Refusal::new(ErrorCode::INVALID_CONFIG, format!("{name}={value}")));
            }
        }
        Ok(())
    }

    fn is_list(&self, _: ResourceType, config: &str) -> bool {
        config == "cleanup.policy"
    }

    fn default_of(&self, _: ResourceType, _: &str) -> Option<String> {
        Some("delete".to_owned())
    }

    fn describe_topic(&self, _: &Image, overrides: &Configs) -> Vec<CreatableTopicConfigs> {
        let of = |(name, value): (&String, &String)| CreatableTopicConfigs {
            name: name.clone(),
            value: Some(value.clone()),
            ..Default::default()
        };
        overrides.iter().map(of).collect()
    }
}

pub(super) fn own() -> Registration {
    let endpoint =
        |name: &str, port| Endpoint { name: name.to_owned(), host: "localhost".to_owned(), port, security_protocol: 0 };
    Registration {
        node_id: NODE,
        broker_endpoints: vec![endpoint("PLAINTEXT", 9092)],
        controller_endpoints: vec![endpoint("CONTROLLER", 9093)],
        rack: None,
        log_dirs: vec![DIRECTORY],
    }
}

/// Applies records that the test knows to fit.
pub(super) fn apply(image: &mut Image, records: &[MetadataRecord]) -> ImageDelta {
    let mut delta = ImageDelta::default();
    for record in records {
        image.apply(record, &mut delta).expect("the record fits");
    }
    delta
}

pub(super) fn feature(name: &str, level: i16) -> MetadataRecord {
    MetadataRecord::FeatureLevelRecord(FeatureLevelRecord { name: name.to_owned(), feature_level: level })
}

/// A directory as Kringle formats it, with this broker registered and unfenced.
pub(super) fn running() -> Image {
    let mut image = Image::empty();
    apply(&mut image, &[feature(METADATA_VERSION, LATEST_METADATA_VERSION)]);
    let registered = registration::register_broker(&image, &own(), Uuid::from_bytes([9; 16]), 11);
    apply(&mut image, &[registered]);
    let unfenced = registration::unfence(&image, NODE, 11);
    apply(&mut image, &unfenced);
    image
}

/// Ids that count up, so that every test makes the same ones.
pub(super) fn counting() -> impl FnMut() -> [u8; 16] {
    counting_from(0)
}

pub(super) fn counting_from(start: usize) -> impl FnMut() -> [u8; 16] {
    let mut next = u8::try_from(start).expect("a test makes few ids");
    move || {
        next += 1;
        [next; 16]
    }
}

/// Decides by `image`, with the defaults of Kafka.
pub(super) fn decide<R>(
    image: &Image,
    random: &mut dyn FnMut() -> [u8; 16],
    f: impl FnOnce(&mut Context<'_>) -> R,
) -> R {
    f(&mut Context {
        image,
        schema: &SmallSchema,
        node_id: NODE,
        default_partitions: 1,
        default_replication_factor: 1,
        delete_topics: true,
        random,
    })
}
