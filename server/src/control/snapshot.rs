//! The records that rebuild an image, in the order in which Kafka writes them: features (`metadata.version` first, since
//! it decides how the rest is read), brokers, controllers, topics, configs, quotas, producer ids, ACLs, SCRAM, tokens.

use kringle_protocol::messages::{
    ConfigRecord, FeatureLevelRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord, TopicRecord,
};
use kringle_protocol::metadata_record::MetadataRecord;

use super::features::METADATA_VERSION;
use super::image::{Image, PartitionImage, TopicImage};
use super::versions;

impl Image {
    /// Everything needed to build this image from nothing.
    pub fn to_records(&self) -> impl Iterator<Item = MetadataRecord> {
        let own_version = self.features().filter(|(name, _)| *name == METADATA_VERSION);
        let other_features = self.features().filter(|(name, _)| *name != METADATA_VERSION);
        let features = own_version.chain(other_features).map(|(name, level)| {
            MetadataRecord::FeatureLevelRecord(FeatureLevelRecord { name: name.to_owned(), feature_level: level })
        });
        let metadata_version = self.metadata_version();
        let brokers = self.brokers().map(move |broker| broker_record(broker, metadata_version));
        let controllers = self.controllers().filter(move |_| versions::controllers_register(metadata_version));
        let producer_ids = self.producer_ids.map(|ids| {
            MetadataRecord::ProducerIdsRecord(ProducerIdsRecord {
                broker_id: ids.broker,
                broker_epoch: ids.broker_epoch,
                next_producer_id: ids.next,
            })
        });
        features
            .chain(brokers)
            .chain(controllers.cloned().map(MetadataRecord::RegisterControllerRecord))
            .chain(self.topics().flat_map(move |topic| topic_records(topic, metadata_version)))
            .chain(self.config_records())
            .chain(self.quotas().cloned().map(MetadataRecord::ClientQuotaRecord))
            .chain(producer_ids)
            .chain(self.acls().cloned().map(MetadataRecord::AccessControlEntryRecord))
            .chain(self.scram_credentials().cloned().map(MetadataRecord::UserScramCredentialRecord))
            .chain(self.tokens.values().cloned().map(MetadataRecord::DelegationTokenRecord))
    }

    fn config_records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.configured().flat_map(|(resource, configs)| {
            configs.iter().map(|(name, value)| {
                MetadataRecord::ConfigRecord(ConfigRecord {
                    resource_type: resource.kind.id(),
                    resource_name: resource.name.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                })
            })
        })
    }
}

fn broker_record(broker: &RegisterBrokerRecord, metadata_version: i16) -> MetadataRecord {
    let mut record = broker.clone();
    if !versions::has_directories(metadata_version) {
        record.log_dirs.clear();
    }
    if !versions::has_cordoned_directories(metadata_version) {
        record.cordoned_log_dirs = None;
    }
    MetadataRecord::RegisterBrokerRecord(record)
}

fn topic_records(topic: &TopicImage, metadata_version: i16) -> impl Iterator<Item = MetadataRecord> {
    let record = TopicRecord { name: topic.name.clone(), topic_id: topic.id };
    let partitions = (0..).zip(&topic.partitions).map(move |(index, partition)| {
        MetadataRecord::PartitionRecord(partition_record(topic, index, partition, metadata_version))
    });
    std::iter::once(MetadataRecord::TopicRecord(record)).chain(partitions)
}

/// The record that creates a partition as it is.
pub(super) fn partition_record(
    topic: &TopicImage,
    index: i32,
    partition: &PartitionImage,
    metadata_version: i16,
) -> PartitionRecord {
    let unless_empty = |replicas: &Vec<i32>| (!replicas.is_empty()).then(|| replicas.clone());
    let has_directories = versions::has_directories(metadata_version);
    PartitionRecord {
        partition_id: index,
        topic_id: topic.id,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        removing_replicas: partition.removing_replicas.clone(),
        adding_replicas: partition.adding_replicas.clone(),
        leader: partition.leader,
        leader_recovery_state: partition.leader_recovery_state,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        directories: if has_directories { partition.directories.clone() } else { Vec::new() },
        eligible_leader_replicas: unless_empty(&partition.eligible_leader_replicas),
        last_known_elr: unless_empty(&partition.last_known_elr),
    }
}
