//! The driver of a simulated thread: the same operations as the ring's, on the simulated world.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::file::File;
use crate::frames::FrameBuf;
use crate::sim::net::{SimListener, SimSocket};
use crate::sim::world::World;

/// A thread of a simulated machine.
pub(crate) struct SimThread {
    pub(crate) world: Arc<World>,
    pub(crate) node: usize,
}

impl SimThread {
    async fn latency(&self, span: (Duration, Duration)) {
        let latency = self.world.lock().latency(span);
        self.world.delay(latency).await;
    }

    pub(crate) async fn disk_latency(&self) {
        let span = self.world.lock().faults.disk_latency;
        self.latency(span).await;
    }

    async fn read_latency(&self, file: &File) {
        let span = {
            let state = self.world.lock();
            if file.sim().is_cold() { state.faults.cold_read_latency } else { state.faults.disk_latency }
        };
        self.latency(span).await;
    }

    /// The bytes change when the operation completes. A dropped write has not happened.
    pub(crate) async fn write_at(&self, file: &File, bufs: Vec<Bytes>, pos: u64) -> io::Result<()> {
        self.disk_latency().await;
        let mut slices: Vec<IoSlice<'_>> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        file.write_all_at(&mut slices, pos)
    }

    pub(crate) async fn read_at(&self, file: &File, pos: u64, buf: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        let mut buf = buf;
        self.read_latency(file).await;
        let mut bytes = vec![0; buf.remaining()];
        let result = file.sim().read_at(&mut bytes, pos);
        if let Ok(n) = result {
            buf.extend_from_slice(&bytes[..n]);
        }
        (result, buf)
    }

    pub(crate) async fn will_need(&self) -> io::Result<()> {
        self.disk_latency().await;
        Ok(())
    }

    /// What was written before the call is durable after it; what is written meanwhile need not be.
    pub(crate) async fn datasync(&self, file: &File) -> io::Result<()> {
        let until = file.sim().changes();
        let span = self.world.lock().faults.sync_latency;
        self.latency(span).await;
        file.sim().sync_until(until)
    }

    pub(crate) async fn sync_range(&self) -> io::Result<()> {
        self.disk_latency().await;
        Ok(())
    }

    pub(crate) fn listen(&self, addr: SocketAddr) -> io::Result<SimListener> {
        SimListener::bind(&self.world, self.node, addr)
    }

    pub(crate) async fn connect(&self, addr: SocketAddr) -> io::Result<SimSocket> {
        SimSocket::connect(&self.world, self.node, addr).await
    }
}
