//! Appends for producers: gathered during a turn, made at its end, without a hop where that can be.
//!
//! At the end of a turn a shard takes, partition by partition, all that its connections brought. If the log is idle,
//! it appends and writes there and then, whether or not it owns the partition: the log's lock orders the shards, and the
//! outstanding job keeps everyone else from writing meanwhile. What cannot be done at once (acks=all, a roll, a log that
//! somebody is at, more than one write in line takes) goes to the owner's queue, by mail if the owner is another shard.
//!
//! **Order.** Batches of one connection stay in order: while a letter of this shard about a partition is unanswered, what
//! comes later for it goes the same way. **Cost**: a batch that is appended at once costs two takings of an uncontended
//! lock; by mail two messages (docs/decisions/produce-without-a-hop.md).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use kringle_log::{Acks, AppendError, Appended, LogError, Step, ValidBatch};
use kringle_protocol::{ErrorCode, Uuid};
use kringle_runtime::Notify;
use smallvec::SmallVec;

use super::Shard;
use super::partition::{Done, Partition};
use super::pump::INLINE_WRITE_BYTES;
use super::routes::Route;

/// How an append ended.
pub(crate) type Outcome = Result<Appended, Failed>;

/// Why a batch was not appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) code: ErrorCode,
    /// -1 where Kafka does not tell it.
    pub(crate) log_start_offset: i64,
}

impl From<ErrorCode> for Failed {
    fn from(code: ErrorCode) -> Failed {
        Failed { code, log_start_offset: -1 }
    }
}

impl Failed {
    fn of(error: &AppendError, log_start_offset: i64) -> Failed {
        let log_start_offset = if error.tells_log_start() { log_start_offset } else { -1 };
        Failed { code: error.code(), log_start_offset }
    }
}

/// The batches of one request that are not yet where `acks` wants them.
pub(crate) struct Awaited {
    outcomes: RefCell<SmallVec<[Option<Outcome>; 1]>>,
    left: Cell<usize>,
    /// Told when the last outcome is there.
    complete: Notify,
}

impl Awaited {
    pub(crate) fn new(batches: usize, complete: Notify) -> Rc<Awaited> {
        let outcomes = SmallVec::from_elem(None, batches);
        Rc::new(Awaited { outcomes: RefCell::new(outcomes), left: Cell::new(batches), complete })
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.left.get() == 0
    }

    /// The outcomes, once all are there.
    pub(crate) fn take(&self) -> SmallVec<[Option<Outcome>; 1]> {
        self.outcomes.take()
    }
}

/// One batch of a request, by which its outcome is told.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) awaited: Rc<Awaited>,
    pub(crate) batch: usize,
}

impl Asked {
    pub(super) fn answer(self, outcome: Outcome) {
        let before = self.awaited.outcomes.borrow_mut()[self.batch].replace(outcome);
        assert!(before.is_none(), "a batch ends once");
        self.awaited.left.set(self.awaited.left.get() - 1);
        if self.awaited.is_complete() {
            self.awaited.complete.notify_all();
        }
    }
}

/// A batch that waits for the end of the turn.
pub(super) struct Waiting {
    batch: ValidBatch,
    acks: Acks,
    asked: Asked,
}

/// What was sent to an owner.
pub(super) struct Letter {
    route: Rc<Route>,
    asked: Vec<Option<Asked>>,
    left: usize,
}

/// One batch of another shard's letter.
pub(crate) struct Mailed {
    owner: Weak<Shard>,
    from: usize,
    letter: usize,
    batch: usize,
}

impl Mailed {
    pub(super) fn answer(self, outcome: Outcome) {
        let Mailed { owner, from, letter, batch } = self;
        if let Some(owner) = owner.upgrade() {
            owner.post(from, move |shard| shard.letter_answered(letter, batch, outcome));
        }
    }
}

impl Shard {
    /// Appends `batch` at the end of this turn, behind those that were given for the partition before.
    pub(crate) fn append_later(&self, route: &Rc<Route>, batch: ValidBatch, acks: Acks, asked: Asked) {
        self.metrics.batches_in.add(1);
        self.metrics.records_in.add(u64::from(batch.header.record_count.unsigned_abs()));
        let mut waiting = route.waiting.borrow_mut();
        waiting.push_back(Waiting { batch, acks, asked });
        if waiting.len() == 1 {
            self.to_append.borrow_mut().push(route.clone());
            self.append_wanted.notify_all();
        }
    }

    /// Runs for the life of the shard. It is woken behind the tasks that brought something in this turn.
    pub(super) async fn append_loop(self: Rc<Self>) {
        loop {
            let seen = self.append_wanted.version();
            let mut routes = self.to_append.take();
            if routes.is_empty() {
                self.append_wanted.wait_after(seen).await;
                continue;
            }
            for route in routes.drain(..) {
                self.append_all(&route);
            }
            let mut to_append = self.to_append.borrow_mut();
            if to_append.is_empty() {
                // Its room serves the next turn.
                *to_append = routes;
            }
        }
    }

    fn append_all(self: &Rc<Self>, route: &Rc<Route>) {
        let mut waiting = route.waiting.take();
        if let Some(code) = route.shared.closed() {
            waiting.into_iter().for_each(|waiting| waiting.asked.answer(Err(code.into())));
            return;
        }
        self.append_at_once(route, &mut waiting);
        if waiting.is_empty() {
            // Its room serves the next turn.
            route.waiting.replace(waiting);
            return;
        }
        match &route.mine {
            Some(partition) => self.append_as_owner(partition, waiting),
            None => self.mail(route, waiting),
        }
    }

    /// Whether a batch is done once it is written.
    fn is_done_when_written(&self, acks: Acks) -> bool {
        // Without durable acks the high watermark does not wait for the disk: Kafka's own bargain.
        acks == Acks::Leader || !self.node.config.durable_acks
    }

    /// Appends and writes as many of the first as can be done now.
    fn append_at_once(self: &Rc<Self>, route: &Route, waiting: &mut VecDeque<Waiting>) {
        let shared = &route.shared;
        if route.letters.get() > 0 || !waiting.front().is_some_and(|first| self.is_done_when_written(first.acks)) {
            return;
        }
        let now_ms = self.rt.wall_ms();
        let mut appended = SmallVec::<[(Asked, Appended); 8]>::new();
        let job = {
            let log = if route.mine.is_some() { Some(shared.log()) } else { shared.try_log() };
            let Some(mut log) = log.filter(|log| !log.is_busy()) else { return };
            let mut room = INLINE_WRITE_BYTES;
            while let Some(Waiting { batch, asked, .. }) = waiting.pop_front_if(|next| {
                self.is_done_when_written(next.acks)
                    && next.batch.bytes.len() <= room
                    && !log.rolls_for(&next.batch, now_ms)
            }) {
                room -= batch.bytes.len();
                match log.append(batch, shared.leader_epoch(), Acks::Leader, now_ms) {
                    Ok(at) => appended.push((asked, at)),
                    Err(error) => asked.answer(Err(Failed::of(&error, log.log_start_offset()))),
                }
            }
            log.next_step()
        };
        let finished = match job {
            Step::Write(job) => {
                self.metrics.writes_inline.add(1);
                self.metrics.bytes_written.add(job.len_bytes() as u64);
                let result = job.run_inline();
                let mut log = shared.log();
                let finished = log.finish_write(job, result).map(drop);
                let owner_waits = log.is_busy() || log.wants_space();
                if finished.is_err() {
                    log.refuse_appends(true);
                }
                drop(log);
                if owner_waits {
                    self.tell_owner(route, |owner, partition| owner.queue_write(partition));
                }
                shared.wake_fetchers();
                finished
            }
            // Duplicates, and what was refused, write nothing. No roll was let in.
            Step::Idle | Step::Roll(_) => Ok(()),
        };
        if let Err(error) = &finished {
            self.append_failed(route, error);
        }
        for (asked, at) in appended {
            asked.answer(if finished.is_ok() { Ok(at) } else { Err(ErrorCode::KAFKA_STORAGE_ERROR.into()) });
        }
    }

    /// The write failed. What the owner staged meanwhile went with it: until it has told those who wait for that, the log refuses
    /// appends, or theirs would count as written when others get their offsets.
    fn append_failed(self: &Rc<Self>, route: &Route, error: &LogError) {
        let name = route.shared.log().topic_partition().clone();
        if let LogError::DiskFull { from } = *error {
            tracing::error!("{name}: {error}");
            self.tell_owner(route, move |_, partition| {
                partition.refuse_from(from, ErrorCode::KAFKA_STORAGE_ERROR);
                partition.log().refuse_appends(false);
            });
        } else {
            route.shared.set_closed(ErrorCode::KAFKA_STORAGE_ERROR);
            self.node.storage_failed(&format!("{name}: {error}"));
            self.tell_owner(route, |_, partition| partition.close(ErrorCode::KAFKA_STORAGE_ERROR));
        }
    }

    /// Has the owner do something about the partition, if it is still there.
    fn tell_owner(self: &Rc<Self>, route: &Route, work: impl FnOnce(&Rc<Shard>, &Rc<Partition>) + Send + 'static) {
        if let Some(partition) = &route.mine {
            return work(self, partition);
        }
        let (topic_id, partition) = (route.topic_id, route.partition);
        self.post(route.owner, move |owner| {
            if let Some(partition) = owner.partition(topic_id, partition) {
                work(owner, &partition);
            }
        });
    }

    fn append_as_owner(self: &Rc<Self>, partition: &Rc<Partition>, waiting: VecDeque<Waiting>) {
        for Waiting { batch, acks, asked } in waiting {
            let staged = self.stage(partition, batch, acks, |at| Done::Produce(asked.clone(), at));
            if let Err(failed) = staged {
                asked.answer(Err(failed));
            }
        }
        self.write(partition);
    }

    /// Stages a batch for the owner's next write. The `Done` that `then` makes is told once the batch is where `acks` wants it.
    ///
    /// # Errors
    /// What the log has against the batch; `then` is not called.
    pub(super) fn stage(
        &self,
        partition: &Rc<Partition>,
        batch: ValidBatch,
        acks: Acks,
        then: impl FnOnce(Appended) -> Done,
    ) -> Result<(), Failed> {
        let durability = if self.is_done_when_written(acks) { Acks::Leader } else { Acks::All };
        let epoch = partition.leader_epoch();
        let mut log = partition.log();
        let at = log
            .append(batch, epoch, durability, self.rt.wall_ms())
            .map_err(|error| Failed::of(&error, log.log_start_offset()))?;
        drop(log);
        partition.when(acks, at.last_offset + 1, then(at));
        Ok(())
    }

    fn mail(&self, route: &Rc<Route>, waiting: VecDeque<Waiting>) {
        let left = waiting.len();
        let (mut batches, mut asked) = (Vec::with_capacity(left), Vec::with_capacity(left));
        for one in waiting {
            batches.push((one.batch, one.acks));
            asked.push(Some(one.asked));
        }
        route.letters.set(route.letters.get() + 1);
        let letter = self.letters.borrow_mut().insert(Letter { route: route.clone(), asked, left });
        let (from, topic_id, partition) = (self.index(), route.topic_id, route.partition);
        self.metrics.batches_mailed.add(left as u64);
        self.post(route.owner, move |owner| owner.append_mailed(from, letter, topic_id, partition, batches));
    }

    fn append_mailed(
        self: &Rc<Self>,
        from: usize,
        letter: usize,
        topic_id: Uuid,
        partition: i32,
        batches: Vec<(ValidBatch, Acks)>,
    ) {
        let partition = self.partition(topic_id, partition);
        for (number, (batch, acks)) in batches.into_iter().enumerate() {
            let mailed = || Mailed { owner: Rc::downgrade(self), from, letter, batch: number };
            let staged = match &partition {
                None => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER.into()),
                Some(partition) => self.stage(partition, batch, acks, |at| Done::Mailed(mailed(), at)),
            };
            if let Err(failed) = staged {
                mailed().answer(Err(failed));
            }
        }
        if let Some(partition) = &partition {
            self.queue_write(partition);
        }
    }

    fn letter_answered(&self, letter: usize, batch: usize, outcome: Outcome) {
        let mut letters = self.letters.borrow_mut();
        let sent = &mut letters[letter];
        let asked = sent.asked[batch].take();
        sent.left -= 1;
        if sent.left == 0 {
            sent.route.letters.set(sent.route.letters.get() - 1);
            letters.remove(letter);
        }
        drop(letters);
        if let Some(asked) = asked {
            asked.answer(outcome);
        }
    }
}
