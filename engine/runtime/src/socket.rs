//! TCP sockets of either driver.
//!
//! A socket belongs to one shard and closes when dropped; `detach` and `Rt::adopt` move it to another. At most one receive and
//! one send may be in flight. `recv` may be dropped and called again without losing bytes; a dropped `recv_into` or `send`
//! leaves the stream at an unknown place, so the connection must then be closed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

use bytes::Bytes;

use crate::file::File;
use crate::frames::FrameBuf;
use crate::real::socket::{Connection, RECEIVE_BUFFER_BYTES};
use crate::ring::buffers::RingChunk;
use crate::ring::socket::{RingListener, RingSocket};
use crate::rt::{Driver, Rt};
use crate::sim::net::{SimDetached, SimListener, SimSocket};
use crate::syscall::buffers::ReceiveBuffer;
use crate::syscall::socket::{SyscallListener, SyscallSocket};

/// A listening socket.
pub struct Listener {
    inner: ListenerInner,
}

enum ListenerInner {
    Ring(RingListener),
    Syscall(SyscallListener),
    Sim(SimListener),
}

impl Listener {
    pub(crate) fn bind(rt: &Rt, addr: SocketAddr) -> io::Result<Listener> {
        let inner = match &rt.inner.driver {
            Driver::Ring(ring) => ListenerInner::Ring(RingListener::bind(ring, addr)?),
            Driver::Syscall(driver) => ListenerInner::Syscall(SyscallListener::bind(driver, addr)?),
            Driver::Sim(thread) => ListenerInner::Sim(thread.listen(addr)?),
        };
        Ok(Listener { inner })
    }

    /// The next connection and where it comes from.
    pub async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let inner = match &self.inner {
            ListenerInner::Ring(listener) => SocketInner::Ring(listener.accept().await?),
            ListenerInner::Syscall(listener) => SocketInner::Syscall(listener.accept().await?),
            ListenerInner::Sim(listener) => SocketInner::Sim(listener.accept().await?),
        };
        let socket = Socket { inner };
        let peer = socket.peer_addr();
        Ok((socket, peer))
    }

    /// Where it listens, with the port that was really taken.
    pub fn local_addr(&self) -> SocketAddr {
        match &self.inner {
            ListenerInner::Ring(listener) => listener.local_addr(),
            ListenerInner::Syscall(listener) => listener.local_addr(),
            ListenerInner::Sim(listener) => listener.local_addr(),
        }
    }
}

/// A TCP connection with `TCP_NODELAY`.
pub struct Socket {
    inner: SocketInner,
}

enum SocketInner {
    Ring(RingSocket),
    Syscall(SyscallSocket),
    Sim(SimSocket),
}

/// Calls the same method on whichever socket it is.
macro_rules! either {
    ($self:ident, $socket:ident => $call:expr) => {
        match &$self.inner {
            SocketInner::Ring($socket) => $call,
            SocketInner::Syscall($socket) => $call,
            SocketInner::Sim($socket) => $call,
        }
    };
}

impl Socket {
    pub(crate) async fn connect(rt: &Rt, addr: SocketAddr) -> io::Result<Socket> {
        let inner = match &rt.inner.driver {
            Driver::Ring(ring) => SocketInner::Ring(RingSocket::connect(ring, addr).await?),
            Driver::Syscall(driver) => SocketInner::Syscall(SyscallSocket::connect(driver, addr).await?),
            Driver::Sim(thread) => SocketInner::Sim(thread.connect(addr).await?),
        };
        Ok(Socket { inner })
    }

    pub(crate) fn adopt(rt: &Rt, socket: DetachedSocket) -> Socket {
        let inner = match (&rt.inner.driver, socket.inner) {
            (Driver::Ring(ring), DetachedInner::Real(socket)) => SocketInner::Ring(RingSocket::adopt(ring, socket)),
            (Driver::Syscall(driver), DetachedInner::Real(socket)) => {
                SocketInner::Syscall(SyscallSocket::adopt(driver, socket))
            }
            (Driver::Sim(_), DetachedInner::Sim(socket)) => SocketInner::Sim(SimSocket::adopt(socket)),
            _ => unreachable!("a socket stays within its world"),
        };
        Socket { inner }
    }

    /// The next bytes; an empty chunk says that the peer has closed. An idle connection that waits here owns no buffer.
    pub async fn recv(&self) -> io::Result<Chunk> {
        match &self.inner {
            SocketInner::Ring(socket) => socket.recv().await,
            SocketInner::Syscall(socket) => socket.recv().await,
            SocketInner::Sim(socket) => socket.recv().await,
        }
    }

    /// Appends the next bytes to `buf`, at most to its capacity. 0: the peer has closed, or the buffer was full.
    pub async fn recv_into(&self, buf: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        match &self.inner {
            SocketInner::Ring(socket) => socket.recv_into(buf).await,
            SocketInner::Syscall(socket) => socket.recv_into(buf).await,
            SocketInner::Sim(socket) => socket.recv_into(buf).await,
        }
    }

    /// Sends all of `bufs`.
    pub async fn send(&self, bufs: Vec<Bytes>) -> io::Result<()> {
        match &self.inner {
            SocketInner::Ring(socket) => socket.send(bufs).await,
            SocketInner::Syscall(socket) => socket.send(bufs).await,
            SocketInner::Sim(socket) => socket.send(bufs).await,
        }
    }

    /// Sends as many of `bytes` as the socket takes now: `WouldBlock` when it is full (see [`Socket::writable`]).
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, socket => socket.try_send(bytes, false))
    }

    /// The same when more follows at once, of a file for example: the last bytes may wait for it and leave in one packet with it,
    /// which wakes the peer once.
    pub fn try_send_before_more(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, socket => socket.try_send(bytes, true))
    }

    /// Sends bytes of a file from the page cache without copying them (sendfile), as many as the socket takes now: `WouldBlock` when
    /// it is full (see [`Socket::writable`]), 0 when the file ends before `pos`. Blocks on pages that are not cached.
    pub fn try_send_file(&self, file: &File, pos: u64, len: usize) -> io::Result<usize> {
        either!(self, socket => socket.try_send_file(file, pos, len))
    }

    /// Waits until there is room to send, or the connection is broken.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.inner {
            SocketInner::Ring(socket) => socket.writable().await,
            SocketInner::Syscall(socket) => socket.writable().await,
            SocketInner::Sim(socket) => socket.writable().await,
        }
    }

    /// Makes it ready to move to another shard of this node. Nothing may be in flight.
    pub fn detach(self) -> DetachedSocket {
        let inner = match self.inner {
            SocketInner::Ring(socket) => DetachedInner::Real(socket.detach()),
            SocketInner::Syscall(socket) => DetachedInner::Real(socket.detach()),
            SocketInner::Sim(socket) => DetachedInner::Sim(socket.detach()),
        };
        DetachedSocket { inner }
    }

    /// The other end.
    pub fn peer_addr(&self) -> SocketAddr {
        either!(self, socket => socket.peer_addr())
    }

    /// This end.
    pub fn local_addr(&self) -> SocketAddr {
        either!(self, socket => socket.local_addr())
    }

    /// Ends the receiving direction: what was received can still be read, then comes the end. Sending goes on.
    pub fn stop_receiving(&self) {
        either!(self, socket => socket.stop_receiving());
    }

    /// Ends both directions: what waits to receive or send, here and at the peer, sees the end.
    pub fn shutdown(&self) {
        either!(self, socket => socket.shutdown());
    }
}

/// A connection on its way to another shard.
pub struct DetachedSocket {
    inner: DetachedInner,
}

enum DetachedInner {
    Real(Connection),
    Sim(SimDetached),
}

/// Received bytes. Their buffer goes back to the shard's receive buffers when the chunk is dropped: drop it soon.
pub struct Chunk {
    pub(crate) inner: ChunkInner,
}

pub(crate) enum ChunkInner {
    Ring(RingChunk),
    Lent(ReceiveBuffer),
    Owned(FrameBuf),
    Empty,
}

impl Chunk {
    /// It fills its buffer: more may have arrived behind it.
    pub fn is_full(&self) -> bool {
        match &self.inner {
            ChunkInner::Ring(_) | ChunkInner::Lent(_) => self.len() == RECEIVE_BUFFER_BYTES,
            ChunkInner::Owned(buf) => buf.remaining() == 0,
            ChunkInner::Empty => false,
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.inner {
            ChunkInner::Ring(chunk) => chunk,
            ChunkInner::Lent(buf) => buf,
            ChunkInner::Owned(buf) => buf,
            ChunkInner::Empty => &[],
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len())
    }
}
