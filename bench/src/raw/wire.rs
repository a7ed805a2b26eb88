//! The three requests of the thin load, encoded once, and their answers, read only as far as the error code needs.
//!
//! Produce v7 and Fetch v11: the newest versions that Kafka serves without a topic id or compact fields, so that one byte string
//! is right for every broker and only a fetch offset changes from request to request.

use kringle_log::{BatchBuilder, Compression, HEADER_BYTES};
use kringle_protocol::messages::{CreateTopicsRequest, FetchRequest, ProduceRequest, RequestHeader};
use kringle_protocol::{Message, Records, Request, Writer, request_header_version};
use kringle_protocol::{create_topics_request, fetch_request, produce_request};

use crate::fields::Fields;

const CREATE_TOPICS_VERSION: i16 = 4;
const PRODUCE_VERSION: i16 = 7;
const FETCH_VERSION: i16 = 11;
const TIMEOUT_MS: i32 = 30_000;
/// How long a fetch waits at the end of a log.
const FETCH_WAIT_MS: i32 = 500;
/// Behind the fetch offset come the log start (8), the partition's limit (4), no forgotten topics (4) and no rack (2).
const FETCH_OFFSET_FROM_END: usize = 8 + 8 + 4 + 4 + 2;
/// Where a batch keeps its CRC, and where what it covers begins.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

/// A whole frame, its length in front.
pub(super) fn frame<R: Request>(version: i16, request: &R) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.i32(0);
    let header = RequestHeader {
        request_api_key: R::API_KEY.into(),
        request_api_version: version,
        correlation_id: 0,
        client_id: Some("kringle-bench".to_owned()),
    };
    header.encode(&mut writer, request_header_version(R::API_KEY, version)).expect("the header has this version");
    request.encode(&mut writer, version).expect("the request has this version");
    let (bytes, _) = writer.finish();
    let mut frame = bytes.to_vec();
    let length = i32::try_from(frame.len() - 4).expect("a frame is smaller than 2 GiB");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Creates a topic with one replica.
pub(super) fn create_topic(topic: &str, partitions: i32) -> Vec<u8> {
    let created = create_topics_request::CreatableTopic {
        name: topic.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![created], timeout_ms: TIMEOUT_MS, ..Default::default() };
    frame(CREATE_TOPICS_VERSION, &request)
}

/// The error code of the one topic that was created.
pub(super) fn created(answer: &[u8]) -> Option<i16> {
    let mut fields = Fields::new(answer);
    fields.skip(4 + 4 + 4)?; // correlation id, throttle time, how many topics
    fields.string()?;
    fields.i16()
}

/// A Produce request that can be sent again and again: nothing in it depends on what came before.
pub(super) struct ProduceFrame {
    /// The whole frame.
    pub(super) bytes: Vec<u8>,
    /// Where its batch begins; the batch ends with the frame.
    batch_at: usize,
    /// Where the first record's value begins.
    stamp_at: usize,
}

impl ProduceFrame {
    /// One batch of `records` records with `size` random letters each, no keys.
    pub(super) fn new(topic: &str, partition: i32, acks: i16, records: u32, size: usize, now_ms: i64) -> ProduceFrame {
        let mut letters = Letters(u64::from(partition.unsigned_abs()) + 1);
        let mut batch = BatchBuilder::new(Compression::None);
        for _ in 0..records {
            let value: Vec<u8> = letters.by_ref().take(size).collect();
            batch.append(now_ms, None, Some(&value), &[]);
        }
        let batch = batch.build(0, 0);
        let stamp_in_batch = value_at(&batch).expect("the batch has a record");
        let partition =
            produce_request::PartitionProduceData { index: partition, records: Records::Inline(batch.clone()) };
        let topic = produce_request::TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![partition],
            ..Default::default()
        };
        let request = ProduceRequest { transactional_id: None, acks, timeout_ms: TIMEOUT_MS, topic_data: vec![topic] };
        let bytes = frame(PRODUCE_VERSION, &request);
        let batch_at = bytes.len() - batch.len();
        ProduceFrame { bytes, batch_at, stamp_at: batch_at + stamp_in_batch }
    }

    /// The frame up to its batch, and the batch.
    pub(super) fn without_batch(mut self) -> (ProduceFrame, Vec<u8>) {
        let batch = self.bytes.split_off(self.batch_at);
        self.bytes.shrink_to_fit();
        (self, batch)
    }

    /// Copies the frame to `out` with `stamp` as the first eight bytes of the first value, and its CRC set right.
    pub(super) fn stamped(&self, stamp: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.bytes);
        out[self.stamp_at..self.stamp_at + 8].copy_from_slice(&stamp.to_be_bytes());
        let crc = crc32c::crc32c(&out[self.batch_at + CRC_FROM..]);
        out[self.batch_at + CRC_AT..self.batch_at + CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Where in a batch the first record's value begins.
fn value_at(batch: &[u8]) -> Option<usize> {
    let mut fields = Fields::new(batch);
    fields.skip(HEADER_BYTES)?;
    fields.skip_varint()?; // the record's length
    fields.skip(1)?; // attributes
    fields.skip_varint()?; // timestamp delta
    fields.skip_varint()?; // offset delta
    fields.skip_varint()?; // no key
    fields.skip_varint()?; // the value's length
    Some(fields.position())
}

/// The error code of the one partition that was produced to.
pub(super) fn produced(answer: &[u8]) -> Option<i16> {
    let mut fields = Fields::new(answer);
    fields.skip(4 + 4)?; // correlation id, how many topics
    fields.string()?;
    fields.skip(4 + 4)?; // how many partitions, which
    fields.i16()
}

/// A Fetch request for one partition; [`set_fetch_offset`] moves it on.
pub(super) fn fetch(topic: &str, partition: i32, min_bytes: i32, max_bytes: i32) -> Vec<u8> {
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
    frame(FETCH_VERSION, &request)
}

/// Sets the offset of a request made by [`fetch`].
pub(super) fn set_fetch_offset(frame: &mut [u8], offset: i64) {
    let at = frame.len() - FETCH_OFFSET_FROM_END;
    frame[at..at + 8].copy_from_slice(&offset.to_be_bytes());
}

/// What the head of a Fetch answer says.
pub(super) struct Fetched {
    pub(super) error: i16,
    pub(super) high_watermark: i64,
    pub(super) log_start: i64,
    /// How many bytes of records follow.
    pub(super) records_len: usize,
    /// Where in the answer they begin.
    pub(super) records_at: usize,
}

/// The head of a Fetch answer with one partition.
pub(super) fn fetched(answer: &[u8]) -> Option<Fetched> {
    let mut fields = Fields::new(answer);
    fields.skip(4 + 4)?; // correlation id, throttle time
    let whole = fields.i16()?;
    if whole != 0 {
        return Some(Fetched { error: whole, high_watermark: 0, log_start: 0, records_len: 0, records_at: 0 });
    }
    fields.skip(4 + 4)?; // session, how many topics
    fields.string()?;
    fields.skip(4 + 4)?; // how many partitions, which
    let error = fields.i16()?;
    let high_watermark = fields.i64()?;
    fields.skip(8)?; // last stable offset
    let log_start = fields.i64()?;
    let aborted = fields.length()?;
    fields.skip(aborted * 16 + 4)?; // aborted transactions, preferred replica
    let records_len = fields.length()?;
    Some(Fetched { error, high_watermark, log_start, records_len, records_at: fields.position() })
}

/// What the header of a batch says about its place in the log.
pub(super) struct BatchPlace {
    pub(super) base_offset: i64,
    pub(super) len: usize,
    pub(super) records: i64,
}

/// The batch that begins with these bytes, of which there may be fewer than it has.
pub(super) fn batch_place(bytes: &[u8]) -> Option<BatchPlace> {
    let mut fields = Fields::new(bytes);
    let base_offset = fields.i64()?;
    let len = fields.length()? + 12;
    fields.skip(57 - 12)?;
    Some(BatchPlace { base_offset, len, records: i64::from(fields.i32()?) })
}

/// The stamp that [`ProduceFrame::stamped`] left in a batch.
pub(super) fn stamp(batch: &[u8]) -> Option<u64> {
    let at = value_at(batch)?;
    Some(u64::from_be_bytes(batch.get(at..at + 8)?.try_into().ok()?))
}

/// Random letters from a seed: what is sent is the same in every run, and does not compress to nothing.
struct Letters(u64);

impl Iterator for Letters {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [high, ..] = self.0.to_be_bytes();
        Some(b'a' + high % 26)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_frame_carries_its_stamp_and_a_right_checksum() {
        let frame = ProduceFrame::new("t", 3, 1, 4, 100, 1_000);
        let mut out = Vec::new();
        frame.stamped(0x0102_0304_0506_0708, &mut out);
        let batch = &out[frame.batch_at..];
        assert_eq!(stamp(batch), Some(0x0102_0304_0506_0708));
        assert_ne!(stamp(&frame.bytes[frame.batch_at..]), stamp(batch));
        let header = kringle_log::BatchView::parse(batch).expect("a whole batch");
        assert!(header.crc_is_valid());
        let place = batch_place(batch).expect("a header");
        assert_eq!((place.base_offset, place.len, place.records), (0, batch.len(), 4));
    }

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
