//! Record batches in memory: checksum, validation, the four codecs.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kringle_bench::throughput::Amount;
use kringle_log::{BatchBuilder, BatchView, Compression, LogConfig, Origin, TopicPartition, for_each_record, validate};

use crate::meter::Meter;

const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// Records in a batch and the bytes of each.
const SHAPES: [(usize, usize); 3] = [(1, 100), (16, 1024), (128, 1024)];

/// Unix milliseconds. Records must be young: brokers roll and delete by their timestamps.
pub(crate) fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_1970.as_millis()).expect("before the year 292 million")
}

pub(crate) fn rows(meter: &mut Meter) {
    checksum(meter);
    validation(meter);
    compression(meter);
}

fn checksum(meter: &mut Meter) {
    let bytes = noise(1 << 20);
    for (name, len) in [("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("1 MiB", 1 << 20)] {
        meter.pure(["CRC32C", name, ""], amount(len), || crc32c::crc32c(&bytes[..len]));
    }
}

fn validation(meter: &mut Meter) {
    let group = "validate a batch (form, CRC, every record)";
    let rules = LogConfig::default().rules(TopicPartition::new("bench", 0));
    let now = now_ms();
    for (count, len) in SHAPES {
        let batch = random_batch(count, len);
        let case = format!("{count} x {len} B");
        meter.pure([group, &case, ""], amount(batch.len()), || validate(&batch, &rules, Origin::Client, now));
    }
    for codec in CODECS {
        let batch = build(codec, &documents(128, 1024));
        let case = format!("128 x 1024 B of JSON, {} (compressed bytes)", codec.name());
        meter.pure([group, &case, ""], amount(batch.len()), || validate(&batch, &rules, Origin::Client, now));
    }
}

fn compression(meter: &mut Meter) {
    for codec in CODECS {
        let mut ratios = Vec::new();
        for (count, len) in [(1, 1024), (16, 1024), (128, 1024)] {
            let values = documents(count, len);
            let plain = build(Compression::None, &values).len();
            let batch = build(codec, &values);
            ratios.push(format!("{:.2} at {count} KiB", plain as f64 / batch.len() as f64));
            let case = format!("{}, {count} x 1 KiB of JSON (uncompressed bytes)", codec.name());
            meter.pure(["compression", &case, "build"], amount(plain), || build(codec, &values));
            let view = BatchView::parse(&batch).expect("a batch");
            meter.pure(["compression", &case, "read"], amount(plain), || {
                let mut records = 0;
                for_each_record(&view, |_| records += 1).expect("well-formed");
                records
            });
        }
        meter.note_about("compression", format!("ratio of {} on this JSON: {}", codec.name(), ratios.join(", ")));
    }
}

pub(crate) fn amount(len: usize) -> Amount {
    Amount::Bytes(len as u64)
}

/// A batch of incompressible values.
pub(crate) fn random_batch(records: usize, value_len: usize) -> Bytes {
    let bytes = noise(records * value_len);
    build(Compression::None, &bytes.chunks(value_len).map(<[u8]>::to_vec).collect::<Vec<_>>())
}

pub(crate) fn build(codec: Compression, values: &[Vec<u8>]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    let now = now_ms();
    for value in values {
        builder.append(now, None, Some(value), &[]);
    }
    builder.build(0, -1)
}

/// Bytes without a pattern, the same in every run (xorshift).
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Values like those of an events topic: JSON with the same names, other numbers; about as compressible.
fn documents(count: usize, len: usize) -> Vec<Vec<u8>> {
    let noise = noise(count * len);
    let document = |bytes: &[u8]| {
        let mut text = String::from("{\"type\":\"order.updated\",\"version\":3,\"items\":[");
        for item in bytes.chunks_exact(8) {
            if text.len() + 80 > len {
                break;
            }
            let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| item[at]);
            text.push_str(&format!(
                "{{\"sku\":\"{a:02x}{b:02x}{c:02x}{d:02x}\",\"quantity\":{},\"price\":{}.{:02}}},",
                e % 9 + 1,
                u16::from(f) * 4,
                (u16::from(g) + u16::from(h)) % 100
            ));
        }
        text.push_str("{}]}");
        text.extend(std::iter::repeat_n(' ', len.saturating_sub(text.len())));
        text.into_bytes()
    };
    noise.chunks(len).map(document).collect()
}
