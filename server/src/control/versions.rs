//! Which version of a metadata record is written: as new as the finalized `metadata.version` allows, and for change
//! records as old as their content allows, as Kafka does.

use kringle_protocol::messages::{BrokerRegistrationChangeRecord, RegisterBrokerRecord};
use kringle_protocol::metadata_record::MetadataRecord;

/// 3.4-IV0: brokers say whether they migrate from ZooKeeper.
const MIGRATION: i16 = 8;
/// 3.6-IV1: records can stand in a transaction.
const TRANSACTIONS: i16 = 13;
/// 3.7-IV0: controllers register.
const CONTROLLER_REGISTRATION: i16 = 15;
/// 3.7-IV2: replicas name their log directory.
const DIRECTORY_ASSIGNMENT: i16 = 17;
/// 4.0-IV1: partitions have eligible leader replicas.
const ELIGIBLE_LEADER_REPLICAS: i16 = 23;
/// 4.3-IV0: log directories can be cordoned.
const CORDONED_DIRECTORIES: i16 = 30;

/// Whether records can stand in a metadata transaction at this metadata version.
pub fn has_transactions(metadata_version: i16) -> bool {
    metadata_version >= TRANSACTIONS
}

/// Whether controllers may register at this metadata version.
pub fn controllers_register(metadata_version: i16) -> bool {
    metadata_version >= CONTROLLER_REGISTRATION
}

/// Whether replicas name their log directory at this metadata version.
pub fn has_directories(metadata_version: i16) -> bool {
    metadata_version >= DIRECTORY_ASSIGNMENT
}

/// Whether log directories can be cordoned at this metadata version.
pub fn has_cordoned_directories(metadata_version: i16) -> bool {
    metadata_version >= CORDONED_DIRECTORIES
}

/// The version in which a record is written.
pub fn record_version(record: &MetadataRecord, metadata_version: i16) -> i16 {
    match record {
        MetadataRecord::PartitionRecord(_) | MetadataRecord::PartitionChangeRecord(_) => match metadata_version {
            ELIGIBLE_LEADER_REPLICAS.. => 2,
            DIRECTORY_ASSIGNMENT.. => 1,
            _ => 0,
        },
        MetadataRecord::RegisterBrokerRecord(RegisterBrokerRecord { .. }) => match metadata_version {
            CORDONED_DIRECTORIES.. => 4,
            DIRECTORY_ASSIGNMENT.. => 3,
            MIGRATION.. => 2,
            _ => 1,
        },
        MetadataRecord::BrokerRegistrationChangeRecord(record) => registration_change_version(record),
        _ => 0,
    }
}

fn registration_change_version(record: &BrokerRegistrationChangeRecord) -> i16 {
    if record.cordoned_log_dirs.is_some() {
        3
    } else if !record.log_dirs.is_empty() {
        2
    } else {
        i16::from(record.in_controlled_shutdown != 0)
    }
}
