//! What the tests of the control plane share: an image with this broker in it, and its settings.

use kringle_protocol::Uuid;
use kringle_protocol::messages::FeatureLevelRecord;
use kringle_protocol::metadata_record::MetadataRecord;

use super::controller::Context;
use super::controller::registration::{self, Endpoint, Registration};
use super::features::{LATEST_METADATA_VERSION, METADATA_VERSION};
use super::image::{Image, ImageDelta};
use crate::config::BrokerConfig;

pub(super) const NODE: i32 = 1;
pub(super) const DIRECTORY: Uuid = Uuid::from_bytes([7; 16]);

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

/// The settings of a node that was given only what it must be.
pub(super) fn config() -> BrokerConfig {
    let given = "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
                 controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@localhost:9093\n";
    BrokerConfig::load(Some(given), &[]).expect("good settings").config
}

/// Decides by `image`, with the defaults of Kafka.
pub(super) fn decide<R>(
    image: &Image,
    random: &mut dyn FnMut() -> [u8; 16],
    f: impl FnOnce(&mut Context<'_>) -> R,
) -> R {
    f(&mut Context { image, config: &config(), random })
}
