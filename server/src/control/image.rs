//! The metadata image: everything that the metadata log says, as of one record. Immutable once published; a change
//! makes a new image that shares with the old one whatever did not change. Made by the control thread, read by all.
//!
//! What is kept only so that it is not lost (quotas, SCRAM, ACLs, tokens of a directory that Kafka wrote) stays in the
//! form of its record.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use kringle_protocol::Uuid;
use kringle_protocol::messages::{
    AccessControlEntryRecord, ClientQuotaRecord, DelegationTokenRecord, RegisterBrokerRecord, RegisterControllerRecord,
    UserScramCredentialRecord,
};

use super::features;
use crate::config::Configs;

/// No broker leads the partition.
pub const NO_LEADER: i32 = -1;

/// One partition. Replica lists are in order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionImage {
    /// The leading broker, or [`NO_LEADER`].
    pub leader: i32,
    /// Rises with every election.
    pub leader_epoch: i32,
    /// Rises with every change.
    pub partition_epoch: i32,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// The replicas in sync.
    pub isr: Vec<i32>,
    /// Replicas that a reassignment takes away.
    pub removing_replicas: Vec<i32>,
    /// Replicas that a reassignment adds.
    pub adding_replicas: Vec<i32>,
    /// Replicas out of sync that have everything acknowledged (KIP-966).
    pub eligible_leader_replicas: Vec<i32>,
    /// Who was eligible before nobody was.
    pub last_known_elr: Vec<i32>,
    /// The log directory of each replica, in the order of `replicas`.
    pub directories: Vec<Uuid>,
    /// 1 while the leader of an unclean election recovers, else 0.
    pub leader_recovery_state: i8,
}

/// One topic. `partitions[i]` is partition `i`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    /// Its name.
    pub name: String,
    /// Its id; a topic created anew has another.
    pub id: Uuid,
    /// By index.
    pub partitions: Vec<PartitionImage>,
}

/// What a configuration belongs to, by Kafka's numbers (ConfigResource.Type).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ResourceType {
    /// A topic, by name.
    Topic = 2,
    /// A broker, by id; `""` for the default of all.
    Broker = 4,
    /// The log levels of a broker; not in the metadata.
    BrokerLogger = 8,
    /// A subscription to client metrics.
    ClientMetrics = 16,
    /// A group, by id.
    Group = 32,
}

impl ResourceType {
    /// All of them.
    pub const ALL: [ResourceType; 5] =
        [Self::Topic, Self::Broker, Self::BrokerLogger, Self::ClientMetrics, Self::Group];

    /// The type of that number, if there is one.
    pub fn from_id(id: i8) -> Option<ResourceType> {
        Self::ALL.into_iter().find(|resource| resource.id() == id)
    }

    /// Kafka's number.
    pub fn id(self) -> i8 {
        self as i8
    }

    /// As Kafka's messages write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topic => "TOPIC",
            Self::Broker => "BROKER",
            Self::BrokerLogger => "BROKER_LOGGER",
            Self::ClientMetrics => "CLIENT_METRICS",
            Self::Group => "GROUP",
        }
    }
}

/// A configured resource. The broker named `""` is the default of all brokers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// The sort of resource.
    pub kind: ResourceType,
    /// Its name.
    pub name: String,
}

/// The block of producer ids that was handed out last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIds {
    /// Who got it.
    pub broker: i32,
    /// The epoch in which it got it.
    pub broker_epoch: i64,
    /// The first id of the next block; ids below it were handed out.
    pub next: i64,
}

/// Names the sort of quota: who it is for, and which limit.
pub(super) type QuotaKey = (Vec<(String, Option<String>)>, String);

/// The metadata as of one record. Clones are cheap.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Image {
    pub(super) offset: i64,
    pub(super) epoch: i32,
    pub(super) timestamp_ms: i64,
    pub(super) kraft_version: i16,
    pub(super) features: Arc<BTreeMap<String, i16>>,
    pub(super) brokers: Arc<BTreeMap<i32, RegisterBrokerRecord>>,
    pub(super) controllers: Arc<BTreeMap<i32, RegisterControllerRecord>>,
    pub(super) topics: Arc<BTreeMap<String, Arc<TopicImage>>>,
    pub(super) topic_names: Arc<BTreeMap<Uuid, String>>,
    pub(super) configs: Arc<BTreeMap<Resource, Arc<Configs>>>,
    pub(super) producer_ids: Option<ProducerIds>,
    pub(super) quotas: Arc<BTreeMap<QuotaKey, ClientQuotaRecord>>,
    pub(super) scram: Arc<BTreeMap<(String, i8), UserScramCredentialRecord>>,
    pub(super) acls: Arc<BTreeMap<Uuid, AccessControlEntryRecord>>,
    pub(super) tokens: Arc<BTreeMap<String, DelegationTokenRecord>>,
}

impl Image {
    /// Before the first record.
    pub fn empty() -> Image {
        Image { offset: -1, ..Image::default() }
    }

    /// The offset of the last record that is contained; -1: none.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The epoch of the last record that is contained.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// 1: the voters are in the metadata log; 0: in the configuration.
    pub fn kraft_version(&self) -> i16 {
        self.kraft_version
    }

    /// The finalized features, `metadata.version` among them.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, level)| (name.as_str(), *level))
    }

    /// The finalized level; 0: not finalized.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// Decides which versions of the records are written.
    pub fn metadata_version(&self) -> i16 {
        self.feature(features::METADATA_VERSION)
    }

    /// Whether KIP-966 is on.
    pub fn elr_is_enabled(&self) -> bool {
        self.feature(features::ELR_VERSION) > 0
    }

    /// All topics by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicImage> {
        self.topics.values().map(Arc::as_ref)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&TopicImage> {
        self.topics.get(name).map(Arc::as_ref)
    }

    /// The topics of that name and all later ones, by name.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &TopicImage> {
        self.topics.range::<str, _>((Bound::Included(name), Bound::Unbounded)).map(|(_, topic)| topic.as_ref())
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&TopicImage> {
        self.topic(self.topic_names.get(&id)?)
    }

    /// The registration of a broker.
    pub fn broker(&self, id: i32) -> Option<&RegisterBrokerRecord> {
        self.brokers.get(&id)
    }

    /// Whether a broker may be given replicas and lead them.
    pub fn is_active(&self, broker: i32) -> bool {
        self.broker(broker).is_some_and(|broker| !broker.fenced && !broker.in_controlled_shutdown)
    }

    /// All registered brokers by id.
    pub fn brokers(&self) -> impl Iterator<Item = &RegisterBrokerRecord> {
        self.brokers.values()
    }

    /// All registered controllers by id.
    pub fn controllers(&self) -> impl Iterator<Item = &RegisterControllerRecord> {
        self.controllers.values()
    }

    /// The overrides of a resource, if it has any.
    pub fn configs(&self, kind: ResourceType, name: &str) -> Option<&Configs> {
        self.configs.get(&Resource { kind, name: name.to_owned() }).map(Arc::as_ref)
    }

    /// All resources that have overrides.
    pub fn configured(&self) -> impl Iterator<Item = (&Resource, &Configs)> {
        self.configs.iter().map(|(resource, configs)| (resource, configs.as_ref()))
    }

    /// The first producer id that was not handed out yet.
    pub fn next_producer_id(&self) -> i64 {
        self.producer_ids.map_or(0, |ids| ids.next)
    }

    /// All client quotas, as recorded.
    pub fn quotas(&self) -> impl Iterator<Item = &ClientQuotaRecord> {
        self.quotas.values()
    }

    /// All SCRAM credentials, as recorded.
    pub fn scram_credentials(&self) -> impl Iterator<Item = &UserScramCredentialRecord> {
        self.scram.values()
    }

    /// All access control entries, as recorded.
    pub fn acls(&self) -> impl Iterator<Item = &AccessControlEntryRecord> {
        self.acls.values()
    }
}

/// What some records changed. Names a topic that was created and deleted again only as deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageDelta {
    /// New topics.
    pub created: BTreeMap<Uuid, String>,
    /// Topics that are gone.
    pub deleted: BTreeMap<Uuid, String>,
    /// Topics with partitions that are new, or changed their leader, replicas or directories.
    pub changed: BTreeMap<Uuid, String>,
    /// Resources whose overrides changed.
    pub configs: BTreeSet<Resource>,
    /// A broker or controller registered, or changed.
    pub brokers: bool,
    /// A feature was finalized or turned off.
    pub features: bool,
    /// Quotas, SCRAM credentials, ACLs or tokens.
    pub security: bool,
}

impl ImageDelta {
    /// Whether nothing that anybody waits for has changed.
    pub fn is_empty(&self) -> bool {
        *self == ImageDelta::default()
    }
}
