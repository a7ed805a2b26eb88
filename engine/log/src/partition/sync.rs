//! Making it durable: what must be synced, and what that allows.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use kringle_runtime::{File, Fs, Rt};

use crate::error::LogError;
use crate::journal::JournalJob;

use super::{PartitionLog, Progressed, State, Step};

/// What a sync writes at a time...
const PIECE_BYTES: u64 = 4 << 20;
/// ...and one that nobody waits for.
const BACKGROUND_PIECE_BYTES: u64 = 256 << 10;

/// What must reach the disk for everything written so far to be stable. The committer runs it (`fdatasync` of each file) or syncs
/// the whole file system (`syncfs`), then calls [`PartitionLog::finish_sync`].
#[derive(Clone, Debug)]
pub struct SyncJob {
    /// Where files were made since the last sync: their names.
    names: Option<Names>,
    /// The files of segments that were sealed and not synced since.
    sealed: Vec<File>,
    /// The offset after the last of those segments; `i64::MIN` if there is none.
    sealed_upto: i64,
    /// What was written to the active segment's log since the last sync.
    tail: Option<Tail>,
    /// Everything before this offset is stable afterwards.
    upto: i64,
}

/// The names of new segments' files.
#[derive(Clone, Debug)]
struct Names {
    dir: PathBuf,
    /// Base offset of the newest of these segments.
    newest: i64,
}

/// Bytes of the active segment's log.
#[derive(Clone, Debug)]
struct Tail {
    log: File,
    base_offset: i64,
    /// What is before was synced.
    from: u64,
    to: u64,
}

impl SyncJob {
    /// All that is before this offset is stable afterwards.
    pub fn upto(&self) -> i64 {
        self.upto
    }

    /// Files to sync, a directory among them.
    pub fn files(&self) -> usize {
        usize::from(self.names.is_some()) + self.sealed.len() + usize::from(self.tail.is_some())
    }

    /// Syncs file by file, on this thread.
    pub fn run_inline(&self, fs: &Fs) -> io::Result<()> {
        if let Some(names) = &self.names {
            fs.sync_dir(&names.dir)?;
        }
        self.sealed.iter().chain(self.tail.as_ref().map(|tail| &tail.log)).try_for_each(File::sync_data)
    }

    /// Syncs file by file, without holding up the shard.
    pub async fn run(&self, rt: &Rt) -> io::Result<()> {
        self.run_in_pieces(rt, PIECE_BYTES).await
    }

    /// The same for what nobody waits for: in pieces so short that what others ask of the disk hardly waits.
    pub async fn run_in_background(&self, rt: &Rt) -> io::Result<()> {
        self.run_in_pieces(rt, BACKGROUND_PIECE_BYTES).await
    }

    async fn run_in_pieces(&self, rt: &Rt, piece: u64) -> io::Result<()> {
        if let Some(Names { dir, .. }) = self.names.clone() {
            rt.blocking(move |fs| fs.sync_dir(&dir)).await?;
        }
        for file in &self.sealed {
            rt.datasync_in_pieces(file, 0, piece).await?;
        }
        match &self.tail {
            Some(tail) => rt.datasync_in_pieces(&tail.log, tail.from, piece).await,
            None => Ok(()),
        }
    }

    pub(super) fn into_files(self) -> Vec<File> {
        self.sealed.into_iter().chain(self.tail.map(|tail| tail.log)).collect()
    }
}

/// For `flush.messages` and `flush.ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unflushed {
    /// Records that were written but not synced.
    pub messages: i64,
    /// When the oldest of them came, Unix milliseconds.
    pub oldest_ms: i64,
}

/// A run of offsets.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: i64,
    to: i64,
}

/// A segment that was sealed and not synced since.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) base_offset: i64,
    /// The offset after its last.
    pub(super) end_offset: i64,
    pub(super) files: Vec<File>,
}

/// What is not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Unsynced {
    sealed: Vec<Sealed>,
    /// Base offset of the newest segment whose files' names are not.
    pub(super) names: Option<i64>,
    /// Offsets of acks=all batches that are not durable, in order; adjacent batches are one run.
    all: VecDeque<Run>,
    messages: i64,
    oldest_ms: Option<i64>,
    newest_ms: i64,
    /// The last commit went by a journal.
    journaled: bool,
}

impl Unsynced {
    pub(super) fn is_journaled(&self) -> bool {
        self.journaled
    }

    pub(super) fn await_durable(&mut self, from: i64, to: i64) {
        match self.all.back_mut() {
            Some(last) if last.to == from => last.to = to,
            _ => self.all.push_back(Run { from, to }),
        }
    }

    /// First offset of the first acks=all batch that is not durable.
    pub(super) fn first_undurable_all(&self, durable: i64) -> Option<i64> {
        self.all.front().map(|run| run.from.max(durable))
    }

    /// Batches from `end` on are not written after all.
    pub(super) fn forget_from(&mut self, end: i64) {
        while self.all.back().is_some_and(|run| run.from >= end) {
            self.all.pop_back();
        }
        if let Some(last) = self.all.back_mut() {
            last.to = last.to.min(end);
        }
    }

    pub(super) fn wrote(&mut self, messages: i64, staged_ms: i64) {
        self.messages += messages;
        self.oldest_ms.get_or_insert(staged_ms);
        self.newest_ms = staged_ms;
    }

    pub(super) fn sealed(&mut self, segment: Sealed) {
        self.sealed.push(segment);
    }

    fn sealed_files(&self) -> Vec<File> {
        self.sealed.iter().flat_map(|segment| segment.files.clone()).collect()
    }

    /// Batches wait for a sync.
    pub(super) fn awaits_disk(&self) -> bool {
        !self.all.is_empty()
    }

    fn synced(&mut self, sealed_upto: i64, upto: i64, log_end: i64) {
        // Not by `upto`: a segment that was sealed, and cut to its size, while the sync was under way is to be synced yet.
        self.sealed.retain(|segment| segment.end_offset > sealed_upto);
        self.durable(upto, log_end);
    }

    fn durable(&mut self, upto: i64, log_end: i64) {
        while self.all.front().is_some_and(|run| run.to <= upto) {
            self.all.pop_front();
        }
        self.messages = log_end - upto;
        // What is left came after the sync began; the newest of it is when `flush.ms` starts anew.
        self.oldest_ms = (log_end > upto).then_some(self.newest_ms);
    }
}

impl PartitionLog {
    /// What must be synced for everything written so far to be durable; `None` if it is. Syncs may overlap writes and each other.
    pub fn sync_job(&mut self) -> Option<SyncJob> {
        let job = self.sync_job_after(self.offsets.durable);
        self.unsynced.journaled &= job.is_none();
        job
    }

    /// What must be synced for everything written so far to be stable in the log's own files, also what a journal has; `None` if it is.
    pub fn flush_job(&mut self) -> Option<SyncJob> {
        self.sync_job_after(self.offsets.synced)
    }

    fn sync_job_after(&self, stable: i64) -> Option<SyncJob> {
        let upto = self.offsets.log_end;
        let synced = stable >= upto && self.unsynced.sealed.is_empty();
        let names = self.unsynced_names();
        if self.state != State::Open || (synced && names.is_none()) {
            return None;
        }
        let active = &self.active;
        let tail = (upto > active.base_offset).then(|| Tail {
            log: active.log.clone(),
            base_offset: active.base_offset,
            from: active.synced,
            to: active.size,
        });
        let sealed = self.unsynced.sealed_files();
        let sealed_upto = self.unsynced.sealed.last().map_or(i64::MIN, |segment| segment.end_offset);
        Some(SyncJob { names, sealed, sealed_upto, tail, upto })
    }

    fn unsynced_names(&self) -> Option<Names> {
        let newest = self.unsynced.names?;
        Some(Names { dir: self.dir.clone(), newest })
    }

    /// What must be synced for the sealed segments to be stable; `None` if they are. Kafka does this after each roll.
    pub fn sealed_sync_job(&mut self) -> Option<SyncJob> {
        let upto = self.unsynced.sealed.last().filter(|_| self.state == State::Open)?.end_offset;
        let (names, sealed) = (self.unsynced_names(), self.unsynced.sealed_files());
        Some(SyncJob { names, sealed, sealed_upto: upto, tail: None, upto })
    }

    /// Where recovery may begin after a crash (`recovery-point-offset-checkpoint`): all before is stable, the lengths of its files too.
    pub fn recovery_point(&self) -> i64 {
        // Not the end of the active segment: the next may begin there, before this one was cut to its size for good.
        let inside = (self.offsets.log_end - 1).max(self.active.base_offset);
        let point = self.offsets.synced.min(inside);
        self.unsynced.sealed.first().map_or(point, |segment| segment.base_offset.min(point))
    }

    /// What the job was about is stable, or the sync failed: then nobody knows what is, and the log is offline.
    pub fn finish_sync(&mut self, job: &SyncJob, result: io::Result<()>) -> Result<Progressed, LogError> {
        self.made_durable("sync", result)?;
        if let Some(tail) = job.tail.as_ref().filter(|tail| tail.base_offset == self.active.base_offset) {
            // What an overlapping sync has brought to the disk does not count again.
            self.runway.committed(tail.to.saturating_sub(self.active.synced));
            self.active.synced = self.active.synced.max(tail.to);
            self.active.journaled = self.active.journaled.max(tail.to);
        }
        // Unless more came meanwhile.
        if self.unsynced.names == job.names.as_ref().map(|names| names.newest) {
            self.unsynced.names = None;
        }
        let upto = job.upto.min(self.offsets.log_end);
        if upto >= self.offsets.synced {
            self.offsets.synced = upto;
            self.offsets.durable = self.offsets.durable.max(upto);
            self.unsynced.synced(job.sealed_upto, self.offsets.durable, self.offsets.log_end);
        }
        self.settle_offsets();
        Ok(self.progressed())
    }

    /// How making something durable went; the log is offline if it failed.
    fn made_durable(&mut self, what: &'static str, result: io::Result<()>) -> Result<(), LogError> {
        if self.state == State::Offline {
            return Err(self.offline_error());
        }
        result.map_err(|source| {
            self.go_offline();
            LogError::Offline { what, source }
        })
    }

    /// Bytes that a journal would take for everything written so far to be durable, 0 if it is; `None` if a journal is not enough,
    /// because files or their names must be synced.
    pub fn journal_bytes(&self) -> Option<u64> {
        let by_journal = self.state == State::Open && self.unsynced.sealed.is_empty() && self.unsynced.names.is_none();
        by_journal.then(|| self.active.size - self.active.journaled)
    }

    /// What a journal must take for everything written so far to be durable, once the jobs before it have ended too, in turn; `None` if it
    /// is, or is on its way, or if a journal is not enough. The job must be run.
    pub fn journal_job(&mut self) -> Option<JournalJob> {
        let bytes = self.journal_bytes().filter(|bytes| *bytes > 0)?;
        let job = JournalJob {
            partition: self.partition.clone(),
            topic_id: self.topic_id,
            log: self.active.log.clone(),
            base_offset: self.active.base_offset,
            position: self.active.journaled,
            len: usize::try_from(bytes).expect("a segment fits into memory"),
            upto: self.offsets.log_end,
        };
        self.active.journaled = self.active.size;
        self.unsynced.journaled = true;
        Some(job)
    }

    /// What the job was about is durable, or the journal failed: then nobody knows what is, and the log is offline.
    pub fn finish_journal(&mut self, job: &JournalJob, result: io::Result<()>) -> Result<Progressed, LogError> {
        self.made_durable("write of the journal", result)?;
        let upto = job.upto.min(self.offsets.log_end);
        if upto > self.offsets.durable {
            self.offsets.durable = upto;
            self.unsynced.durable(upto, self.offsets.log_end);
        }
        self.settle_offsets();
        Ok(self.progressed())
    }

    /// Does all that is due, on this thread: writes, rolls, syncs. For logs that are used without a shard.
    pub fn flush_blocking(&mut self) -> Result<Progressed, LogError> {
        loop {
            match self.next_step() {
                Step::Idle => break,
                Step::Write(job) => {
                    let result = job.run_inline();
                    self.finish_write(job, result)?;
                }
                Step::Roll(job) => {
                    let result = job.run(&self.fs);
                    self.finish_roll(result)?;
                }
            }
        }
        match self.sync_job() {
            Some(job) => self.finish_sync(&job, job.run_inline(&self.fs)),
            None => Ok(self.progressed()),
        }
    }

    /// What was written and not synced, for `flush.messages` and `flush.ms`; `None` if there is nothing.
    pub fn unflushed(&self) -> Option<Unflushed> {
        let messages = self.offsets.log_end - self.offsets.durable;
        let oldest_ms = self.unsynced.oldest_ms.unwrap_or(self.unsynced.newest_ms);
        (messages > 0).then_some(Unflushed { messages, oldest_ms })
    }

    /// Whether `flush.messages` or `flush.ms` asks for a sync now.
    pub fn flush_is_due(&self, now_ms: i64) -> bool {
        self.unflushed().is_some_and(|unflushed| {
            unflushed.messages >= self.config.flush_messages
                || now_ms.saturating_sub(unflushed.oldest_ms) >= self.config.flush_ms
        })
    }
}
