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
use crate::host::{IoDriver, Panicked, RealOptions};
use crate::probe::{Unsupported, explain, kernel_release, probe};
use crate::real::fs::RealFs;
use crate::real::helpers::Helpers;
use crate::real::policy;
use crate::real::run::{Clock, run, wall_ms};
use crate::ring::Ring;
use crate::rt::{Driver, Rt, RtInner};
use crate::syscall::Syscall;
use crate::time::Time;

/// This machine; clones share files, helpers and the clock's start.
#[derive(Clone)]
pub(crate) struct RealHost {
    shared: Arc<Shared>,
}

struct Shared {
    options: RealOptions,
    chosen: Chosen,
    kernel: String,
    fs: RealFs,
    helpers: Arc<Helpers>,
    clock: Clock,
}

/// What drives the threads of this host.
enum Chosen {
    Ring,
    Syscall {
        /// Why not the ring, where that was asked.
        instead_of_ring: Option<Unsupported>,
    },
}

impl RealHost {
    pub(crate) fn probe(options: RealOptions) -> Result<RealHost, Unsupported> {
        let kernel = kernel_release();
        let chosen = match options.driver {
            IoDriver::Syscall => Chosen::Syscall { instead_of_ring: None },
            IoDriver::Ring => probe(options.ring_entries, &kernel).map(|()| Chosen::Ring)?,
            IoDriver::Auto => match probe(options.ring_entries, &kernel) {
                Ok(()) => Chosen::Ring,
                Err(unsupported) => Chosen::Syscall { instead_of_ring: Some(unsupported) },
            },
        };
        let helpers = Arc::new(Helpers::new("helper", options.helper_threads));
        let clock = Clock { start: Instant::now() };
        Ok(RealHost { shared: Arc::new(Shared { options, chosen, kernel, fs: RealFs::default(), helpers, clock }) })
    }

    pub(crate) fn instead_of_ring(&self) -> Option<&Unsupported> {
        match &self.shared.chosen {
            Chosen::Ring => None,
            Chosen::Syscall { instead_of_ring } => instead_of_ring.as_ref(),
        }
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
            policy::be_batched();
            let rt = match host.runtime(index) {
                Ok(rt) => rt,
                Err(e) => {
                    // The starter waits for this message.
                    let _ = started.send(Err(e));
                    return;
                }
            };
            let _ = started.send(Ok(()));
            let main = main(rt.clone());
            let (clock, busy_poll) = (host.shared.clock, host.shared.options.busy_poll);
            match &rt.inner.driver {
                Driver::Ring(ring) => run(&rt, &**ring, clock, busy_poll, main),
                Driver::Syscall(driver) => run(&rt, &**driver, clock, busy_poll, main),
                Driver::Sim(_) => unreachable!("made above"),
            }
        })?;
        match start.recv() {
            Ok(Ok(())) => Ok(RealRunning { name: name.to_owned(), thread }),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(io::Error::other(format!("thread {name} ended before it started"))),
        }
    }

    /// Everything of a shard, made on its thread: a ring belongs to the thread that makes it.
    fn runtime(&self, index: usize) -> io::Result<Rt> {
        let shared = &self.shared;
        let options = &shared.options;
        let bell: Arc<OwnedFd> = Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?.into());
        let driver = match &shared.chosen {
            Chosen::Ring => Driver::Ring(
                Ring::new(
                    options.ring_entries,
                    options.receive_buffers,
                    options.blocking_workers,
                    Arc::clone(&bell),
                    Arc::clone(&shared.helpers),
                )
                .map_err(|e| io::Error::new(e.kind(), explain(&e, &shared.kernel)))?,
            ),
            Chosen::Syscall { .. } => Driver::Syscall(Syscall::new(
                options.receive_buffers,
                usize::try_from(options.blocking_workers).expect("32 bits fit into an address"),
                Arc::clone(&bell),
                Arc::clone(&shared.helpers),
            )?),
        };
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
            driver,
        };
        Ok(Rt { inner: Rc::new(inner) })
    }

    pub(crate) fn fs(&self) -> RealFs {
        self.shared.fs.clone()
    }

    pub(crate) fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    pub(crate) fn describe(&self) -> String {
        let Shared { options, kernel, .. } = &*self.shared;
        let (cores, buffers) = (self.cores(), options.receive_buffers);
        match &self.shared.chosen {
            Chosen::Ring => format!(
                "io_uring, kernel {kernel}, {cores} cores, {} entries and {buffers} receive buffers per ring",
                options.ring_entries
            ),
            Chosen::Syscall { .. } => format!(
                "epoll and threads, kernel {kernel}, {cores} cores, {buffers} receive buffers and up to {} threads per shard",
                options.blocking_workers
            ),
        }
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
