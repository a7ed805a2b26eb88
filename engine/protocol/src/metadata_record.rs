//! [`MetadataRecord`]: what the metadata log consists of.
//!
//! The value of such a record is a frame: frame version, record type and record version, each an unsigned varint, then
//! the record. Control records of the raft layer (leader changes, snapshot headers) are not framed like this.

use bytes::{Bytes, BytesMut};

pub use crate::generated::metadata_record::MetadataRecord;
use crate::reader::{DecodeError, Reader};
use crate::writer::{EncodeError, Writer};

/// The only version of the frame there is.
const FRAME_VERSION: u32 = 1;

impl MetadataRecord {
    /// Writes the record in its frame. The version is for the caller to choose: it follows from `metadata.version`.
    ///
    /// # Errors
    /// The record has no such version, or it cannot carry a value.
    pub fn encode_framed(&self, version: i16) -> Result<BytesMut, EncodeError> {
        let mut w = Writer::default();
        w.uvarint(FRAME_VERSION);
        w.uvarint(self.record_type().unsigned_abs().into());
        w.uvarint(version.unsigned_abs().into());
        self.encode(&mut w, version)?;
        Ok(w.finish().0)
    }

    /// Reads a record from its frame; also says in which version it was.
    ///
    /// # Errors
    /// [`DecodeError::Frame`], [`DecodeError::RecordType`] or [`DecodeError::Version`] for what a later Kafka wrote: the
    /// metadata must not be used without it. Otherwise the bytes are damaged.
    pub fn decode_framed(value: Bytes) -> Result<(MetadataRecord, i16), DecodeError> {
        let mut r = Reader::new(value);
        let frame = r.uvarint()?;
        if frame != FRAME_VERSION {
            return Err(DecodeError::Frame(frame));
        }
        let record_type = r.uvarint()?;
        // A number beyond 16 bits is no version of anything, and is refused like one that does not exist.
        let version = i16::try_from(r.uvarint()?).unwrap_or(i16::MAX);
        Ok((MetadataRecord::decode(record_type, &mut r, version)?, version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{FeatureLevelRecord, TopicRecord};
    use crate::uuid::Uuid;

    #[test]
    fn a_framed_record_has_kafkas_bytes() {
        let record = FeatureLevelRecord { name: "ab".to_owned(), feature_level: 30 };
        let bytes = MetadataRecord::from(record).encode_framed(0).unwrap();
        assert_eq!(bytes, &b"\x01\x0c\x00\x03ab\0\x1e\0"[..]);
    }

    #[test]
    fn what_is_framed_comes_back_with_its_version() {
        let record = MetadataRecord::from(TopicRecord { name: "t".to_owned(), topic_id: Uuid::from_bytes([7; 16]) });
        let bytes = record.encode_framed(0).unwrap().freeze();
        assert_eq!(MetadataRecord::decode_framed(bytes), Ok((record, 0)));
    }

    #[test]
    fn records_of_a_later_kafka_are_told_apart_from_damage() {
        let decode = |bytes: &'static [u8]| MetadataRecord::decode_framed(Bytes::from_static(bytes));
        assert_eq!(decode(b"\x02\x0c\0"), Err(DecodeError::Frame(2)));
        assert_eq!(decode(b"\x01\xff\x01\0"), Err(DecodeError::RecordType(255)));
        let version = DecodeError::Version { message: "FeatureLevelRecord", version: 9 };
        assert_eq!(decode(b"\x01\x0c\x09\x03ab\0\x1e\0"), Err(version));
        assert!(matches!(decode(b"\x01\x0c\0\x03a"), Err(DecodeError::Truncated { .. })));
    }
}
