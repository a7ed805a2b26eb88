//! Simulated sockets.
use crate::file::File;
use crate::frames::FrameBuf;
use crate::socket::Chunk;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
#[allow(dead_code)]
pub(crate) struct SimListener;
impl SimListener {
    pub(crate) async fn accept(&self) -> io::Result<SimSocket> {
        unimplemented!()
    }
    pub(crate) fn local_addr(&self) -> SocketAddr {
        unimplemented!()
    }
}
pub(crate) struct SimSocket;
pub(crate) struct SimDetached;
impl SimSocket {
    pub(crate) async fn recv(&self) -> io::Result<Chunk> {
        unimplemented!()
    }
    pub(crate) async fn recv_into(&self, _: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        unimplemented!()
    }
    pub(crate) async fn send(&self, _: Vec<Bytes>) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn try_send_file(&self, _: &File, _: u64, _: usize) -> io::Result<usize> {
        unimplemented!()
    }
    pub(crate) async fn writable(&self) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn detach(self) -> SimDetached {
        unimplemented!()
    }
    pub(crate) fn peer_addr(&self) -> SocketAddr {
        unimplemented!()
    }
    pub(crate) fn local_addr(&self) -> SocketAddr {
        unimplemented!()
    }
    pub(crate) fn shutdown(&self) {
        unimplemented!()
    }
    pub(crate) fn adopt(_: SimDetached) -> SimSocket {
        unimplemented!()
    }
}
