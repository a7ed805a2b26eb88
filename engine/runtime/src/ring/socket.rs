//! TCP sockets on the ring.
//!
//! What usually need not wait is tried inline first: accepts and sends. Receives go to the ring, into the shared buffers. All
//! sockets are non-blocking for the sake of those inline calls; the ring waits by polling whatever the flag says.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use io_uring::opcode;
use io_uring::squeue::Flags;
use io_uring::types::Fd;
use nix::sys::socket::MsgFlags;

use crate::frames::FrameBuf;
use crate::real::file::advance;
use crate::real::socket::{Connection, FALLBACK_BYTES, accept_now, connect_now, listen};
use crate::ring::Ring;
use crate::ring::buffers::GROUP;
use crate::ring::op::{Completion, Held, Op, chosen_buffer};
use crate::socket::{Chunk, ChunkInner};
use crate::stats::count;

async fn poll(ring: &Ring, fd: &Arc<OwnedFd>, events: libc::c_short) -> io::Result<()> {
    let mask = u32::from(events.unsigned_abs());
    let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), mask).build();
    // SAFETY: the entry names only the held descriptor.
    let done = unsafe { Op::submit(ring, Held::Socket { _fd: Arc::clone(fd) }, |_| entry) };
    done.await.result.map(drop)
}

/// A listening socket.
pub(crate) struct RingListener {
    ring: Ring,
    fd: Arc<OwnedFd>,
    local: SocketAddr,
}

impl RingListener {
    pub(crate) fn bind(ring: &Ring, addr: SocketAddr) -> io::Result<RingListener> {
        let (fd, local) = listen(addr)?;
        Ok(RingListener { ring: ring.clone(), fd: Arc::new(fd), local })
    }

    /// Tries first and waits only if nobody is there, so a burst of connections costs one call each.
    pub(crate) async fn accept(&self) -> io::Result<RingSocket> {
        loop {
            match accept_now(&self.fd) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => poll(&self.ring, &self.fd, libc::POLLIN).await?,
                connection => return Ok(RingSocket::adopt(&self.ring, connection?)),
            }
        }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// A connection.
pub(crate) struct RingSocket {
    ring: Ring,
    connection: Connection,
    /// A receive whose future may have been dropped: the next one takes it up, so that no bytes are lost.
    receive: RefCell<Option<Op>>,
    /// Received bytes that did not fit where they were wanted.
    leftover: RefCell<Option<Chunk>>,
}

impl Deref for RingSocket {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl RingSocket {
    pub(crate) fn adopt(ring: &Ring, connection: Connection) -> RingSocket {
        RingSocket { ring: ring.clone(), connection, receive: RefCell::default(), leftover: RefCell::default() }
    }

    pub(crate) fn detach(self) -> Connection {
        debug_assert!(self.receive.borrow().is_none(), "detached with a receive in flight");
        self.connection
    }

    pub(crate) async fn connect(ring: &Ring, addr: SocketAddr) -> io::Result<RingSocket> {
        let fd = connect_now(addr)?;
        poll(ring, &fd, libc::POLLOUT).await?;
        Ok(RingSocket::adopt(ring, Connection::established(fd)?))
    }

    pub(crate) async fn recv(&self) -> io::Result<Chunk> {
        if let Some(chunk) = self.leftover.borrow_mut().take() {
            return Ok(chunk);
        }
        match self.receive_shared().await {
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => self.receive_without_shared().await,
            result => result,
        }
    }

    /// Receives into a buffer that the kernel picks when there is data.
    async fn receive_shared(&self) -> io::Result<Chunk> {
        if self.receive.borrow().is_none() {
            let held = Held::Socket { _fd: Arc::clone(&self.connection.fd) };
            let entry = opcode::Recv::new(Fd(self.connection.raw_fd()), std::ptr::null_mut(), 0)
                .buf_group(GROUP)
                .build()
                .flags(Flags::BUFFER_SELECT);
            // SAFETY: the entry names the held descriptor and the registered buffers, which outlive the ring.
            *self.receive.borrow_mut() = Some(unsafe { Op::submit(&self.ring, held, |_| entry) });
        }
        let Completion { result, flags, .. } = poll_fn(|cx| {
            let mut receive = self.receive.borrow_mut();
            Pin::new(receive.as_mut().expect("at most one receive at a time")).poll(cx)
        })
        .await;
        *self.receive.borrow_mut() = None;
        match (result, chosen_buffer(flags)) {
            (Ok(n), Some(bid)) => Ok(Chunk { inner: ChunkInner::Ring(self.ring.buffers().lend(bid, n)) }),
            (Ok(_), None) => Ok(Chunk { inner: ChunkInner::Empty }),
            (Err(e), buffer) => {
                if buffer.is_some() {
                    self.ring.recycle_unread(flags);
                }
                Err(e)
            }
        }
    }

    /// All shared buffers are in chunks: waits for data without one, then takes a buffer of its own if there is still none.
    async fn receive_without_shared(&self) -> io::Result<Chunk> {
        count(&self.ring.counters().receive_buffers_exhausted, 1);
        poll(&self.ring, &self.connection.fd, libc::POLLIN).await?;
        match self.receive_shared().await {
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {}
            result => return result,
        }
        let (result, buf) = self.receive_own(FrameBuf::unpooled(FALLBACK_BYTES)).await;
        result?;
        Ok(Chunk { inner: ChunkInner::Owned(buf) })
    }

    pub(crate) async fn recv_into(&self, buf: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        let mut buf = buf;
        if self.leftover.borrow().is_none() && self.receive.borrow().is_some() {
            // A receive that was given up is still in flight: its bytes come first.
            match self.recv().await {
                Ok(chunk) => *self.leftover.borrow_mut() = Some(chunk),
                Err(e) => return (Err(e), buf),
            }
        }
        let leftover = self.leftover.borrow_mut().take();
        if let Some(chunk) = leftover {
            let n = chunk.len().min(buf.remaining());
            buf.extend_from_slice(&chunk[..n]);
            if n < chunk.len() {
                let mut rest = FrameBuf::unpooled(chunk.len() - n);
                rest.extend_from_slice(&chunk[n..]);
                *self.leftover.borrow_mut() = Some(Chunk { inner: ChunkInner::Owned(rest) });
            }
            return (Ok(n), buf);
        }
        self.receive_own(buf).await
    }

    /// What is received into an own buffer is mostly the rest of something, and mostly there already: a plain call takes it for less
    /// than an operation costs. Only what is yet to come is asked of the ring.
    async fn receive_own(&self, buf: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        let mut buf = buf;
        if buf.remaining() == 0 {
            return (Ok(0), buf);
        }
        match self.connection.recv_now(&mut buf) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            received => return (received, buf),
        }
        let entry = |held: &mut Held| {
            let Held::Receive { buf, .. } = held else { unreachable!("made below") };
            let room = u32::try_from(buf.remaining()).unwrap_or(1 << 30);
            opcode::Recv::new(Fd(self.connection.raw_fd()), buf.tail_mut(), room).build()
        };
        let held = Held::Receive { buf, _fd: Arc::clone(&self.connection.fd) };
        // SAFETY: descriptor and buffer are held; the buffer's memory is on the heap.
        let done = unsafe { Op::submit(&self.ring, held, entry) }.await;
        let Held::Receive { mut buf, .. } = done.held else { unreachable!("submitted above") };
        if let Ok(n) = done.result {
            // SAFETY: the kernel wrote `n` bytes from the tail on, within what remained.
            unsafe { buf.filled(n) };
        }
        (done.result, buf)
    }

    /// Inline as far as the socket buffer goes, the rest through the ring.
    pub(crate) async fn send(&self, bufs: Vec<Bytes>) -> io::Result<()> {
        let mut bufs = bufs;
        advance(&mut bufs, 0);
        while !bufs.is_empty() {
            match self.connection.send_now(&bufs) {
                Ok(n) => advance(&mut bufs, n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    count(&self.ring.counters().sends_waited, 1);
                    return self.send_waiting(bufs).await;
                }
                Err(e) => return Err(e),
            }
        }
        count(&self.ring.counters().sends_inline, 1);
        Ok(())
    }

    async fn send_waiting(&self, bufs: Vec<Bytes>) -> io::Result<()> {
        let mut bufs = bufs;
        while !bufs.is_empty() {
            let held = Held::Send { bufs, vectors: self.ring.take_vectors(), _fd: Arc::clone(&self.connection.fd) };
            let entry = |held: &mut Held| {
                let Held::Send { bufs, vectors, .. } = held else { unreachable!("made above") };
                vectors.point_at(bufs);
                let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_WAITALL;
                opcode::SendMsg::new(Fd(self.connection.raw_fd()), &raw const vectors.header)
                    .flags(u32::try_from(flags.bits()).expect("flags are positive"))
                    .build()
            };
            // SAFETY: descriptor, bytes and the boxed header and slices that point at them are held; none moves with `Held`.
            let done = unsafe { Op::submit(&self.ring, held, entry) }.await;
            let Held::Send { bufs: rest, vectors, .. } = done.held else { unreachable!("submitted above") };
            self.ring.give_vectors(vectors);
            bufs = rest;
            match done.result {
                Ok(n) => advance(&mut bufs, n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(crate) fn try_send(&self, bytes: &[u8], more_follows: bool) -> io::Result<usize> {
        let sent = self.connection.try_send(bytes, more_follows);
        if sent.as_ref().is_ok_and(|sent| *sent == bytes.len()) {
            count(&self.ring.counters().sends_inline, 1);
        }
        sent
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        poll(&self.ring, &self.connection.fd, libc::POLLOUT).await
    }
}
