//! The shard's commit journal: where a commit's bytes go, and when their place may be used again.
//!
//! The journal is one file of up to sixteen slots, laid one after the other as they are needed. Records are written into one slot until it
//! is full, then into the next free one. A full slot is free again once all logs that have bytes in it are synced, which a task does in the
//! background, for all slots that are full by then. Where no slot is free, or none is laid yet, commits sync the logs' own files as if there
//! were no journal.
//!
//! **Failure.** A record that cannot be written, and a log that cannot be synced, end the broker. Until it has ended no slot becomes free: what
//! the log's file has lost the journal still has. A stop, which closes the logs by itself, frees none either.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kringle_log::journal::{self, JOURNAL_HEAD_BYTES, JournalJob};
use kringle_runtime::{DirectBuf, DirectPool, File, Notify, Time};
use rustc_hash::FxHashSet;

use super::Shard;
use super::partition::{Partition, Syncs};

/// Parts of the journal whose space becomes free together.
const SLOTS: usize = 16;
/// A journal with smaller ones is none.
const SMALLEST_SLOT_BYTES: u64 = 64 << 10;
/// What one log's part of a record takes beside its bytes, and the record's own head: a little more than that.
const PIECE_ROOM: u64 = 8 << 10;
/// What one log has more to commit than this is worth a sync of its own, and not worth to be written twice.
const MOST_PIECE_BYTES: u64 = 128 << 10;
/// No record is longer: what a disk takes in about a millisecond.
const MOST_RECORD_BYTES: u64 = 2 << 20;
/// Records that may be under way: one waits for the disk's flush, the next is written.
const RECORDS: u64 = 2;
/// Zeros are laid so many bytes at a time.
const ZEROS_BYTES: u64 = 1 << 20;
/// The journal takes no space if less than so many times as much is free.
const TIMES_FREE: u64 = 16;
/// After the file system has refused, it is asked again after this.
const RETRY_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Current,
    Full,
}

/// A part of the journal.
#[derive(Default)]
struct Slot {
    state: State,
    /// Where the next record goes, from the slot's start.
    used: u64,
    /// Records that are being written.
    writing: usize,
    /// Logs with bytes in it.
    partitions: Vec<Rc<Partition>>,
    /// Which use of a slot this is: a partition remembers in which it stands.
    number: u64,
}

/// Where a record goes.
#[derive(Clone, Copy, Debug)]
struct Place {
    slot: usize,
    position: u64,
}

/// One log's part of a record.
struct Piece {
    partition: Rc<Partition>,
    job: JournalJob,
}

/// A record to be written.
pub(super) struct Record {
    place: Place,
    pieces: Vec<Piece>,
    turn: u64,
    begun: Time,
}

/// See the module's text.
pub(crate) struct Journal {
    slot_bytes: u64,
    /// Names this life of the journal in each of its records.
    run: u64,
    file: RefCell<Option<File>>,
    slots: RefCell<Vec<Slot>>,
    uses: Cell<u64>,
    /// Records that are under way.
    records: Syncs,
    /// Partitions that wait for the next record.
    waiting: RefCell<VecDeque<Rc<Partition>>>,
    pool: DirectPool,
    growing: Cell<bool>,
    /// No slot is laid, and none becomes free any more.
    ended: Cell<bool>,
    not_before: Cell<Time>,
    /// A slot is full, or a record has ended.
    changed: Notify,
}

impl Journal {
    /// With room for `bytes` in all; 0 for none.
    pub(super) fn new(bytes: u64, run: u64) -> Journal {
        let block = DirectBuf::BLOCK_BYTES as u64;
        Journal {
            slot_bytes: bytes / SLOTS as u64 / block * block,
            run,
            file: RefCell::default(),
            slots: RefCell::default(),
            uses: Cell::new(0),
            records: Syncs::default(),
            waiting: RefCell::default(),
            pool: DirectPool::default(),
            growing: Cell::new(false),
            ended: Cell::new(false),
            not_before: Cell::new(Time::ZERO),
            changed: Notify::new(),
        }
    }

    fn record_limit(&self) -> u64 {
        MOST_RECORD_BYTES.min(self.slot_bytes)
    }

    /// Whether it takes so many bytes of one log.
    fn takes(&self, bytes: u64) -> bool {
        bytes <= MOST_PIECE_BYTES && bytes + PIECE_ROOM <= self.record_limit()
    }

    /// Whether a record can be placed now. The slot that is written always has room for one.
    fn has_place(&self) -> bool {
        self.slots.borrow().iter().any(|slot| slot.state != State::Full)
    }

    /// Whether no slot is free beside the one that is written, and that is half used.
    fn wants_another(&self) -> bool {
        let slots = self.slots.borrow();
        let half = self.slot_bytes / 2;
        let room = |slot: &Slot| slot.state == State::Free || (slot.state == State::Current && slot.used < half);
        self.slot_bytes >= SMALLEST_SLOT_BYTES && slots.len() < SLOTS && !slots.iter().any(room)
    }

    /// Takes the place of a record, which is not longer than the limit.
    fn take_place(&self, len: u64) -> Option<Place> {
        let mut slots = self.slots.borrow_mut();
        let found = |state| slots.iter().position(|slot: &Slot| slot.state == state);
        let index = found(State::Current).or_else(|| found(State::Free))?;
        let slot = &mut slots[index];
        if slot.state == State::Free {
            slot.state = State::Current;
            slot.number = self.uses.get() + 1;
            self.uses.set(slot.number);
        }
        let position = self.start_of(index) + slot.used;
        slot.used += len;
        slot.writing += 1;
        if slot.used + self.record_limit() > self.slot_bytes {
            slot.state = State::Full;
        }
        Some(Place { slot: index, position })
    }

    fn start_of(&self, slot: usize) -> u64 {
        JOURNAL_HEAD_BYTES + slot as u64 * self.slot_bytes
    }

    /// The partition has bytes there.
    fn put(&self, place: Place, partition: &Rc<Partition>) {
        let slot = &mut self.slots.borrow_mut()[place.slot];
        if partition.in_journal_slot.replace(slot.number) != slot.number {
            slot.partitions.push(partition.clone());
        }
    }

    fn written(&self, place: Place) {
        self.slots.borrow_mut()[place.slot].writing -= 1;
        self.records.end();
        self.changed.notify_all();
    }

    /// The slots that are full and written, and the partitions with bytes there.
    fn full(&self) -> (Vec<usize>, Vec<Rc<Partition>>) {
        let mut slots = self.slots.borrow_mut();
        let (mut full, mut partitions, mut seen) = (Vec::new(), Vec::new(), FxHashSet::default());
        for (index, slot) in slots.iter_mut().enumerate() {
            if slot.state == State::Full && slot.writing == 0 {
                full.push(index);
                partitions.extend(slot.partitions.drain(..).filter(|partition| seen.insert(Rc::as_ptr(partition))));
            }
        }
        (full, partitions)
    }

    /// The partition's log is gone, and nobody needs its bytes.
    pub(super) fn forget(&self, partition: &Rc<Partition>) {
        for slot in self.slots.borrow_mut().iter_mut() {
            slot.partitions.retain(|known| !Rc::ptr_eq(known, partition));
        }
    }

    fn free(&self, slots: &[usize]) {
        let mut all = self.slots.borrow_mut();
        for index in slots {
            all[*index].state = State::Free;
            all[*index].used = 0;
        }
    }
}

impl Shard {
    /// Whether this commit goes by the journal: then it waits for the next record.
    pub(super) fn by_journal(&self, partition: &Rc<Partition>) -> bool {
        let by_journal =
            self.journal.has_place() && partition.log().journal_bytes().is_some_and(|bytes| self.journal.takes(bytes));
        if by_journal {
            self.journal.waiting.borrow_mut().push_back(partition.clone());
        }
        by_journal
    }

    /// Those that waited for a record while there is no place for one.
    pub(super) fn not_by_journal(&self) -> VecDeque<Rc<Partition>> {
        if self.journal.has_place() { VecDeque::new() } else { self.journal.waiting.take() }
    }

    /// The next record, if one may begin and something waits for it; what cannot go by the journal after all goes to `others`.
    pub(super) fn next_record(&self, others: &mut VecDeque<Rc<Partition>>) -> Option<Record> {
        let journal = &self.journal;
        if journal.records.under_way() >= RECORDS || !journal.has_place() {
            return None;
        }
        let mut waiting = journal.waiting.borrow_mut();
        let mut pieces: Vec<Piece> = Vec::new();
        let mut bytes = 0;
        while let Some(partition) = waiting.front() {
            let more = partition.log().journal_bytes();
            let fits = more
                .is_some_and(|more| journal.takes(more) && bytes as u64 + more + PIECE_ROOM <= journal.record_limit());
            if !fits && !pieces.is_empty() {
                break;
            }
            let Some(partition) = waiting.pop_front() else { break };
            if !fits {
                others.push_back(partition);
                continue;
            }
            partition.in_commit_queue.set(false);
            let job = partition.log().journal_job();
            if let Some(job) = job {
                bytes += job.record_bytes();
                pieces.push(Piece { partition, job });
            }
        }
        if pieces.is_empty() {
            return None;
        }
        let len = journal::record_bytes(bytes);
        let place = journal.take_place(len as u64)?;
        pieces.iter().for_each(|piece| journal.put(place, &piece.partition));
        self.metrics.journal_records.add(1);
        self.metrics.journal_bytes.add(len as u64);
        Some(Record { place, pieces, turn: journal.records.begin(0), begun: self.rt.now() })
    }

    /// Writes a record, and tells who waits for it.
    pub(super) async fn commit_record(self: Rc<Self>, record: Record) {
        let Record { place, pieces, turn, begun } = record;
        let journal = &self.journal;
        let file = journal.file.borrow().clone().expect("there are slots, so there is a file");
        let jobs: Vec<JournalJob> = pieces.iter().map(|piece| piece.job.clone()).collect();
        let result = match self.record(jobs).await {
            Ok(bytes) => self.rt.write_durably(&file, bytes, place.position).await,
            Err(error) => Err(error),
        };
        // One that failed before is heard first: what follows it is not durable either.
        journal.records.turn(turn).await;
        for Piece { partition, job } in &pieces {
            let finished = partition.log().finish_journal(job, again(&result));
            match finished {
                Ok(_) => {
                    partition.progressed();
                    // Batches written meanwhile.
                    self.queue_commit(partition);
                }
                Err(error) => self.log_failed(partition, &error),
            }
            self.count(begun);
        }
        journal.written(place);
        self.commit_wanted.notify_all();
    }

    async fn record(&self, jobs: Vec<JournalJob>) -> io::Result<Bytes> {
        let (run, pool) = (self.journal.run, self.journal.pool.clone());
        match journal::record(run, &jobs, &pool, false) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.rt.blocking(move |_| journal::record(run, &jobs, &pool, true)).await
            }
            record => record,
        }
    }

    /// Makes slots free again; runs for the life of the shard.
    pub(super) async fn journal_loop(self: Rc<Self>) {
        loop {
            let seen = self.journal.changed.version();
            let (full, partitions) = self.journal.full();
            if full.is_empty() {
                self.journal.changed.wait_after(seen).await;
                continue;
            }
            self.sync_logs(&partitions).await;
            let failed = |partition: &Rc<Partition>| partition.closed().is_some() && !partition.is_dropped();
            if self.journal.ended.get() || partitions.iter().any(failed) {
                return;
            }
            self.journal.free(&full);
            self.commit_wanted.notify_all();
        }
    }

    /// Lays another slot in the background, if there is none for the records to come.
    pub(super) fn grow_journal(self: &Rc<Self>) {
        let journal = &self.journal;
        if journal.growing.get()
            || journal.ended.get()
            || !journal.wants_another()
            || self.rt.now() < journal.not_before.get()
        {
            return;
        }
        journal.growing.set(true);
        let shard = self.clone();
        self.rt.spawn(async move {
            let journal = &shard.journal;
            match shard.lay_slot().await {
                Ok(()) => journal.slots.borrow_mut().push(Slot::default()),
                Err(error) => {
                    tracing::warn!("the journal of shard {} does not grow: {error}", shard.index());
                    journal.not_before.set(shard.rt.now() + RETRY_AFTER);
                }
            }
            journal.growing.set(false);
            shard.commit_wanted.notify_all();
        });
    }

    /// The logs are about to be closed, and then the journal removed.
    pub(super) async fn end_journal(&self) {
        self.journal.ended.set(true);
        while self.journal.growing.get() {
            self.rt.sleep(Duration::from_millis(1)).await;
        }
    }

    /// Writes zeros where the next slot is to be: blocks that were written once are made durable by the disk's flush alone.
    async fn lay_slot(&self) -> io::Result<()> {
        let journal = &self.journal;
        let (dir, wanted) = (self.node.log_dir.clone(), journal.slot_bytes);
        let (shard, run, epoch) = (self.index(), journal.run, self.image().epoch());
        let known = journal.file.borrow().clone();
        let opened = self.rt.blocking(move |fs| {
            let (_, free) = fs.space(&dir)?;
            if free < TIMES_FREE * wanted {
                return Err(io::Error::new(io::ErrorKind::StorageFull, format!("only {free} bytes are free")));
            }
            known.map_or_else(|| journal::create(fs, &dir, shard, run, epoch), Ok)
        });
        let file = opened.await?;
        journal.file.replace(Some(file.clone()));
        let start = journal.start_of(journal.slots.borrow().len());
        let mut at = 0;
        while at < wanted {
            let len = ZEROS_BYTES.min(wanted - at);
            let bytes = usize::try_from(len).expect("it fits into memory");
            let mut zeros = journal.pool.take(bytes);
            zeros.extend(bytes).fill(0);
            self.rt.write_durably(&file, zeros.freeze(), start + at).await?;
            at += len;
        }
        Ok(())
    }
}

/// The result for one more who has to hear it.
pub(super) fn again(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}
