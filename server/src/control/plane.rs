//! [`ControlPlane`]: the whole control plane behind three calls: open, execute, close. Owned by the control thread; all
//! calls block.
//!
//! A command that is executed is durable and applied; whoever calls publishes the new image to the shards before it
//! answers. An error that is not a full disk means that the metadata log is lost to this process: it must end.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use kringle_log::LogDir;
use kringle_protocol::Uuid;
use kringle_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ConfigRecord, CreatePartitionsRequest, CreatePartitionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, PartitionChangeRecord, UpdateFeaturesRequest,
    UpdateFeaturesResponse,
};
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_runtime::Fs;

use super::controller::registration::{self, Registration};
use super::controller::{
    Context, Decision, configs, features as feature_updates, new_id, partitions, producer_ids, topics,
};
use super::features::ELR_VERSION;
use super::format::{self, FormatError, Formatted};
use super::image::{Image, ImageDelta, ResourceType};
use super::quorum::{Identity, Quorum, QuorumError};
use super::snapshot_file::{self, SnapshotError};
use super::versions;
use crate::config::BrokerConfig;

/// After how much a snapshot is written, and Kafka's default.
const SNAPSHOT_BYTES: (&str, i64) = ("metadata.log.max.record.bytes.between.snapshots", 20 << 20);
/// After how long a snapshot is written if anything has changed, and Kafka's default; 0: not by time.
const SNAPSHOT_INTERVAL_MS: (&str, i64) = ("metadata.log.max.snapshot.interval.ms", 60 * 60 * 1000);

/// Why the control plane fails. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The directories.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The metadata log.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// The file with the first records.
    #[error("{path}: {source}")]
    Bootstrap {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SnapshotError,
    },
}

impl ControlError {
    /// Whether a command was refused for want of room; the control plane works on then.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, ControlError::Quorum(error) if error.is_disk_full())
    }
}

/// A change of the metadata.
#[derive(Clone, Debug)]
pub enum Command {
    /// CreateTopics.
    CreateTopics(CreateTopicsRequest),
    /// DeleteTopics, and its version.
    DeleteTopics(DeleteTopicsRequest, i16),
    /// CreatePartitions.
    CreatePartitions(CreatePartitionsRequest),
    /// IncrementalAlterConfigs.
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    /// AlterConfigs.
    AlterConfigs(AlterConfigsRequest),
    /// UpdateFeatures, and its version.
    UpdateFeatures(UpdateFeaturesRequest, i16),
    /// Which log directory each of these partitions (topic id, index) of this broker has been put into.
    AssignDirectories(Vec<(Uuid, i32, Uuid)>),
    /// The logs are open: make this broker a live one and the leader of its partitions.
    Unfence,
}

/// What a command is answered with, under the command's name.
#[derive(Clone, Debug)]
pub enum CommandResponse {
    /// CreateTopics.
    CreateTopics(CreateTopicsResponse),
    /// DeleteTopics.
    DeleteTopics(DeleteTopicsResponse),
    /// CreatePartitions.
    CreatePartitions(CreatePartitionsResponse),
    /// IncrementalAlterConfigs.
    IncrementalAlterConfigs(IncrementalAlterConfigsResponse),
    /// AlterConfigs.
    AlterConfigs(AlterConfigsResponse),
    /// UpdateFeatures.
    UpdateFeatures(UpdateFeaturesResponse),
    /// There is nothing to say.
    Done,
}

/// A command that is durable.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The metadata with it.
    pub image: Arc<Image>,
    /// What it changed.
    pub delta: ImageDelta,
    /// Whether it changed anything.
    pub changed: bool,
    /// The answer, to be sent once the image is published.
    pub response: CommandResponse,
}

/// The quorum of one, as DescribeQuorum tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumState {
    /// The leader and only voter: this node.
    pub leader_id: i32,
    /// Its epoch.
    pub epoch: i32,
    /// The offset of the next record; as with one voter all are committed, the high watermark too.
    pub log_end_offset: i64,
    /// The voter's directory where the voters stand in the log, else the zero id.
    pub directory_id: Uuid,
    /// When it last had everything: now.
    pub caught_up_ms: i64,
}

/// Makes the sixteen random bytes of an id.
pub type Random = Box<dyn FnMut() -> [u8; 16]>;

/// The control plane of one node.
pub struct ControlPlane {
    quorum: Quorum,
    config: BrokerConfig,
    random: Random,
    directories: Vec<Formatted>,
    broker_epoch: i64,
    snapshot_bytes: i64,
    snapshot_interval_ms: i64,
    /// When the last snapshot was written, or this process started.
    snapshot_ms: i64,
}

impl ControlPlane {
    /// Formats the log directories if they are new, loads the metadata, begins an epoch and registers this node. The
    /// broker is still fenced: [`Command::Unfence`] follows once its logs are open.
    ///
    /// The metadata is in the first directory. `own` says how this node can be reached; its log directories are filled in
    /// here. A new directory becomes one of the cluster `cluster_id`, or of a new cluster.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn open(
        fs: &Fs,
        dirs: &[LogDir],
        config: BrokerConfig,
        mut own: Registration,
        cluster_id: Option<&str>,
        mut random: Random,
        now_ms: i64,
    ) -> Result<ControlPlane, ControlError> {
        let mut id = || new_id(&mut *random);
        let standalone = names_no_voters(&config).then_some(own.controller_endpoints.as_slice());
        let standalone = standalone.filter(|endpoints| !endpoints.is_empty());
        let directories = format::identify(fs, dirs, config.node_id, cluster_id, standalone, &mut id, now_ms)?;
        let Formatted { path: metadata_dir, directory_id, .. } = directories[0].clone();
        own.log_dirs = directories.iter().map(|dir| dir.directory_id).collect();
        let identity = Identity { node_id: config.node_id, directory_id, log_dir: metadata_dir.clone() };
        let quorum = Quorum::open(fs, identity, now_ms)?;
        let given = |(name, default): (&str, i64)| {
            config.given().get(name).and_then(|value| value.trim().parse().ok()).unwrap_or(default)
        };
        let mut plane = ControlPlane {
            snapshot_bytes: given(SNAPSHOT_BYTES),
            snapshot_interval_ms: given(SNAPSHOT_INTERVAL_MS),
            snapshot_ms: now_ms,
            broker_epoch: -1,
            quorum,
            config,
            random,
            directories,
        };
        plane.quorum.lead(now_ms)?;
        plane.bootstrap(fs, &metadata_dir, now_ms)?;
        plane.register(&own, now_ms)?;
        Ok(plane)
    }

    /// The first records of a new directory: those it was formatted with.
    fn bootstrap(&mut self, fs: &Fs, metadata_dir: &std::path::Path, now_ms: i64) -> Result<(), ControlError> {
        if self.quorum.has_records() || self.quorum.image().metadata_version() > 0 {
            return Ok(());
        }
        let path = metadata_dir.join(snapshot_file::BOOTSTRAP);
        let mut records = if fs.exists(&path) {
            let read = snapshot_file::read(fs, &path);
            read.map_err(|source| ControlError::Bootstrap { path, source })?.image.to_records().collect()
        } else {
            format::bootstrap_records()
        };
        let has_elr = |record: &MetadataRecord| matches!(record, MetadataRecord::FeatureLevelRecord(f) if f.name == ELR_VERSION && f.feature_level > 0);
        if records.iter().any(has_elr) {
            let given = self.config.given().get("min.insync.replicas").cloned();
            records.push(MetadataRecord::ConfigRecord(ConfigRecord {
                resource_type: ResourceType::Broker.id(),
                resource_name: String::new(),
                name: "min.insync.replicas".to_owned(),
                value: Some(given.unwrap_or_else(|| "1".to_owned())),
            }));
        }
        self.quorum.append(records, Some("Bootstrap records"), now_ms)?;
        Ok(())
    }

    fn register(&mut self, own: &Registration, now_ms: i64) -> Result<(), ControlError> {
        let incarnation = new_id(&mut *self.random);
        let image = self.quorum.image().clone();
        if let Some(record) = registration::register_controller(&image, own, incarnation) {
            self.quorum.append(vec![record], None, now_ms)?;
        }
        let incarnation = new_id(&mut *self.random);
        self.broker_epoch = self.quorum.end_offset();
        let record = registration::register_broker(&image, own, incarnation, self.broker_epoch);
        self.quorum.append(vec![record], None, now_ms)?;
        Ok(())
    }

    /// The metadata as of the last command.
    pub fn image(&self) -> &Arc<Image> {
        self.quorum.image()
    }

    /// The id of the cluster.
    pub fn cluster_id(&self) -> &str {
        &self.directories[0].cluster_id
    }

    /// What the log directories say of themselves, that of the metadata first.
    pub fn directories(&self) -> &[Formatted] {
        &self.directories
    }

    /// The epoch under which this broker is registered: the offset of its registration.
    pub fn broker_epoch(&self) -> i64 {
        self.broker_epoch
    }

    /// Executes a command.
    ///
    /// # Errors
    /// See [`ControlError`]. Only after [`ControlError::is_disk_full`] may the control plane be used again.
    pub fn execute(&mut self, command: Command, now_ms: i64) -> Result<Executed, ControlError> {
        let image = self.quorum.image().clone();
        let context = &mut Context { image: &image, config: &self.config, random: &mut *self.random };
        let (records, response) = match command {
            Command::CreateTopics(request) => {
                split(topics::create_topics(context, &request), CommandResponse::CreateTopics)
            }
            Command::DeleteTopics(request, version) => {
                split(topics::delete_topics(context, &request, version), CommandResponse::DeleteTopics)
            }
            Command::CreatePartitions(request) => {
                split(partitions::create_partitions(context, &request), CommandResponse::CreatePartitions)
            }
            Command::IncrementalAlterConfigs(request) => {
                split(configs::incremental_alter_configs(context, &request), CommandResponse::IncrementalAlterConfigs)
            }
            Command::AlterConfigs(request) => {
                split(configs::alter_configs(context, &request), CommandResponse::AlterConfigs)
            }
            Command::UpdateFeatures(request, version) => {
                split(feature_updates::update_features(context, &request, version), CommandResponse::UpdateFeatures)
            }
            Command::AssignDirectories(assigned) => {
                (directory_records(&image, self.config.node_id, &assigned), CommandResponse::Done)
            }
            Command::Unfence => {
                (registration::unfence(&image, self.config.node_id, self.broker_epoch), CommandResponse::Done)
            }
        };
        let changed = !records.is_empty();
        let delta = self.quorum.append(records, None, now_ms)?;
        self.snapshot_if_due(now_ms)?;
        Ok(Executed { image: self.quorum.image().clone(), delta, changed, response })
    }

    /// A block of producer ids that nobody ever had.
    ///
    /// # Errors
    /// As [`ControlPlane::execute`].
    pub fn allocate_producer_ids(&mut self, now_ms: i64) -> Result<Range<i64>, ControlError> {
        let image = self.quorum.image().clone();
        let context = &Context { image: &image, config: &self.config, random: &mut *self.random };
        let decision = producer_ids::allocate_producer_ids(context, self.config.node_id, self.broker_epoch);
        let start = decision.response.producer_id_start;
        self.quorum.append(decision.records, None, now_ms)?;
        Ok(start..start + i64::from(decision.response.producer_id_len))
    }

    /// The quorum, for DescribeQuorum.
    pub fn describe_quorum(&self, now_ms: i64) -> QuorumState {
        let in_log = self.quorum.voters().is_some();
        QuorumState {
            leader_id: self.config.node_id,
            epoch: self.quorum.epoch(),
            log_end_offset: self.quorum.end_offset(),
            directory_id: if in_log { self.directories[0].directory_id } else { Uuid::ZERO },
            caught_up_ms: now_ms,
        }
    }

    fn snapshot_if_due(&mut self, now_ms: i64) -> Result<(), ControlError> {
        let bytes = self.quorum.bytes_since_snapshot();
        let interval = self.snapshot_interval_ms;
        let is_old = bytes > 0 && interval > 0 && now_ms - self.snapshot_ms >= interval;
        if bytes >= self.snapshot_bytes || is_old {
            self.quorum.write_snapshot(now_ms)?;
            self.snapshot_ms = now_ms;
        }
        Ok(())
    }

    /// The clean stop: gives up leadership, fences this broker, and leaves the log as Kafka would. Nothing may be
    /// executed afterwards.
    ///
    /// # Errors
    /// As [`ControlPlane::execute`].
    pub fn close(&mut self, now_ms: i64) -> Result<(), ControlError> {
        let image = self.quorum.image().clone();
        let farewell = registration::fence(&image, self.config.node_id, self.broker_epoch);
        self.quorum.append(farewell, None, now_ms)?;
        Ok(self.quorum.close()?)
    }
}

fn names_no_voters(config: &BrokerConfig) -> bool {
    config.given().get("controller.quorum.voters").is_none_or(|voters| voters.trim().is_empty())
}

fn split<R>(decision: Decision<R>, answer: fn(R) -> CommandResponse) -> (Vec<MetadataRecord>, CommandResponse) {
    (decision.records, answer(decision.response))
}

/// The records that name the directories of this broker's replicas, where the image says otherwise.
fn directory_records(image: &Image, node_id: i32, assigned: &[(Uuid, i32, Uuid)]) -> Vec<MetadataRecord> {
    if !versions::has_directories(image.metadata_version()) {
        return Vec::new();
    }
    let record = |(topic_id, partition_id, directory): &(Uuid, i32, Uuid)| {
        let topic = image.topic_by_id(*topic_id)?;
        let partition = topic.partitions.get(usize::try_from(*partition_id).ok()?)?;
        let at = partition.replicas.iter().position(|replica| *replica == node_id)?;
        let mut directories = partition.directories.clone();
        if std::mem::replace(directories.get_mut(at)?, *directory) == *directory {
            return None;
        }
        Some(MetadataRecord::PartitionChangeRecord(PartitionChangeRecord {
            partition_id: *partition_id,
            topic_id: *topic_id,
            directories: Some(directories),
            ..Default::default()
        }))
    };
    assigned.iter().filter_map(record).collect()
}

#[cfg(test)]
mod tests;
