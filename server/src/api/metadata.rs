//! Metadata (key 3): brokers and topics as the client asks for them; topics are created on the way where that is allowed.

use std::collections::BTreeSet;

use kringle_protocol::messages::{MetadataRequest, MetadataResponse};
use kringle_protocol::metadata_request::MetadataRequestTopic;
use kringle_protocol::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use kringle_protocol::{ErrorCode, Uuid};

use super::Context;
use crate::control::image::{Image, TopicImage};
use crate::names;

/// All operations a principal may do on a topic when there is no authorizer: the bits of Kafka's AclOperation.
pub(crate) const TOPIC_OPERATIONS: i32 = 0b0000_1101_1111_1000;

/// The same for the cluster.
pub(crate) const CLUSTER_OPERATIONS: i32 = 0b0001_1111_1010_0000;

/// The version from which topics are asked for by id; the two before it have the field and refuse it.
const BY_ID_FROM_VERSION: i16 = 12;

/// The version from which the answer as a whole has an error code.
const OWN_ERROR_FROM_VERSION: i16 = 13;

/// Answers from the image; creates topics that are asked for by name, do not exist and may be created.
pub(crate) async fn handle(context: Context, request: MetadataRequest) -> MetadataResponse {
    let shard = &context.shard;
    let version = context.version;
    let image = shard.image();
    let mut topics = match &request.topics {
        // Version 0 said "all" by an empty list.
        Some(asked) if !(version == 0 && asked.is_empty()) => match wanted(asked, version) {
            Err(error) => return refuse(asked, version, error),
            Ok(Wanted::Ids(ids)) => ids.into_iter().map(|id| by_id(&image, id)).collect(),
            Ok(Wanted::Names(names)) => {
                let mut topics: Vec<_> = names.into_iter().map(|name| by_name(&image, name)).collect();
                if request.allow_auto_topic_creation || version < 4 {
                    create_missing(&context, &mut topics).await;
                }
                topics
            }
        },
        _ => image.topics().map(describe).collect(),
    };
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.name.is_some()) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let cluster_operations = request.include_cluster_authorized_operations && (8..=10).contains(&version);
    let (host, port) = shard.node.advertised(context.connection.listener);
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: shard.node.node_id,
            host,
            port,
            rack: shard.node.config.rack.clone(),
        }],
        cluster_id: Some(shard.node.cluster_id.clone()),
        controller_id: shard.node.node_id,
        cluster_authorized_operations: if cluster_operations { CLUSTER_OPERATIONS } else { i32::MIN },
        topics,
        ..MetadataResponse::default()
    }
}

/// What a request asks for: each once.
enum Wanted<'a> {
    Ids(BTreeSet<Uuid>),
    Names(BTreeSet<&'a str>),
}

/// One id, and all names are ignored.
fn wanted(asked: &[MetadataRequestTopic], version: i16) -> Result<Wanted<'_>, ErrorCode> {
    let mut ids: BTreeSet<Uuid> = asked.iter().map(|topic| topic.topic_id).collect();
    ids.remove(&Uuid::ZERO);
    if version < BY_ID_FROM_VERSION && (!ids.is_empty() || asked.iter().any(|topic| topic.name.is_none())) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if !ids.is_empty() {
        return Ok(Wanted::Ids(ids));
    }
    let names: Option<_> = asked.iter().map(|topic| topic.name.as_deref()).collect();
    // Neither name nor id: nothing that Kafka foresees.
    names.map(Wanted::Names).ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)
}

/// The request as a whole is refused.
fn refuse(asked: &[MetadataRequestTopic], version: i16, error: ErrorCode) -> MetadataResponse {
    let topics = asked.iter().map(|topic| MetadataResponseTopic {
        error_code: error.into(),
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..MetadataResponseTopic::default()
    });
    MetadataResponse {
        topics: topics.collect(),
        error_code: if version >= OWN_ERROR_FROM_VERSION { error.into() } else { 0 },
        ..MetadataResponse::default()
    }
}

fn by_id(image: &Image, id: Uuid) -> MetadataResponseTopic {
    image.topic_by_id(id).map_or_else(
        || MetadataResponseTopic {
            error_code: ErrorCode::UNKNOWN_TOPIC_ID.into(),
            topic_id: id,
            name: None,
            ..MetadataResponseTopic::default()
        },
        describe,
    )
}

fn by_name(image: &Image, name: &str) -> MetadataResponseTopic {
    let error = match image.topic(name) {
        Some(topic) => return describe(topic),
        None if names::illegal(name).is_some() => ErrorCode::INVALID_TOPIC_EXCEPTION,
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    };
    MetadataResponseTopic {
        error_code: error.into(),
        name: Some(name.to_owned()),
        is_internal: names::is_internal(name),
        ..MetadataResponseTopic::default()
    }
}

fn describe(topic: &TopicImage) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions).map(|(index, partition)| MetadataResponsePartition {
        error_code: 0,
        partition_index: index,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.isr.clone(),
        offline_replicas: Vec::new(),
    });
    MetadataResponseTopic {
        error_code: 0,
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: names::is_internal(&topic.name),
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    }
}

/// Starts the creation of what is missing. As in Kafka the request that triggers it is still told
/// UNKNOWN_TOPIC_OR_PARTITION; the client asks again.
async fn create_missing(context: &Context, topics: &mut [MetadataResponseTopic]) {
    let unknown = i16::from(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let missing = topics.iter().filter(|topic| topic.error_code == unknown).filter_map(|topic| topic.name.clone());
    let node = &context.shard.node;
    for name in missing.collect::<Vec<_>>() {
        if node.config.auto_create_topics_enable || names::is_internal(&name) {
            node.create_topic(&name).await;
        }
    }
}
