//! The encodings of a few messages, byte by byte.

use bytes::{Bytes, BytesMut};

use super::Message;
use crate::consumer_group_member_metadata_value::ClassicMemberMetadata;
use crate::fetch_response::{FetchableTopicResponse, LeaderIdAndEpoch, PartitionData};
use crate::messages::{
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue, FetchResponse, InitProducerIdRequest,
    MetadataRequest, RequestHeader,
};
use crate::metadata_request::MetadataRequestTopic;
use crate::{DecodeError, EncodeError, Reader, Records, Writer};

fn encode<M: Message>(message: &M, version: i16) -> Result<BytesMut, EncodeError> {
    let mut w = Writer::default();
    message.encode(&mut w, version).map(|()| w.finish().0)
}

fn decode<M: Message>(bytes: &'static [u8], version: i16) -> Result<M, DecodeError> {
    M::decode(&mut Reader::new(Bytes::from_static(bytes)), version)
}

#[test]
fn old_and_flexible_versions_have_kafkas_bytes() {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some("ab".to_owned()), ..Default::default() }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    assert_eq!(encode(&request, 4).unwrap(), &b"\0\0\0\x01\0\x02ab\0"[..]);
    assert_eq!(encode(&request, 9).unwrap(), &b"\x02\x03ab\0\0\0\0\0"[..]);
}

#[test]
fn a_value_that_the_version_lacks_is_an_error_unless_it_may_be_left_out() {
    // allowAutoTopicCreation came with version 4, and its default is true.
    let request = MetadataRequest { allow_auto_topic_creation: false, ..Default::default() };
    let error = EncodeError::NotInVersion { field: "allow_auto_topic_creation", version: 3 };
    assert_eq!(encode(&request, 3), Err(error));
    // Two-phase commit came with version 6.
    let request = InitProducerIdRequest { enable2_pc: true, ..Default::default() };
    assert!(encode(&request, 5).is_err());
    assert!(encode(&request, 6).is_ok());
}

#[test]
fn null_is_an_error_where_the_version_has_none() {
    let request = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(encode(&request, 0), Err(EncodeError::Null { field: "topics" }));
    assert!(encode(&request, 1).is_ok());
    assert!(matches!(decode::<MetadataRequest>(b"\xff\xff\xff\xff", 0), Err(DecodeError::Null { .. })));
}

#[test]
fn every_negative_length_is_null_as_in_kafka() {
    for bytes in [b"\xff\xff\xff\xff\x01", b"\xff\xff\xff\xfe\x01", b"\x80\0\0\0\x01"] {
        assert_eq!(decode::<MetadataRequest>(bytes, 4).unwrap().topics, None);
    }
    // A compact length is one less than it says, so this is -2 to Java.
    assert_eq!(decode::<MetadataRequest>(b"\xff\xff\xff\xff\x0f\x01\0\0\0", 9).unwrap().topics, None);
    assert!(matches!(decode::<MetadataRequest>(b"\x7f\xff\xff\xff\x01", 4), Err(DecodeError::Length { .. })));
}

#[test]
fn the_client_id_of_a_flexible_header_keeps_its_old_form() {
    let header = RequestHeader { client_id: Some("me".to_owned()), correlation_id: 7, ..Default::default() };
    assert_eq!(encode(&header, 2).unwrap(), &b"\0\0\0\0\0\0\0\x07\0\x02me\0"[..]);
}

#[test]
fn unknown_tagged_fields_are_passed_over() {
    let header: RequestHeader = decode(b"\0\0\0\0\0\0\0\x07\xff\xff\x01\x63\x03abc", 2).unwrap();
    assert_eq!((header.correlation_id, header.client_id), (7, None));
    let cut = decode::<RequestHeader>(b"\0\0\0\0\0\0\0\x07\xff\xff\x01\x63\x04abc", 2);
    assert!(matches!(cut, Err(DecodeError::Truncated { .. })));
}

#[test]
fn a_known_tagged_field_must_have_the_length_it_says() {
    let value: ConsumerGroupMetadataValue = decode(b"\0\0\0\x05\x01\0\x08\0\0\0\0\0\0\0\x07", 0).unwrap();
    assert_eq!(value, ConsumerGroupMetadataValue { epoch: 5, metadata_hash: 7 });
    let wrong: [&[u8]; 2] = [b"\0\0\0\x05\x01\0\x07\0\0\0\0\0\0\0\x07", b"\0\0\0\x05\x01\0\x09\0\0\0\0\0\0\0\x07\0"];
    for bytes in wrong {
        assert_eq!(
            decode::<ConsumerGroupMetadataValue>(bytes, 0),
            Err(DecodeError::TagLength { tag: 0, position: 15 })
        );
    }
}

#[test]
fn external_records_leave_a_cut_behind_their_length() {
    let partition = |records| PartitionData { records, ..Default::default() };
    let response = |records: Vec<Records>| FetchResponse {
        responses: vec![FetchableTopicResponse {
            partitions: records.into_iter().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    for version in [4, 11, 12, 18] {
        let mut w = Writer::default();
        response(vec![Records::External { len: 3 }, Records::Null, Records::External { len: 2 }])
            .encode(&mut w, version)
            .unwrap();
        let (bytes, cuts) = w.finish();
        let mut whole = BytesMut::new();
        let mut done = 0;
        for (cut, part) in cuts.iter().zip([&b"one"[..], b"to"]) {
            assert_eq!(cut.len as usize, part.len());
            whole.extend_from_slice(&bytes[done..cut.position]);
            whole.extend_from_slice(part);
            done = cut.position;
        }
        whole.extend_from_slice(&bytes[done..]);
        let inline = response(vec![
            Records::Inline(Bytes::from_static(b"one")),
            Records::Null,
            Records::Inline(Bytes::from_static(b"to")),
        ]);
        assert_eq!(whole, encode(&inline, version).unwrap());
    }
}

#[test]
fn tagged_fields_are_written_only_if_they_say_something() {
    let nothing = PartitionData { records: Records::Null, ..Default::default() };
    let told = PartitionData { current_leader: LeaderIdAndEpoch { leader_id: 1, leader_epoch: 2 }, ..nothing.clone() };
    let of = |partition: PartitionData| FetchResponse {
        responses: vec![FetchableTopicResponse { partitions: vec![partition], ..Default::default() }],
        ..Default::default()
    };
    let (short, long) = (encode(&of(nothing), 12).unwrap(), encode(&of(told.clone()), 12).unwrap());
    // Tag, length, two numbers, the struct's own tags.
    assert_eq!(long.len(), short.len() + 1 + 1 + 8 + 1);
    let back = FetchResponse::decode(&mut Reader::new(long.freeze()), 12).unwrap();
    assert_eq!(back, of(told));
}

#[test]
fn a_nullable_struct_in_a_tagged_field_says_null_in_kafkas_way() {
    let classic = ClassicMemberMetadata { session_timeout_ms: 5, supported_protocols: Vec::new() };
    let empty = &b"\x01\x01\x01\x01\x01\x01\xff\xff\xff\xff\x01"[..];
    for (said, tags) in [
        (Some(ClassicMemberMetadata::default()), &b"\0"[..]),
        (None, b"\x01\0\x01\0"),
        (Some(classic), b"\x01\0\x07\x01\0\0\0\x05\x01\0"),
    ] {
        let value = ConsumerGroupMemberMetadataValue { classic_member_metadata: said, ..Default::default() };
        let bytes = encode(&value, 0).unwrap();
        assert_eq!(bytes, [empty, tags].concat());
        assert_eq!(Message::decode(&mut Reader::new(bytes.freeze()), 0), Ok(value));
    }
}

#[test]
fn a_version_that_does_not_exist_is_refused_both_ways() {
    assert!(matches!(decode::<FetchResponse>(b"", 3), Err(DecodeError::Version { version: 3, .. })));
    assert!(matches!(encode(&FetchResponse::default(), 19), Err(EncodeError::Version { version: 19, .. })));
}

#[test]
fn a_memory_limit_stops_what_would_grow_too_large() {
    let empty_names = [&[0xe9, 0x07][..], &[1; 1000], &[0; 16]].concat();
    let decode = |limit| {
        let mut r = Reader::with_memory_limit(Bytes::from(empty_names.clone()), limit);
        crate::codec::Codec::read(&mut r, crate::codec::Ctx::new(1, 0)).map(|names: Vec<String>| names.len())
    };
    assert_eq!(decode(size_of::<String>() * 1000), Ok(1000));
    assert_eq!(
        decode(size_of::<String>() * 1000 - 1),
        Err(DecodeError::Memory { limit: size_of::<String>() * 1000 - 1 })
    );
}
