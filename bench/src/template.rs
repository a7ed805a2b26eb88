//! Record batches that are encoded once and sent many times.
//!
//! Encoding and compressing while the load runs would make the generator the bottleneck. So each batch is built beforehand, and
//! for each sending only its timestamps and producer fields are patched. The checksum follows from the patched header alone: the
//! CRC of the records is known, and moving the header's CRC over them is a multiplication by a matrix that is known too. So a
//! batch of 1 MiB costs no more to patch than one of 100 bytes.
//!
//! Invariant: [`Templates`] are in ascending order of their records and the first has one record.

use kringle_log::{BatchBuilder, BatchView, Compression, HEADER_BYTES};

use crate::payload::Content;
use crate::plan::{Codec, RecordPlan};
use crate::units::to_f64;

/// Where in a batch its checksum is, and where that begins to count.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

/// Who sends a batch, if it is an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
}

/// A batch that only lacks its timestamps, its producer and its checksum.
pub(crate) struct Template {
    bytes: Vec<u8>,
    /// How many records it has.
    pub(crate) records: usize,
    /// Bytes of its keys and values.
    pub(crate) payload_bytes: usize,
    /// Bytes it would have without compression.
    pub(crate) plain_bytes: usize,
    /// The checksum of the records.
    records_crc: u32,
    /// What each bit of the header's checksum becomes when the records follow.
    moved: [u32; 32],
}

impl Template {
    fn new(bytes: Vec<u8>, records: usize, payload_bytes: usize, plain_bytes: usize) -> Template {
        let tail = &bytes[HEADER_BYTES..];
        let mut moved = [0; 32];
        for (bit, column) in moved.iter_mut().enumerate() {
            *column = crc32c::crc32c_combine(1 << bit, 0, tail.len());
        }
        let records_crc = crc32c::crc32c(tail);
        Template { bytes, records, payload_bytes, plain_bytes, records_crc, moved }
    }

    /// The batch as it was encoded.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes `batch`, a copy of [`Template::bytes`] that may have been patched before, ready to be sent.
    pub(crate) fn patch(&self, batch: &mut [u8], timestamp_ms: i64, sequence: Option<Sequence>) {
        batch[27..35].copy_from_slice(&timestamp_ms.to_be_bytes());
        batch[35..43].copy_from_slice(&timestamp_ms.to_be_bytes());
        if let Some(sequence) = sequence {
            batch[43..51].copy_from_slice(&sequence.producer_id.to_be_bytes());
            batch[51..53].copy_from_slice(&sequence.producer_epoch.to_be_bytes());
            batch[53..57].copy_from_slice(&sequence.base_sequence.to_be_bytes());
        }
        let mut header_crc = crc32c::crc32c(&batch[CRC_FROM..HEADER_BYTES]);
        let mut crc = self.records_crc;
        while header_crc != 0 {
            crc ^= self.moved[header_crc.trailing_zeros() as usize];
            header_crc &= header_crc - 1;
        }
        batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    }
}

/// The batches of a load: the full one, and smaller ones for an open loop that must not wait.
pub(crate) struct Templates {
    all: Vec<Template>,
}

impl Templates {
    /// Encodes them. Without `partial` there is the full batch only, and a single record.
    pub(crate) fn build(plan: &RecordPlan, partial: bool) -> Templates {
        let records = full_batch(plan);
        let mut counts = vec![1];
        while let Some(&last) = counts.last().filter(|last| **last < records.len()) {
            // Steps of a quarter: what is left over waits for the next batch.
            counts.push(if partial { (last + (last / 4).max(1)).min(records.len()) } else { records.len() });
        }
        Templates { all: counts.into_iter().map(|count| template(plan, &records[..count])).collect() }
    }

    /// The largest batch.
    pub(crate) fn full(&self) -> &Template {
        self.all.last().expect("there is a batch of one record at least")
    }

    /// Which template holds the most of `available` records; that of a single one when there is none.
    pub(crate) fn fitting(&self, available: usize) -> usize {
        self.all.partition_point(|template| template.records <= available).saturating_sub(1)
    }

    pub(crate) fn at(&self, index: usize) -> &Template {
        &self.all[index]
    }

    /// How much smaller compression makes the full batch; 1 where it does nothing.
    pub(crate) fn ratio(&self) -> f64 {
        let full = self.full();
        to_f64(full.plain_bytes) / to_f64(full.bytes.len())
    }
}

/// A key and a value.
pub(crate) struct Record {
    key: Option<Vec<u8>>,
    value: Vec<u8>,
}

/// The records of a full batch: until its bytes or its records reach their limit, but one at least.
pub(crate) fn full_batch(plan: &RecordPlan) -> Vec<Record> {
    let mut content = Content::new(plan.payload, plan.value_bytes, plan.key_bytes, plan.keys, plan.seed);
    let mut plain = BatchBuilder::new(Compression::None);
    let mut records = Vec::new();
    while records.len() < plan.batch_records.unwrap_or(usize::MAX).max(1) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        content.value(&mut value);
        let key = content.key(&mut key).then_some(key);
        plain.append(0, key.as_deref(), Some(&value), &[]);
        if !records.is_empty() && plan.batch_bytes.is_some_and(|limit| plain.size_bytes() > limit) {
            break;
        }
        records.push(Record { key, value });
        if plan.batch_bytes.is_none() && plan.batch_records.is_none() {
            break;
        }
    }
    records
}

/// One batch of them.
pub(crate) fn encode(codec: Codec, records: &[Record]) -> Vec<u8> {
    let mut builder = BatchBuilder::with_level(codec.compression, codec.level);
    for record in records {
        builder.append(0, record.key.as_deref(), Some(&record.value), &[]);
    }
    builder.build(0, -1).to_vec()
}

fn template(plan: &RecordPlan, records: &[Record]) -> Template {
    let bytes = encode(plan.codec, records);
    let plain_bytes = match plan.codec.compression {
        Compression::None => bytes.len(),
        _ => encode(Codec { compression: Compression::None, level: None }, records).len(),
    };
    debug_assert!(BatchView::parse(&bytes).is_ok_and(|batch| batch.crc_is_valid()));
    Template::new(bytes, records.len(), records.len() * plan.record_bytes(), plain_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Payload;

    fn plan(codec: &str) -> RecordPlan {
        RecordPlan {
            value_bytes: 200,
            key_bytes: 12,
            keys: 50,
            payload: Payload::Json,
            batch_bytes: Some(8000),
            batch_records: None,
            codec: codec.parse::<Codec>().unwrap(),
            seed: 3,
        }
    }

    #[test]
    fn a_patched_batch_is_what_the_builder_would_have_made() {
        for codec in ["none", "gzip:6", "snappy", "lz4", "zstd:3"] {
            let templates = Templates::build(&plan(codec), true);
            for index in 0..templates.all.len() {
                let template = templates.at(index);
                let mut batch = template.bytes().to_vec();
                // Twice: a patched batch is patched again.
                for base_sequence in [0, 77] {
                    let sequence = Sequence { producer_id: 42, producer_epoch: 3, base_sequence };
                    template.patch(&mut batch, 1_700_000_000_123, Some(sequence));
                }
                let view = BatchView::parse(&batch).unwrap();
                assert!(view.crc_is_valid(), "{codec} {}", template.records);
                let header = view.header();
                assert_eq!((header.base_timestamp, header.max_timestamp), (1_700_000_000_123, 1_700_000_000_123));
                assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (42, 3, 77));
                let mut records = 0;
                kringle_log::for_each_record(&view, |record| {
                    assert_eq!(record.timestamp, 1_700_000_000_123);
                    assert_eq!(record.value.map(<[u8]>::len), Some(200));
                    records += 1;
                })
                .unwrap();
                assert_eq!(records, template.records);
            }
        }
    }

    #[test]
    fn a_batch_is_full_at_its_bytes_or_its_records() {
        let by_bytes = Templates::build(&plan("none"), false);
        assert!((7700..=8000).contains(&by_bytes.full().bytes().len()), "{}", by_bytes.full().bytes().len());
        let by_records = Templates::build(&RecordPlan { batch_records: Some(7), ..plan("none") }, false);
        assert_eq!(by_records.full().records, 7);
        let one = Templates::build(&RecordPlan { batch_bytes: Some(1), ..plan("none") }, false);
        assert_eq!(one.full().records, 1);
    }

    #[test]
    fn the_fitting_template_never_has_more_records_than_there_are() {
        let templates = Templates::build(&plan("none"), true);
        for available in 1..=templates.full().records + 5 {
            let records = templates.at(templates.fitting(available)).records;
            assert!(records <= available && records * 3 >= available.min(templates.full().records) * 2, "{available}");
        }
    }
}
