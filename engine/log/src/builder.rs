//! Makes record batches: for coordinators, the metadata log, clients, recompression and tests.
//!
//! Pure. Records are encoded as they are appended and go straight into the codec; [`BatchBuilder::build`] puts the header in
//! front. Offsets are the builder's: 0, 1, 2 ... from the base offset.

use bytes::Bytes;

use crate::batch::{BatchHeader, CRC_FROM, HEADER_BYTES, LOG_OVERHEAD, NO_TIMESTAMP, TimestampType, attributes};
use crate::compression::{Compression, Encoder};
use crate::records::RecordView;
use crate::varint;

/// Collects records into one batch.
pub struct BatchBuilder {
    codec: Compression,
    timestamps: TimestampType,
    /// With `LogAppendTime`: the one timestamp of the batch.
    append_time_ms: i64,
    transactional: bool,
    control: bool,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    count: i32,
    out: Encoder,
    /// One record, reused.
    record: Vec<u8>,
    /// Its length, encoded; reused.
    record_length: Vec<u8>,
}

impl BatchBuilder {
    /// A batch whose records carry their own timestamps.
    pub fn new(codec: Compression) -> BatchBuilder {
        BatchBuilder::with_level(codec, None)
    }

    /// As [`BatchBuilder::new`], with the codec's level; `None` is the codec's default.
    pub fn with_level(codec: Compression, level: Option<i32>) -> BatchBuilder {
        BatchBuilder {
            codec,
            timestamps: TimestampType::CreateTime,
            append_time_ms: NO_TIMESTAMP,
            transactional: false,
            control: false,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            count: 0,
            out: Encoder::new(codec, level, vec![0; HEADER_BYTES]),
            record: Vec::new(),
            record_length: Vec::with_capacity(5),
        }
    }

    /// The broker's clock is the timestamp of every record.
    pub fn log_append_time(mut self, now_ms: i64) -> BatchBuilder {
        self.timestamps = TimestampType::LogAppendTime;
        self.append_time_ms = now_ms;
        self
    }

    /// Of an idempotent producer; `base_sequence` is the first record's.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Part of the producer's transaction.
    pub fn transactional(mut self) -> BatchBuilder {
        self.transactional = true;
        self
    }

    /// A control batch: a transaction marker or a KRaft control record.
    pub fn control(mut self) -> BatchBuilder {
        self.control = true;
        self
    }

    /// Adds a record. `timestamp` is Unix milliseconds, -1 for none.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        self.begin(timestamp, key, value, headers.len());
        for (key, value) in headers {
            put_field(&mut self.record, Some(key.as_bytes()));
            put_field(&mut self.record, *value);
        }
        self.end(timestamp);
    }

    /// Adds a record of another batch, with its timestamp and headers.
    pub fn append_record(&mut self, record: &RecordView<'_>) {
        self.begin(record.timestamp, record.key, record.value, record.headers.len());
        self.record.extend_from_slice(record.headers.encoded());
        self.end(record.timestamp);
    }

    fn begin(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, header_count: usize) {
        let base = *self.base_timestamp.get_or_insert(timestamp);
        self.record.clear();
        self.record.push(0);
        varint::put(&mut self.record, timestamp.wrapping_sub(base));
        varint::put(&mut self.record, i64::from(self.count));
        put_field(&mut self.record, key);
        put_field(&mut self.record, value);
        varint::put(&mut self.record, i64::try_from(header_count).expect("headers fit into memory"));
    }

    fn end(&mut self, timestamp: i64) {
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.count =
            self.count.checked_add(1).expect("a batch holds fewer than 2^31 records: its bytes do not allow more");
        self.record_length.clear();
        varint::put(&mut self.record_length, length_of(&self.record));
        self.out.put(&self.record_length);
        self.out.put(&self.record);
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far, header included; what the codec still holds back is not counted.
    pub fn size_bytes(&self) -> usize {
        self.out.written()
    }

    /// The batch. Panics past 2 GiB, which no setting allows.
    pub fn build(self, base_offset: i64, leader_epoch: i32) -> Bytes {
        let mut bytes = self.out.finish();
        let mut header = BatchHeader {
            base_offset,
            length: i32::try_from(bytes.len() - LOG_OVERHEAD).expect("a batch is smaller than 2 GiB"),
            leader_epoch,
            crc: 0,
            attributes: attributes(self.codec, self.timestamps, self.transactional, self.control),
            last_offset_delta: (self.count - 1).max(0),
            base_timestamp: self.base_timestamp.unwrap_or(NO_TIMESTAMP),
            max_timestamp: match self.timestamps {
                TimestampType::CreateTime => self.max_timestamp,
                TimestampType::LogAppendTime => self.append_time_ms,
            },
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.count,
        };
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        header.crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        Bytes::from(bytes)
    }
}

fn length_of(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).expect("no slice is larger than i64::MAX")
}

fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(bytes) => {
            varint::put(out, length_of(bytes));
            out.extend_from_slice(bytes);
        }
        None => varint::put(out, -1),
    }
}
