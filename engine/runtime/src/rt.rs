//! The handle through which everything on a shard reaches the world.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use crate::executor::{Executor, TaskId, yield_now};
use crate::file::File;
use crate::frames::{FrameBuf, FramePool};
use crate::fs::Fs;
use crate::real::file::RealFile;
use crate::real::helpers::Helpers;
use crate::ring::Ring;
use crate::sim::thread::SimThread;
use crate::socket::{DetachedSocket, Listener, Socket};
use crate::stats::{Counters, RtStats};
use crate::syscall::Syscall;
use crate::time::Time;

/// Handle of one shard's runtime. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Rt {
    pub(crate) inner: Rc<RtInner>,
}

pub(crate) struct RtInner {
    pub(crate) index: usize,
    pub(crate) executor: Executor,
    pub(crate) now: Cell<Time>,
    pub(crate) wall_ms: Cell<i64>,
    pub(crate) random: RefCell<ChaCha20Rng>,
    pub(crate) fs: Fs,
    pub(crate) frames: Arc<FramePool>,
    pub(crate) counters: Counters,
    /// Long turns of this thread are not stalls.
    pub(crate) may_block: Cell<bool>,
    pub(crate) driver: Driver,
}

/// How a shard reaches the world.
pub(crate) enum Driver {
    Ring(Ring),
    Syscall(Syscall),
    Sim(SimThread),
}

impl Driver {
    /// Runs what waits for the disk in any case on a thread of the shard.
    async fn at_the_disk(
        &self,
        file: &File,
        work: impl FnOnce(&RealFile) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let file = file.real().clone();
        let work = move || work(&file);
        match self {
            Driver::Ring(ring) => ring.on_disk_thread(work).await,
            Driver::Syscall(driver) => driver.on_thread(work).await,
            Driver::Sim(_) => unreachable!("a simulated thread has no real file"),
        }
    }
}

impl Rt {
    /// The number of this thread within its node, as given to `Host::start`.
    pub fn index(&self) -> usize {
        self.inner.index
    }

    /// The monotonic clock, read once per loop turn.
    pub fn now(&self) -> Time {
        self.inner.now.get()
    }

    /// The wall clock in Unix milliseconds, read once per loop turn.
    pub fn wall_ms(&self) -> i64 {
        self.inner.wall_ms.get()
    }

    /// A random number; seeded from the system (and good enough for secrets), or by the simulator.
    pub fn random_u64(&self) -> u64 {
        self.inner.random.borrow_mut().next_u64()
    }

    /// Random bytes, see [`Rt::random_u64`].
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.inner.random.borrow_mut().fill_bytes(&mut bytes);
        bytes
    }

    /// Says that this thread serves nobody who must not wait (a control plane, say): it may use the blocking [`Fs`], and its
    /// long turns are neither counted nor reported.
    pub fn allow_blocking(&self) {
        self.inner.may_block.set(true);
    }

    /// Starts a task on this shard. It goes on when the handle is dropped.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> TaskHandle {
        let (id, finished) = self.inner.executor.spawn(Box::pin(future));
        TaskHandle { rt: self.clone(), id, finished }
    }

    /// Waits for a while.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Waits until a point in time; at once if it has passed.
    pub fn sleep_until(&self, deadline: Time) -> Sleep {
        Sleep { rt: self.clone(), deadline, timer: None }
    }

    /// What `future` gives, or `None` (and `future` dropped) if it takes longer than `duration`.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut sleep = self.sleep(duration);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            Pin::new(&mut sleep).poll(cx).map(|()| None)
        })
        .await
    }

    /// Lets the other ready tasks of this shard run first.
    pub async fn yield_now(&self) {
        yield_now().await;
    }

    /// The node's blocking file system, for start-up, the control thread and inside [`Rt::blocking`].
    pub fn fs(&self) -> &Fs {
        &self.inner.fs
    }

    /// Runs `work` on a small pool of helper threads. In the simulator it runs at once, after a virtual latency. The work goes
    /// on when the future is dropped. Panics if the work panics.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Fs) -> T + Send + 'static) -> T {
        match &self.inner.driver {
            Driver::Ring(ring) => on_helper(ring.helpers(), &self.inner.fs, work).await,
            Driver::Syscall(driver) => on_helper(driver.helpers(), &self.inner.fs, work).await,
            Driver::Sim(thread) => {
                thread.disk_latency().await;
                work(&self.inner.fs)
            }
        }
    }

    /// Writes all of `bufs` at `pos` of `file` without holding up the shard. On an error any part may have been written.
    pub async fn write_at(&self, file: &File, bufs: Vec<Bytes>, pos: u64) -> io::Result<()> {
        match &self.inner.driver {
            Driver::Ring(ring) => ring.write_at(file, bufs, pos).await,
            Driver::Syscall(driver) => driver.write_at(file, bufs, pos).await,
            Driver::Sim(thread) => thread.write_at(file, bufs, pos).await,
        }
    }

    /// Reads from `pos` into the free part of `buf`. Gives the bytes read: fewer than fit only at the end of the file.
    pub async fn read_at(&self, file: &File, pos: u64, buf: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        match &self.inner.driver {
            Driver::Ring(ring) => ring.read_at(file, pos, buf).await,
            Driver::Syscall(driver) => driver.read_at(file, pos, buf).await,
            Driver::Sim(thread) => thread.read_at(file, pos, buf).await,
        }
    }

    /// Starts reading a range of a file into the page cache. It is on its way when this ends, and there when a byte of its end can be
    /// read ([`Rt::read_at`]), or a little later: [`File::cached_prefix`] knows.
    pub async fn will_need(&self, file: &File, pos: u64, len: u64) -> io::Result<()> {
        match &self.inner.driver {
            Driver::Sim(thread) => thread.will_need().await,
            driver => driver.at_the_disk(file, move |file| file.will_need(pos, len)).await,
        }
    }

    /// Reserves disk space without changing the file's length ([`File::allocate_keep_size`]), without holding up the shard.
    pub async fn reserve(&self, file: &File, pos: u64, len: u64) -> io::Result<()> {
        match &self.inner.driver {
            Driver::Sim(thread) => {
                thread.disk_latency().await;
                file.allocate_keep_size(pos, len)
            }
            driver => driver.at_the_disk(file, move |file| file.allocate_keep_size(pos, len)).await,
        }
    }

    /// fdatasync, without holding up the shard.
    pub async fn datasync(&self, file: &File) -> io::Result<()> {
        match &self.inner.driver {
            Driver::Sim(thread) => thread.datasync(file).await,
            driver => driver.at_the_disk(file, RealFile::sync_data).await,
        }
    }

    /// Writes `bytes` to `file` ([`Fs::open_direct`]) and makes them stable, without holding up the shard: whole blocks
    /// ([`DirectBuf::freeze`](crate::DirectBuf::freeze)) at a multiple of a block's length.
    pub async fn write_durably(&self, file: &File, bytes: Bytes, pos: u64) -> io::Result<()> {
        match &self.inner.driver {
            Driver::Ring(ring) => ring.write_durably(file, bytes, pos).await,
            Driver::Sim(thread) => {
                thread.write_at(file, vec![bytes], pos).await?;
                thread.datasync(file).await
            }
            driver => driver.at_the_disk(file, move |file| file.write_durably(&bytes, pos)).await,
        }
    }

    /// [`Rt::datasync`] of a file that may have much to write from `from` on: piece by piece, each when the one before is on the disk, so that what others
    /// ask of the disk meanwhile waits for a piece and not for the file.
    pub async fn datasync_in_pieces(&self, file: &File, from: u64, piece: u64) -> io::Result<()> {
        if !matches!(self.inner.driver, Driver::Sim(_)) {
            // The last piece is left to the sync itself: a small file needs nothing else.
            let step = usize::try_from(piece).expect("a piece fits into memory");
            for pos in (from..file.len()?.saturating_sub(piece)).step_by(step) {
                self.inner.driver.at_the_disk(file, move |file| file.write_out(pos, piece)).await?;
            }
        }
        self.datasync(file).await
    }

    /// Starts writing a range of dirty pages to the disk, without making it durable.
    pub async fn sync_range(&self, file: &File, pos: u64, len: u64) -> io::Result<()> {
        match &self.inner.driver {
            Driver::Sim(thread) => thread.sync_range().await,
            driver => driver.at_the_disk(file, move |file| file.start_writeback(pos, len)).await,
        }
    }

    /// Listens for TCP connections. `[::]` takes IPv4 too; port 0 takes a free one.
    pub fn listen(&self, addr: SocketAddr) -> io::Result<Listener> {
        Listener::bind(self, addr)
    }

    /// Opens a TCP connection.
    pub async fn connect(&self, addr: SocketAddr) -> io::Result<Socket> {
        Socket::connect(self, addr).await
    }

    /// Takes over a connection that was accepted on another shard of this node.
    pub fn adopt(&self, socket: DetachedSocket) -> Socket {
        Socket::adopt(self, socket)
    }

    /// An empty buffer that holds `capacity` bytes, from this shard's pool.
    pub fn frame_buf(&self, capacity: usize) -> FrameBuf {
        self.inner.frames.take(capacity)
    }

    /// What this runtime has done so far.
    pub fn stats(&self) -> RtStats {
        let counters = &self.inner.counters;
        counters.wakes.set(self.inner.executor.queue().bells_rung());
        counters.tasks.set(self.inner.executor.tasks_alive() as u64);
        match &self.inner.driver {
            Driver::Ring(ring) => ring.count(counters),
            Driver::Syscall(driver) => driver.count(counters),
            Driver::Sim(_) => {}
        }
        counters.snapshot()
    }
}

/// Runs blocking work on a helper thread of the node.
async fn on_helper<T: Send + 'static>(helpers: &Helpers, fs: &Fs, work: impl FnOnce(&Fs) -> T + Send + 'static) -> T {
    let fs = fs.clone();
    helpers.run(move || work(&fs)).await.expect("blocking work does not panic")
}

/// A started task.
pub struct TaskHandle {
    rt: Rt,
    id: TaskId,
    finished: Rc<Cell<bool>>,
}

impl TaskHandle {
    /// Drops the task's future (when its poll returns, if it cancels itself).
    pub fn cancel(&self) {
        self.rt.inner.executor.cancel(self.id);
    }

    /// Whether the task has ended or was cancelled.
    pub fn is_finished(&self) -> bool {
        self.finished.get()
    }
}

/// Waits for a point in time; see [`Rt::sleep`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    rt: Rt,
    deadline: Time,
    timer: Option<u64>,
}

impl Sleep {
    /// When it ends.
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// Moves the end.
    pub fn reset(&mut self, deadline: Time) {
        self.forget();
        self.deadline = deadline;
    }

    fn forget(&mut self) {
        if let Some(id) = self.timer.take() {
            self.rt.inner.executor.timers().borrow_mut().cancel(self.deadline, id);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.rt.now() >= self.deadline {
            self.forget();
            return Poll::Ready(());
        }
        let this = &mut *self;
        let mut timers = this.rt.inner.executor.timers().borrow_mut();
        match this.timer {
            Some(id) => timers.update(this.deadline, id, cx.waker()),
            None => this.timer = Some(timers.set(this.deadline, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}
