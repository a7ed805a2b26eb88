//! What this node writes about itself: its registration as controller and broker at start, who leads what then, and the
//! farewell of a clean stop.

use kringle_protocol::Uuid;
use kringle_protocol::messages::{
    BrokerRegistrationChangeRecord, PartitionChangeRecord, RegisterBrokerRecord, RegisterControllerRecord,
};
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::register_broker_record::{BrokerEndpoint, BrokerFeature};
use kringle_protocol::register_controller_record::{ControllerEndpoint, ControllerFeature};

use crate::control::features;
use crate::control::image::{Image, NO_LEADER, PartitionImage};
use crate::control::versions;

/// Where a listener can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub name: String,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: u16,
    /// SecurityProtocol: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// `node.id`.
    pub node_id: i32,
    /// The listeners of clients.
    pub broker_endpoints: Vec<Endpoint>,
    /// The listeners of controllers.
    pub controller_endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The ids of the log directories that can be used.
    pub log_dirs: Vec<Uuid>,
}

/// This process as controller.
pub fn register_controller(image: &Image, own: &Registration, incarnation: Uuid) -> Option<MetadataRecord> {
    let endpoint = |e: &Endpoint| ControllerEndpoint {
        name: e.name.clone(),
        host: e.host.clone(),
        port: e.port,
        security_protocol: e.security_protocol,
    };
    let feature = |f: &features::Feature| ControllerFeature {
        name: f.name.to_owned(),
        min_supported_version: f.min,
        max_supported_version: f.max,
    };
    let record = RegisterControllerRecord {
        controller_id: own.node_id,
        incarnation_id: incarnation,
        zk_migration_ready: false,
        end_points: own.controller_endpoints.iter().map(endpoint).collect(),
        features: features::registered(image).iter().map(feature).collect(),
    };
    let registers = versions::controllers_register(image.metadata_version());
    registers.then_some(MetadataRecord::RegisterControllerRecord(record))
}

/// This process as broker. `epoch` is the offset at which the record will stand. It is fenced until it is ready.
pub fn register_broker(image: &Image, own: &Registration, incarnation: Uuid, epoch: i64) -> MetadataRecord {
    let endpoint = |e: &Endpoint| BrokerEndpoint {
        name: e.name.clone(),
        host: e.host.clone(),
        port: e.port,
        security_protocol: e.security_protocol,
    };
    let feature = |f: &features::Feature| BrokerFeature {
        name: f.name.to_owned(),
        min_supported_version: f.min,
        max_supported_version: f.max,
    };
    let metadata_version = image.metadata_version();
    let has_directories = versions::has_directories(metadata_version);
    let has_cordoned = versions::has_cordoned_directories(metadata_version);
    MetadataRecord::RegisterBrokerRecord(RegisterBrokerRecord {
        broker_id: own.node_id,
        incarnation_id: incarnation,
        broker_epoch: epoch,
        end_points: own.broker_endpoints.iter().map(endpoint).collect(),
        features: features::registered(image).iter().map(feature).collect(),
        rack: own.rack.clone(),
        fenced: true,
        log_dirs: if has_directories { own.log_dirs.clone() } else { Vec::new() },
        cordoned_log_dirs: has_cordoned.then(Vec::new),
        ..Default::default()
    })
}

/// Makes the broker a live one: unfences it, and gives it every partition that it may lead, each with a new leader
/// epoch. The epoch rises even where this broker led when it was killed: what clients know of it is then older.
pub fn unfence(image: &Image, node_id: i32, broker_epoch: i64) -> Vec<MetadataRecord> {
    let unfenced =
        BrokerRegistrationChangeRecord { broker_id: node_id, broker_epoch, fenced: -1, ..Default::default() };
    let led = partitions(image).filter_map(|(id, index, partition)| take_lead(id, index, partition, node_id));
    std::iter::once(MetadataRecord::BrokerRegistrationChangeRecord(unfenced)).chain(led).collect()
}

/// A clean stop: the broker gives up its partitions and is fenced. Its replicas stay in sync; with KIP-966 they are
/// eligible leaders instead.
pub fn fence(image: &Image, node_id: i32, broker_epoch: i64) -> Vec<MetadataRecord> {
    let change = |in_controlled_shutdown, fenced| {
        MetadataRecord::BrokerRegistrationChangeRecord(BrokerRegistrationChangeRecord {
            broker_id: node_id,
            broker_epoch,
            fenced,
            in_controlled_shutdown,
            ..Default::default()
        })
    };
    let elr = image.elr_is_enabled();
    let given_up = partitions(image).filter(|(_, _, partition)| partition.leader == node_id);
    let given_up = given_up.map(|(id, index, partition)| give_up_lead(id, index, partition, node_id, elr));
    std::iter::once(change(1, 0)).chain(given_up).chain([change(0, 1)]).collect()
}

fn partitions(image: &Image) -> impl Iterator<Item = (Uuid, i32, &PartitionImage)> {
    image.topics().flat_map(|topic| (0..).zip(&topic.partitions).map(|(index, partition)| (topic.id, index, partition)))
}

/// Leads if it is in sync, or eligible, or was the last leader known and nobody else is left.
fn take_lead(topic_id: Uuid, partition_id: i32, partition: &PartitionImage, node_id: i32) -> Option<MetadataRecord> {
    if partition.leader != node_id && partition.leader != NO_LEADER {
        return None;
    }
    let was_last = partition.isr.is_empty() && partition.last_known_elr == [node_id];
    let is_only_replica = partition.replicas == [node_id];
    let eligible = partition.isr.contains(&node_id) || partition.eligible_leader_replicas.contains(&node_id);
    if !(eligible || was_last || is_only_replica) {
        return None;
    }
    let mut isr = partition.isr.clone();
    if !isr.contains(&node_id) {
        isr.push(node_id);
    }
    let without_own = |list: &[i32]| list.iter().copied().filter(|id| *id != node_id).collect::<Vec<_>>();
    let elr = without_own(&partition.eligible_leader_replicas);
    Some(MetadataRecord::PartitionChangeRecord(PartitionChangeRecord {
        partition_id,
        topic_id,
        leader: node_id,
        isr: (isr != partition.isr).then_some(isr),
        // An only replica that led after an unclean election has nobody to recover from.
        leader_recovery_state: if partition.leader_recovery_state == 0 { -1 } else { 0 },
        eligible_leader_replicas: (elr != partition.eligible_leader_replicas).then_some(elr),
        last_known_elr: (!partition.last_known_elr.is_empty()).then(Vec::new),
        ..Default::default()
    }))
}

fn give_up_lead(
    topic_id: Uuid,
    partition_id: i32,
    partition: &PartitionImage,
    node_id: i32,
    elr_is_enabled: bool,
) -> MetadataRecord {
    let mut record =
        PartitionChangeRecord { partition_id, topic_id, leader: NO_LEADER, ..PartitionChangeRecord::default() };
    if elr_is_enabled && partition.isr == [node_id] {
        record.isr = Some(Vec::new());
        record.eligible_leader_replicas = Some(vec![node_id]);
        record.last_known_elr = Some(vec![node_id]);
    }
    MetadataRecord::PartitionChangeRecord(record)
}
