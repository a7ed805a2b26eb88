//! The records of `__consumer_offsets` that classic groups and offsets are kept in, as Kafka 4.3.1 writes them.
//!
//! A key is its record type and the fields; a value its version and the fields. No value is a tombstone.

use bytes::Bytes;
use kringle_protocol::group_metadata_key::GroupMetadataKey;
use kringle_protocol::group_metadata_value::{GroupMetadataValue, MemberMetadata};
use kringle_protocol::legacy_offset_commit_key::LegacyOffsetCommitKey;
use kringle_protocol::offset_commit_key::OffsetCommitKey;
use kringle_protocol::offset_commit_value::OffsetCommitValue;
use kringle_protocol::{DecodeError, EncodeError, Message, Reader, Writer};

use super::classic::{Group, Member};
use super::offsets::{NO_EXPIRY, Offset};

/// A record for the log: key, and value or tombstone.
pub type Record = (Bytes, Option<Bytes>);

const OFFSET_COMMIT_V0: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

/// The only version of the keys; their first two bytes say the type, not this.
const KEY_VERSION: i16 = 0;
const OFFSET_VALUE: i16 = 4;
/// The one version that carries a time of its own at which the offset expires.
const OFFSET_VALUE_WITH_EXPIRY: i16 = 1;
const GROUP_VALUE: i16 = 3;

/// What a record says.
#[derive(Debug)]
pub(super) enum Entry {
    Offset {
        group: String,
        topic: String,
        partition: i32,
        value: Option<OffsetCommitValue>,
    },
    Group {
        group: String,
        value: Option<GroupMetadataValue>,
    },
    /// Of a kind of group that is not kept here.
    Foreign,
}

/// Reads a record from the log.
pub(super) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Entry, DecodeError> {
    let mut r = Reader::new(Bytes::copy_from_slice(key));
    let (group, topic, partition) = match r.i16()? {
        OFFSET_COMMIT_V0 => {
            let key = LegacyOffsetCommitKey::decode(&mut r, KEY_VERSION)?;
            (key.group, key.topic, key.partition)
        }
        OFFSET_COMMIT => {
            let key = OffsetCommitKey::decode(&mut r, KEY_VERSION)?;
            (key.group, key.topic, key.partition)
        }
        GROUP_METADATA => {
            let group = GroupMetadataKey::decode(&mut r, KEY_VERSION)?.group;
            return Ok(Entry::Group { group, value: read_value(value)? });
        }
        _ => return Ok(Entry::Foreign),
    };
    // Both types of keys have values that share their versions.
    Ok(Entry::Offset { group, topic, partition, value: read_value(value)? })
}

fn read_value<T: Message>(value: Option<&[u8]>) -> Result<Option<T>, DecodeError> {
    value.map(|value| T::decode_versioned(&mut Reader::new(Bytes::copy_from_slice(value)))).transpose()
}

/// A committed offset, or the tombstone for it.
pub(super) fn offset(group: &str, topic: &str, partition: i32, offset: Option<&Offset>) -> Result<Record, EncodeError> {
    let key = OffsetCommitKey { group: group.into(), topic: topic.into(), partition };
    let value = offset.map(|offset| {
        let version = if offset.expire_timestamp_ms == NO_EXPIRY { OFFSET_VALUE } else { OFFSET_VALUE_WITH_EXPIRY };
        let value = OffsetCommitValue {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata.clone(),
            commit_timestamp: offset.commit_timestamp_ms,
            expire_timestamp: offset.expire_timestamp_ms,
            topic_id: offset.topic_id,
        };
        value.encode_versioned(version)
    });
    Ok((encode_key(OFFSET_COMMIT, &key)?, value.transpose()?.map(Into::into)))
}

/// A group as it is, but with these assignments.
pub(super) fn group(group: &Group, assignment: impl Fn(&Member) -> Bytes) -> Result<Record, EncodeError> {
    let protocol = group.protocol.as_deref();
    let value = GroupMetadataValue {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation,
        protocol: group.protocol.clone(),
        leader: group.leader.as_deref().map(Into::into),
        current_state_timestamp: group.state_since_ms.unwrap_or(-1),
        members: group
            .members
            .values()
            .map(|member| MemberMetadata {
                member_id: (*member.id).into(),
                group_instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                rebalance_timeout: member.rebalance_timeout_ms,
                session_timeout: member.session_timeout_ms,
                subscription: member.metadata(protocol),
                assignment: assignment(member),
            })
            .collect(),
    };
    Ok((group_key(&group.id)?, Some(value.encode_versioned(GROUP_VALUE)?.into())))
}

/// A group that was made just now and has no generation yet.
pub(super) fn new_group(group: &Group) -> Result<Record, EncodeError> {
    let value = GroupMetadataValue {
        current_state_timestamp: group.state_since_ms.unwrap_or(-1),
        protocol: None,
        leader: None,
        ..GroupMetadataValue::default()
    };
    Ok((group_key(&group.id)?, Some(value.encode_versioned(GROUP_VALUE)?.into())))
}

/// The tombstone of a group.
pub(super) fn group_tombstone(group: &str) -> Result<Record, EncodeError> {
    Ok((group_key(group)?, None))
}

fn group_key(group: &str) -> Result<Bytes, EncodeError> {
    encode_key(GROUP_METADATA, &GroupMetadataKey { group: group.into() })
}

fn encode_key(record_type: i16, key: &impl Message) -> Result<Bytes, EncodeError> {
    let mut w = Writer::default();
    w.i16(record_type);
    key.encode(&mut w, KEY_VERSION)?;
    Ok(w.finish().0.into())
}
