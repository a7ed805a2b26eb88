//! Metadata (key 3): brokers and topics as the client asks for them; topics are created on the way where that is allowed.

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

/// Answers from the image; creates topics that are asked for by name, do not exist and may be created.
pub(crate) async fn handle(context: Context, request: MetadataRequest) -> MetadataResponse {
    let shard = &context.shard;
    let version = context.version;
    let image = shard.image();
    let topics = match &request.topics {
        // Version 0 said "all" by an empty list.
        Some(asked) if !(version == 0 && asked.is_empty()) => {
            let mut topics: Vec<_> = asked.iter().map(|asked| named(&image, asked, version)).collect();
            if request.allow_auto_topic_creation || version < 4 {
                create_missing(&context, &mut topics).await;
            }
            topics
        }
        _ => image.topics().map(describe).collect(),
    };
    let topics = topics.into_iter().map(|mut topic| {
        if request.include_topic_authorized_operations && topic.error_code == 0 {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
        topic
    });
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
        topics: topics.collect(),
        ..MetadataResponse::default()
    }
}

fn named(image: &Image, asked: &MetadataRequestTopic, version: i16) -> MetadataResponseTopic {
    let by_id = version >= 10 && asked.topic_id != Uuid::ZERO;
    if by_id {
        if asked.name.is_some() && version < 12 {
            return failed(asked, ErrorCode::INVALID_REQUEST);
        }
        return image.topic_by_id(asked.topic_id).map_or_else(|| failed(asked, ErrorCode::UNKNOWN_TOPIC_ID), describe);
    }
    let Some(name) = &asked.name else { return failed(asked, ErrorCode::INVALID_REQUEST) };
    match image.topic(name) {
        Some(topic) => describe(topic),
        None if names::illegal(name).is_some() => failed(asked, ErrorCode::INVALID_TOPIC_EXCEPTION),
        None => failed(asked, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    }
}

fn failed(asked: &MetadataRequestTopic, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.into(),
        name: asked.name.clone(),
        topic_id: asked.topic_id,
        is_internal: asked.name.as_deref().is_some_and(names::is_internal),
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
