//! Requests as the bytes that go into a socket, their length in front.
//!
//! Those of the thin load and of the benches are encoded once and sent again and again. They use Produce v7 and Fetch v11: the
//! newest versions that Kafka serves without a topic id or compact fields, so that one byte string is right for every broker,
//! only a fetch offset changes from request to request, and answers have their error codes at a known place.

use bytes::Bytes;
use kringle_protocol::messages::{
    CreateTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest, RequestHeader,
};
use kringle_protocol::{EncodeError, Records, Request, Writer, request_header_version};
use kringle_protocol::{Message, create_topics_request, fetch_request, list_offsets_request, produce_request};

const CREATE_TOPICS_VERSION: i16 = 4;
const PRODUCE_VERSION: i16 = 7;
const FETCH_VERSION: i16 = 11;
const LIST_OFFSETS_VERSION: i16 = 2;
/// As a time: where the log begins, and where it ends.
pub(crate) const EARLIEST: i64 = -2;
pub(crate) const LATEST: i64 = -1;
const TIMEOUT_MS: i32 = 30_000;
/// How long a fetch waits at the end of a log.
const FETCH_WAIT_MS: i32 = 500;
/// The length field of a frame.
pub(crate) const LENGTH_BYTES: usize = 4;
/// Behind the fetch offset come the log start (8), the partition's limit (4), no forgotten topics (4) and no rack (2).
const FETCH_OFFSET_FROM_END: usize = 8 + 8 + 4 + 4 + 2;

/// A whole frame: length, header and body.
///
/// # Errors
/// If the version lacks something that the request has, or the frame is larger than a frame can be.
pub fn frame<R: Request>(version: i16, correlation_id: i32, request: &R) -> Result<Bytes, EncodeError> {
    let header = RequestHeader {
        request_api_key: R::API_KEY.into(),
        request_api_version: version,
        correlation_id,
        client_id: Some(crate::cluster::CLIENT_ID.to_owned()),
    };
    let mut writer = Writer::default();
    writer.i32(0);
    header.encode(&mut writer, request_header_version(R::API_KEY, version))?;
    request.encode(&mut writer, version)?;
    let (mut bytes, _) = writer.finish();
    let length = i32::try_from(bytes.len() - LENGTH_BYTES).map_err(|_| EncodeError::TooLong)?;
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(bytes.freeze())
}

/// A frame that is sent more than once.
pub(crate) fn repeated<R: Request>(version: i16, request: &R) -> Vec<u8> {
    frame(version, 0, request).expect("a small request, in a version that has all of it").to_vec()
}

/// Creates a topic with one replica.
pub fn create_topic(topic: &str, partitions: i32) -> Vec<u8> {
    let created = create_topics_request::CreatableTopic {
        name: topic.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![created], timeout_ms: TIMEOUT_MS, ..Default::default() };
    repeated(CREATE_TOPICS_VERSION, &request)
}

/// Produces a batch, which is the end of the frame.
pub fn produce(topic: &str, partition: i32, acks: i16, batch: &Bytes) -> Vec<u8> {
    let records = Records::Inline(batch.clone());
    let data = produce_request::PartitionProduceData { index: partition, records };
    let topic =
        produce_request::TopicProduceData { name: topic.to_owned(), partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest { acks, timeout_ms: TIMEOUT_MS, topic_data: vec![topic], ..Default::default() };
    repeated(PRODUCE_VERSION, &request)
}

/// Fetches one partition from its offset 0; [`set_fetch_offset`] moves it on.
pub fn fetch(topic: &str, partition: i32, min_bytes: i32, max_bytes: i32) -> Vec<u8> {
    let partition = fetch_request::FetchPartition { partition, partition_max_bytes: max_bytes, ..Default::default() };
    let topic =
        fetch_request::FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        max_wait_ms: FETCH_WAIT_MS,
        min_bytes,
        max_bytes,
        session_epoch: -1, // no session: every request stands alone
        topics: vec![topic],
        ..Default::default()
    };
    repeated(FETCH_VERSION, &request)
}

/// Asks for the offset of a time, or of [`EARLIEST`] or [`LATEST`].
pub(crate) fn list_offsets(topic: &str, partition: i32, timestamp: i64) -> Vec<u8> {
    let partition =
        list_offsets_request::ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() };
    let topic = list_offsets_request::ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    repeated(LIST_OFFSETS_VERSION, &request)
}

/// Sets the offset of a request made by [`fetch`].
pub fn set_fetch_offset(frame: &mut [u8], offset: i64) {
    let at = frame.len() - FETCH_OFFSET_FROM_END;
    frame[at..at + 8].copy_from_slice(&offset.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fetch_offset_is_where_the_decoder_reads_it() {
        let mut bytes = fetch("topic", 7, 1, 1 << 20);
        set_fetch_offset(&mut bytes, 123_456_789_012);
        let mut reader = kringle_protocol::Reader::new(bytes.into());
        reader.i32().expect("length");
        RequestHeader::decode(&mut reader, request_header_version(FetchRequest::API_KEY, FETCH_VERSION))
            .expect("header");
        let request = FetchRequest::decode(&mut reader, FETCH_VERSION).expect("request");
        assert_eq!(request.topics[0].partitions[0].fetch_offset, 123_456_789_012);
        assert_eq!(request.topics[0].partitions[0].partition, 7);
    }
}
