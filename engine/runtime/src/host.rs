//! Where a node's threads come from.

use std::io;
use std::time::Duration;

use crate::executor::LocalBoxFuture;
use crate::fs::{Fs, FsInner};
use crate::real::host::{RealHost, RealRunning};
use crate::rt::Rt;
use crate::sim::node::SimHost;

pub use crate::probe::Unsupported;

/// What a shard of the real machine is driven by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoDriver {
    /// The ring; plain system calls where the kernel refuses it.
    #[default]
    Auto,
    /// io_uring, or nothing.
    Ring,
    /// Plain system calls, epoll and threads; io_uring is never touched.
    Syscall,
}

/// How to run on the real machine.
#[derive(Clone, Debug)]
pub struct RealOptions {
    /// What the shards are driven by.
    pub driver: IoDriver,
    /// How long a shard looks for work before it sleeps, while nearly all its waits are that short; zero: it sleeps at once.
    pub busy_poll: Duration,
    /// Entries of each ring's submission queue; a power of two.
    pub ring_entries: u32,
    /// Receive buffers of each shard, 4 KiB each, touched as they are used; a power of two.
    pub receive_buffers: u16,
    /// Workers of each shard for operations that block: the ring's kernel workers (buffered writes on ext4) and threads (fsync), or threads
    /// of the syscall driver, started when needed.
    pub blocking_workers: u32,
    /// Helper threads of the node for `Rt::blocking`, started when needed.
    pub helper_threads: usize,
}

impl Default for RealOptions {
    fn default() -> RealOptions {
        RealOptions {
            driver: IoDriver::Auto,
            busy_poll: Duration::ZERO,
            ring_entries: 512,
            receive_buffers: 256,
            blocking_workers: 16,
            helper_threads: 4,
        }
    }
}

/// A machine to run on. Clones are the same machine.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: HostInner,
}

#[derive(Clone)]
pub(crate) enum HostInner {
    Real(RealHost),
    Sim(SimHost),
}

impl Host {
    /// This machine, after a look at what its kernel offers. With [`IoDriver::Ring`] it is an error if it does not offer what the
    /// ring needs.
    pub fn real(options: RealOptions) -> Result<Host, Unsupported> {
        Ok(Host { inner: HostInner::Real(RealHost::probe(options)?) })
    }

    /// Why [`IoDriver::Auto`] has not become the ring, if so.
    pub fn instead_of_ring(&self) -> Option<&Unsupported> {
        match &self.inner {
            HostInner::Real(host) => host.instead_of_ring(),
            HostInner::Sim(_) => None,
        }
    }

    /// Starts one thread with one driver and one executor, pinned to `cpu` if given. The thread ends when the future that `main`
    /// makes ends: other tasks are then dropped, and what is in flight comes to its end.
    pub fn start(
        &self,
        name: &str,
        index: usize,
        cpu: Option<usize>,
        main: impl FnOnce(Rt) -> LocalBoxFuture<'static, ()> + Send + 'static,
    ) -> io::Result<Running> {
        let inner = match &self.inner {
            HostInner::Real(host) => RunningInner::Real(host.start(name, index, cpu, main)?),
            HostInner::Sim(host) => {
                host.start(index, Box::new(main));
                RunningInner::Sim
            }
        };
        Ok(Running { inner })
    }

    /// The machine's files.
    pub fn fs(&self) -> Fs {
        let inner = match &self.inner {
            HostInner::Real(host) => FsInner::Real(host.fs()),
            HostInner::Sim(host) => FsInner::Sim(host.fs()),
        };
        Fs { inner }
    }

    /// Cores this process may use.
    pub fn cores(&self) -> usize {
        match &self.inner {
            HostInner::Real(host) => host.cores(),
            HostInner::Sim(host) => host.cores(),
        }
    }

    /// The name under which others find this machine, as Java's `getCanonicalHostName` has it. May block.
    pub fn canonical_name(&self) -> String {
        match &self.inner {
            HostInner::Real(_) => crate::real::name::canonical_name(),
            HostInner::Sim(_) => "localhost".to_owned(),
        }
    }

    /// What the machine offers, for the start-up lines.
    pub fn describe(&self) -> String {
        match &self.inner {
            HostInner::Real(host) => host.describe(),
            HostInner::Sim(host) => host.describe(),
        }
    }
}

/// A started thread. Dropping it does not stop it.
pub struct Running {
    inner: RunningInner,
}

enum RunningInner {
    Real(RealRunning),
    Sim,
}

/// The thread panicked; the message is what it panicked with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("thread {thread} panicked: {message}")]
pub struct Panicked {
    /// Name of the thread.
    pub thread: String,
    /// What it panicked with.
    pub message: String,
}

impl Running {
    /// Waits for the thread to end. In the simulator there is nothing to wait for.
    pub fn join(self) -> Result<(), Panicked> {
        match self.inner {
            RunningInner::Real(thread) => thread.join(),
            RunningInner::Sim => Ok(()),
        }
    }

    /// Whether the thread has ended. In the simulator never.
    pub fn is_finished(&self) -> bool {
        match &self.inner {
            RunningInner::Real(thread) => thread.is_finished(),
            RunningInner::Sim => false,
        }
    }
}
