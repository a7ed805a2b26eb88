//! The threads of this machine.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Pid;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::executor::{Bell, Executor, LocalBoxFuture};
use crate::frames::FramePool;
use crate::fs::{Fs, FsInner};
use crate::host::{Panicked, RealOptions};
use crate::probe::{Unsupported, explain, probe};
use crate::real::fs::RealFs;
use crate::real::helpers::Helpers;
use crate::real::run::{Clock, run, wall_ms};
use crate::ring::Ring;
use crate::rt::{Driver, Rt, RtInner};
use crate::time::Time;

/// This machine; clones share files, helpers and the clock's start.
#[derive(Clone)]
pub(crate) struct RealHost {
    shared: Arc<Shared>,
}

struct Shared {
    options: RealOptions,
    kernel: String,
    fs: RealFs,
    helpers: Arc<Helpers>,
    clock: Clock,
}

impl RealHost {
    pub(crate) fn probe(options: RealOptions) -> Result<RealHost, Unsupported> {
        let kernel = probe(options.ring_entries)?;
        let helpers = Arc::new(Helpers::new(options.helper_threads));
        let clock = Clock { start: Instant::now() };
        Ok(RealHost { shared: Arc::new(Shared { options, kernel, fs: RealFs::default(), helpers, clock }) })
    }

    pub(crate) fn start(
        &self,
        name: &str,
        index: usize,
        cpu: Option<usize>,
        main: impl FnOnce(Rt) -> LocalBoxFuture<'static, ()> + Send + 'static,
    ) -> io::Result<RealRunning> {
        let host = self.clone();
        let (started, start) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(cpu) = cpu {
                pin(cpu);
            }
            let (rt, ring) = match host.runtime(index) {
                Ok(made) => made,
                Err(e) => {
                    // The starter waits for this message.
                    let _ = started.send(Err(e));
                    return;
                }
            };
            let _ = started.send(Ok(()));
            let main = main(rt.clone());
            run(&rt, &*ring, host.shared.clock, main);
        })?;
        match start.recv() {
            Ok(Ok(())) => Ok(RealRunning { name: name.to_owned(), thread }),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(io::Error::other(format!("thread {name} ended before it started"))),
        }
    }

    /// Everything of a shard, made on its thread: the ring belongs to the thread that makes it.
    fn runtime(&self, index: usize) -> io::Result<(Rt, Ring)> {
        let shared = &self.shared;
        let options = &shared.options;
        let bell: Arc<OwnedFd> = Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?.into());
        let ring = Ring::new(
            options.ring_entries,
            options.receive_buffers,
            options.blocking_workers,
            Arc::clone(&bell),
            Arc::clone(&shared.helpers),
        )
        .map_err(|e| io::Error::new(e.kind(), explain(&e, &shared.kernel)))?;
        let inner = RtInner {
            index,
            executor: Executor::new(Bell::EventFd(bell)),
            now: Time::ZERO.into(),
            wall_ms: wall_ms().into(),
            random: ChaCha20Rng::from_seed(system_seed()?).into(),
            fs: Fs { inner: FsInner::Real(shared.fs.clone()) },
            frames: FramePool::new(),
            counters: crate::stats::Counters::default(),
            may_block: Cell::new(false),
            driver: Driver::Ring(ring.clone()),
        };
        Ok((Rt { inner: Rc::new(inner) }, ring))
    }

    pub(crate) fn fs(&self) -> RealFs {
        self.shared.fs.clone()
    }

    pub(crate) fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    pub(crate) fn describe(&self) -> String {
        let options = &self.shared.options;
        format!(
            "io_uring, kernel {}, {} cores, {} entries and {} receive buffers per ring",
            self.shared.kernel,
            self.cores(),
            options.ring_entries,
            options.receive_buffers
        )
    }
}

fn pin(cpu: usize) {
    let mut cpus = CpuSet::new();
    let pinned = cpus.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus));
    if let Err(e) = pinned {
        tracing::warn!(cpu, "thread not pinned to its core: {e}");
    }
}

/// Randomness from the system.
fn system_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    // SAFETY: the kernel writes at most `seed.len()` bytes to a buffer of that length.
    let written = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    if usize::try_from(written) == Ok(seed.len()) { Ok(seed) } else { Err(io::Error::last_os_error()) }
}

/// A started thread.
pub(crate) struct RealRunning {
    name: String,
    thread: JoinHandle<()>,
}

impl RealRunning {
    pub(crate) fn join(self) -> Result<(), Panicked> {
        self.thread.join().map_err(|payload| {
            let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
                (Some(message), _) => (*message).to_owned(),
                (_, Some(message)) => message.clone(),
                _ => "something without a message".to_owned(),
            };
            Panicked { thread: self.name, message }
        })
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}
