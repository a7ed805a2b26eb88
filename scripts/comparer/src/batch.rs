//! Record batches: built from a literal, good or bad on purpose, and read back into values that can be compared.
//!
//! Built apart from the broker's own code: the same mistake in both would hide itself. Reading never fails as a whole;
//! what cannot be read shows as a text that says so, and is compared as such.

use bytes::Bytes;
use kringle_protocol::dynamic::Value;

use crate::codec;
use crate::value::{int, items, member, text};

const HEADER_BYTES: usize = 61;
const LOG_OVERHEAD_BYTES: usize = 12;
const APPEND_TIME_BIT: i64 = 0x08;
const TRANSACTIONAL_BIT: i64 = 0x10;
const CONTROL_BIT: i64 = 0x20;

/// Builds one batch of magic 2. Every field of `spec` has a default that makes the batch valid.
pub(crate) fn build(spec: &Value, now_ms: i64) -> Result<Bytes, String> {
    let number = |name: &str, default: i64| match member(spec, name) {
        None => Ok(default),
        Some(value) => int(value).ok_or(format!("batch: {name} is no number")),
    };
    let flag = |name: &str, bit: i64| if member(spec, name) == Some(&Value::Bool(true)) { bit } else { 0 };
    let records = member(spec, "records").map_or(&[][..], items);
    let timestamp = number("timestamp", now_ms)?;
    let codec = codec::id(member(spec, "codec").and_then(text).unwrap_or("none")).ok_or("batch: unknown codec")?;

    let mut plain = Vec::new();
    let mut newest = timestamp;
    for (index, record) in (0i64..).zip(records) {
        newest = newest.max(timestamp + write_record(record, index, &mut plain)?);
    }
    let count = i64::try_from(records.len()).map_err(|e| e.to_string())?;
    let attributes = i64::from(codec)
        | flag("append_time", APPEND_TIME_BIT)
        | flag("transactional", TRANSACTIONAL_BIT)
        | flag("control", CONTROL_BIT);

    let mut tail = Vec::new();
    put(&mut tail, number("attributes", attributes)?, 2);
    put(&mut tail, number("last_offset_delta", (count - 1).max(0))?, 4);
    put(&mut tail, timestamp, 8);
    put(&mut tail, number("max_timestamp", newest)?, 8);
    put(&mut tail, number("producer_id", -1)?, 8);
    put(&mut tail, number("producer_epoch", -1)?, 2);
    put(&mut tail, number("base_sequence", -1)?, 4);
    put(&mut tail, number("count", count)?, 4);
    tail.extend(match member(spec, "packed").and_then(text) {
        None => codec::compress(codec, &plain)?,
        Some(how) => codec::compress_oddly(codec, how, &plain)?,
    });

    let mut out = Vec::new();
    put(&mut out, number("base_offset", 0)?, 8);
    put(&mut out, number("length", i64::try_from(tail.len() + 9).map_err(|e| e.to_string())?)?, 4);
    put(&mut out, number("leader_epoch", -1)?, 4);
    put(&mut out, number("magic", 2)?, 1);
    put(&mut out, i64::from(crc32c::crc32c(&tail)) ^ number("spoil_crc", 0)?, 4);
    out.extend(tail);
    Ok(Bytes::from(out))
}

/// Builds one message of the formats before batches (magic 0 and 1).
pub(crate) fn build_old(spec: &Value, now_ms: i64) -> Result<Bytes, String> {
    let magic = member(spec, "magic").and_then(int).unwrap_or(1);
    let mut tail = vec![u8::try_from(magic).map_err(|e| e.to_string())?, 0];
    if magic == 1 {
        put(&mut tail, now_ms, 8);
    }
    for name in ["key", "value"] {
        match member(spec, name).map_or(Ok(None), blob)? {
            None => put(&mut tail, -1, 4),
            Some(bytes) => {
                put(&mut tail, i64::try_from(bytes.len()).map_err(|e| e.to_string())?, 4);
                tail.extend(bytes);
            }
        }
    }
    let mut crc = flate2::Crc::new();
    crc.update(&tail);
    let mut out = Vec::new();
    put(&mut out, 0, 8);
    put(&mut out, i64::try_from(tail.len() + 4).map_err(|e| e.to_string())?, 4);
    put(&mut out, i64::from(crc.sum()), 4);
    out.extend(tail);
    Ok(Bytes::from(out))
}

/// Writes one record, `[key, value]` or `{key, value, headers, timestamp_delta, offset_delta}`; returns its time delta.
fn write_record(record: &Value, index: i64, out: &mut Vec<u8>) -> Result<i64, String> {
    let (key, value) = match record {
        Value::Array(pair) => (pair.first(), pair.get(1)),
        _ => (member(record, "key"), member(record, "value")),
    };
    let time_delta = member(record, "timestamp_delta").and_then(int).unwrap_or(0);
    let mut body = vec![0];
    varint(&mut body, time_delta);
    varint(&mut body, member(record, "offset_delta").and_then(int).unwrap_or(index));
    for part in [key, value] {
        put_blob(&mut body, part)?;
    }
    let headers = member(record, "headers").map_or(&[][..], items);
    varint(&mut body, i64::try_from(headers.len()).map_err(|e| e.to_string())?);
    for header in headers {
        put_blob(&mut body, items(header).first())?;
        put_blob(&mut body, items(header).get(1))?;
    }
    varint(out, i64::try_from(body.len()).map_err(|e| e.to_string())?);
    out.extend(body);
    Ok(time_delta)
}

fn blob(value: &Value) -> Result<Option<Vec<u8>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_bytes().to_vec())),
        Value::Bytes(bytes) => Ok(Some(bytes.to_vec())),
        other => Err(format!("{other} is neither text nor bytes")),
    }
}

fn put_blob(out: &mut Vec<u8>, value: Option<&Value>) -> Result<(), String> {
    match value.map_or(Ok(None), blob)? {
        None => varint(out, -1),
        Some(bytes) => {
            varint(out, i64::try_from(bytes.len()).map_err(|e| e.to_string())?);
            out.extend(bytes);
        }
    }
    Ok(())
}

/// Big-endian, the low `size` bytes: what does not fit is cut, on purpose (bad batches are wanted).
fn put(out: &mut Vec<u8>, n: i64, size: usize) {
    out.extend_from_slice(&n.to_be_bytes()[8 - size..]);
}

fn varint(out: &mut Vec<u8>, n: i64) {
    let mut zigzag = (n.wrapping_shl(1) ^ (n >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push(zigzag.to_le_bytes()[0] | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag.to_le_bytes()[0]);
}

/// Reads the records field of an answer: an array of batches, and a last entry for bytes that are no whole batch.
pub(crate) fn read(mut records: &[u8]) -> Value {
    let mut batches = Vec::new();
    while !records.is_empty() {
        let size = records
            .get(8..LOG_OVERHEAD_BYTES)
            .and_then(|bytes| bytes.try_into().ok())
            .and_then(|bytes| usize::try_from(i32::from_be_bytes(bytes)).ok())
            .map(|length| length + LOG_OVERHEAD_BYTES)
            .filter(|size| *size >= HEADER_BYTES && *size <= records.len());
        let Some(size) = size else {
            batches.push(Value::String(format!("{} bytes of a cut batch", records.len())));
            break;
        };
        batches.push(read_batch(&records[..size]));
        records = &records[size..];
    }
    Value::Array(batches)
}

fn read_batch(batch: &[u8]) -> Value {
    let mut header = Cursor(batch);
    let mut fields = Vec::new();
    let mut number = |name: &str, size: usize| {
        let n = header.number(size).unwrap_or(0);
        fields.push((name.to_owned(), Value::Int(n)));
        n
    };
    number("base_offset", 8);
    let length = number("length", 4);
    number("partition_leader_epoch", 4);
    number("magic", 1);
    let crc = number("crc", 4);
    let attributes = number("attributes", 2);
    number("last_offset_delta", 4);
    let base = number("base_timestamp", 8);
    let max = number("max_timestamp", 8);
    number("producer_id", 8);
    number("producer_epoch", 2);
    number("base_sequence", 4);
    let count = number("count", 4);
    let good = i64::from(crc32c::crc32c(&batch[21..]).cast_signed()) == crc;
    let codec = i16::try_from(attributes & 7).unwrap_or(0);
    let stamped = attributes & APPEND_TIME_BIT != 0;
    for (name, value) in &mut fields {
        let masked = match name.as_str() {
            // What a compressor makes of the records is its own affair, and so is what is derived from it.
            "length" if codec != 0 => {
                Some(format!("{} of a compressed batch", if length > 0 { "some" } else { "none" }))
            }
            "crc" if !good => Some("wrong".to_owned()),
            "crc" if codec != 0 || stamped => Some("right".to_owned()),
            "base_timestamp" if stamped && base == max => Some("append time".to_owned()),
            "max_timestamp" if stamped => Some("append time".to_owned()),
            _ => None,
        };
        if let Some(text) = masked {
            *value = Value::String(text);
        }
    }
    let records = match codec::decompress(codec, &batch[HEADER_BYTES..]) {
        Ok(plain) => read_records(&plain, count, attributes & CONTROL_BIT != 0),
        Err(reason) => Value::String(format!("records that cannot be unpacked: {reason}")),
    };
    fields.push(("records".to_owned(), records));
    Value::Struct(fields)
}

fn read_records(plain: &[u8], count: i64, _control: bool) -> Value {
    let mut cursor = Cursor(plain);
    let mut records = Vec::new();
    for _ in 0..count {
        match read_record(&mut cursor) {
            Some(record) => records.push(record),
            None => {
                records.push(Value::String("a record that cannot be read".to_owned()));
                break;
            }
        }
    }
    if !cursor.0.is_empty() {
        records.push(Value::String(format!("{} bytes after the last record", cursor.0.len())));
    }
    Value::Array(records)
}

fn read_record(cursor: &mut Cursor<'_>) -> Option<Value> {
    let size = usize::try_from(cursor.varint()?).ok()?;
    let mut body = Cursor(cursor.take(size)?);
    let mut fields = vec![("attributes".to_owned(), Value::Int(body.number(1)?))];
    for name in ["timestamp_delta", "offset_delta"] {
        fields.push((name.to_owned(), Value::Int(body.varint()?)));
    }
    for name in ["key", "value"] {
        fields.push((name.to_owned(), body.blob()?));
    }
    let mut headers = Vec::new();
    for _ in 0..body.varint()? {
        headers.push(Value::Array(vec![body.blob()?, body.blob()?]));
    }
    fields.push(("headers".to_owned(), Value::Array(headers)));
    Some(Value::Struct(fields))
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(head)
    }

    /// A signed big-endian number of `size` bytes.
    fn number(&mut self, size: usize) -> Option<i64> {
        let bytes = self.take(size)?;
        let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        Some(bytes.iter().fold(if negative { -1 } else { 0 }, |n: i64, byte| n << 8 | i64::from(*byte)))
    }

    fn varint(&mut self) -> Option<i64> {
        let mut zigzag = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        None
    }

    fn blob(&mut self) -> Option<Value> {
        match self.varint()? {
            -1 => Some(Value::Null),
            size => Some(Value::Bytes(Bytes::copy_from_slice(self.take(usize::try_from(size).ok()?)?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(codec: &str) -> Value {
        let pair = |k: &str, v: &str| Value::Array(vec![Value::String(k.into()), Value::String(v.into())]);
        Value::Struct(vec![
            ("codec".into(), Value::String(codec.into())),
            ("records".into(), Value::Array(vec![pair("a", "1"), pair("b", "2")])),
        ])
    }

    #[test]
    fn a_batch_is_read_as_it_was_built() {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let batches = read(&build(&spec(codec), 1000).unwrap());
            let batch = &items(&batches)[0];
            assert_eq!(items(member(batch, "records").unwrap()).len(), 2, "{codec}");
            assert_ne!(member(batch, "crc"), Some(&Value::String("wrong".into())));
        }
    }

    #[test]
    fn a_spoiled_crc_and_a_cut_batch_are_seen() {
        let Value::Struct(mut fields) = spec("none") else { panic!() };
        fields.push(("spoil_crc".into(), Value::Int(1)));
        let bytes = build(&Value::Struct(fields), 1000).unwrap();
        assert_eq!(member(&items(&read(&bytes))[0], "crc"), Some(&Value::String("wrong".into())));
        assert_eq!(read(&bytes[..70]), Value::Array(vec![Value::String("70 bytes of a cut batch".into())]));
    }
}
