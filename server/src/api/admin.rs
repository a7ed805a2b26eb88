//! The requests that change metadata: CreateTopics (19), DeleteTopics (20), AlterConfigs (33), CreatePartitions (37),
//! IncrementalAlterConfigs (44), UpdateFeatures (57). Each is a command of the control plane, answered once the change is
//! durable and all shards work by it. DescribeQuorum (55) asks the same thread.

use kringle_protocol::alter_configs_response::AlterConfigsResourceResponse as AlteredResource;
use kringle_protocol::create_partitions_response::CreatePartitionsTopicResult;
use kringle_protocol::create_topics_response::CreatableTopicResult;
use kringle_protocol::delete_topics_response::DeletableTopicResult;
use kringle_protocol::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use kringle_protocol::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kringle_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use kringle_protocol::{ErrorCode, Uuid};

use super::Context;
use crate::broker::control::ControlMessage;
use crate::control::plane::{Command, CommandResponse};

/// The topic of the metadata log, the only one that DescribeQuorum knows.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// The version of DescribeQuorum from which the voters' listeners are told.
const NODES_FROM_VERSION: i16 = 2;

/// Executes a command and unwraps the answer of the same name.
macro_rules! execute {
    ($context:expr, $kind:ident, $command:expr, $failed:expr) => {{
        let command = $command;
        match $context.shard.node.execute(|reply| ControlMessage::Execute(command, reply)).await {
            Ok(CommandResponse::$kind(response)) => response,
            Ok(other) => unreachable!("a command is answered by its own name, not {other:?}"),
            Err(error) => $failed(i16::from(error)),
        }
    }};
}

/// Whether a change is late as soon as it comes. Kafka's controller takes such a request off its queue undone.
pub(super) fn is_late(timeout_ms: i32) -> bool {
    timeout_ms <= 0
}

/// What a request is told that was late.
pub(super) const LATE: i16 = ErrorCode::REQUEST_TIMED_OUT.code();

/// CreateTopics.
pub(crate) async fn create_topics(context: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let names: Vec<String> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let failed = |error_code| CreateTopicsResponse {
        topics: names
            .into_iter()
            .map(|name| CreatableTopicResult {
                name,
                error_code,
                error_message: None,
                ..CreatableTopicResult::default()
            })
            .collect(),
        ..CreateTopicsResponse::default()
    };
    if is_late(request.timeout_ms) {
        return failed(LATE);
    }
    execute!(context, CreateTopics, Command::CreateTopics(request), failed)
}

/// DeleteTopics. Up to version 5 topics are named in `topic_names`, later in `topics`.
pub(crate) async fn delete_topics(context: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let named = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
    let asked: Vec<_> = named.chain(request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id))).collect();
    let failed = |error_code| DeleteTopicsResponse {
        responses: asked
            .into_iter()
            .map(|(name, topic_id)| DeletableTopicResult { name, topic_id, error_code, error_message: None })
            .collect(),
        ..DeleteTopicsResponse::default()
    };
    if is_late(request.timeout_ms) {
        return failed(LATE);
    }
    execute!(context, DeleteTopics, Command::DeleteTopics(request, context.version), failed)
}

/// CreatePartitions.
pub(crate) async fn create_partitions(context: Context, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let names: Vec<String> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let failed = |error_code| CreatePartitionsResponse {
        results: names
            .into_iter()
            .map(|name| CreatePartitionsTopicResult { name, error_code, error_message: None })
            .collect(),
        ..CreatePartitionsResponse::default()
    };
    if is_late(request.timeout_ms) {
        return failed(LATE);
    }
    execute!(context, CreatePartitions, Command::CreatePartitions(request), failed)
}

/// IncrementalAlterConfigs.
pub(crate) async fn incremental_alter_configs(
    context: Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let named: Vec<_> = request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
    let command = Command::IncrementalAlterConfigs(request);
    execute!(context, IncrementalAlterConfigs, command, |error_code| IncrementalAlterConfigsResponse {
        responses: named
            .into_iter()
            .map(|(resource_type, resource_name)| AlterConfigsResourceResponse {
                error_code,
                resource_type,
                resource_name,
                ..AlterConfigsResourceResponse::default()
            })
            .collect(),
        ..IncrementalAlterConfigsResponse::default()
    })
}

/// AlterConfigs, the old way that replaces all.
pub(crate) async fn alter_configs(context: Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let named: Vec<_> = request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
    execute!(context, AlterConfigs, Command::AlterConfigs(request), |error_code| AlterConfigsResponse {
        responses: named
            .into_iter()
            .map(|(resource_type, resource_name)| AlteredResource {
                error_code,
                resource_type,
                resource_name,
                ..AlteredResource::default()
            })
            .collect(),
        ..AlterConfigsResponse::default()
    })
}

/// UpdateFeatures.
pub(crate) async fn update_features(context: Context, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let command = Command::UpdateFeatures(request, context.version);
    execute!(context, UpdateFeatures, command, |error_code| UpdateFeaturesResponse {
        error_code,
        ..UpdateFeaturesResponse::default()
    })
}

/// DescribeQuorum: the quorum of one. Only the metadata log, asked for once and alone, has one.
pub(crate) async fn describe_quorum(context: Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let node = &context.shard.node;
    let is_metadata_log = match request.topics.as_slice() {
        [topic] => match topic.partitions.as_slice() {
            [partition] => topic.topic_name == CLUSTER_METADATA && partition.partition_index == 0,
            _ => false,
        },
        _ => false,
    };
    if !is_metadata_log {
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let topics = request.topics.into_iter().map(|topic| TopicData {
            topic_name: topic.topic_name,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| PartitionData {
                    partition_index: partition.partition_index,
                    error_code: unknown.into(),
                    error_message: Some(unknown.message().to_owned()),
                    ..PartitionData::default()
                })
                .collect(),
        });
        return DescribeQuorumResponse { topics: topics.collect(), ..DescribeQuorumResponse::default() };
    }
    let state = match node.execute(ControlMessage::DescribeQuorum).await {
        Ok(state) => state,
        Err(error) => return DescribeQuorumResponse { error_code: error.into(), ..DescribeQuorumResponse::default() },
    };
    let voter = ReplicaState {
        replica_id: state.leader_id,
        replica_directory_id: state.directory_id,
        log_end_offset: state.log_end_offset,
        last_fetch_timestamp: state.caught_up_ms,
        last_caught_up_timestamp: state.caught_up_ms,
    };
    let partition = PartitionData {
        partition_index: 0,
        leader_id: state.leader_id,
        leader_epoch: state.epoch,
        high_watermark: state.log_end_offset,
        current_voters: vec![voter],
        ..PartitionData::default()
    };
    let topic = TopicData { topic_name: CLUSTER_METADATA.to_owned(), partitions: vec![partition] };
    let listeners = node.config.controller_listeners.iter().map(|listener| Listener {
        name: listener.name.clone(),
        host: listener.advertised_host.clone(),
        port: listener.advertised_port,
    });
    let nodes = vec![Node { node_id: node.node_id, listeners: listeners.collect() }];
    DescribeQuorumResponse {
        topics: vec![topic],
        nodes: if context.version >= NODES_FROM_VERSION { nodes } else { Vec::new() },
        ..DescribeQuorumResponse::default()
    }
}
