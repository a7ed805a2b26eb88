//! The commit journal: where batches of many logs are made durable by one write.
//!
//! To make an append durable in a log's own file takes the disk's flush and, because the file grows, the file system's accounts, for each log
//! (docs/decisions/commit-journal.md has the figures). So a shard copies what its logs have written and somebody waits for into *one*
//! file whose blocks are all written already, with one write past the page cache. The logs' own files go to the disk later, many
//! commits at a time, and only then is the journal's space used again.
//!
//! ```text
//! kringle-journal-<shard>   head: magic, run, epoch, checksum | record | record | ... each from a multiple of 4096 on
//! record                    magic, run, length, pieces, checksum | piece | piece | ... zeros up to the next block
//! piece                     topic id, partition, topic, segment's base offset, position in its .log file, length | the bytes
//! ```
//!
//! After a crash [`redo`] writes every piece to where its log has it, before the logs are opened, and removes the journals. A piece says
//! where its bytes stand and logs only grow, so it makes no difference whether they are there already, nor in which order or how often they are
//! written: a record that was left over from an earlier use of its place does no harm. What a write left undone has a wrong checksum.
//!
//! That holds as long as a segment's bytes never move: a compaction that writes a segment anew must first see its log synced and the journal's
//! pieces of it gone.
//!
//! **Whose journal.** The head names the epoch of the metadata quorum, in which every start of a broker, also of Apache Kafka's, begins a
//! new one: a journal is only for the directory as the broker that wrote it left it. After a clean stop there is none.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};
use kringle_protocol::Uuid;
use kringle_runtime::{DirectBuf, DirectPool, File, Fs, Open};

use crate::checkpoint::read_partition_metadata;
use crate::partition::PARTITION_METADATA;
use crate::segment::{Kind, path};
use crate::topic_partition::TopicPartition;

const PREFIX: &str = "kringle-journal-";
const HEAD_MAGIC: &[u8; 8] = b"KRJRNL01";
const RECORD_MAGIC: &[u8; 8] = b"KRRECORD";
const BLOCK: usize = DirectBuf::BLOCK_BYTES;
/// Magic, run, epoch, checksum.
const HEAD_BYTES: usize = 8 + 8 + 4 + 4;
/// Magic, run, length of what follows, number of pieces, checksum.
const RECORD_HEAD: usize = 8 + 8 + 4 + 4 + 4;
/// Where the checksum stands in a record's head. It covers what is between the magic and itself, and what follows the head.
const CHECKSUM_AT: usize = RECORD_HEAD - 4;
/// A piece's head without the topic's name.
const PIECE_HEAD: usize = 16 + 4 + 2 + 8 + 8 + 4;
/// No record is longer; what says so was not written by a broker.
const MAX_RECORD_BYTES: usize = 16 << 20;

/// What one log has to be made durable: bytes of its active segment that are in the page cache.
#[derive(Clone, Debug)]
pub struct JournalJob {
    pub(crate) partition: TopicPartition,
    pub(crate) topic_id: Uuid,
    pub(crate) log: File,
    pub(crate) base_offset: i64,
    pub(crate) position: u64,
    pub(crate) len: usize,
    /// All that is before this offset is durable afterwards.
    pub(crate) upto: i64,
}

impl JournalJob {
    /// Bytes that it takes of a record.
    pub fn record_bytes(&self) -> usize {
        PIECE_HEAD + self.partition.topic.len() + self.len
    }

    fn write(&self, record: &mut DirectBuf, may_block: bool) -> io::Result<()> {
        let topic = self.partition.topic.as_bytes();
        let mut head = record.extend(PIECE_HEAD + topic.len());
        head.put_slice(&self.topic_id.as_bytes()[..]);
        head.put_i32(self.partition.partition);
        head.put_u16(u16::try_from(topic.len()).expect("a topic's name is short"));
        head.put_slice(topic);
        head.put_i64(self.base_offset);
        head.put_u64(self.position);
        head.put_u32(u32::try_from(self.len).expect("shorter than a record"));
        let bytes = record.extend(self.len);
        if may_block {
            self.log.read_exact_at(bytes, self.position)
        } else {
            self.log.read_exact_cached_at(bytes, self.position)
        }
    }
}

/// Bytes of a record that holds so many bytes of pieces.
pub fn record_bytes(pieces: usize) -> usize {
    (RECORD_HEAD + pieces).next_multiple_of(BLOCK)
}

/// A record with these pieces, whose bytes are read from their logs' files.
///
/// # Errors
/// A log cannot be read. `WouldBlock`, unless it `may_block`: some of its bytes are no longer in the page cache.
pub fn record(run: u64, jobs: &[JournalJob], pool: &DirectPool, may_block: bool) -> io::Result<Bytes> {
    let body: usize = jobs.iter().map(JournalJob::record_bytes).sum();
    let mut buf = pool.take(record_bytes(body));
    let mut head = buf.extend(RECORD_HEAD);
    head.put_slice(RECORD_MAGIC);
    head.put_u64(run);
    head.put_u32(u32::try_from(body).expect("a record is short"));
    head.put_u32(u32::try_from(jobs.len()).expect("a record is short"));
    jobs.iter().try_for_each(|job| job.write(&mut buf, may_block))?;
    let checksum = checksum_of(&buf);
    (&mut buf.filled_mut()[CHECKSUM_AT..RECORD_HEAD]).put_u32(checksum);
    Ok(buf.freeze())
}

fn checksum_of(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[RECORD_MAGIC.len()..CHECKSUM_AT]), &record[RECORD_HEAD..])
}

/// The journal of a shard in a log directory.
fn journal_path(log_dir: &Path, shard: usize) -> PathBuf {
    log_dir.join(format!("{PREFIX}{shard}"))
}

/// Bytes before the first record.
pub const JOURNAL_HEAD_BYTES: u64 = BLOCK as u64;

/// Makes an empty journal, durably. Blocking.
///
/// # Errors
/// The file system refuses.
pub fn create(fs: &Fs, log_dir: &Path, shard: usize, run: u64, epoch: i32) -> io::Result<File> {
    let path = journal_path(log_dir, shard);
    let file = fs.open(&path, Open::Create)?;
    file.clear()?;
    let mut head = [0; BLOCK];
    head[..HEAD_BYTES].copy_from_slice(&head_of(run, epoch));
    file.write_all_at(&mut [IoSlice::new(&head)], 0)?;
    file.sync_all()?;
    fs.sync_dir(log_dir)?;
    fs.open_direct(&path)
}

fn head_of(run: u64, epoch: i32) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.put_slice(HEAD_MAGIC);
    head.put_u64(run);
    head.put_i32(epoch);
    head.put_u32(crc32c::crc32c(&head));
    head
}

/// The journals in a log directory.
fn journals(fs: &Fs, log_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs.list(log_dir)?;
    let named = |name: &str| name.strip_prefix(PREFIX).is_some_and(|shard| shard.parse::<usize>().is_ok());
    Ok(entries
        .iter()
        .filter(|entry| !entry.is_dir && named(&entry.name))
        .map(|entry| log_dir.join(&entry.name))
        .collect())
}

/// Removes the journals, durably: all they hold is in the logs' own files. Blocking.
///
/// # Errors
/// The file system refuses.
pub fn remove(fs: &Fs, log_dir: &Path) -> io::Result<()> {
    let journals = journals(fs, log_dir)?;
    journals.iter().try_for_each(|path| fs.remove_file(path))?;
    if journals.is_empty() { Ok(()) } else { fs.sync_dir(log_dir) }
}

/// What [`redo`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redone {
    /// Records that were whole.
    pub records: usize,
    /// Bytes that were written to logs.
    pub bytes: u64,
}

/// Brings what the journals hold to the logs' own files, to be synced by the caller before it removes the journals ([`remove`]).
/// Journals of another epoch than `epoch` are passed over: somebody else has changed the logs since. Blocking.
///
/// # Errors
/// A journal cannot be read, or a log not written.
pub fn redo(fs: &Fs, log_dir: &Path, epoch: Option<i32>) -> io::Result<Redone> {
    let mut redone = Redone::default();
    for path in journals(fs, log_dir)? {
        let journal = fs.open(&path, Open::Read)?;
        let mut head = [0; HEAD_BYTES];
        let run = match journal.read_exact_at(&mut head, 0) {
            Ok(()) => u64::from_be_bytes(head[8..16].try_into().expect("eight bytes")),
            // It was being made.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(e) => return Err(e),
        };
        let of_epoch = number(&head[16..20]).cast_signed();
        if head_of(run, of_epoch) != head {
            continue;
        }
        if epoch != Some(of_epoch) {
            tracing::warn!("{}: not used: another broker ran on this directory since", path.display());
            continue;
        }
        redo_all(fs, log_dir, &journal, run, &mut redone)?;
    }
    Ok(redone)
}

fn redo_all(fs: &Fs, log_dir: &Path, journal: &File, run: u64, redone: &mut Redone) -> io::Result<()> {
    let len = journal.len()?;
    let mut position = JOURNAL_HEAD_BYTES;
    let mut record = Vec::new();
    let mut logs = Logs::default();
    while position + BLOCK as u64 <= len {
        let blocks = match read_record(journal, len, position, run, &mut record)? {
            true => {
                redone.records += 1;
                redone.bytes += redo_record(fs, log_dir, &record, &mut logs)?;
                record.len().next_multiple_of(BLOCK)
            }
            false => BLOCK,
        };
        position += blocks as u64;
    }
    Ok(())
}

/// Whether a whole record begins at `position`; then `record` holds it.
fn read_record(journal: &File, len: u64, position: u64, run: u64, record: &mut Vec<u8>) -> io::Result<bool> {
    let mut head = [0; RECORD_HEAD];
    journal.read_exact_at(&mut head, position)?;
    let body = number(&head[16..20]) as usize;
    let fits = body <= MAX_RECORD_BYTES && position + (RECORD_HEAD + body) as u64 <= len;
    if head[..8] != RECORD_MAGIC[..] || head[8..16] != run.to_be_bytes() || !fits {
        return Ok(false);
    }
    record.resize(RECORD_HEAD + body, 0);
    journal.read_exact_at(record, position)?;
    Ok(record[CHECKSUM_AT..RECORD_HEAD] == checksum_of(record).to_be_bytes())
}

fn redo_record(fs: &Fs, log_dir: &Path, record: &[u8], logs: &mut Logs) -> io::Result<u64> {
    let pieces = number(&record[CHECKSUM_AT - 4..CHECKSUM_AT]);
    let mut body = &record[RECORD_HEAD..];
    let mut written = 0;
    for _ in 0..pieces {
        let piece = Piece::read(&mut body).ok_or(io::ErrorKind::InvalidData)?;
        if let Some(log) = logs.of(fs, log_dir, &piece)? {
            log.write_all_at(&mut [IoSlice::new(piece.bytes)], piece.position)?;
            written += piece.bytes.len() as u64;
        }
    }
    Ok(written)
}

/// A piece as it is read back.
struct Piece<'a> {
    topic_id: Uuid,
    partition: i32,
    topic: &'a str,
    base_offset: i64,
    position: u64,
    bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    fn read(from: &mut &'a [u8]) -> Option<Piece<'a>> {
        let topic_id = Uuid::from_bytes(*from.split_off(..16)?.first_chunk()?);
        let partition = from.try_get_i32().ok()?;
        let topic_len = usize::from(from.try_get_u16().ok()?);
        let topic = std::str::from_utf8(from.split_off(..topic_len)?).ok()?;
        let (base_offset, position) = (from.try_get_i64().ok()?, from.try_get_u64().ok()?);
        let len = usize::try_from(from.try_get_u32().ok()?).ok()?;
        Some(Piece { topic_id, partition, topic, base_offset, position, bytes: from.split_off(..len)? })
    }
}

/// Four bytes as a number.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// The files of the segments that were met last; none for one whose topic or segment was deleted since.
#[derive(Default)]
struct Logs {
    known: BTreeMap<(Uuid, i32, i64), Option<File>>,
}

impl Logs {
    /// So many stay open.
    const MOST: usize = 1000;

    fn of(&mut self, fs: &Fs, log_dir: &Path, piece: &Piece<'_>) -> io::Result<Option<File>> {
        let key = (piece.topic_id, piece.partition, piece.base_offset);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        if self.known.len() == Logs::MOST {
            self.known.clear();
        }
        let dir = log_dir.join(TopicPartition::new(piece.topic, piece.partition).to_string());
        let found = find_log(fs, &dir, piece.topic_id, piece.base_offset)?;
        self.known.insert(key, found.clone());
        Ok(found)
    }
}

fn find_log(fs: &Fs, dir: &Path, topic_id: Uuid, base_offset: i64) -> io::Result<Option<File>> {
    let known = read_partition_metadata(fs, &dir.join(PARTITION_METADATA)).map_err(io::Error::other)?;
    if known != Some(topic_id) {
        return Ok(None);
    }
    match fs.open(path(dir, base_offset, Kind::Log), Open::ReadWrite) {
        Ok(log) => Ok(Some(log)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
