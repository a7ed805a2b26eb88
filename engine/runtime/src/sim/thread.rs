//! The driver of a simulated thread.
use crate::file::File;
use crate::frames::FrameBuf;
use crate::rt::Rt;
use crate::sim::net::*;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
#[allow(dead_code)]
pub(crate) struct SimThread;
impl SimThread {
    pub(crate) async fn disk_latency(&self, _: &Rt) {
        unimplemented!()
    }
    pub(crate) async fn write_at(&self, _: &Rt, _: &File, _: Vec<Bytes>, _: u64) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) async fn read_at(&self, _: &Rt, _: &File, _: u64, _: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        unimplemented!()
    }
    pub(crate) async fn datasync(&self, _: &Rt, _: &File) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) async fn sync_range(&self, _: &Rt) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn listen(&self, _: SocketAddr) -> io::Result<SimListener> {
        unimplemented!()
    }
    pub(crate) async fn connect(&self, _: SocketAddr) -> io::Result<SimSocket> {
        unimplemented!()
    }
}
