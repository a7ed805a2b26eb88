//! TCP sockets by plain system calls: tried first, waited for only when the kernel would block.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use nix::sys::socket::{MsgFlags, recv};

use crate::file::File;
use crate::frames::FrameBuf;
use crate::real::file::{advance, uninterrupted};
use crate::real::socket::{Connection, FALLBACK_BYTES, accept_now, connect_now, listen};
use crate::socket::{Chunk, ChunkInner};
use crate::stats::count;
use crate::syscall::Syscall;
use crate::syscall::readiness::{Direction, Watch};

/// A listening socket.
pub(crate) struct SyscallListener {
    watch: Watch,
    fd: OwnedFd,
    local: SocketAddr,
}

impl SyscallListener {
    pub(crate) fn bind(driver: &Syscall, addr: SocketAddr) -> io::Result<SyscallListener> {
        let (fd, local) = listen(addr)?;
        Ok(SyscallListener { watch: Watch::new(driver), fd, local })
    }

    /// A burst of connections costs one call each, and one that finds nobody.
    pub(crate) async fn accept(&self) -> io::Result<SyscallSocket> {
        loop {
            self.watch.ready(&self.fd, Direction::Receive).await?;
            match accept_now(&self.fd) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.watch.would_block(Direction::Receive),
                connection => {
                    self.watch.received(0);
                    return Ok(SyscallSocket::adopt(self.watch.driver(), connection?));
                }
            }
        }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// A connection.
pub(crate) struct SyscallSocket {
    watch: Watch,
    connection: Connection,
}

impl Deref for SyscallSocket {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl SyscallSocket {
    pub(crate) fn adopt(driver: &Syscall, connection: Connection) -> SyscallSocket {
        SyscallSocket { watch: Watch::new(driver), connection }
    }

    pub(crate) fn detach(self) -> Connection {
        let SyscallSocket { watch, connection } = self;
        watch.forget(&connection.fd);
        connection
    }

    pub(crate) async fn connect(driver: &Syscall, addr: SocketAddr) -> io::Result<SyscallSocket> {
        let fd = connect_now(addr)?;
        let watch = Watch::of_nothing(driver);
        watch.ready(&fd, Direction::Send).await?;
        Ok(SyscallSocket { watch, connection: Connection::established(fd)? })
    }

    pub(crate) async fn recv(&self) -> io::Result<Chunk> {
        loop {
            self.watch.ready(&self.connection.fd, Direction::Receive).await?;
            let Some(mut buf) = self.watch.driver().buffers().take() else {
                count(&self.watch.driver().counters().receive_buffers_exhausted, 1);
                let (received, buf) = self.recv_into(FrameBuf::unpooled(FALLBACK_BYTES)).await;
                received?;
                return Ok(Chunk { inner: ChunkInner::Owned(buf) });
            };
            let room = buf.len();
            match uninterrupted(|| recv(self.connection.raw_fd(), &mut buf, MsgFlags::empty())) {
                Ok(0) => return Ok(Chunk { inner: ChunkInner::Empty }),
                Ok(n) => {
                    self.received(n, room);
                    buf.truncate(n);
                    return Ok(Chunk { inner: ChunkInner::Lent(buf) });
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.watch.would_block(Direction::Receive),
                Err(e) => return Err(e),
            }
        }
    }

    fn received(&self, n: usize, room: usize) {
        self.watch.received(n);
        if n < room {
            self.watch.emptied();
        }
    }

    pub(crate) async fn recv_into(&self, buf: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        let mut buf = buf;
        let room = buf.remaining();
        if room == 0 {
            return (Ok(0), buf);
        }
        loop {
            if let Err(e) = self.watch.ready(&self.connection.fd, Direction::Receive).await {
                return (Err(e), buf);
            }
            match self.connection.recv_now(&mut buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.watch.would_block(Direction::Receive),
                received => {
                    if let Ok(n @ 1..) = received {
                        self.received(n, room);
                    }
                    return (received, buf);
                }
            }
        }
    }

    pub(crate) async fn send(&self, bufs: Vec<Bytes>) -> io::Result<()> {
        let counters = self.watch.driver().counters();
        let mut bufs = bufs;
        let mut waited = false;
        advance(&mut bufs, 0);
        while !bufs.is_empty() {
            self.watch.ready(&self.connection.fd, Direction::Send).await?;
            match self.connection.send_now(&bufs) {
                Ok(n) => advance(&mut bufs, n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    waited = true;
                    self.watch.would_block(Direction::Send);
                }
                Err(e) => return Err(e),
            }
        }
        count(if waited { &counters.sends_waited } else { &counters.sends_inline }, 1);
        Ok(())
    }

    pub(crate) fn try_send(&self, bytes: &[u8], more_follows: bool) -> io::Result<usize> {
        let sent = self.connection.try_send(bytes, more_follows);
        match &sent {
            Ok(sent) if *sent == bytes.len() => count(&self.watch.driver().counters().sends_inline, 1),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.watch.would_block(Direction::Send),
            _ => {}
        }
        sent
    }

    pub(crate) fn try_send_file(&self, file: &File, pos: u64, len: usize) -> io::Result<usize> {
        let sent = self.connection.try_send_file(file, pos, len);
        if sent.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
            self.watch.would_block(Direction::Send);
        }
        sent
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.watch.ready(&self.connection.fd, Direction::Send).await
    }
}
