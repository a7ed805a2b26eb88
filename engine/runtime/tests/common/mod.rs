//! Runs a test body on a shard of each driver.
#![allow(dead_code, reason = "each test file uses its part")]

use std::future::Future;
use std::path::PathBuf;

use kringle_runtime::{Host, RealOptions, Rt};

/// What a test body works with.
pub(crate) struct World {
    pub(crate) rt: Rt,
    pub(crate) host: Host,
    /// An empty directory of the driver's file system.
    pub(crate) dir: PathBuf,
}

/// A host on this machine.
pub(crate) fn real_host() -> Host {
    Host::real(RealOptions { ring_entries: 64, receive_buffers: 8, ..RealOptions::default() }).unwrap()
}

/// Runs `body` on a thread with a ring and gives what it gives.
pub(crate) fn on_ring<T, F>(body: impl FnOnce(World) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let dir = tempfile::tempdir().unwrap();
    let host = real_host();
    let (sent, received) = std::sync::mpsc::channel();
    let (path, inner) = (dir.path().to_owned(), host.clone());
    let thread = host.start("test", 0, None, move |rt| {
        let world = World { rt, host: inner, dir: path };
        Box::pin(async move { sent.send(body(world).await).unwrap() })
    });
    thread.unwrap().join().unwrap();
    received.recv().unwrap()
}

/// A loopback address with a free port.
pub(crate) fn any_port() -> std::net::SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}
