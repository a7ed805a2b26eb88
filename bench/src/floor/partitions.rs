//! A file for each partition, and the two things done to it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::FloorError;
use crate::fields::Fields;

/// Where a batch keeps its CRC, what it covers, and how many records it has.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const RECORDS_AT: usize = 57;

/// One partition: its file, and as much of an index as batches of one size need.
pub(super) struct Partition {
    pub(super) file: Rc<File>,
    bytes: u64,
    pub(super) next_offset: i64,
    batch_bytes: u64,
    batch_records: i64,
}

/// All partitions, by topic and number.
pub(super) struct Partitions {
    dir: PathBuf,
    topics: FxHashMap<Vec<u8>, FxHashMap<i32, Partition>>,
}

impl Partitions {
    pub(super) fn new(dir: PathBuf) -> Partitions {
        Partitions { dir, topics: FxHashMap::default() }
    }

    /// The partition, made when it is first named.
    pub(super) fn open(&mut self, topic: &[u8], number: i32) -> Result<&mut Partition, FloorError> {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_vec(), FxHashMap::default());
        }
        let of_topic = self.topics.get_mut(topic).expect("it was just made");
        if let std::collections::hash_map::Entry::Vacant(place) = of_topic.entry(number) {
            let path = self.dir.join(format!("{}-{number}.log", String::from_utf8_lossy(topic)));
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
            place.insert(Partition { file: Rc::new(file), bytes: 0, next_offset: 0, batch_bytes: 0, batch_records: 0 });
        }
        Ok(of_topic.get_mut(&number).expect("it was just made"))
    }
}

impl Partition {
    /// Checks a batch, gives it its offset and writes it; the offset.
    pub(super) fn append(&mut self, batch: &mut [u8]) -> Result<i64, FloorError> {
        const PRODUCE: i16 = 0;
        let field = |at: usize| {
            let mut fields = Fields::new(batch);
            fields.skip(at)?;
            fields.u32()
        };
        let crc = field(CRC_AT).ok_or(FloorError::NotServed(PRODUCE))?;
        let records = i64::from(field(RECORDS_AT).ok_or(FloorError::NotServed(PRODUCE))?);
        if crc32c::crc32c(&batch[CRC_FROM..]) != crc {
            return Err(FloorError::BadCrc);
        }
        let base_offset = self.next_offset;
        batch[..8].copy_from_slice(&base_offset.to_be_bytes());
        self.file.write_all_at(batch, self.bytes)?;
        (self.batch_bytes, self.batch_records) = (batch.len() as u64, records);
        self.bytes += self.batch_bytes;
        self.next_offset += records;
        Ok(base_offset)
    }

    /// Where the bytes for a fetch lie: position and length, whole batches unless the first one is larger than `max_bytes`.
    pub(super) fn slice(&self, offset: i64, max_bytes: u64) -> (u64, u64) {
        if self.batch_records == 0 {
            return (0, 0);
        }
        let batches_before = u64::try_from(offset / self.batch_records).unwrap_or(0);
        let position = (batches_before * self.batch_bytes).min(self.bytes);
        let available = self.bytes - position;
        let whole = (max_bytes / self.batch_bytes).max(1) * self.batch_bytes;
        (position, available.min(whole))
    }
}
