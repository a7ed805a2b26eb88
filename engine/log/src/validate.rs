//! Decides whether the bytes of a produce request may become a batch of a partition: what Kafka's `ProduceRequest`,
//! `UnifiedLog.analyzeAndValidateRecords` and `LogValidator` decide together, with their codes and words.
//!
//! Pure; runs on the connection's shard while the bytes are hot. The usual batch passes untouched: its records are walked in
//! place, or through a streaming decoder that skips keys and values, and nothing is allocated per record. Bytes change only where
//! Kafka changes them: a wrong `maxTimestamp`, LogAppendTime (both: header and checksum), another codec or gaps in the inner
//! offsets (the batch is built anew).

use bytes::{Bytes, BytesMut};
use kringle_protocol::ErrorCode;

use crate::batch::{
    BatchError, BatchHeader, BatchView, CRC_FROM, HEADER_BYTES, NO_TIMESTAMP, TimestampType, attributes, batches,
};
use crate::builder::BatchBuilder;
use crate::compression::Compression;
use crate::config::TopicCompression;
use crate::records::{RecordShape, RecordsError, try_for_each_record, walk};
use crate::topic_partition::TopicPartition;

/// The most that a client's batch may decode to, if a rule does not say otherwise. Kafka has no such limit.
pub const DEFAULT_DECODED_LIMIT_BYTES: u64 = 256 << 20;

/// Bytes of the smallest record of the oldest format without its offset and length: Kafka's bound for a length field.
const LEGACY_RECORD_OVERHEAD: i32 = 14;

/// More errors than this are counted but not listed, so that a refusal stays small.
const MAX_LISTED_ERRORS: usize = 1000;

/// What a partition accepts. [`crate::LogConfig::rules`] makes it from the topic's settings.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Named in messages.
    pub partition: TopicPartition,
    /// `compression.type`
    pub compression: TopicCompression,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// Every record needs a key.
    pub compacted: bool,
    /// `max.message.bytes`
    pub max_message_bytes: u32,
    /// `segment.bytes`
    pub segment_bytes: u32,
    /// False for Produce below version 7.
    pub zstd_allowed: bool,
    /// Where a decompression bomb ends.
    pub decoded_limit_bytes: u64,
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A produce request.
    Client,
    /// A group or transaction coordinator on this broker: control batches and missing sequences are fine.
    Coordinator,
    /// The leader of the metadata quorum: offsets and epochs are its own, records are not walked.
    RaftLeader,
}

/// A batch that may be appended.
#[derive(Clone, Debug)]
pub struct ValidBatch {
    /// Exactly one batch: as sent, or rewritten.
    pub bytes: Bytes,
    /// Its header.
    pub header: BatchHeader,
    /// Who appends it.
    pub origin: Origin,
    /// The broker's timestamp, with LogAppendTime.
    pub log_append_time_ms: Option<i64>,
    /// Whether the batch was built anew.
    pub recompressed: bool,
}

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Refused {
    /// For the response.
    pub code: ErrorCode,
    /// Kafka's text. In a produce response it stands only beside `record_errors`: see [`Refused::response_message`].
    pub message: String,
    /// Index of each record at fault and what is wrong with it.
    pub record_errors: Vec<(i32, Option<String>)>,
    /// The request must not hold such bytes, whatever the partition: Kafka refuses it before it looks at the log.
    pub of_the_request: bool,
}

impl Refused {
    fn new(code: ErrorCode, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into(), record_errors: Vec::new(), of_the_request: false }
    }

    fn of_the_request(code: ErrorCode, message: impl Into<String>) -> Refused {
        Refused { of_the_request: true, ..Refused::new(code, message) }
    }

    /// Whether Kafka's answer says where the log starts.
    pub fn tells_log_start(&self) -> bool {
        !self.of_the_request && code_tells_log_start(self.code)
    }

    /// The error message that Kafka puts into the produce response: only refusals of single records carry one.
    pub fn response_message(&self) -> Option<&str> {
        (!self.record_errors.is_empty()).then_some(self.message.as_str())
    }
}

/// What Kafka answers without the log start: it knows these errors by name, and takes pains only with the others.
pub(crate) fn code_tells_log_start(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::CORRUPT_MESSAGE
            | ErrorCode::MESSAGE_TOO_LARGE
            | ErrorCode::RECORD_LIST_TOO_LARGE
            | ErrorCode::KAFKA_STORAGE_ERROR
            | ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    )
}

/// The first batch of a produce request's partition, if there is a whole one of the present format.
///
/// # Errors
/// What is no batch of any format: Kafka refuses the whole request for it, in the words of the refusal.
pub fn first_batch(bytes: &[u8]) -> Result<Option<BatchView<'_>>, Refused> {
    match batches(bytes).next() {
        Some(Ok(batch)) => Ok(Some(batch)),
        // Large enough for some format: it is only this partition's fault.
        Some(Err(BatchError::TooSmall(length))) if length >= LEGACY_RECORD_OVERHEAD => Ok(None),
        Some(Err(error)) => broken(&error).map_or(Ok(None), Err),
        None => Ok(None),
    }
}

fn broken(error: &BatchError) -> Option<Refused> {
    let message = match error {
        BatchError::TooSmall(length) => {
            format!("Record size {length} is less than the minimum record overhead ({LEGACY_RECORD_OVERHEAD})")
        }
        BatchError::Magic(magic) if !matches!(magic, 0 | 1) => format!("Invalid magic found in record: {magic}"),
        BatchError::Magic(_) | BatchError::Truncated { .. } => return None,
    };
    Some(Refused::of_the_request(ErrorCode::CORRUPT_MESSAGE, message))
}

/// Checks `bytes` and makes of them the batch that is to be stored. Offsets and the leader epoch are set at the append.
pub fn validate(bytes: &Bytes, rules: &Rules, origin: Origin, now_ms: i64) -> Result<ValidBatch, Refused> {
    let batch = only_batch(bytes, rules)?;
    check_batch(&batch, rules, origin)?;
    let as_sent = |batch: &BatchView<'_>| bytes.slice(..batch.size_bytes());
    let valid = |bytes: Bytes, header, recompressed| ValidBatch {
        bytes,
        header,
        origin,
        log_append_time_ms: (rules.timestamp_type == TimestampType::LogAppendTime).then_some(now_ms),
        recompressed,
    };
    if origin == Origin::RaftLeader {
        return Ok(ValidBatch { log_append_time_ms: None, ..valid(as_sent(&batch), batch.header(), false) });
    }

    let found = walk_records(&batch, rules, now_ms)?;
    let source = batch.compression().unwrap_or_default();
    let target = match rules.compression {
        TopicCompression::Producer => source,
        TopicCompression::Codec(codec, _) => codec,
    };
    let uncompressed = source == Compression::None && target == Compression::None;
    let in_place = uncompressed
        || (source == target && found.offsets_are_dense)
        || (source == Compression::None && batch.is_control());

    if in_place {
        let (kind, max_timestamp) = match rules.timestamp_type {
            TimestampType::CreateTime => (TimestampType::CreateTime, found.max_timestamp),
            TimestampType::LogAppendTime => (TimestampType::LogAppendTime, now_ms),
        };
        if batch.timestamp_type() == kind && batch.max_timestamp == max_timestamp {
            return Ok(valid(as_sent(&batch), batch.header(), false));
        }
        let (bytes, header) = with_max_timestamp(&batch, kind, max_timestamp);
        return Ok(valid(bytes, header, false));
    }

    let bytes = build_anew(&batch, target, rules, now_ms)?;
    let header = BatchView::parse(&bytes).expect("it was just built").header();
    Ok(valid(bytes, header, true))
}

/// The one batch of a produce request's partition. Bytes after it that are no whole batch are cut off, as Kafka does.
fn only_batch<'a>(bytes: &'a Bytes, rules: &Rules) -> Result<BatchView<'a>, Refused> {
    let not_one = || {
        Refused::of_the_request(
            ErrorCode::INVALID_RECORD,
            "Produce requests are only allowed to contain exactly one record batch per partition",
        )
    };
    let mut all = batches(bytes);
    let batch = match all.next() {
        None | Some(Err(BatchError::Truncated { .. })) => return Err(not_one()),
        Some(Err(BatchError::Magic(magic @ (0 | 1)))) => {
            let message = format!(
                "Produce requests are only allowed to contain record batches with magic version 2, not {magic}"
            );
            return Err(Refused::of_the_request(ErrorCode::INVALID_RECORD, message));
        }
        Some(Err(error)) => return Err(broken(&error).unwrap_or_else(not_one)),
        Some(Ok(batch)) => batch,
    };
    match all.next() {
        None | Some(Err(BatchError::Truncated { .. })) => {}
        Some(Err(error)) => return Err(broken(&error).unwrap_or_else(not_one)),
        Some(Ok(_)) => return Err(not_one()),
    }
    match batch.compression() {
        Some(Compression::Zstd) if !rules.zstd_allowed => Err(Refused::of_the_request(
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            "Produce requests with version below 7 are not allowed to use ZStandard compression",
        )),
        // In those versions Kafka looks at the codec before it looks at the log.
        None if !rules.zstd_allowed => Err(Refused { of_the_request: true, ..unknown_codec(&batch) }),
        _ => Ok(batch),
    }
}

/// All that the header and the checksum tell.
fn check_batch(batch: &BatchView<'_>, rules: &Rules, origin: Origin) -> Result<(), Refused> {
    let partition = &rules.partition;
    let invalid = |message: String| Err(Refused::new(ErrorCode::INVALID_RECORD, message));
    if origin == Origin::Client && batch.base_offset != 0 {
        return invalid(format!(
            "The baseOffset of the record batch in the append to {partition} should be 0, but it is {}",
            batch.base_offset
        ));
    }
    let size = batch.size_bytes();
    if size > rules.max_message_bytes as usize {
        return Err(Refused::new(
            ErrorCode::MESSAGE_TOO_LARGE,
            format!(
                "The record batch size in the append to {partition} is {size} bytes which exceeds the maximum configured value of {}).",
                rules.max_message_bytes
            ),
        ));
    }
    if !batch.crc_is_valid() {
        return Err(Refused::new(
            ErrorCode::CORRUPT_MESSAGE,
            format!("Record is corrupt (stored crc = {}) in topic partition {partition}.", batch.crc),
        ));
    }
    if batch.compression().is_none() {
        return Err(unknown_codec(batch));
    }
    if origin == Origin::Client {
        let (first, last, count) = (batch.base_offset, batch.last_offset(), i64::from(batch.record_count));
        if last < first {
            return invalid(format!(
                "Batch has an invalid offset range: [{first}, {last}] in topic partition {partition}"
            ));
        }
        if count <= 0 {
            return invalid(format!("Invalid reported count for record batch: {count} in topic partition {partition}"));
        }
        if last - first + 1 != count {
            return invalid(format!(
                "Inconsistent batch offset range [{first}, {last}] and count of records {count} in topic partition {partition}"
            ));
        }
        if batch.is_control() {
            return invalid(format!("Clients are not allowed to write control records in topic partition {partition}"));
        }
        if batch.has_producer_id() && batch.base_sequence < 0 {
            return invalid(format!(
                "Invalid sequence number {} in record batch with producerId {} in topic partition {partition}",
                batch.base_sequence, batch.producer_id
            ));
        }
    }
    if size > rules.segment_bytes as usize {
        return Err(too_large_for_segment(size, rules));
    }
    Ok(())
}

fn unknown_codec(batch: &BatchView<'_>) -> Refused {
    let message = format!("Unknown compression type id: {}", batch.compression_id());
    Refused::new(ErrorCode::UNKNOWN_SERVER_ERROR, message)
}

fn too_large_for_segment(size: usize, rules: &Rules) -> Refused {
    Refused::new(
        ErrorCode::RECORD_LIST_TOO_LARGE,
        format!(
            "Message batch size is {size} bytes in append to partition {}, which exceeds the maximum configured segment size of {}.",
            rules.partition, rules.segment_bytes
        ),
    )
}

/// What the walk found out.
struct Found {
    max_timestamp: i64,
    /// The records' offsets are base, base + 1, ...
    offsets_are_dense: bool,
}

/// The errors of single records.
#[derive(Default)]
struct RecordErrors {
    count: usize,
    any_timestamp: bool,
    listed: Vec<(i32, Option<String>)>,
}

impl RecordErrors {
    fn push(&mut self, index: i32, message: impl FnOnce() -> String) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED_ERRORS {
            self.listed.push((index, Some(message())));
        }
    }

    fn into_refusal(self) -> Refused {
        if self.any_timestamp {
            return Refused {
                code: ErrorCode::INVALID_TIMESTAMP,
                message: "One or more records have been rejected due to invalid timestamp".to_owned(),
                record_errors: self.listed,
                of_the_request: false,
            };
        }
        let first: Vec<String> = (self.listed.iter().take(3))
            .map(|(index, message)| {
                format!("RecordError(batchIndex={index}, message='{}')", message.as_deref().unwrap_or("null"))
            })
            .collect();
        let message = format!(
            "One or more records have been rejected due to {} record errors in total, and only showing the first three errors at most: [{}]",
            self.count,
            first.join(", ")
        );
        Refused { record_errors: self.listed, ..Refused::new(ErrorCode::INVALID_RECORD, message) }
    }
}

fn walk_records(batch: &BatchView<'_>, rules: &Rules, now_ms: i64) -> Result<Found, Refused> {
    let mut found = Found { max_timestamp: NO_TIMESTAMP, offsets_are_dense: true };
    let mut errors = RecordErrors::default();
    let mut index = 0;
    walk(batch, rules.decoded_limit_bytes, |record| {
        let timestamp = match batch.timestamp_type() {
            TimestampType::CreateTime => batch.base_timestamp.wrapping_add(record.timestamp_delta),
            TimestampType::LogAppendTime => batch.max_timestamp,
        };
        if check_record(batch, &record, index, timestamp, rules, now_ms, &mut errors) {
            found.max_timestamp = found.max_timestamp.max(timestamp);
        }
        found.offsets_are_dense &= record.offset_delta == index;
        index += 1;
    })
    .map_err(refuse_records)?;
    if errors.count > 0 { Err(errors.into_refusal()) } else { Ok(found) }
}

fn check_record(
    batch: &BatchView<'_>,
    record: &RecordShape,
    index: i32,
    timestamp: i64,
    rules: &Rules,
    now_ms: i64,
    errors: &mut RecordErrors,
) -> bool {
    if rules.compacted && record.key_bytes < 0 {
        errors.push(index, || {
            format!("Compacted topic cannot accept message without key in topic partition {}", rules.partition)
        });
        return false;
    }
    let offset = batch.base_offset.wrapping_add(i64::from(record.offset_delta));
    if rules.timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP {
        let age = now_ms.wrapping_sub(timestamp);
        if age > rules.timestamp_before_max_ms || age.wrapping_neg() > rules.timestamp_after_max_ms {
            errors.any_timestamp = true;
            errors.push(index, || {
                format!(
                    "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be within [{}, {}]",
                    now_ms.wrapping_sub(rules.timestamp_before_max_ms),
                    now_ms.wrapping_add(rules.timestamp_after_max_ms)
                )
            });
            return false;
        }
    } else if batch.timestamp_type() == TimestampType::LogAppendTime {
        errors.any_timestamp = true;
        errors.push(index, || {
            let (key, value) = (record.key_bytes.max(0), record.value_bytes.max(0));
            format!(
                "Invalid timestamp type in message DefaultRecord(offset={offset}, timestamp={timestamp}, key={key} bytes, value={value} bytes). Producer should not set timestamp type to LogAppendTime."
            )
        });
        return false;
    }
    true
}

fn refuse_records(error: RecordsError) -> Refused {
    let code = match &error {
        RecordsError::Invalid(_) | RecordsError::TooMuch(_) => ErrorCode::INVALID_RECORD,
        // Kafka lets the exception through as an unknown error; so clients do not retry what can never be read.
        RecordsError::UnknownCodec(_) | RecordsError::Decode(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
    };
    Refused::new(code, error.to_string())
}

/// A copy of the batch with another timestamp type and maximum, and so another checksum.
fn with_max_timestamp(batch: &BatchView<'_>, kind: TimestampType, max_timestamp: i64) -> (Bytes, BatchHeader) {
    let mut header = batch.header();
    let codec = batch.compression().unwrap_or_default();
    header.attributes = attributes(codec, kind, batch.is_transactional(), batch.is_control());
    header.max_timestamp = max_timestamp;
    let mut bytes = BytesMut::from(batch.bytes());
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    header.crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    (bytes.freeze(), header)
}

/// The batch in another codec. Never grows past `max.message.bytes` by more than a record.
fn build_anew(batch: &BatchView<'_>, target: Compression, rules: &Rules, now_ms: i64) -> Result<Bytes, Refused> {
    let level = match rules.compression {
        TopicCompression::Codec(_, level) => level,
        TopicCompression::Producer => None,
    };
    let mut builder =
        BatchBuilder::with_level(target, level).producer(batch.producer_id, batch.producer_epoch, batch.base_sequence);
    if batch.is_transactional() {
        builder = builder.transactional();
    }
    if rules.timestamp_type == TimestampType::LogAppendTime {
        builder = builder.log_append_time(now_ms);
    }
    let limit = rules.max_message_bytes as usize;
    try_for_each_record(batch, rules.decoded_limit_bytes, |record| {
        builder.append_record(&record);
        if builder.size_bytes() > limit {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        }
    })
    .map_err(refuse_records)?;
    let bytes = builder.build(0, -1);
    if bytes.len() > limit {
        let message = format!(
            "Message batch size is {} bytes in append to partition {} which exceeds the maximum configured size of {limit}.",
            bytes.len(),
            rules.partition
        );
        return Err(Refused::new(ErrorCode::MESSAGE_TOO_LARGE, message));
    }
    if bytes.len() > rules.segment_bytes as usize {
        return Err(too_large_for_segment(bytes.len(), rules));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
