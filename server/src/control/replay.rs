//! How a metadata record changes the image: Kafka's replay rules. Pure. A record that contradicts the image means that
//! the log is not what its writer believed, so nothing is guessed.

use std::sync::Arc;

use kringle_protocol::Uuid;
use kringle_protocol::messages::{
    BrokerRegistrationChangeRecord, ClientQuotaRecord, ConfigRecord, FeatureLevelRecord, PartitionChangeRecord,
    PartitionRecord, RegisterBrokerRecord, RegisterControllerRecord,
};
use kringle_protocol::metadata_record::MetadataRecord;

use super::features::{self, METADATA_VERSION};
use super::image::{Image, ImageDelta, PartitionImage, ProducerIds, QuotaKey, Resource, ResourceType, TopicImage};

/// The leader field of a change record that leaves the leader as it is.
pub(super) const LEADER_UNCHANGED: i32 = -2;
/// The recovery state of a change record that leaves it as it is.
const RECOVERY_STATE_UNCHANGED: i8 = -1;

/// Why a record cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The directory was used by a newer Kafka.
    #[error(
        "a feature is finalized that this version does not know: {name}={level}. Downgrade it with kafka-features.sh first"
    )]
    UnknownFeature {
        /// Its name.
        name: String,
        /// Its level.
        level: i16,
    },
    /// Nothing like it was created.
    #[error("a record speaks of topic id {0}, which does not exist")]
    UnknownTopic(Uuid),
    /// Nothing like it was created.
    #[error("a record speaks of partition {partition} of topic {topic}, which does not exist")]
    UnknownPartition {
        /// Its name.
        topic: String,
        /// Its index.
        partition: i32,
    },
    /// Partitions are created in order.
    #[error("partition {partition} of topic {topic} is recorded before its predecessors")]
    PartitionGap {
        /// Its name.
        topic: String,
        /// Its index.
        partition: i32,
    },
    /// Names and ids are taken once.
    #[error("a record creates topic {0}, which exists")]
    TopicExists(String),
    /// It was never registered, or has registered anew since.
    #[error("a record speaks of broker {broker} with epoch {epoch}, which is not registered")]
    UnknownBroker {
        /// Its id.
        broker: i32,
        /// Its epoch.
        epoch: i64,
    },
    /// ZooKeeper is gone since Kafka 4.0.
    #[error("a record of type {0} belongs to the migration from ZooKeeper: finish it with Kafka 3.9 first")]
    Migration(&'static str),
}

impl Image {
    /// Applies one record. Markers of metadata transactions and no-ops change nothing: their caller deals with them.
    ///
    /// # Errors
    /// The record contradicts the image, or speaks of what this version does not know.
    pub fn apply(&mut self, record: &MetadataRecord, delta: &mut ImageDelta) -> Result<(), ReplayError> {
        match record {
            MetadataRecord::FeatureLevelRecord(record) => self.apply_feature(record, delta)?,
            MetadataRecord::TopicRecord(record) => self.create_topic(&record.name, record.topic_id, delta)?,
            MetadataRecord::RemoveTopicRecord(record) => self.remove_topic(record.topic_id, delta)?,
            MetadataRecord::PartitionRecord(record) => self.apply_partition(record, delta)?,
            MetadataRecord::PartitionChangeRecord(record) => self.apply_partition_change(record, delta)?,
            MetadataRecord::ClearElrRecord(record) => self.clear_elr(&record.topic_name),
            MetadataRecord::ConfigRecord(record) => self.apply_config(record, delta),
            MetadataRecord::ProducerIdsRecord(record) => {
                let (broker, broker_epoch) = (record.broker_id, record.broker_epoch);
                self.producer_ids = Some(ProducerIds { broker, broker_epoch, next: record.next_producer_id });
            }
            MetadataRecord::RegisterBrokerRecord(record) => self.register_broker(record, delta),
            MetadataRecord::BrokerRegistrationChangeRecord(record) => self.change_broker(record, delta)?,
            MetadataRecord::FenceBrokerRecord(record) => {
                self.registered(record.id, record.epoch, delta)?.fenced = true;
            }
            MetadataRecord::UnfenceBrokerRecord(record) => {
                self.registered(record.id, record.epoch, delta)?.fenced = false;
            }
            MetadataRecord::UnregisterBrokerRecord(record) => {
                self.registered(record.broker_id, record.broker_epoch, delta)?;
                Arc::make_mut(&mut self.brokers).remove(&record.broker_id);
            }
            MetadataRecord::RegisterControllerRecord(record) => self.register_controller(record, delta),
            MetadataRecord::ClientQuotaRecord(record) => self.apply_quota(record),
            MetadataRecord::UserScramCredentialRecord(record) => {
                Arc::make_mut(&mut self.scram).insert((record.name.clone(), record.mechanism), record.clone());
            }
            MetadataRecord::RemoveUserScramCredentialRecord(record) => {
                Arc::make_mut(&mut self.scram).remove(&(record.name.clone(), record.mechanism));
            }
            MetadataRecord::AccessControlEntryRecord(record) => {
                Arc::make_mut(&mut self.acls).insert(record.id, record.clone());
            }
            MetadataRecord::RemoveAccessControlEntryRecord(record) => {
                Arc::make_mut(&mut self.acls).remove(&record.id);
            }
            MetadataRecord::DelegationTokenRecord(record) => {
                Arc::make_mut(&mut self.tokens).insert(record.token_id.clone(), record.clone());
            }
            MetadataRecord::RemoveDelegationTokenRecord(record) => {
                Arc::make_mut(&mut self.tokens).remove(&record.token_id);
            }
            MetadataRecord::ZkMigrationStateRecord(record) => {
                // 0: this cluster never had ZooKeeper. 3: the migration is complete.
                if !matches!(record.zk_migration_state, 0 | 3) {
                    return Err(ReplayError::Migration("ZkMigrationStateRecord"));
                }
            }
            MetadataRecord::NoOpRecord(_)
            | MetadataRecord::BeginTransactionRecord(_)
            | MetadataRecord::EndTransactionRecord(_)
            | MetadataRecord::AbortTransactionRecord(_) => {}
        }
        delta.security |= matches!(
            record,
            MetadataRecord::ClientQuotaRecord(_)
                | MetadataRecord::UserScramCredentialRecord(_)
                | MetadataRecord::RemoveUserScramCredentialRecord(_)
                | MetadataRecord::AccessControlEntryRecord(_)
                | MetadataRecord::RemoveAccessControlEntryRecord(_)
                | MetadataRecord::DelegationTokenRecord(_)
                | MetadataRecord::RemoveDelegationTokenRecord(_)
        );
        Ok(())
    }

    fn apply_feature(&mut self, record: &FeatureLevelRecord, delta: &mut ImageDelta) -> Result<(), ReplayError> {
        let (name, level) = (&record.name, record.feature_level);
        if !features::is_understood(name, level) {
            return Err(ReplayError::UnknownFeature { name: name.clone(), level });
        }
        let finalized = Arc::make_mut(&mut self.features);
        if level == 0 && name != METADATA_VERSION {
            finalized.remove(name);
        } else {
            finalized.insert(name.clone(), level);
        }
        delta.features = true;
        Ok(())
    }

    fn create_topic(&mut self, name: &str, id: Uuid, delta: &mut ImageDelta) -> Result<(), ReplayError> {
        if self.topics.contains_key(name) || self.topic_names.contains_key(&id) {
            return Err(ReplayError::TopicExists(name.to_owned()));
        }
        let topic = TopicImage { name: name.to_owned(), id, partitions: Vec::new() };
        Arc::make_mut(&mut self.topics).insert(name.to_owned(), Arc::new(topic));
        Arc::make_mut(&mut self.topic_names).insert(id, name.to_owned());
        delta.created.insert(id, name.to_owned());
        Ok(())
    }

    fn remove_topic(&mut self, id: Uuid, delta: &mut ImageDelta) -> Result<(), ReplayError> {
        let name = Arc::make_mut(&mut self.topic_names).remove(&id).ok_or(ReplayError::UnknownTopic(id))?;
        Arc::make_mut(&mut self.topics).remove(&name);
        let resource = Resource { kind: ResourceType::Topic, name: name.clone() };
        Arc::make_mut(&mut self.configs).remove(&resource);
        delta.changed.remove(&id);
        delta.created.remove(&id);
        delta.configs.remove(&resource);
        delta.deleted.insert(id, name);
        Ok(())
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut TopicImage, ReplayError> {
        let name = self.topic_names.get(&id).ok_or(ReplayError::UnknownTopic(id))?;
        let topic = Arc::make_mut(&mut self.topics).get_mut(name).expect("both maps hold the same topics");
        Ok(Arc::make_mut(topic))
    }

    fn apply_partition(&mut self, record: &PartitionRecord, delta: &mut ImageDelta) -> Result<(), ReplayError> {
        let topic = self.topic_mut(record.topic_id)?;
        let index = usize::try_from(record.partition_id).ok().filter(|index| *index <= topic.partitions.len());
        let Some(index) = index else {
            return Err(ReplayError::PartitionGap { topic: topic.name.clone(), partition: record.partition_id });
        };
        let partition = PartitionImage {
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            eligible_leader_replicas: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            directories: directories(&record.directories, record.replicas.len()),
            leader_recovery_state: record.leader_recovery_state,
        };
        if index == topic.partitions.len() {
            topic.partitions.push(partition);
        } else {
            topic.partitions[index] = partition;
        }
        delta.changed.insert(record.topic_id, topic.name.clone());
        Ok(())
    }

    fn apply_partition_change(
        &mut self,
        record: &PartitionChangeRecord,
        delta: &mut ImageDelta,
    ) -> Result<(), ReplayError> {
        let topic = self.topic_mut(record.topic_id)?;
        let index = usize::try_from(record.partition_id).ok();
        let Some(partition) = index.and_then(|index| topic.partitions.get_mut(index)) else {
            return Err(ReplayError::UnknownPartition { topic: topic.name.clone(), partition: record.partition_id });
        };
        merge(partition, record);
        delta.changed.insert(record.topic_id, topic.name.clone());
        Ok(())
    }

    fn clear_elr(&mut self, topic: &str) {
        let named = |name: &str| topic.is_empty() || topic == name;
        for (_, topic) in Arc::make_mut(&mut self.topics).iter_mut().filter(|(name, _)| named(name)) {
            let has_elr = |p: &PartitionImage| !(p.eligible_leader_replicas.is_empty() && p.last_known_elr.is_empty());
            if topic.partitions.iter().any(has_elr) {
                for partition in &mut Arc::make_mut(topic).partitions {
                    partition.eligible_leader_replicas.clear();
                    partition.last_known_elr.clear();
                }
            }
        }
    }

    fn apply_config(&mut self, record: &ConfigRecord, delta: &mut ImageDelta) {
        let Some(kind) = ResourceType::from_id(record.resource_type) else {
            // Kafka knows an UNKNOWN type (0) here and never looks at it again.
            return;
        };
        let resource = Resource { kind, name: record.resource_name.clone() };
        let all = Arc::make_mut(&mut self.configs);
        let configs = Arc::make_mut(all.entry(resource.clone()).or_default());
        match &record.value {
            Some(value) => drop(configs.insert(record.name.clone(), value.clone())),
            None => drop(configs.remove(&record.name)),
        }
        if configs.is_empty() {
            all.remove(&resource);
        }
        delta.configs.insert(resource);
    }

    fn register_broker(&mut self, record: &RegisterBrokerRecord, delta: &mut ImageDelta) {
        let mut record = record.clone();
        record.end_points.sort_by(|a, b| a.name.cmp(&b.name));
        record.features.sort_by(|a, b| a.name.cmp(&b.name));
        Arc::make_mut(&mut self.brokers).insert(record.broker_id, record);
        delta.brokers = true;
    }

    fn register_controller(&mut self, record: &RegisterControllerRecord, delta: &mut ImageDelta) {
        let mut record = record.clone();
        record.end_points.sort_by(|a, b| a.name.cmp(&b.name));
        record.features.sort_by(|a, b| a.name.cmp(&b.name));
        Arc::make_mut(&mut self.controllers).insert(record.controller_id, record);
        delta.brokers = true;
    }

    fn registered(
        &mut self,
        broker: i32,
        epoch: i64,
        delta: &mut ImageDelta,
    ) -> Result<&mut RegisterBrokerRecord, ReplayError> {
        delta.brokers = true;
        let found = Arc::make_mut(&mut self.brokers).get_mut(&broker).filter(|found| found.broker_epoch == epoch);
        found.ok_or(ReplayError::UnknownBroker { broker, epoch })
    }

    fn change_broker(
        &mut self,
        record: &BrokerRegistrationChangeRecord,
        delta: &mut ImageDelta,
    ) -> Result<(), ReplayError> {
        let broker = self.registered(record.broker_id, record.broker_epoch, delta)?;
        match record.fenced {
            -1 => broker.fenced = false,
            1 => broker.fenced = true,
            _ => {}
        }
        broker.in_controlled_shutdown |= record.in_controlled_shutdown == 1;
        if !record.log_dirs.is_empty() {
            broker.log_dirs.clone_from(&record.log_dirs);
        }
        if record.cordoned_log_dirs.is_some() {
            broker.cordoned_log_dirs.clone_from(&record.cordoned_log_dirs);
        }
        Ok(())
    }

    fn apply_quota(&mut self, record: &ClientQuotaRecord) {
        let mut entity: Vec<_> = record.entity.iter().map(|e| (e.entity_type.clone(), e.entity_name.clone())).collect();
        entity.sort();
        let key: QuotaKey = (entity, record.key.clone());
        let quotas = Arc::make_mut(&mut self.quotas);
        if record.remove {
            quotas.remove(&key);
        } else {
            quotas.insert(key, record.clone());
        }
    }
}

/// Applies a change to a partition. Naming a leader raises the leader epoch even when it is the same one; every change
/// raises the partition epoch.
fn merge(partition: &mut PartitionImage, record: &PartitionChangeRecord) {
    let replace = |to: &mut Vec<i32>, from: &Option<Vec<i32>>| {
        if let Some(from) = from {
            to.clone_from(from);
        }
    };
    replace(&mut partition.replicas, &record.replicas);
    replace(&mut partition.isr, &record.isr);
    replace(&mut partition.removing_replicas, &record.removing_replicas);
    replace(&mut partition.adding_replicas, &record.adding_replicas);
    replace(&mut partition.eligible_leader_replicas, &record.eligible_leader_replicas);
    replace(&mut partition.last_known_elr, &record.last_known_elr);
    if let Some(changed) = &record.directories {
        partition.directories = directories(changed, partition.replicas.len());
    }
    if record.leader != LEADER_UNCHANGED {
        partition.leader = record.leader;
        partition.leader_epoch += 1;
    }
    if record.leader_recovery_state != RECOVERY_STATE_UNCHANGED {
        partition.leader_recovery_state = record.leader_recovery_state;
    }
    partition.partition_epoch += 1;
}

/// Records before 3.7 name no directories; a replica without one is unassigned, which is the zero id.
fn directories(recorded: &[Uuid], replicas: usize) -> Vec<Uuid> {
    if recorded.is_empty() { vec![Uuid::ZERO; replicas] } else { recorded.to_vec() }
}
