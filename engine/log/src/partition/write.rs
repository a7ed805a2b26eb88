//! Writing: what is staged goes out as one vectored write, and becomes visible when it is done.

use std::io::{self, IoSlice};

use bytes::{Bytes, BytesMut};
use kringle_runtime::{File, Open, Rt};
use smallvec::SmallVec;

use crate::batch::PATCHED_BYTES;
use crate::error::{LogError, is_disk_full};
use crate::segment::{Kind, path};
use crate::txn_index;

use super::append::{Staged, StagedBatch, StagedRoll};
use super::{PartitionLog, RollJob, State};

/// Batches up to this size are copied, with their patched header, into one buffer of the job: a copy of so much costs less than
/// another entry of the vectored write. Larger ones are written from the sender's bytes; only their first 16 are copies.
const COPY_BELOW_BYTES: usize = 8 << 10;
/// Buffers of one vectored write (IOV_MAX).
const MAX_BUFFERS: usize = 1000;
/// Buffers of a job that need no allocation.
const INLINE_BUFFERS: usize = 8;
/// A job ends with the batch that takes it past this.
const MAX_JOB_BYTES: usize = 8 << 20;

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Nothing, or wait for the job that is outstanding.
    Idle,
    /// Write, then [`PartitionLog::finish_write`].
    Write(WriteJob),
    /// Make the next segment, then [`PartitionLog::finish_roll`].
    Roll(RollJob),
}

/// One vectored write at the end of the active segment.
#[derive(Debug)]
pub struct WriteJob {
    file: File,
    position: u64,
    buffers: SmallVec<[Bytes; INLINE_BUFFERS]>,
    len: usize,
    /// Behind the batches ([`super::fill`]).
    zeros: usize,
}

impl WriteJob {
    /// Bytes of the batches that it writes.
    pub fn len_bytes(&self) -> usize {
        self.len
    }

    /// The segment's file, for writeback.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where in the file it writes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Writes now, on this thread.
    pub fn run_inline(&self) -> io::Result<()> {
        let mut slices: SmallVec<[IoSlice<'_>; INLINE_BUFFERS]> =
            self.buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
        self.file.write_all_at(&mut slices, self.position)
    }

    /// Writes through the ring. The buffers are handed over: a job runs once.
    pub async fn run(&mut self, rt: &Rt) -> io::Result<()> {
        rt.write_at(&self.file, std::mem::take(&mut self.buffers).into_vec(), self.position).await
    }
}

/// Where the log stands after a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progressed {
    /// Appends with acks=1 that end before are done.
    pub log_end_offset: i64,
    /// Appends with acks=all that end before are done; readers see what lies before.
    pub high_watermark: i64,
    /// Readers of committed records see what lies before.
    pub last_stable_offset: i64,
}

/// The job that is outstanding.
#[derive(Debug)]
pub(crate) enum InFlight {
    Nothing,
    Write {
        batches: SmallVec<[StagedBatch; 1]>,
        bytes: usize,
    },
    Roll(StagedRoll),
    /// Of the runway.
    Zeros,
    /// Being reserved.
    Space,
}

impl InFlight {
    pub(crate) fn is_something(&self) -> bool {
        !matches!(self, InFlight::Nothing)
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            InFlight::Write { bytes, .. } => *bytes,
            InFlight::Nothing | InFlight::Roll(_) | InFlight::Zeros | InFlight::Space => 0,
        }
    }
}

/// The bytes of `batches` as they go to the file.
fn buffers_of(batches: &[StagedBatch]) -> SmallVec<[Bytes; INLINE_BUFFERS]> {
    let copied =
        |batch: &StagedBatch| if batch.bytes.len() <= COPY_BELOW_BYTES { batch.bytes.len() } else { PATCHED_BYTES };
    let mut small = BytesMut::with_capacity(batches.iter().map(copied).sum());
    let mut buffers = SmallVec::new();
    for batch in batches {
        small.extend_from_slice(&batch.header.encode()[..PATCHED_BYTES]);
        if batch.bytes.len() <= COPY_BELOW_BYTES {
            small.extend_from_slice(&batch.bytes[PATCHED_BYTES..]);
        } else {
            buffers.push(small.split().freeze());
            buffers.push(batch.bytes.slice(PATCHED_BYTES..));
        }
    }
    if !small.is_empty() {
        buffers.push(small.freeze());
    }
    buffers
}

impl PartitionLog {
    /// The next job, if none is outstanding: all staged batches that fit, up to the next roll.
    pub fn next_step(&mut self) -> Step {
        if self.state != State::Open || self.in_flight.is_something() {
            return Step::Idle;
        }
        match self.staging.line.front() {
            None => Step::Idle,
            Some(Staged::Roll(_)) => {
                let Some(Staged::Roll(roll)) = self.staging.pop() else { return Step::Idle };
                let job = self.roll_job(&roll);
                self.in_flight = InFlight::Roll(roll);
                Step::Roll(job)
            }
            Some(Staged::Batch(_)) => Step::Write(self.write_job()),
        }
    }

    fn write_job(&mut self) -> WriteJob {
        let mut batches = SmallVec::new();
        let mut len = 0;
        while len < MAX_JOB_BYTES && batches.len() * 2 < MAX_BUFFERS {
            if !matches!(self.staging.line.front(), Some(Staged::Batch(_))) {
                break;
            }
            let Some(Staged::Batch(batch)) = self.staging.pop() else { break };
            len += batch.bytes.len();
            batches.push(batch);
        }
        let position = self.active.size;
        let mut buffers = buffers_of(&batches);
        let zeros = self.fill_up(position + len as u64);
        if !zeros.is_empty() {
            buffers.push(Bytes::from_static(zeros));
        }
        let job = WriteJob { file: self.active.log.clone(), position, buffers, len, zeros: zeros.len() };
        self.in_flight = InFlight::Write { batches, bytes: len };
        job
    }

    /// Takes note of what a write job did. `job` must be the last that [`PartitionLog::next_step`] gave.
    pub fn finish_write(&mut self, job: WriteJob, result: io::Result<()>) -> Result<Progressed, LogError> {
        let InFlight::Write { batches, .. } = std::mem::replace(&mut self.in_flight, InFlight::Nothing) else {
            return Err(self.offline_error());
        };
        assert_eq!(job.position, self.active.size, "jobs of a log are finished in turn");
        if let Err(e) = result {
            return Err(self.write_failed("write", e, batches.into_iter().map(Staged::Batch).collect()));
        }
        if job.zeros > 0 {
            self.active.runway_end = job.position + (job.len + job.zeros) as u64;
        }
        let messages: i64 = batches.iter().map(|batch| batch.header.next_offset() - batch.header.base_offset).sum();
        self.unsynced.wrote(messages, batches.last().map_or(0, |batch| batch.staged_ms));
        for batch in &batches {
            self.active.wrote(&batch.header, self.config.index_interval_bytes);
            self.offsets.log_end = batch.header.next_offset();
            if let Some(aborted) = &batch.aborted
                && let Err(source) = self.note_aborted(aborted)
            {
                // The marker is written, so nothing can be taken back, whatever the cause.
                self.go_offline();
                return Err(LogError::Offline { what: "write of the transaction index", source });
            }
        }
        self.settle_offsets();
        Ok(self.progressed())
    }

    pub(super) fn progressed(&self) -> Progressed {
        Progressed {
            log_end_offset: self.offsets.log_end,
            high_watermark: self.offsets.high_watermark,
            last_stable_offset: self.offsets.last_stable,
        }
    }

    fn note_aborted(&mut self, aborted: &txn_index::AbortedTxn) -> io::Result<()> {
        let file = self.fs.open(path(&self.dir, self.active.base_offset, Kind::TxnIndex), Open::Create)?;
        self.active.has_aborted_txns = true;
        txn_index::append(&file, aborted)
    }

    /// A full disk costs what was staged; anything else costs the log.
    pub(super) fn write_failed(&mut self, what: &'static str, e: io::Error, in_flight: Vec<Staged>) -> LogError {
        if !is_disk_full(&e) {
            self.go_offline();
            return LogError::Offline { what, source: e };
        }
        let from = self.offsets.log_end;
        if let Err(source) = self.active.log.set_len(self.active.size) {
            self.go_offline();
            return LogError::Offline { what: "truncation after a full disk", source };
        }
        self.active.runway_end = 0;
        self.active.reserved = None;
        self.unstage_all(in_flight);
        LogError::DiskFull { from }
    }

    pub(super) fn offline_error(&self) -> LogError {
        LogError::Offline { what: "write or sync before", source: io::Error::other("the log is offline") }
    }
}
