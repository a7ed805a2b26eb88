//! The records inside a batch: walked in place when uncompressed, through a bounded streaming decoder when not.
//!
//! Pure. Two walks share one reading of the format: [`walk`] looks at sizes only and skips keys and values (produce), and
//! [`for_each_record`] gives them out (coordinators, time look-ups, recompression). A size that a record claims allocates nothing: its
//! buffer grows with the bytes that came out of the decoder, and a stream that gives more than its limit ends with
//! [`RecordsError::TooMuch`].
//!
//! ```text
//! record: length varint | attributes i8 | timestamp delta varlong | offset delta varint | key length varint, key
//!         | value length varint, value | header count varint | { key length, key, value length, value } ...
//! ```
//! Lengths below 0 mean null, except a header's key, which cannot be.

use std::cell::Cell;
use std::io;
use std::mem;
use std::ops::ControlFlow;

use crate::batch::{BatchView, TimestampType};
use crate::compression::{self, Compression, Decoder};
use crate::varint;

/// The most that one batch may decode to when a reader does not say otherwise: what Kafka's own 32-bit sizes can hold.
pub const DECODED_LIMIT_BYTES: u64 = i32::MAX as u64;

/// Why records cannot be read. The text of `Invalid` is Kafka's.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The bytes are not the records that the header promises (Kafka: `InvalidRecordException`).
    #[error("{0}")]
    Invalid(String),
    /// The codec id means nothing (5, 6 or 7).
    #[error("Unknown compression type id: {0}")]
    UnknownCodec(u8),
    /// The decoder gave up.
    #[error("Failed to decompress record stream: {0}")]
    Decode(io::Error),
    /// More came out than the limit allows: a decompression bomb.
    #[error("records decode to more than {0} bytes")]
    TooMuch(u64),
}

fn invalid(what: impl Into<String>) -> RecordsError {
    RecordsError::Invalid(what.into())
}

/// Bytes to read a record from, with a cursor.
trait Source {
    fn byte(&mut self) -> Result<u8, RecordsError>;
    fn skip(&mut self, len: u64) -> Result<(), RecordsError>;
    /// Bytes read so far.
    fn position(&self) -> u64;
    fn is_at_end(&mut self) -> Result<bool, RecordsError>;
    /// Bytes left, where that is known.
    fn remaining(&self) -> Option<u64>;
}

struct SliceSource<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Source for SliceSource<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordsError> {
        let byte = self.bytes.get(self.at).ok_or_else(|| invalid("Found invalid record structure"))?;
        self.at += 1;
        Ok(*byte)
    }

    #[inline]
    fn skip(&mut self, len: u64) -> Result<(), RecordsError> {
        match usize::try_from(len).ok().filter(|len| *len <= self.bytes.len() - self.at) {
            Some(len) => self.at += len,
            None => return Err(invalid("Found invalid record structure")),
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.at as u64
    }

    fn is_at_end(&mut self) -> Result<bool, RecordsError> {
        Ok(self.at == self.bytes.len())
    }

    fn remaining(&self) -> Option<u64> {
        Some((self.bytes.len() - self.at) as u64)
    }
}

/// Threads keep a buffer up to this size: that of the largest blocks of lz4, and of a batch that gzip decodes in one step.
const KEPT_BUFFER_BYTES: usize = 5 << 20;

thread_local! {
    /// The buffer of the last batch that this thread has decoded: touched memory that is used again. One thread reads one batch at a time; where
    /// a reader holds two, the second allocates.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

struct StreamSource<'a> {
    decoder: Decoder<'a>,
    /// What was decoded last lies between `start` and `end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that came out of the decoder.
    decoded: u64,
    limit: u64,
}

impl Drop for StreamSource<'_> {
    fn drop(&mut self) {
        if self.buffer.capacity() <= KEPT_BUFFER_BYTES {
            BUFFER.set(mem::take(&mut self.buffer));
        }
    }
}

impl<'a> StreamSource<'a> {
    fn new(codec: Compression, bytes: &'a [u8], limit: u64) -> Result<StreamSource<'a>, RecordsError> {
        let decoder = Decoder::new(codec, bytes).map_err(RecordsError::Decode)?;
        Ok(StreamSource { decoder, buffer: BUFFER.take(), start: 0, end: 0, decoded: 0, limit })
    }

    /// What is in the buffer, after decoding more if it was empty; empty at the end of the stream.
    fn fill(&mut self) -> Result<&[u8], RecordsError> {
        if self.start == self.end {
            let len = self.decoder.next_piece(self.limit, &mut self.buffer).map_err(|error| {
                if compression::is_too_much(&error) {
                    RecordsError::TooMuch(self.limit)
                } else {
                    RecordsError::Decode(error)
                }
            })?;
            (self.start, self.end) = (0, len);
            self.decoded += len as u64;
            if self.decoded > self.limit {
                return Err(RecordsError::TooMuch(self.limit));
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Appends the next `len` bytes to `out`, as they come.
    fn take_into(&mut self, mut len: u64, out: &mut Vec<u8>) -> Result<(), RecordsError> {
        let wanted = len;
        while len > 0 {
            let there = self.fill()?;
            if there.is_empty() {
                return Err(invalid(format!(
                    "Invalid record size: expected {wanted} bytes in record payload, but the record payload reached EOF."
                )));
            }
            let take = there.len().min(usize::try_from(len).unwrap_or(usize::MAX));
            out.extend_from_slice(&there[..take]);
            self.start += take;
            len -= take as u64;
        }
        Ok(())
    }
}

impl Source for StreamSource<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordsError> {
        if self.start == self.end && self.fill()?.is_empty() {
            return Err(invalid("Incorrect declared batch size, premature EOF reached"));
        }
        let byte = self.buffer[self.start];
        self.start += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut len: u64) -> Result<(), RecordsError> {
        while len > 0 {
            let there = self.fill()?.len();
            if there == 0 {
                return Err(invalid(format!(
                    "Reached end of input stream before skipping all bytes. Remaining bytes:{len}"
                )));
            }
            let take = there.min(usize::try_from(len).unwrap_or(usize::MAX));
            self.start += take;
            len -= take as u64;
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.decoded - (self.end - self.start) as u64
    }

    fn is_at_end(&mut self) -> Result<bool, RecordsError> {
        Ok(self.fill()?.is_empty())
    }

    fn remaining(&self) -> Option<u64> {
        None
    }
}

#[inline]
fn long<S: Source>(source: &mut S, max_bytes: u32) -> Result<i64, RecordsError> {
    let mut number = varint::Decoder::default();
    loop {
        match number.push(source.byte()?, max_bytes) {
            varint::Step::More => {}
            varint::Step::Done(value) => return Ok(value),
            varint::Step::TooLong => return Err(invalid("Found invalid record structure")),
        }
    }
}

#[inline]
fn int<S: Source>(source: &mut S) -> Result<i32, RecordsError> {
    // Five bytes hold 35 bits; Java drops those above 32.
    #[allow(clippy::cast_possible_truncation, reason = "as Java reads it")]
    Ok(long(source, 5)? as i32)
}

/// Skips a key or value whose length comes first; that length.
#[inline]
fn skip_field<S: Source>(source: &mut S) -> Result<i32, RecordsError> {
    let len = int(source)?;
    if let Ok(len) = u64::try_from(len) {
        source.skip(len)?;
    }
    Ok(len)
}

/// What a record is, without its contents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordShape {
    pub(crate) offset_delta: i32,
    pub(crate) timestamp_delta: i64,
    /// Below 0: null.
    pub(crate) key_bytes: i32,
    /// Below 0: null.
    pub(crate) value_bytes: i32,
}

fn shape<S: Source>(source: &mut S) -> Result<RecordShape, RecordsError> {
    let size = int(source).map_err(|e| match e {
        RecordsError::Invalid(_) => invalid("Incorrect declared batch size, premature EOF reached"),
        other => other,
    })?;
    let Ok(size) = u64::try_from(size) else { return Err(invalid("Found invalid record structure")) };
    if let Some(remaining) = source.remaining().filter(|remaining| *remaining < size) {
        return Err(invalid(format!(
            "Invalid record size: expected {size} bytes in record payload, but instead the buffer has only {remaining} remaining bytes."
        )));
    }
    let start = source.position();
    let _attributes = source.byte()?;
    let timestamp_delta = long(source, varint::MAX_LONG_BYTES)?;
    let offset_delta = int(source)?;
    let key_bytes = skip_field(source)?;
    let value_bytes = skip_field(source)?;
    let header_count = int(source)?;
    if header_count < 0 {
        return Err(invalid(format!("Found invalid number of record headers {header_count}")));
    }
    for _ in 0..header_count {
        let key_bytes = skip_field(source)?;
        if key_bytes < 0 {
            return Err(invalid(format!("Invalid negative header key size {key_bytes}")));
        }
        skip_field(source)?;
        if source.position() - start > size {
            break;
        }
    }
    let read = source.position() - start;
    if read == size {
        Ok(RecordShape { offset_delta, timestamp_delta, key_bytes, value_bytes })
    } else {
        Err(invalid(format!(
            "Invalid record size: expected to read {size} bytes in record payload, but instead read {read}"
        )))
    }
}

fn codec_of(batch: &BatchView<'_>) -> Result<Compression, RecordsError> {
    batch.compression().ok_or_else(|| RecordsError::UnknownCodec(batch.compression_id()))
}

fn count_of(batch: &BatchView<'_>) -> Result<u32, RecordsError> {
    u32::try_from(batch.record_count)
        .map_err(|_| invalid(format!("Found invalid record count {} in magic v2 batch", batch.record_count)))
}

fn walk_source<S: Source>(source: &mut S, count: u32, each: &mut impl FnMut(RecordShape)) -> Result<(), RecordsError> {
    for _ in 0..count {
        each(shape(source)?);
    }
    if source.is_at_end()? {
        Ok(())
    } else {
        Err(invalid("Incorrect declared batch size, records still remaining in file"))
    }
}

/// Walks every record without looking into keys and values. A compressed batch is decoded through the buffer of the thread; nothing is
/// allocated per record.
pub(crate) fn walk(batch: &BatchView<'_>, limit: u64, mut each: impl FnMut(RecordShape)) -> Result<(), RecordsError> {
    let count = count_of(batch)?;
    match codec_of(batch)? {
        Compression::None => walk_source(&mut SliceSource { bytes: batch.records_bytes(), at: 0 }, count, &mut each),
        codec => walk_source(&mut StreamSource::new(codec, batch.records_bytes(), limit)?, count, &mut each),
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Its key; the same key may come several times. UTF-8 from well-behaved clients.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in order.
#[derive(Clone, Debug)]
pub struct RecordHeaders<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> RecordHeaders<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// As they stand in the record, without the count.
    pub(crate) fn encoded(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<RecordHeader<'a>> {
        self.count = self.count.checked_sub(1)?;
        let mut source = SliceSource { bytes: self.bytes, at: 0 };
        let key = field(&mut source).expect("the record was checked when it was read");
        let value = field(&mut source).expect("the record was checked when it was read");
        self.bytes = &self.bytes[source.at..];
        Some(RecordHeader { key: key.unwrap_or_default(), value })
    }
}

/// A record, borrowed from its batch (or from the buffer it was decoded into).
#[derive(Clone, Debug)]
pub struct RecordView<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its timestamp, Unix milliseconds; the batch's if the broker set it. -1: none.
    pub timestamp: i64,
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp minus the batch's base timestamp.
    pub timestamp_delta: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: RecordHeaders<'a>,
}

fn field<'a>(source: &mut SliceSource<'a>) -> Result<Option<&'a [u8]>, RecordsError> {
    let len = int(source)?;
    let Ok(len) = u64::try_from(len) else { return Ok(None) };
    let start = source.at;
    source.skip(len)?;
    Ok(Some(&source.bytes[start..source.at]))
}

/// Reads a record whose length was already taken off.
fn view<'a>(batch: &BatchView<'_>, body: &'a [u8]) -> Result<RecordView<'a>, RecordsError> {
    let source = &mut SliceSource { bytes: body, at: 0 };
    let _attributes = source.byte()?;
    let timestamp_delta = long(source, varint::MAX_LONG_BYTES)?;
    let offset_delta = int(source)?;
    let key = field(source)?;
    let value = field(source)?;
    let count = int(source)?;
    let Ok(count) = u32::try_from(count) else {
        return Err(invalid(format!("Found invalid number of record headers {count}")));
    };
    let start = source.at;
    for _ in 0..count {
        if field(source)?.is_none() {
            return Err(invalid("Invalid negative header key size -1"));
        }
        field(source)?;
    }
    if source.at != body.len() {
        return Err(invalid(format!(
            "Invalid record size: expected to read {} bytes in record payload, but instead read {}",
            body.len(),
            source.at
        )));
    }
    let timestamp = match batch.timestamp_type() {
        TimestampType::CreateTime => batch.base_timestamp.wrapping_add(timestamp_delta),
        TimestampType::LogAppendTime => batch.max_timestamp,
    };
    let offset = batch.base_offset.wrapping_add(i64::from(offset_delta));
    let headers = RecordHeaders { count, bytes: &body[start..] };
    Ok(RecordView { offset, timestamp, offset_delta, timestamp_delta, key, value, headers })
}

/// Gives out every record of a batch, decoding it if it is compressed. The checksum is not looked at.
pub fn for_each_record(batch: &BatchView<'_>, mut each: impl FnMut(RecordView<'_>)) -> Result<(), RecordsError> {
    try_for_each_record(batch, DECODED_LIMIT_BYTES, |record| {
        each(record);
        ControlFlow::Continue(())
    })
}

/// As [`for_each_record`], until `each` breaks off or more than `limit` bytes have been decoded.
pub fn try_for_each_record(
    batch: &BatchView<'_>,
    limit: u64,
    mut each: impl FnMut(RecordView<'_>) -> ControlFlow<()>,
) -> Result<(), RecordsError> {
    let count = count_of(batch)?;
    let bytes = batch.records_bytes();
    let remain = "Incorrect declared batch size, records still remaining in file";
    let size_of = |size: i32| u64::try_from(size).map_err(|_| invalid("Found invalid record structure"));
    match codec_of(batch)? {
        Compression::None => {
            let mut source = SliceSource { bytes, at: 0 };
            for _ in 0..count {
                let size = size_of(int(&mut source)?)?;
                let start = source.at;
                source.skip(size)?;
                if each(view(batch, &bytes[start..source.at])?).is_break() {
                    return Ok(());
                }
            }
            if source.is_at_end()? { Ok(()) } else { Err(invalid(remain)) }
        }
        codec => {
            let mut source = StreamSource::new(codec, bytes, limit)?;
            let mut body = Vec::new();
            for _ in 0..count {
                let size = size_of(int(&mut source)?)?;
                body.clear();
                source.take_into(size, &mut body)?;
                if each(view(batch, &body)?).is_break() {
                    return Ok(());
                }
            }
            if source.is_at_end()? { Ok(()) } else { Err(invalid(remain)) }
        }
    }
}

#[cfg(test)]
mod tests;
