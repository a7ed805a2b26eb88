//! TCP sockets on the ring.
//!
//! What usually need not wait is tried inline first: accepts and sends. Receives go to the ring, into the shared buffers. All
//! sockets are non-blocking for the sake of those inline calls; the ring waits by polling whatever the flag says.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use io_uring::opcode;
use io_uring::squeue::Flags;
use io_uring::types::Fd;
use nix::sys::socket::{
    self, AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockProtocol, SockType, SockaddrStorage, sockopt,
};

use crate::file::{File, FileInner};
use crate::frames::FrameBuf;
use crate::real::file::{IOV_MAX, offset, uninterrupted};
use crate::ring::Ring;
use crate::ring::buffers::GROUP;
use crate::ring::op::{Completion, Held, Op, advance, chosen_buffer};
use crate::socket::{Chunk, ChunkInner};
use crate::stats::count;

/// Connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Slices of an inline send that need no allocation.
const INLINE_SLICES: usize = 16;
/// The last bytes need not leave before more comes.
const MORE: MsgFlags = MsgFlags::from_bits_retain(libc::MSG_MORE);
/// Own receive buffer when the shared ones are all in use.
const FALLBACK_BYTES: usize = 16 << 10;

fn new_socket(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket::socket(family, SockType::Stream, flags, SockProtocol::Tcp)?)
}

fn as_addr(storage: &SockaddrStorage) -> io::Result<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Ok(SocketAddr::V4((*v4).into()));
    }
    let v6 = storage.as_sockaddr_in6().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let v6 = std::net::SocketAddrV6::from(*v6);
    // A dual-stack listener shows IPv4 peers as mapped addresses; everyone else knows them as what they are.
    Ok(match v6.ip().to_ipv4_mapped() {
        Some(v4) => SocketAddr::new(v4.into(), v6.port()),
        None => SocketAddr::V6(v6),
    })
}

fn local_addr(fd: RawFd) -> io::Result<SocketAddr> {
    as_addr(&socket::getsockname::<SockaddrStorage>(fd)?)
}

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
        let fd = new_socket(addr)?;
        socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        if addr.is_ipv6() {
            let only = !addr.ip().is_unspecified();
            socket::setsockopt(&fd, sockopt::Ipv6V6Only, &only)?;
        }
        socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
        socket::listen(&fd, Backlog::new(BACKLOG)?)?;
        let local = local_addr(fd.as_raw_fd())?;
        Ok(RingListener { ring: ring.clone(), fd: Arc::new(fd), local })
    }

    /// Tries first and waits only if nobody is there, so a burst of connections costs one call each.
    pub(crate) async fn accept(&self) -> io::Result<RingSocket> {
        loop {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            match socket::accept4(self.fd.as_raw_fd(), flags) {
                Ok(raw) => {
                    // SAFETY: a descriptor the kernel just made for us; nobody else knows it.
                    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
                    match RingSocket::new(&self.ring, fd) {
                        // Gone again before we could ask for its address.
                        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTCONN | libc::EINVAL)) => {}
                        socket => return socket,
                    }
                }
                Err(nix::Error::EAGAIN) => poll(&self.ring, &self.fd, libc::POLLIN).await?,
                Err(nix::Error::EINTR | nix::Error::ECONNABORTED) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// A connection on its way between shards.
pub(crate) struct RingDetached {
    fd: Arc<OwnedFd>,
    peer: SocketAddr,
    local: SocketAddr,
}

/// A connection.
pub(crate) struct RingSocket {
    ring: Ring,
    fd: Arc<OwnedFd>,
    peer: SocketAddr,
    local: SocketAddr,
    /// A receive whose future may have been dropped: the next one takes it up, so that no bytes are lost.
    receive: RefCell<Option<Op>>,
    /// Received bytes that did not fit where they were wanted.
    leftover: RefCell<Option<Chunk>>,
}

impl RingSocket {
    fn new(ring: &Ring, fd: OwnedFd) -> io::Result<RingSocket> {
        socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        // As Kafka's: a peer that vanished without a word is noticed some day even if nothing is sent.
        socket::setsockopt(&fd, sockopt::KeepAlive, &true)?;
        let peer = as_addr(&socket::getpeername::<SockaddrStorage>(fd.as_raw_fd())?)?;
        let local = local_addr(fd.as_raw_fd())?;
        Ok(RingSocket::adopt(ring, RingDetached { fd: Arc::new(fd), peer, local }))
    }

    pub(crate) fn adopt(ring: &Ring, socket: RingDetached) -> RingSocket {
        let RingDetached { fd, peer, local } = socket;
        RingSocket { ring: ring.clone(), fd, peer, local, receive: RefCell::default(), leftover: RefCell::default() }
    }

    pub(crate) fn detach(self) -> RingDetached {
        debug_assert!(self.receive.borrow().is_none(), "detached with a receive in flight");
        RingDetached { fd: Arc::clone(&self.fd), peer: self.peer, local: self.local }
    }

    pub(crate) async fn connect(ring: &Ring, addr: SocketAddr) -> io::Result<RingSocket> {
        let fd = Arc::new(new_socket(addr)?);
        match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(addr)) {
            Ok(()) => {}
            Err(nix::Error::EINPROGRESS) => {
                poll(ring, &fd, libc::POLLOUT).await?;
                let error = socket::getsockopt(&fd, sockopt::SocketError)?;
                if error != 0 {
                    return Err(io::Error::from_raw_os_error(error));
                }
            }
            Err(e) => return Err(e.into()),
        }
        let fd = Arc::into_inner(fd).expect("the poll has given it back");
        RingSocket::new(ring, fd)
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
            let held = Held::Socket { _fd: Arc::clone(&self.fd) };
            let entry = opcode::Recv::new(Fd(self.fd.as_raw_fd()), std::ptr::null_mut(), 0)
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
        poll(&self.ring, &self.fd, libc::POLLIN).await?;
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

    async fn receive_own(&self, buf: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        if buf.remaining() == 0 {
            return (Ok(0), buf);
        }
        let entry = |held: &mut Held| {
            let Held::Receive { buf, .. } = held else { unreachable!("made below") };
            let room = u32::try_from(buf.remaining()).unwrap_or(1 << 30);
            opcode::Recv::new(Fd(self.fd.as_raw_fd()), buf.tail_mut(), room).build()
        };
        let held = Held::Receive { buf, _fd: Arc::clone(&self.fd) };
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
    pub(crate) async fn send(&self, bufs: Vec<Bytes>, more_follows: bool) -> io::Result<()> {
        let mut bufs = bufs;
        advance(&mut bufs, 0);
        while !bufs.is_empty() {
            match self.send_now(&bufs, more_follows) {
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

    fn send_now(&self, bufs: &[Bytes], more_follows: bool) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(IOV_MAX)];
        let slices: smallvec::SmallVec<[IoSlice<'_>; INLINE_SLICES]> =
            bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        let mut flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        flags.set(MORE, more_follows);
        uninterrupted(|| socket::sendmsg::<()>(self.fd.as_raw_fd(), &slices, &[], flags, None))
    }

    async fn send_waiting(&self, bufs: Vec<Bytes>) -> io::Result<()> {
        let mut bufs = bufs;
        while !bufs.is_empty() {
            let held = Held::Send { bufs, vectors: self.ring.take_vectors(), _fd: Arc::clone(&self.fd) };
            let entry = |held: &mut Held| {
                let Held::Send { bufs, vectors, .. } = held else { unreachable!("made above") };
                vectors.point_at(bufs);
                let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_WAITALL;
                opcode::SendMsg::new(Fd(self.fd.as_raw_fd()), &raw const vectors.header)
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

    pub(crate) fn try_send_file(&self, file: &File, pos: u64, len: usize) -> io::Result<usize> {
        let FileInner::Real(file) = &file.inner else { unreachable!("a file stays within its world") };
        let mut from = offset(pos)?;
        uninterrupted(|| nix::sys::sendfile::sendfile(&*self.fd, file.std(), Some(&mut from), len))
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        poll(&self.ring, &self.fd, libc::POLLOUT).await
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn stop_receiving(&self) {
        // Fails only if the connection is already gone.
        let _ = socket::shutdown(self.fd.as_raw_fd(), Shutdown::Read);
    }

    pub(crate) fn shutdown(&self) {
        // Fails only if the connection is already gone.
        let _ = socket::shutdown(self.fd.as_raw_fd(), Shutdown::Both);
    }
}
