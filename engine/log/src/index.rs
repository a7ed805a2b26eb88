//! Offset index and time index: sorted entries of fixed size that lead near the batch that is looked for.
//!
//! ```text
//! .index      { last offset of a batch minus base offset i32 | position of that batch i32 }
//! .timeindex  { largest timestamp so far i64 | last offset of the batch that holds it, minus base offset i32 }
//! ```
//!
//! The owner of the log writes; entries gather in a tail in memory and go to the file a page at a time. Look-ups take the tail if
//! they can, else the page that was read last, else binary search by page reads, so that an open index costs a page of memory for
//! what is on disk, and a reader that goes forward reads each page once. A failed write keeps the
//! entries in the tail and is tried again with the next page, at the roll or at the close; an index that lacks entries is
//! rebuilt by recovery, never trusted for more than a starting point.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kringle_runtime::{File, Fs, Open};

use crate::scan::Reach;

/// Entries are written and searched by pages of this many.
const PAGE_ENTRIES: usize = 512;

/// Where the entries are.
#[derive(Clone)]
pub(crate) enum IndexFile {
    /// In an open file.
    Open(File),
    /// In a file that is opened whenever a page of it is read or written: that of a segment that is appended to. A broker with
    /// thousands of partitions has better uses for its descriptors.
    Named(Fs, PathBuf),
}

impl IndexFile {
    pub(crate) fn open(&self) -> io::Result<File> {
        match self {
            IndexFile::Open(file) => Ok(file.clone()),
            IndexFile::Named(fs, path) => fs.open(path, Open::ReadWrite),
        }
    }
}

/// Fixed-size entries in a file with a tail in memory. Clones share the file and copy the tail.
struct Entries<const N: usize> {
    file: IndexFile,
    /// Entries that are in the file.
    on_disk: usize,
    /// Number of the first entry in `tail`.
    tail_from: usize,
    /// The last entries, written or not.
    tail: Vec<[u8; N]>,
    /// The page that was read last. What is in the file does not change any more.
    page: Mutex<Page<N>>,
}

/// Entries before the tail, as the file has them.
struct Page<const N: usize> {
    from: usize,
    entries: Vec<[u8; N]>,
}

impl<const N: usize> Page<N> {
    /// Reads the entries from number `from` on, as far as a page and those before `upto` go.
    fn read(&mut self, file: &IndexFile, from: usize, upto: usize, reach: Reach) -> io::Result<()> {
        self.entries.clear();
        let mut entries = vec![[0; N]; PAGE_ENTRIES.min(upto - from)];
        reach.read_exact_at(&file.open()?, entries.as_flattened_mut(), (from * N) as u64)?;
        *self = Page { from, entries };
        Ok(())
    }

    fn end(&self) -> usize {
        self.from + self.entries.len()
    }

    fn partition_point(&self, holds: impl Fn(&[u8; N]) -> bool) -> usize {
        self.from + self.entries.partition_point(holds)
    }
}

impl<const N: usize> Clone for Entries<N> {
    fn clone(&self) -> Entries<N> {
        let Entries { file, on_disk, tail_from, tail, page: _ } = self;
        Entries { file: file.clone(), on_disk: *on_disk, tail_from: *tail_from, tail: tail.clone(), page: no_page() }
    }
}

fn no_page<const N: usize>() -> Mutex<Page<N>> {
    Mutex::new(Page { from: 0, entries: Vec::new() })
}

impl<const N: usize> Entries<N> {
    /// An index whose file holds whole entries, `len` bytes of them.
    fn open(file: IndexFile, len: u64) -> Entries<N> {
        let on_disk = usize::try_from(len).unwrap_or(usize::MAX) / N;
        Entries { file, on_disk, tail_from: on_disk, tail: Vec::new(), page: no_page() }
    }

    fn len(&self) -> usize {
        self.tail_from + self.tail.len()
    }

    fn push(&mut self, entry: [u8; N]) {
        self.tail.push(entry);
        if (self.len() - self.on_disk).is_multiple_of(PAGE_ENTRIES)
            && let Err(e) = self.flush()
        {
            tracing::warn!("index page not written, kept in memory: {e}");
        }
    }

    /// Writes what the file lacks.
    fn flush(&mut self) -> io::Result<()> {
        let unwritten = &self.tail[self.on_disk - self.tail_from..];
        if !unwritten.is_empty() {
            let bytes = IoSlice::new(unwritten.as_flattened());
            self.file.open()?.write_all_at(&mut [bytes], (self.on_disk * N) as u64)?;
            self.on_disk = self.len();
        }
        if self.tail.len() > PAGE_ENTRIES {
            let drop = self.tail.len() - PAGE_ENTRIES;
            self.tail.drain(..drop);
            self.tail_from += drop;
        }
        Ok(())
    }

    fn page(&self) -> MutexGuard<'_, Page<N>> {
        // Nothing under the lock can panic halfway through a change.
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, at: usize, reach: Reach) -> io::Result<[u8; N]> {
        if let Some(entry) = at.checked_sub(self.tail_from).and_then(|at| self.tail.get(at)) {
            return Ok(*entry);
        }
        let page = self.page();
        match at.checked_sub(page.from).and_then(|at| page.entries.get(at)) {
            Some(entry) => Ok(*entry),
            None => self.read_one(&self.file.open()?, at, reach),
        }
    }

    fn read_one(&self, file: &File, at: usize, reach: Reach) -> io::Result<[u8; N]> {
        let mut entry = [0; N];
        reach.read_exact_at(file, &mut entry, (at * N) as u64)?;
        Ok(entry)
    }

    /// How many entries, from the first, fulfil `holds`, which must hold for a prefix.
    fn partition_point(&self, reach: Reach, holds: impl Fn(&[u8; N]) -> bool) -> io::Result<usize> {
        if self.tail.first().is_some_and(&holds) {
            return Ok(self.tail_from + self.tail.partition_point(holds));
        }
        let (mut low, mut high) = (0, self.tail_from);
        if high == 0 {
            return Ok(0);
        }
        let mut page = self.page();
        if page.entries.first().is_some_and(&holds) {
            // Here, or, for a reader that goes forward, most likely in the next page.
            let mut found = page.partition_point(&holds);
            if found == page.end() && found < high {
                page.read(&self.file, found - 1, high, reach)?;
                found = page.partition_point(&holds);
            }
            if found < page.end() || found == high {
                return Ok(found);
            }
            low = found;
        }
        let file = self.file.open()?;
        while high - low >= PAGE_ENTRIES {
            let middle = low + (high - low) / 2;
            if holds(&self.read_one(&file, middle, reach)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        page.read(&IndexFile::Open(file), low.saturating_sub(1), self.tail_from, reach)?;
        Ok(page.partition_point(holds))
    }

    /// The last entry that fulfils `holds`.
    fn last_where(&self, holds: impl Fn(&[u8; N]) -> bool) -> io::Result<Option<[u8; N]>> {
        match self.partition_point(Reach::Disk, holds)? {
            0 => Ok(None),
            count => self.get(count - 1, Reach::Disk).map(Some),
        }
    }

    fn last(&self) -> io::Result<Option<[u8; N]>> {
        match self.len() {
            0 => Ok(None),
            len => self.get(len - 1, Reach::Disk).map(Some),
        }
    }
}

fn split<const N: usize, const A: usize, const B: usize>(entry: &[u8; N]) -> ([u8; A], [u8; B]) {
    let (mut a, mut b) = ([0; A], [0; B]);
    a.copy_from_slice(&entry[..A]);
    b.copy_from_slice(&entry[A..A + B]);
    (a, b)
}

/// Offsets of a segment to positions in its `.log`.
#[derive(Clone)]
pub(crate) struct OffsetIndex {
    base_offset: i64,
    entries: Entries<8>,
}

impl OffsetIndex {
    pub(crate) const ENTRY_BYTES: usize = 8;

    pub(crate) fn open(file: IndexFile, base_offset: i64, len: u64) -> OffsetIndex {
        OffsetIndex { base_offset, entries: Entries::open(file, len) }
    }

    fn parse(&self, entry: &[u8; 8]) -> (i64, u64) {
        let (relative, position) = split::<8, 4, 4>(entry);
        (self.base_offset + i64::from(i32::from_be_bytes(relative)), u64::from(u32::from_be_bytes(position)))
    }

    /// Adds a batch. The caller keeps offsets within 2^31 of the base and positions below 2^31, as segments do.
    pub(crate) fn append(&mut self, last_offset: i64, position: u64) {
        let mut entry = [0; 8];
        entry[..4].copy_from_slice(&relative(last_offset, self.base_offset).to_be_bytes());
        entry[4..].copy_from_slice(&u32::try_from(position).expect("positions are below 2^31").to_be_bytes());
        self.entries.push(entry);
    }

    /// Where to begin looking for an offset: the last batch in the index that ends at or before it, and its position.
    pub(crate) fn lookup(&self, offset: i64) -> io::Result<(i64, u64)> {
        Ok(self.around(offset, Reach::Disk)?.0)
    }

    /// The same; and the position of the batch that the index has next, which has the offset if it is not between the two.
    pub(crate) fn around(&self, offset: i64, reach: Reach) -> io::Result<((i64, u64), Option<u64>)> {
        let entry = |at| self.entries.get(at, reach).map(|entry| self.parse(&entry));
        let count = self.entries.partition_point(reach, |entry| self.parse(entry).0 <= offset)?;
        let before = if count == 0 { (self.base_offset, 0) } else { entry(count - 1)? };
        let next = if count < self.entries.len() { Some(entry(count)?.1) } else { None };
        Ok((before, next))
    }

    pub(crate) fn last(&self) -> io::Result<Option<(i64, u64)>> {
        Ok(self.entries.last()?.map(|entry| self.parse(&entry)))
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.entries.len() * Self::ENTRY_BYTES
    }

    /// Whether the entries can be right: the last two ascend and none lies past the log. An index that was preallocated and never
    /// trimmed (a crash of Kafka) ends in zeros and fails.
    pub(crate) fn looks_sane(&self, log_bytes: u64) -> io::Result<bool> {
        let Some(last) = self.last()? else { return Ok(true) };
        let before = match self.entries.len() {
            1 => (self.base_offset - 1, 0),
            len => self.parse(&self.entries.get(len - 2, Reach::Disk)?),
        };
        Ok(last.0 > before.0 && last.1 >= before.1 && last.0 >= self.base_offset && last.1 < log_bytes.max(1))
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.entries.flush()
    }

    pub(crate) fn file(&self) -> io::Result<File> {
        self.entries.file.open()
    }
}

/// Timestamps of a segment to offsets.
#[derive(Clone)]
pub(crate) struct TimeIndex {
    base_offset: i64,
    last_timestamp: i64,
    entries: Entries<12>,
}

impl TimeIndex {
    pub(crate) const ENTRY_BYTES: usize = 12;

    pub(crate) fn open(file: IndexFile, base_offset: i64, len: u64) -> io::Result<TimeIndex> {
        let mut index = TimeIndex { base_offset, last_timestamp: -1, entries: Entries::open(file, len) };
        index.last_timestamp = index.last()?.map_or(-1, |(timestamp, _)| timestamp);
        Ok(index)
    }

    fn parse(&self, entry: &[u8; 12]) -> (i64, i64) {
        let (timestamp, relative) = split::<12, 8, 4>(entry);
        (i64::from_be_bytes(timestamp), self.base_offset + i64::from(i32::from_be_bytes(relative)))
    }

    /// Adds the largest timestamp so far, if it is larger than the last entry's.
    pub(crate) fn maybe_append(&mut self, timestamp: i64, last_offset: i64) {
        if timestamp > self.last_timestamp {
            let mut entry = [0; 12];
            entry[..8].copy_from_slice(&timestamp.to_be_bytes());
            entry[8..].copy_from_slice(&relative(last_offset, self.base_offset).to_be_bytes());
            self.entries.push(entry);
            self.last_timestamp = timestamp;
        }
    }

    /// The last entry at or before a timestamp: every record before its offset is older.
    pub(crate) fn lookup(&self, timestamp: i64) -> io::Result<(i64, i64)> {
        let found = self.entries.last_where(|entry| self.parse(entry).0 <= timestamp)?;
        Ok(found.map_or((-1, self.base_offset), |entry| self.parse(&entry)))
    }

    pub(crate) fn last(&self) -> io::Result<Option<(i64, i64)>> {
        Ok(self.entries.last()?.map(|entry| self.parse(&entry)))
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.entries.len() * Self::ENTRY_BYTES
    }

    pub(crate) fn looks_sane(&self) -> io::Result<bool> {
        let Some(last) = self.last()? else { return Ok(true) };
        let before = match self.entries.len() {
            1 => (-1, self.base_offset),
            len => self.parse(&self.entries.get(len - 2, Reach::Disk)?),
        };
        Ok(last.0 > before.0 && last.1 >= before.1)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.entries.flush()
    }

    pub(crate) fn file(&self) -> io::Result<File> {
        self.entries.file.open()
    }
}

fn relative(offset: i64, base_offset: i64) -> i32 {
    i32::try_from(offset - base_offset).expect("a segment rolls before its offsets leave 32 bits")
}

#[cfg(test)]
mod tests {
    use kringle_runtime::{Host, Open, RealOptions};

    use super::*;

    /// An index with `count` entries in the file, none in memory: offsets 0, 10, 20 ... at positions 0, 1, 2 ...
    fn on_disk(dir: &tempfile::TempDir, count: u32) -> OffsetIndex {
        let fs = Host::real(RealOptions::default()).unwrap().fs();
        let file = fs.open(dir.path().join("index"), Open::Create).unwrap();
        let mut index = OffsetIndex::open(IndexFile::Open(file.clone()), 0, 0);
        for n in 0..count {
            index.append(i64::from(n) * 10, u64::from(n));
        }
        index.flush().unwrap();
        OffsetIndex::open(IndexFile::Open(file), 0, u64::from(count) * 8)
    }

    #[test]
    fn look_ups_in_any_order_find_what_a_fresh_index_finds() {
        let page = u32::try_from(PAGE_ENTRIES).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for count in [0, 1, 2, page - 1, page, page + 1, 3 * page, 5 * page + 7] {
            let index = on_disk(&dir, count);
            let end = i64::from(count) * 10 + 20;
            let forward = (0..end).step_by(7);
            let back = (0..end).rev().step_by(11);
            let around = (0..end).map(|n| n * 7919 % end).step_by(13);
            for offset in forward.chain(back).chain(around) {
                let expected = (offset / 10).min(i64::from(count) - 1).max(0);
                let found = index.around(offset, Reach::Disk).unwrap();
                let position = u64::try_from(expected).unwrap();
                let next = (expected + 1 < i64::from(count) && offset >= 0).then_some(position + 1);
                assert_eq!(found, ((expected * 10, position), next), "{offset} of {count} entries");
            }
        }
    }

    #[test]
    fn a_page_that_cannot_be_written_is_kept_and_tried_again_with_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Host::real(RealOptions::default()).unwrap().fs();
        let path = dir.path().join("index");
        let mut index = OffsetIndex::open(IndexFile::Named(fs.clone(), path.clone()), 0, 0);
        let page = u32::try_from(PAGE_ENTRIES).unwrap();
        let append = |index: &mut OffsetIndex, entries: std::ops::Range<u32>| {
            entries.for_each(|n| index.append(i64::from(n) * 10, u64::from(n)));
            fs.open(&path, Open::Read).ok().map(|file| file.len().unwrap())
        };
        assert_eq!(append(&mut index, 0..page + 1), None);
        fs.open(&path, Open::CreateNew).unwrap();
        assert_eq!(append(&mut index, page + 1..2 * page - 1), Some(0));
        assert_eq!(append(&mut index, 2 * page - 1..2 * page), Some(u64::from(page) * 16));
        assert_eq!(index.around(5005, Reach::Disk).unwrap(), ((5000, 500), Some(501)));
    }
}
