//! Records in the coordinators' topics: [`GroupRecordKey`] and its like say which record a key announces.
//!
//! A key is the record type (two bytes) and the key's fields; a value is its version (two bytes) and the value's fields,
//! see [`Message::decode_versioned`]. A key without a value deletes.

use bytes::BytesMut;

pub use crate::generated::coordinator_records::{GroupRecordKey, ShareStateRecordKey, TransactionRecordKey};
use crate::message::Message;
use crate::writer::{EncodeError, Writer};

/// A key, and what belongs to it.
pub trait RecordKey: Message {
    /// The type that stands before the key.
    const RECORD_TYPE: i16;
    /// The value under such a key.
    type Value: Message;

    /// Writes the record type and the key.
    ///
    /// # Errors
    /// A string is too long.
    fn encode_key(&self) -> Result<BytesMut, EncodeError> {
        let mut w = Writer::default();
        w.i16(Self::RECORD_TYPE);
        // What a coordinator would otherwise call the key's version is the record type; keys have one version only.
        self.encode(&mut w, *Self::VERSIONS.end())?;
        Ok(w.finish().0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::messages::{GroupMetadataKey, OffsetCommitKey, OffsetCommitValue};
    use crate::reader::{DecodeError, Reader};

    #[test]
    fn a_key_is_its_type_and_its_fields() {
        let key = OffsetCommitKey { group: "g".to_owned(), topic: "t".to_owned(), partition: 3 };
        let bytes = key.encode_key().unwrap();
        assert_eq!(bytes, &b"\0\x01\0\x01g\0\x01t\0\0\0\x03"[..]);
        assert_eq!(GroupRecordKey::decode(bytes.freeze()), Ok(key.into()));
        let key = GroupRecordKey::from(GroupMetadataKey { group: "g".to_owned() });
        assert_eq!(key.encode().unwrap(), &b"\0\x02\0\x01g"[..]);
    }

    #[test]
    fn an_unknown_type_is_told_apart_from_damage() {
        assert_eq!(GroupRecordKey::decode(Bytes::from_static(b"\x7f\0")), Err(DecodeError::RecordType(0x7f00)));
        let cut = GroupRecordKey::decode(Bytes::from_static(b"\0\x02\0\x05g"));
        assert!(matches!(cut, Err(DecodeError::Truncated { .. })));
    }

    #[test]
    fn a_value_begins_with_its_version() {
        let value = OffsetCommitValue { offset: 7, commit_timestamp: 9, ..Default::default() };
        let bytes = value.encode_versioned(3).unwrap().freeze();
        assert_eq!(bytes[..2], [0, 3]);
        assert_eq!(OffsetCommitValue::decode_versioned(&mut Reader::new(bytes)), Ok(value));
    }
}
