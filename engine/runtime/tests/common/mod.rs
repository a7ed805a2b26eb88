//! Runs a test body on a shard of each driver.
#![allow(dead_code, reason = "each test file uses its part")]

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kringle_runtime::sim::Sim;
use kringle_runtime::{Host, IoDriver, RealOptions, Rt};

/// What a test body works with.
pub(crate) struct World {
    pub(crate) rt: Rt,
    pub(crate) host: Host,
    /// An empty directory of the driver's file system.
    pub(crate) dir: PathBuf,
    /// More than a connection holds on its way.
    pub(crate) overflow_bytes: usize,
}

/// The real drivers to test: both, or the one that `KRINGLE_TEST_DRIVER` names. Where the kernel refuses the ring, and nobody has
/// named it, it is left out with a word.
pub(crate) fn real_drivers() -> Vec<IoDriver> {
    match std::env::var("KRINGLE_TEST_DRIVER").as_deref() {
        Ok("ring") => return vec![IoDriver::Ring],
        Ok("syscall") => return vec![IoDriver::Syscall],
        Ok(other) => panic!("KRINGLE_TEST_DRIVER={other}: ring or syscall"),
        Err(_) => {}
    }
    match Host::real(RealOptions { driver: IoDriver::Ring, ..RealOptions::default() }) {
        Ok(_) => vec![IoDriver::Ring, IoDriver::Syscall],
        Err(unsupported) => {
            eprintln!("not tested on the ring: {unsupported}");
            vec![IoDriver::Syscall]
        }
    }
}

/// A host on this machine.
pub(crate) fn real_host(driver: IoDriver) -> Host {
    let busy_poll = Duration::from_micros(50);
    Host::real(RealOptions { driver, busy_poll, ring_entries: 64, receive_buffers: 8, ..RealOptions::default() })
        .unwrap()
}

fn on_real_driver<F>(driver: IoDriver, body: impl FnOnce(World) -> F + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let dir = tempfile::tempdir().unwrap();
    let host = real_host(driver);
    let (path, inner) = (dir.path().to_owned(), host.clone());
    let thread = host.start("test", 0, None, move |rt| {
        let world = World { rt, host: inner, dir: path, overflow_bytes: 20 << 20 };
        Box::pin(body(world))
    });
    if let Err(panicked) = thread.unwrap().join() {
        panic!("on the driver {driver:?}: {panicked}");
    }
}

/// Runs `body` on a thread of each real driver.
pub(crate) fn on_each_real_driver<F>(body: impl Fn(World) -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    for driver in real_drivers() {
        on_real_driver(driver, body.clone());
    }
}

/// Seeds that every test body is run with.
const SEEDS: std::ops::Range<u64> = 0..8;

/// Runs `body` on each real driver and, with several seeds, in the simulator.
pub(crate) fn on_each_driver<F>(body: impl Fn(World) -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    on_each_real_driver(body.clone());
    for seed in SEEDS {
        let mut sim = Sim::new(seed);
        let host = sim.node("test").host();
        let ended = Arc::new(AtomicBool::new(false));
        let (body, inner, flag) = (body.clone(), host.clone(), Arc::clone(&ended));
        let thread = host.start("test", 0, None, move |rt| {
            let dir = PathBuf::from("/data");
            rt.fs().create_dir_all(&dir).unwrap();
            let world = World { rt, host: inner, dir, overflow_bytes: 600 << 10 };
            Box::pin(async move {
                body(world).await;
                flag.store(true, Ordering::Relaxed);
            })
        });
        thread.unwrap();
        let done = sim.run_until(Duration::from_secs(3600), || ended.load(Ordering::Relaxed));
        assert!(done, "seed {seed} hangs");
    }
}

/// A loopback address with a free port.
pub(crate) fn any_port() -> std::net::SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}
