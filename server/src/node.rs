//! What all threads of a broker share: its identity, its settings, and how to reach each other. Immutable after start,
//! but for counters.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use kringle_log::TopicPartition;
use kringle_protocol::ErrorCode;
use kringle_protocol::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kringle_protocol::messages::CreateTopicsRequest;
use kringle_runtime::{Sender, oneshot};

use crate::broker::control::ControlMessage;
use crate::config::{BrokerConfig, Configs, DynamicConfigs, TopicConfig};
use crate::control::image::{Image, ResourceType};
use crate::control::plane::{Command, CommandResponse};
use crate::names;
use crate::net::accept::{Connections, Limits};
use crate::shard::ShardHandle;
use crate::shard::metrics::{Value, counter, gauge};
use crate::shard::shared::Registry;

/// Which listener a connection came in by: its place in the configuration. What is served depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerId {
    /// One of the broker's: clients.
    Broker(usize),
    /// One of `controller.listener.names`: tools that were given `--bootstrap-controller`.
    Controller(usize),
}

/// Shared by the threads of one broker.
pub(crate) struct Node {
    /// As of the start; what may change while the broker runs, `Shard::config` has.
    pub(crate) config: BrokerConfig,
    pub(crate) node_id: i32,
    pub(crate) cluster_id: String,
    pub(crate) log_dir: PathBuf,
    pub(crate) connections: Connections,
    /// What the checkpoints said at start.
    pub(crate) recovered: Recovered,
    /// What may be read here, on whatever shard.
    pub(crate) partitions: Registry,
    control: Sender<ControlMessage>,
    shards: OnceLock<Vec<ShardHandle>>,
    producer_ids: Mutex<std::ops::Range<i64>>,
}

/// What is known of the logs before they are opened.
#[derive(Default)]
pub(crate) struct Recovered {
    /// The broker stopped in order: nothing has to be scanned.
    pub(crate) clean: bool,
    pub(crate) recovery_points: BTreeMap<TopicPartition, i64>,
    pub(crate) log_starts: BTreeMap<TopicPartition, i64>,
}

/// What [`Node::new`] is made of.
pub(crate) struct Identity {
    pub(crate) config: BrokerConfig,
    pub(crate) cluster_id: String,
    pub(crate) log_dir: PathBuf,
    pub(crate) recovered: Recovered,
}

impl Node {
    pub(crate) fn new(identity: Identity, control: Sender<ControlMessage>) -> Node {
        let Identity { config, cluster_id, log_dir, recovered } = identity;
        Node {
            node_id: config.node_id,
            connections: Connections::new(limits(&config)),
            config,
            cluster_id,
            log_dir,
            recovered,
            partitions: Registry::default(),
            control,
            shards: OnceLock::new(),
            producer_ids: Mutex::new(0..0),
        }
    }

    /// The shards, in order; none before they are started.
    pub(crate) fn shards(&self) -> &[ShardHandle] {
        self.shards.get().map_or(&[], Vec::as_slice)
    }

    /// Tells the node its shards, once.
    pub(crate) fn set_shards(&self, shards: Vec<ShardHandle>) {
        assert!(self.shards.set(shards).is_ok(), "shards are started once");
    }

    /// Where a partition's files are.
    pub(crate) fn partition_dir(&self, tp: &TopicPartition) -> PathBuf {
        self.log_dir.join(tp.to_string())
    }

    /// The host and port that clients of that listener are told.
    pub(crate) fn advertised(&self, listener: ListenerId) -> (String, i32) {
        let listener = match listener {
            ListenerId::Broker(index) => &self.config.listeners[index],
            ListenerId::Controller(index) => &self.config.controller_listeners[index],
        };
        (listener.advertised_host.clone(), i32::from(listener.advertised_port))
    }

    /// A topic's settings as they act now.
    pub(crate) fn topic_config(&self, image: &Image, topic: &str) -> TopicConfig {
        let none = Configs::new();
        let overrides = image.configs(ResourceType::Topic, topic).unwrap_or(&none);
        TopicConfig::resolve(overrides, &self.dynamic_configs(image), &self.config)
    }

    /// What was set for this broker while it runs.
    pub(crate) fn dynamic_configs(&self, image: &Image) -> DynamicConfigs {
        let of = |name: &str| image.configs(ResourceType::Broker, name).cloned().unwrap_or_default();
        DynamicConfigs { broker: of(&self.node_id.to_string()), cluster: of("") }
    }

    /// Takes up what was set while the broker runs, as far as it bears on the node as a whole.
    pub(crate) fn reconfigure(&self, image: &Image) {
        self.connections.limit(limits(&self.config.with_dynamic(&self.dynamic_configs(image))));
    }

    /// Sends a command to the control plane and waits until it is durable and all shards work by it.
    ///
    /// # Errors
    /// `NOT_CONTROLLER` when the broker is stopping.
    pub(crate) async fn execute<T: Send + 'static>(
        &self,
        make: impl FnOnce(kringle_runtime::Reply<T>) -> ControlMessage,
    ) -> Result<T, ErrorCode> {
        let (reply, answer) = oneshot();
        self.control.send(make(reply)).await.map_err(|_| ErrorCode::NOT_CONTROLLER)?;
        answer.await.ok_or(ErrorCode::NOT_CONTROLLER)
    }

    /// What the node as a whole counts.
    pub(crate) fn values(&self) -> Vec<Value> {
        let refused = self.connections.refused();
        vec![
            counter("connections_refused", "Connections refused for max.connections.per.ip.", refused),
            gauge("control_messages", "Messages that wait for the control thread.", self.control.len()),
        ]
    }

    /// A producer id that nobody else gets; fetched from the control plane in blocks of 1000.
    ///
    /// # Errors
    /// `COORDINATOR_NOT_AVAILABLE` when no block can be had.
    pub(crate) async fn next_producer_id(&self) -> Result<i64, ErrorCode> {
        loop {
            if let Some(id) = self.producer_ids.lock().unwrap_or_else(PoisonError::into_inner).next() {
                return Ok(id);
            }
            let block = self.execute(ControlMessage::AllocateProducerIds).await;
            let block = block.and_then(|block| block).map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
            let mut held = self.producer_ids.lock().unwrap_or_else(PoisonError::into_inner);
            if held.is_empty() {
                *held = block;
            }
        }
    }

    /// Creates a topic with the broker's defaults, if it is not there: an internal one, or one that a client asked for.
    pub(crate) async fn create_topic(&self, name: &str) {
        let internal = name == names::CONSUMER_OFFSETS;
        let config = |name: &str, value: String| CreatableTopicConfig { name: name.to_owned(), value: Some(value) };
        let topic = if internal {
            CreatableTopic {
                name: name.to_owned(),
                num_partitions: self.config.offsets_topic_num_partitions,
                replication_factor: self.config.offsets_topic_replication_factor,
                configs: vec![
                    config("compression.type", "producer".to_owned()),
                    config("cleanup.policy", "compact".to_owned()),
                    config("segment.bytes", self.config.offsets_topic_segment_bytes.to_string()),
                ],
                ..CreatableTopic::default()
            }
        } else {
            CreatableTopic {
                name: name.to_owned(),
                num_partitions: -1,
                replication_factor: -1,
                ..CreatableTopic::default()
            }
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        match self.execute(|reply| ControlMessage::Execute(Command::CreateTopics(request), reply)).await {
            Ok(CommandResponse::CreateTopics(response)) => {
                let result = &response.topics[0];
                let error = ErrorCode::from(result.error_code);
                if error != ErrorCode::NONE && error != ErrorCode::TOPIC_ALREADY_EXISTS {
                    let why = result.error_message.as_deref().unwrap_or(error.message());
                    tracing::warn!("topic {name} cannot be created: {why}");
                }
            }
            _ => tracing::warn!("topic {name} cannot be created: the broker is stopping"),
        }
    }

    /// Writes the checkpoints now and returns when they are durable.
    pub(crate) async fn checkpoint_now(&self) {
        if self.execute(ControlMessage::Checkpoint).await.is_err() {
            tracing::warn!("checkpoint skipped: the broker is stopping");
        }
    }

    /// Ends the process: the only log directory cannot be trusted any more.
    pub(crate) fn storage_failed(&self, why: &str) {
        tracing::error!("log directory {} failed: {why}; the broker stops", self.log_dir.display());
        if self.control.try_send(ControlMessage::StorageFailed(why.to_owned())).is_err() {
            tracing::error!("the control plane is gone already");
        }
    }
}

fn limits(config: &BrokerConfig) -> Limits {
    Limits {
        max: config.max_connections,
        max_per_ip: config.max_connections_per_ip,
        per_ip_overrides: config.max_connections_per_ip_overrides.clone(),
    }
}

impl Recovered {
    /// What is known of one log.
    pub(crate) fn of(&self, tp: &TopicPartition) -> RecoveredLog {
        RecoveredLog {
            clean: self.clean,
            recovery_point: self.recovery_points.get(tp).copied().unwrap_or(0),
            log_start_offset: self.log_starts.get(tp).copied(),
        }
    }
}

/// What the checkpoints said of one log.
pub(crate) struct RecoveredLog {
    pub(crate) clean: bool,
    pub(crate) recovery_point: i64,
    pub(crate) log_start_offset: Option<i64>,
}

impl RecoveredLog {
    /// Of a log that does not exist yet.
    pub(crate) fn new_log() -> RecoveredLog {
        RecoveredLog { clean: true, recovery_point: 0, log_start_offset: None }
    }
}
