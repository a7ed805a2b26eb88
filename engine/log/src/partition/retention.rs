//! What is deleted, and when: DeleteRecords, `retention.bytes`, `retention.ms`. Whole segments only, from the oldest on.

use std::io;
use std::path::PathBuf;

use kringle_runtime::Fs;

use crate::error::ReadError;
use crate::segment::{Kind, Newest, newest_of, open_time_index, path};

use super::write::InFlight;
use super::{PartitionLog, State};

const DELETED: &str = "deleted";

/// Segments that no longer belong to the log. Blocking: [`DeleteJob::rename`] now, [`DeleteJob::remove`] after
/// [`DeleteJob::delay_ms`]. Readers keep what they have open.
#[derive(Clone, Debug)]
pub struct DeleteJob {
    dir: PathBuf,
    base_offsets: Vec<i64>,
    /// `file.delete.delay.ms`
    pub delay_ms: i64,
}

impl DeleteJob {
    /// Base offsets of the segments.
    pub fn base_offsets(&self) -> &[i64] {
        &self.base_offsets
    }

    fn each(&self, f: impl Fn(PathBuf, PathBuf) -> io::Result<()>) -> io::Result<()> {
        for base_offset in &self.base_offsets {
            for kind in Kind::ALL {
                let now = path(&self.dir, *base_offset, kind);
                let deleted = now.with_extension(format!("{}.{DELETED}", kind.suffix()));
                match f(now, deleted) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Marks the files as deleted: a start after a crash removes them.
    pub fn rename(&self, fs: &Fs) -> io::Result<()> {
        self.each(|now, deleted| fs.rename(now, deleted))
    }

    /// Removes them.
    pub fn remove(self, fs: &Fs) -> io::Result<()> {
        self.each(|_, deleted| fs.remove_file(deleted))
    }
}

impl PartitionLog {
    /// DeleteRecords: nothing before `offset` is readable any more. -1 stands for the high watermark. The new log start, which goes
    /// into `log-start-offset-checkpoint`; the segments before it go with the next [`PartitionLog::retention`].
    pub fn delete_records_before(&mut self, offset: i64) -> Result<i64, ReadError> {
        if self.state != State::Open {
            return Err(ReadError::Offline);
        }
        let high_watermark = self.offsets.high_watermark;
        let offset = if offset == -1 { high_watermark } else { offset };
        if offset < 0 || offset > high_watermark {
            return Err(ReadError::OutOfRange { offset, start: self.offsets.log_start, end: high_watermark });
        }
        self.raise_log_start(offset);
        Ok(self.offsets.log_start)
    }

    fn raise_log_start(&mut self, offset: i64) {
        if offset > self.offsets.log_start {
            self.offsets.log_start = offset;
            self.epochs.truncate_from_start(offset);
            self.settle_offsets();
        }
    }

    /// What may be deleted now. Looks at sealed segments' time indexes on disk the first time. If everything in the active segment
    /// is to go, it is rolled first: then [`PartitionLog::retention_pending`] says so and the next call has it.
    pub fn retention(&mut self, now_ms: i64) -> Vec<DeleteJob> {
        if self.state != State::Open {
            return Vec::new();
        }
        let count = self.deletable(now_ms);
        if count > self.sealed.len() {
            self.stage_roll(now_ms);
        }
        let gone: Vec<i64> =
            self.sealed.drain(..count.min(self.sealed.len())).map(|segment| segment.base_offset).collect();
        if gone.is_empty() {
            return Vec::new();
        }
        self.open_sealed.borrow_mut().retain(|files| !gone.contains(&files.base_offset));
        let first = self.sealed.front().map_or(self.active.base_offset, |segment| segment.base_offset);
        self.raise_log_start(first);
        vec![DeleteJob { dir: self.dir.clone(), base_offsets: gone, delay_ms: self.config.file_delete_delay_ms }]
    }

    /// Whether a segment that retention has rolled waits to be deleted: call [`PartitionLog::retention`] again.
    pub fn retention_pending(&self, now_ms: i64) -> bool {
        !self.sealed.is_empty() && self.active.size == 0 && self.deletable(now_ms) > 0
    }

    /// How many segments from the oldest on may go; one more than are sealed means the active one too.
    fn deletable(&self, now_ms: i64) -> usize {
        let mut at = 0;
        while self.may_go(at) && at < self.sealed.len() && self.end_of_segment(at) <= self.offsets.log_start {
            at += 1;
        }
        if !self.config.delete {
            return at;
        }
        if let Ok(retention) = u64::try_from(self.config.retention_bytes) {
            let mut size = self.sealed.iter().skip(at).map(|segment| segment.size).sum::<u64>() + self.active.size;
            while self.may_go(at) && size.checked_sub(self.size_of(at)).is_some_and(|rest| rest >= retention) {
                size -= self.size_of(at);
                at += 1;
            }
        }
        if self.config.retention_ms >= 0 {
            while self.may_go(at) && now_ms.saturating_sub(self.newest_timestamp(at)) > self.config.retention_ms {
                at += 1;
            }
        }
        at
    }

    fn size_of(&self, at: usize) -> u64 {
        self.sealed.get(at).map_or(self.active.size, |segment| segment.size)
    }

    /// Whether readers have seen all of a segment and nothing is on its way into it.
    fn may_go(&self, at: usize) -> bool {
        if at < self.sealed.len() {
            return self.offsets.high_watermark >= self.end_of_segment(at);
        }
        at == self.sealed.len()
            && self.active.size > 0
            && self.offsets.high_watermark >= self.offsets.staged_end
            && matches!(self.in_flight, InFlight::Nothing)
            && !self.staged_segment_is_empty()
    }

    /// The newest timestamp of a segment; without timestamps, when its file was last written.
    fn newest_timestamp(&self, at: usize) -> i64 {
        let (base_offset, newest) = match self.sealed.get(at) {
            None => (self.active.base_offset, self.active.newest),
            Some(segment) => (
                segment.base_offset,
                newest_of(&segment.newest, || open_time_index(&self.fs, &self.dir, segment.base_offset))
                    .unwrap_or(Newest::NONE),
            ),
        };
        if newest.timestamp >= 0 {
            return newest.timestamp;
        }
        // A file that cannot be looked at is not old.
        self.fs.modified_ms(path(&self.dir, base_offset, Kind::Log)).unwrap_or(i64::MAX)
    }
}
