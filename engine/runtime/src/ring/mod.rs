//! The ring driver: one io_uring per shard.
//!
//! # Contract
//!
//! **Request flow.** A task calls an operation (`ring::file`, `ring::socket`). It takes a slot (`op`) that owns every buffer and
//! descriptor the kernel will use, puts an entry into the submission queue and waits. Entries go to the kernel together, with the one
//! `io_uring_enter` that ends a loop turn; the same call takes completions in. A completion wakes its task, which takes the
//! slot's content back. Calls that are cheaper inline (sends and accepts that need not wait) do not come here at all, nor do fsyncs (`ring::file`).
//!
//! **Turn** (`real::run`). Read the clock; fire timers; poll ready tasks, a bounded number; submit, and wait if nothing is
//! ready, at most until the nearest timer (`alarm`): look a little while if that has paid lately (`real::busy_poll`), then park; reap.
//!
//! **Ownership.** A slot is freed by the terminal completion and by nothing else. Dropping a future makes its slot an orphan; if
//! the operation may wait for a peer it is cancelled too. So the kernel never writes into freed memory, never reads it,
//! and never meets a descriptor number that was closed and given out again.
//!
//! **Wake-ups.** Any thread may wake a task: it queues the task id and, only if the shard has announced that it parks, writes the
//! shard's eventfd, of which the ring keeps a read armed. The shard looks at its queue after the announcement, so no
//! wake-up is lost. A shard that runs is woken without a system call.
//!
//! **Shutdown.** When the main task ends, the other tasks are dropped, all operations are cancelled, and the ring is driven until
//! the last terminal completion. Only then are the ring and its receive buffers unmapped. The same happens when a panic unwinds
//! the shard, unless tasks still hold the ring: then it is leaked together with its memory.
//!
//! **Liveness.** Each turn polls at most [`POLLS_PER_TURN`](crate::real::run::POLLS_PER_TURN) tasks, so completions and timers are seen however busy the tasks are. A full
//! submission queue is flushed at once. Completions that do not fit are kept by the kernel (NODROP) and come with the next
//! enter. When all receive buffers are in use, a receive waits for data and then takes a buffer of its own.

mod alarm;
pub(crate) mod buffers;
mod file;
pub(crate) mod op;
pub(crate) mod socket;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{IoUring, opcode, squeue};

use crate::real::helpers::Helpers;
use crate::real::run::{Park, Turns};
use crate::ring::alarm::Alarm;
use crate::ring::buffers::Buffers;
use crate::ring::op::{OpKey, Ops, Vectors};
use crate::stats::{Counters, count};
use crate::time::Time;

/// User data of the read of the bell.
const BELL: u64 = u64::MAX;
/// User data of entries whose completion says nothing new.
const IGNORED: u64 = u64::MAX - 1;
/// User data of the alarm.
const ALARM: u64 = u64::MAX - 2;
/// How long a closing ring waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Vectors kept for later operations.
const KEEP_VECTORS: usize = 64;

/// A ring with the flags of this driver. One thread submits and takes completions in, at times of its choice.
pub(crate) fn setup(entries: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(entries.saturating_mul(4))
        .build(entries)
}

/// One shard's ring; clones are the same ring.
#[derive(Clone)]
pub(crate) struct Ring {
    inner: Rc<RingInner>,
}

pub(crate) struct RingInner {
    // Fields drop in order: the io_uring goes before the memory that was registered with it.
    uring: RefCell<IoUring>,
    pub(crate) ops: RefCell<Ops>,
    buffers: Rc<Buffers>,
    /// Where the kernel reads the bell's counter into. Boxed: its address must stay.
    bell_count: RefCell<Box<u64>>,
    bell: Arc<OwnedFd>,
    bell_armed: Cell<bool>,
    alarm: Alarm,
    /// The bell is not armed again.
    closing: Cell<bool>,
    /// Entries that found the submission queue full and the kernel unwilling.
    backlog: RefCell<VecDeque<squeue::Entry>>,
    #[expect(clippy::vec_box, reason = "an operation names the header by its address")]
    vectors: RefCell<Vec<Box<Vectors>>>,
    helpers: Arc<Helpers>,
    /// Threads of this shard for what waits for the disk in any case.
    disk_threads: Helpers,
    counters: RingCounters,
}

#[derive(Default)]
struct RingCounters {
    enters: Cell<u64>,
    submissions: Cell<u64>,
    completions: Cell<u64>,
    receive_buffers_exhausted: Cell<u64>,
    sends_inline: Cell<u64>,
    sends_waited: Cell<u64>,
}

impl Ring {
    /// Sets up a ring on the thread that will use it.
    pub(crate) fn new(
        entries: u32,
        receive_buffers: u16,
        workers: u32,
        bell: Arc<OwnedFd>,
        helpers: Arc<Helpers>,
    ) -> io::Result<Ring> {
        let uring = setup(entries)?;
        // Bounded workers: regular files. Unbounded ones (sockets) are left as they are; polls do without.
        uring.submitter().register_iowq_max_workers(&mut [workers, 0])?;
        let buffers = Buffers::register(&uring, receive_buffers)?;
        let ring = Ring {
            inner: Rc::new(RingInner {
                uring: RefCell::new(uring),
                ops: RefCell::default(),
                buffers,
                bell_count: RefCell::default(),
                bell,
                bell_armed: Cell::new(false),
                alarm: Alarm::default(),
                closing: Cell::new(false),
                backlog: RefCell::default(),
                vectors: RefCell::default(),
                helpers,
                disk_threads: Helpers::new("disk", usize::try_from(workers).expect("32 bits fit into an address")),
                counters: RingCounters::default(),
            }),
        };
        ring.arm_bell();
        Ok(ring)
    }
}

impl Deref for Ring {
    type Target = RingInner;
    fn deref(&self) -> &RingInner {
        &self.inner
    }
}

impl Drop for RingInner {
    fn drop(&mut self) {
        self.drain();
    }
}

impl RingInner {
    pub(crate) fn helpers(&self) -> &Helpers {
        &self.helpers
    }

    /// Runs what waits for the disk in any case on a thread of this shard. The kernel would hand it to a worker, and a thread of our
    /// own does it for half of the CPU time (docs/decisions/commit.md).
    pub(crate) async fn on_disk_thread(
        &self,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        count(&self.counters.submissions, 1);
        self.disk_threads.run(work).await.expect("system calls do not panic")
    }

    fn counters(&self) -> &RingCounters {
        &self.counters
    }

    pub(crate) fn buffers(&self) -> &Rc<Buffers> {
        &self.buffers
    }

    /// Copies this ring's counters.
    pub(crate) fn count(&self, counters: &Counters) {
        let ours = &self.counters;
        counters.enters.set(ours.enters.get());
        counters.submissions.set(ours.submissions.get());
        counters.completions.set(ours.completions.get());
        counters.receive_buffers_exhausted.set(ours.receive_buffers_exhausted.get());
        counters.receive_buffers_in_use.set(u64::from(self.buffers.lent()));
        counters.sends_inline.set(ours.sends_inline.get());
        counters.sends_waited.set(ours.sends_waited.get());
        counters.in_flight.set(self.ops.borrow().len() as u64);
    }

    /// Empty vectors for a vectored operation.
    pub(crate) fn take_vectors(&self) -> Box<Vectors> {
        self.vectors.borrow_mut().pop().unwrap_or_else(|| Box::new(Vectors::new()))
    }

    pub(crate) fn give_vectors(&self, vectors: Box<Vectors>) {
        let mut kept = self.vectors.borrow_mut();
        if kept.len() < KEEP_VECTORS {
            kept.push(vectors);
        }
    }

    /// Queues an entry for the next enter.
    ///
    /// # Safety
    /// Memory and descriptors that the entry names must stay valid until its terminal completion.
    pub(crate) unsafe fn push(&self, entry: &squeue::Entry) {
        count(&self.counters.submissions, 1);
        let mut backlog = self.backlog.borrow_mut();
        if !backlog.is_empty() || !self.try_push(entry) {
            backlog.push_back(entry.clone());
        }
    }

    /// False: the queue is full and the kernel takes nothing now. Only `push` and `flush_backlog` may call this.
    fn try_push(&self, entry: &squeue::Entry) -> bool {
        let mut uring = self.uring.borrow_mut();
        // SAFETY: whoever called `push` has promised that what the entry names outlives the operation.
        if unsafe { uring.submission().push(entry) }.is_ok() {
            return true;
        }
        count(&self.counters.enters, 1);
        // An error (the kernel wants completions reaped first) leaves the queue full; the push below tells.
        let _ = uring.submit();
        // SAFETY: as above.
        unsafe { uring.submission().push(entry) }.is_ok()
    }

    fn flush_backlog(&self) {
        loop {
            let Some(entry) = self.backlog.borrow_mut().pop_front() else { return };
            if !self.try_push(&entry) {
                self.backlog.borrow_mut().push_front(entry);
                return;
            }
        }
    }

    /// Asks the kernel to end an operation early; its completion comes all the same.
    pub(crate) fn cancel(&self, key: OpKey) {
        let entry = opcode::AsyncCancel::new(key.user_data()).build().user_data(IGNORED);
        // SAFETY: a cancellation names no memory and no descriptor.
        unsafe { self.push(&entry) };
    }

    /// Gives back the buffer of a receive that nobody read.
    pub(crate) fn recycle_unread(&self, flags: u32) {
        if let Some(bid) = op::chosen_buffer(flags) {
            drop(self.buffers.lend(bid, 0));
        }
    }

    fn arm_bell(&self) {
        let address: *mut u64 = &raw mut **self.bell_count.borrow_mut();
        let entry = opcode::Read::new(Fd(self.bell.as_raw_fd()), address.cast(), 8).build().user_data(BELL);
        // SAFETY: box and descriptor live as long as this struct, which drains the ring before it goes.
        unsafe { self.push(&entry) };
        self.bell_armed.set(true);
    }
}

impl Turns for RingInner {
    /// Submits what is queued. With `park`, waits for a completion; without, takes in what the kernel has.
    fn enter(&self, park: Park) {
        self.flush_backlog();
        if let Park::Until { now, deadline } = park
            && let Some(entry) = self.alarm.set(now, deadline)
        {
            // SAFETY: it names no descriptor, and the alarm keeps the memory for as long as there is a ring.
            unsafe { self.push(&entry) };
        }
        let mut uring = self.uring.borrow_mut();
        let result = match park {
            Park::No => {
                let submission = uring.submission();
                let idle = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
                drop(submission);
                if idle {
                    return;
                }
                uring.submit()
            }
            Park::Forever | Park::Until { .. } => uring.submit_and_wait(1),
        };
        count(&self.counters.enters, 1);
        match result.map_err(|e| (e.raw_os_error(), e)) {
            // A signal; the kernel wants completions reaped or memory freed before it takes more.
            Ok(_) | Err((Some(libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => {}
            Err((_, e)) => panic!("io_uring_enter failed: {e}"),
        }
    }

    /// Whether completions wait to be reaped.
    fn has_completions(&self) -> bool {
        !self.uring.borrow_mut().completion().is_empty()
    }

    /// Takes completions in and wakes their tasks.
    fn reap(&self) {
        loop {
            // Let go of the ring for each completion: waking and dropping may submit.
            let Some(completion) = self.uring.borrow_mut().completion().next() else { return };
            count(&self.counters.completions, 1);
            match completion.user_data() {
                IGNORED => {}
                ALARM => self.alarm.rang(),
                BELL => {
                    self.bell_armed.set(false);
                    if !self.closing.get() {
                        self.arm_bell();
                    }
                }
                user_data => {
                    let key = OpKey::from_user_data(user_data);
                    let flags = completion.flags();
                    let (waker, orphan) = self.ops.borrow_mut().complete(key, completion.result(), flags);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                    if orphan.is_some() {
                        self.recycle_unread(flags);
                    }
                }
            }
        }
    }

    /// Cancels everything and waits for the last terminal completion.
    fn drain(&self) {
        self.disk_threads.wait_until_idle();
        self.closing.set(true);
        let all = opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(IGNORED);
        // SAFETY: a cancellation names no memory and no descriptor.
        unsafe { self.push(&all) };
        while self.bell_armed.get() || self.ops.borrow().has_unfinished() {
            self.enter(Park::Until { now: Time::ZERO, deadline: Time::ZERO + LOOK_AGAIN });
            self.reap();
        }
    }
}
