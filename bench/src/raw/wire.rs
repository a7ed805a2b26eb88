//! The Produce request of the thin load, which may carry a stamp, and the answers, read only as far as the error code needs.

use kringle_log::{BatchBuilder, Compression, HEADER_BYTES};

use crate::fields::Fields;
use crate::frames;

/// Where a batch keeps its CRC, and where what it covers begins.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

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
        let bytes = frames::produce(topic, partition, acks, &batch);
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

/// The error code and the offset of a ListOffsets answer with one partition.
pub(super) fn listed(answer: &[u8]) -> Option<(i16, i64)> {
    let mut fields = Fields::new(answer);
    fields.skip(4 + 4 + 4)?; // correlation id, throttle time, how many topics
    fields.string()?;
    fields.skip(4 + 4)?; // how many partitions, which
    let error = fields.i16()?;
    fields.skip(8)?; // the time
    Some((error, fields.i64()?))
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

/// The first timestamp of the batch that begins with these bytes.
pub(super) fn batch_time(bytes: &[u8]) -> Option<i64> {
    let mut fields = Fields::new(bytes);
    fields.skip(8 + 4 + 4 + 1 + 4 + 2 + 4)?; // up to the base timestamp
    fields.i64()
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
}
