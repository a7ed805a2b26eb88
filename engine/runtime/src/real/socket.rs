//! TCP as both real drivers use it: setting sockets up, and the calls that need not wait.
//!
//! All sockets are non-blocking. A call that would wait says `WouldBlock`; how to wait then is the driver's business.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockProtocol, SockType, SockaddrStorage, sockopt,
};

use crate::file::File;
use crate::frames::FrameBuf;
use crate::real::file::{IOV_MAX, offset, uninterrupted};

/// Size of a shared receive buffer.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = 4 << 10;
/// Own receive buffer when the shared ones are all in use.
pub(crate) const FALLBACK_BYTES: usize = 16 << 10;
/// Connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Slices of an inline send that need no allocation.
const INLINE_SLICES: usize = 16;
/// The last bytes need not leave before more comes.
const MORE: MsgFlags = MsgFlags::from_bits_retain(libc::MSG_MORE);

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

/// On the loopback nothing is congested. A congestion control that paces (bbr, where that is the system's choice) only arms a timer
/// for every response over 64 KiB and lets it wait; the one that every kernel has does not. A listener hands its choice on to
/// what it accepts.
fn do_not_pace(fd: &OwnedFd) {
    if let Err(e) = socket::setsockopt(fd, sockopt::TcpCongestion, &"reno".into()) {
        tracing::debug!("congestion control of the loopback stays the system's: {e}");
    }
}

/// A socket that listens, and where. `[::]` takes IPv4 too.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let fd = new_socket(addr)?;
    socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if addr.is_ipv6() {
        let only = !addr.ip().is_unspecified();
        socket::setsockopt(&fd, sockopt::Ipv6V6Only, &only)?;
    }
    if addr.ip().is_loopback() {
        do_not_pace(&fd);
    }
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    socket::listen(&fd, Backlog::new(BACKLOG)?)?;
    let local = local_addr(fd.as_raw_fd())?;
    Ok((fd, local))
}

/// The next connection that waits to be accepted; `WouldBlock` if there is none.
pub(crate) fn accept_now(listener: &OwnedFd) -> io::Result<Connection> {
    loop {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        match socket::accept4(listener.as_raw_fd(), flags) {
            Ok(raw) => {
                // SAFETY: a descriptor the kernel just made for us; nobody else knows it.
                let fd = unsafe { OwnedFd::from_raw_fd(raw) };
                match Connection::new(Arc::new(fd)) {
                    // Gone again before we could ask for its address.
                    Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTCONN | libc::EINVAL)) => {}
                    connection => return connection,
                }
            }
            Err(nix::Error::EINTR | nix::Error::ECONNABORTED) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// A socket on its way to `addr`: once it may send, see [`Connection::established`].
pub(crate) fn connect_now(addr: SocketAddr) -> io::Result<Arc<OwnedFd>> {
    let fd = new_socket(addr)?;
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(addr)) {
        Ok(()) | Err(nix::Error::EINPROGRESS) => Ok(Arc::new(fd)),
        Err(e) => Err(e.into()),
    }
}

/// A connection and its two ends. It closes with the last who holds its descriptor.
pub(crate) struct Connection {
    pub(crate) fd: Arc<OwnedFd>,
    peer: SocketAddr,
    local: SocketAddr,
}

impl Connection {
    fn new(fd: Arc<OwnedFd>) -> io::Result<Connection> {
        socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        // As Kafka's: a peer that vanished without a word is noticed some day even if nothing is sent.
        socket::setsockopt(&fd, sockopt::KeepAlive, &true)?;
        let peer = as_addr(&socket::getpeername::<SockaddrStorage>(fd.as_raw_fd())?)?;
        let local = local_addr(fd.as_raw_fd())?;
        if peer.ip().is_loopback() {
            do_not_pace(&fd);
        }
        Ok(Connection { fd, peer, local })
    }

    /// What became of a socket of [`connect_now`] that has become ready to send.
    pub(crate) fn established(fd: Arc<OwnedFd>) -> io::Result<Connection> {
        match socket::getsockopt(&fd, sockopt::SocketError)? {
            0 => Connection::new(fd),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Appends to `buf` what has arrived, as far as there is room: `WouldBlock` if nothing has, 0 if the peer has closed.
    pub(crate) fn recv_now(&self, buf: &mut FrameBuf) -> io::Result<usize> {
        let n = uninterrupted(|| {
            // SAFETY: the kernel writes at most `remaining()` bytes from the buffer's tail on, where there is room for them.
            let n = unsafe { libc::recv(self.raw_fd(), buf.tail_mut().cast(), buf.remaining(), libc::MSG_DONTWAIT) };
            Errno::result(n)
        })?;
        let n = usize::try_from(n).expect("a count of bytes received is not negative");
        // SAFETY: the kernel wrote `n` bytes from the tail on, within what remained.
        unsafe { buf.filled(n) };
        Ok(n)
    }

    /// Sends what the socket takes now.
    pub(crate) fn send_now(&self, bufs: &[Bytes]) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(IOV_MAX)];
        let slices: smallvec::SmallVec<[IoSlice<'_>; INLINE_SLICES]> =
            bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        uninterrupted(|| socket::sendmsg::<()>(self.raw_fd(), &slices, &[], flags, None))
    }

    /// Sends what the socket takes now. With `more_follows` the last bytes may wait for what comes next.
    pub(crate) fn try_send(&self, bytes: &[u8], more_follows: bool) -> io::Result<usize> {
        let mut flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        flags.set(MORE, more_follows);
        uninterrupted(|| socket::send(self.raw_fd(), bytes, flags))
    }

    /// Sends of a file what the socket takes now, by sendfile(2).
    pub(crate) fn try_send_file(&self, file: &File, pos: u64, len: usize) -> io::Result<usize> {
        let file = file.real();
        let mut from = offset(pos)?;
        uninterrupted(|| nix::sys::sendfile::sendfile(self.fd.as_fd(), file.std(), Some(&mut from), len))
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn stop_receiving(&self) {
        // Fails only if the connection is already gone.
        let _ = socket::shutdown(self.raw_fd(), Shutdown::Read);
    }

    pub(crate) fn shutdown(&self) {
        // Fails only if the connection is already gone.
        let _ = socket::shutdown(self.raw_fd(), Shutdown::Both);
    }
}
