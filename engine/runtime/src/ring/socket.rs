//! Sockets on the ring.
use crate::file::File;
use crate::frames::FrameBuf;
use crate::ring::Ring;
use crate::socket::Chunk;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
#[allow(dead_code)]
pub(crate) struct RingListener;
impl RingListener {
    pub(crate) async fn accept(&self) -> io::Result<RingSocket> {
        unimplemented!()
    }
    pub(crate) fn local_addr(&self) -> SocketAddr {
        unimplemented!()
    }
    pub(crate) fn bind(_: &Ring, _: SocketAddr) -> io::Result<RingListener> {
        unimplemented!()
    }
}
pub(crate) struct RingSocket;
pub(crate) struct RingDetached;
impl RingSocket {
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
    pub(crate) fn detach(self) -> RingDetached {
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
    pub(crate) async fn connect(_: &Ring, _: SocketAddr) -> io::Result<RingSocket> {
        unimplemented!()
    }
    pub(crate) fn adopt(_: &Ring, _: RingDetached) -> RingSocket {
        unimplemented!()
    }
}
