//! One io_uring per core: driver, executor, files, sockets, timers, mailboxes; a driver of plain system calls, and a simulated one.
//!
//! # Brief overview
//!
//! A [`Host`] is a machine. [`Host::start`] gives it a thread with one driver and one single-threaded executor; the thread's
//! tasks reach the world through its [`Rt`] only: clock, randomness, timers, [`File`]s, [`Socket`]s, other tasks. Shards talk
//! through [`channel`]s, [`oneshot`] answers and [`Notify`] counters, which wake a parked shard and cost a running one
//! nothing. What blocks goes to [`Rt::blocking`], where the [`Fs`] may be used.
//!
//! Three drivers stand behind the same types: the **ring** ([`ring`](ring/index.html) tells its contract); **syscall**
//! ([`syscall`](syscall/index.html)), epoll and a few threads, for where io_uring is forbidden; and the **simulator** ([`sim`]), in which a whole cluster runs in one thread from one seed, on a virtual clock, with in-memory
//! sockets and disks that lose what was not synced.
//!
//! This is the only crate with `unsafe`; each block says why it is sound. It is also the only one that may read a clock, open a
//! file or draw a random number.
#![allow(clippy::disallowed_methods, reason = "this crate is where the world comes in")]

mod block_on;
mod channel;
mod direct;
mod executor;
mod file;
mod frames;
mod fs;
mod host;
mod notify;
mod oneshot;
mod probe;
mod real;
mod refusal;
mod ring;
mod rt;
pub mod sim;
mod socket;
mod stats;
mod syscall;
mod time;

pub use block_on::block_on;
pub use channel::{Closed, Receiver, Sender, TrySendError, channel};
pub use direct::{DirectBuf, DirectPool};
pub use executor::LocalBoxFuture;
pub use file::File;
pub use frames::FrameBuf;
pub use fs::{DirEntry, FileLock, Fs, Open};
pub use host::{Host, IoDriver, Panicked, RealOptions, Running, Unsupported};
pub use notify::{Notify, WaitAfter};
pub use oneshot::{Answer, Reply, oneshot};
pub use refusal::{Refusal, refuse_io_uring};
pub use rt::{Rt, Sleep, TaskHandle};
pub use socket::{Chunk, DetachedSocket, Listener, Socket};
pub use stats::RtStats;
pub use time::Time;

/// What may go to another thread, checked when this crate compiles.
const _: fn() = || {
    fn is_send<T: Send>() {}
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<(File, Fs, Host, Notify, Sender<u8>)>();
    is_send::<(FileLock, FrameBuf, DetachedSocket, Running, Receiver<u8>, Reply<u8>, Answer<u8>)>();
};
