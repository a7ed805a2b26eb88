//! The simulated network: listeners, and connections made of two pipes.
//!
//! A pipe carries bytes in order with a seeded latency, holds a bounded number of them (in flight and arrived), and gives them to
//! its reader in pieces of seeded size. Its writer's end is open until it closes or is reset.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::file::File;
use crate::frames::FrameBuf;
use crate::sim::world::{Event, State, World};
use crate::socket::{Chunk, ChunkInner};
use crate::time::Time;

/// The most a receive gives, as on the ring.
const CHUNK_BYTES: usize = 16 << 10;
/// Connections that may wait to be accepted.
const BACKLOG: usize = 4096;
/// How often and how long a connection is tried through a partition, about as Linux does.
const CONNECT_RETRY: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);
/// First of the ports that are given out.
const FIRST_FREE_PORT: u16 = 32_768;

/// Names a pipe; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PipeId(u64);

impl PipeId {
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// What reaches the reader's end of a pipe.
pub(crate) enum Arrival {
    Bytes(Bytes),
    /// The writer has closed.
    End,
    /// The reader has closed: travels the other way, but a partition holds it back like the rest.
    ReaderGone,
    /// The other machine is gone.
    Reset,
}

/// One direction of a connection.
struct Pipe {
    writer_node: usize,
    reader_node: usize,
    capacity: usize,
    in_flight: usize,
    arrived: VecDeque<Bytes>,
    arrived_bytes: usize,
    /// What a partition holds back.
    held_back: Vec<Arrival>,
    /// Nothing overtakes: the next bytes arrive no earlier.
    last_arrival: Time,
    writer_closed: bool,
    /// The reader knows that nothing more comes.
    ended: bool,
    reader_gone: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.in_flight + self.arrived_bytes)
    }

    /// The error a writer gets.
    fn broken(&self) -> Option<io::Error> {
        if self.reset {
            return Some(io::ErrorKind::ConnectionReset.into());
        }
        (self.reader_gone || self.writer_closed).then(|| io::ErrorKind::BrokenPipe.into())
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// The plain parts of one end of a connection.
#[derive(Clone, Copy, Debug)]
struct End {
    receives: PipeId,
    sends: PipeId,
    peer: SocketAddr,
    local: SocketAddr,
}

#[derive(Default)]
struct Listening {
    waiting: VecDeque<End>,
    waker: Option<Waker>,
}

/// Two machines, whichever comes first.
fn unordered(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// All connections and listeners of the world.
#[derive(Default)]
pub(crate) struct Net {
    pipes: BTreeMap<PipeId, Pipe>,
    listeners: BTreeMap<(usize, u16), Listening>,
    partitions: BTreeSet<(usize, usize)>,
    next_pipe: u64,
    ports_given: u64,
}

impl Net {
    fn pipe(&mut self, writer_node: usize, reader_node: usize, capacity: usize) -> PipeId {
        let id = PipeId(self.next_pipe);
        self.next_pipe += 1;
        let pipe = Pipe {
            writer_node,
            reader_node,
            capacity,
            in_flight: 0,
            arrived: VecDeque::new(),
            arrived_bytes: 0,
            held_back: Vec::new(),
            last_arrival: Time::ZERO,
            writer_closed: false,
            ended: false,
            reader_gone: false,
            reset: false,
            reader: None,
            writer: None,
        };
        self.pipes.insert(id, pipe);
        id
    }

    fn free_port(&mut self, node: usize) -> u16 {
        loop {
            let span = u64::from(u16::MAX - FIRST_FREE_PORT);
            let port = FIRST_FREE_PORT + u16::try_from(self.ports_given % span).expect("below the span of ports");
            self.ports_given += 1;
            if !self.listeners.contains_key(&(node, port)) {
                return port;
            }
        }
    }

    pub(crate) fn arrive(&mut self, id: PipeId, arrival: Arrival) {
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        if self.partitions.contains(&unordered(pipe.writer_node, pipe.reader_node)) {
            pipe.held_back.push(arrival);
            return;
        }
        match arrival {
            Arrival::End => pipe.ended = true,
            Arrival::Reset => pipe.reset = true,
            Arrival::ReaderGone => {
                pipe.reader_gone = true;
                pipe.arrived.clear();
                pipe.arrived_bytes = 0;
            }
            Arrival::Bytes(bytes) => {
                pipe.in_flight -= bytes.len();
                if !pipe.reader_gone {
                    pipe.arrived_bytes += bytes.len();
                    pipe.arrived.push_back(bytes);
                }
            }
        }
        pipe.wake_reader();
        pipe.wake_writer();
        self.forget_if_done(id);
    }

    pub(crate) fn partition(&mut self, a: usize, b: usize) {
        self.partitions.insert(unordered(a, b));
    }

    pub(crate) fn heal(&mut self, a: usize, b: usize) {
        let healed = unordered(a, b);
        self.partitions.remove(&healed);
        let between = self.pipes.iter_mut().filter(|(_, p)| unordered(p.writer_node, p.reader_node) == healed);
        let held_back: Vec<_> = between.map(|(id, pipe)| (*id, std::mem::take(&mut pipe.held_back))).collect();
        for (id, arrivals) in held_back {
            for arrival in arrivals {
                self.arrive(id, arrival);
            }
        }
    }

    fn is_partitioned(&self, a: usize, b: usize) -> bool {
        self.partitions.contains(&unordered(a, b))
    }

    /// Breaks every connection of a machine at once, as a power cut does.
    pub(crate) fn reset_node(&mut self, node: usize) {
        let touches = |pipe: &Pipe| pipe.writer_node == node || pipe.reader_node == node;
        let pipes: Vec<PipeId> = self.pipes.iter().filter(|(_, pipe)| touches(pipe)).map(|(id, _)| *id).collect();
        self.reset(&pipes);
    }

    fn reset(&mut self, pipes: &[PipeId]) {
        for id in pipes {
            self.arrive(*id, Arrival::Reset);
        }
    }

    fn forget_if_done(&mut self, id: PipeId) {
        if self.pipes.get(&id).is_some_and(|pipe| pipe.reader_gone && pipe.writer_closed) {
            self.pipes.remove(&id);
        }
    }
}

impl State {
    fn network_latency(&mut self, local: bool) -> Duration {
        let latency = self.latency(self.faults.network_latency);
        if local { latency / 10 } else { latency }
    }

    /// Puts up to `bytes.len()` bytes on their way. 0: no room.
    fn transmit(&mut self, now: Time, end: &End, bytes: &Bytes) -> io::Result<usize> {
        let id = end.sends;
        let Some(pipe) = self.net.pipes.get(&id) else { return Err(io::ErrorKind::BrokenPipe.into()) };
        if let Some(error) = pipe.broken() {
            return Err(error);
        }
        let n = pipe.room().min(bytes.len());
        if n == 0 {
            return Ok(0);
        }
        let reset_once_in = self.faults.reset_once_in;
        if self.once_in(reset_once_in) {
            self.net.reset(&[end.sends, end.receives]);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let at = self.arrival(now, id);
        if let Some(pipe) = self.net.pipes.get_mut(&id) {
            pipe.in_flight += n;
        }
        // A copy, as the socket's would be: the sender may reuse its buffer.
        self.schedule(at, Event::Arrive(id, Arrival::Bytes(Bytes::copy_from_slice(&bytes[..n]))));
        Ok(n)
    }

    /// When something sent now arrives: after everything before it.
    fn arrival(&mut self, now: Time, id: PipeId) -> Time {
        let local = self.net.pipes.get(&id).is_some_and(|pipe| pipe.writer_node == pipe.reader_node);
        let latency = self.network_latency(local);
        let Some(pipe) = self.net.pipes.get_mut(&id) else { return now };
        pipe.last_arrival = pipe.last_arrival.max(now + latency);
        pipe.last_arrival
    }

    fn close_writing(&mut self, now: Time, id: PipeId) {
        let Some(pipe) = self.net.pipes.get_mut(&id).filter(|pipe| !pipe.writer_closed) else { return };
        pipe.writer_closed = true;
        let at = self.arrival(now, id);
        self.schedule(at, Event::Arrive(id, Arrival::End));
        self.net.forget_if_done(id);
    }

    fn close(&mut self, now: Time, end: &End) {
        self.close_writing(now, end.sends);
        self.net.arrive(end.receives, Arrival::ReaderGone);
    }
}

/// A listening socket.
pub(crate) struct SimListener {
    world: Arc<World>,
    node: usize,
    local: SocketAddr,
}

impl SimListener {
    pub(crate) fn bind(world: &Arc<World>, node: usize, addr: SocketAddr) -> io::Result<SimListener> {
        let mut state = world.lock();
        let port = if addr.port() == 0 { state.net.free_port(node) } else { addr.port() };
        if state.net.listeners.contains_key(&(node, port)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.net.listeners.insert((node, port), Listening::default());
        drop(state);
        Ok(SimListener { world: Arc::clone(world), node, local: SocketAddr::new(addr.ip(), port) })
    }

    pub(crate) async fn accept(&self) -> io::Result<SimSocket> {
        poll_fn(|cx| {
            let mut state = self.world.lock();
            let listening = state.net.listeners.get_mut(&(self.node, self.local.port()));
            let listening = listening.expect("listens as long as the listener lives");
            match listening.waiting.pop_front() {
                Some(end) => Poll::Ready(Ok(SimSocket { world: Arc::clone(&self.world), end })),
                None => {
                    listening.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let now = self.world.now();
        let mut state = self.world.lock();
        if let Some(listening) = state.net.listeners.remove(&(self.node, self.local.port())) {
            for end in listening.waiting {
                state.close(now, &end);
            }
        }
    }
}

/// A connection on its way between shards of a machine.
pub(crate) struct SimDetached {
    socket: SimSocket,
}

/// One end of a connection.
pub(crate) struct SimSocket {
    world: Arc<World>,
    end: End,
}

impl SimSocket {
    pub(crate) async fn connect(world: &Arc<World>, node: usize, addr: SocketAddr) -> io::Result<SimSocket> {
        let own = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        let (to, latency) = {
            let mut state = world.lock();
            let to = if own(addr.ip()) { Some(node) } else { state.nodes.iter().position(|n| n.ip == addr.ip()) };
            // There and back again.
            let latency = state.network_latency(to == Some(node)) * 2;
            (to, latency)
        };
        world.delay(latency).await;
        let to = to.ok_or_else(|| io::Error::from(io::ErrorKind::HostUnreachable))?;
        let given_up = world.now() + CONNECT_TIMEOUT;
        while world.lock().net.is_partitioned(node, to) {
            if world.now() >= given_up {
                return Err(io::ErrorKind::TimedOut.into());
            }
            world.delay(CONNECT_RETRY).await;
        }
        let mut state = world.lock();
        let full = |listening: &Listening| listening.waiting.len() >= BACKLOG;
        if state.net.listeners.get(&(to, addr.port())).is_none_or(full) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        // Small pipes show what large ones hide.
        let capacity = 4096 << state.below(7);
        let out = state.net.pipe(node, to, capacity);
        let back = state.net.pipe(to, node, capacity);
        let local_ip = if own(addr.ip()) { addr.ip() } else { World::address(node) };
        let local = SocketAddr::new(local_ip, state.net.free_port(node));
        let theirs = End { receives: out, sends: back, peer: local, local: addr };
        let ours = End { receives: back, sends: out, peer: addr, local };
        if let Some(listening) = state.net.listeners.get_mut(&(to, addr.port())) {
            listening.waiting.push_back(theirs);
            if let Some(waker) = listening.waker.take() {
                waker.wake();
            }
        }
        drop(state);
        Ok(SimSocket { world: Arc::clone(world), end: ours })
    }

    pub(crate) fn adopt(socket: SimDetached) -> SimSocket {
        socket.socket
    }

    pub(crate) fn detach(self) -> SimDetached {
        SimDetached { socket: self }
    }

    pub(crate) async fn recv(&self) -> io::Result<Chunk> {
        let bytes = poll_fn(|cx| self.poll_receive(cx, CHUNK_BYTES)).await?;
        if bytes.is_empty() {
            return Ok(Chunk { inner: ChunkInner::Empty });
        }
        let mut buf = FrameBuf::unpooled(bytes.len());
        buf.extend_from_slice(&bytes);
        Ok(Chunk { inner: ChunkInner::Owned(buf) })
    }

    pub(crate) async fn recv_into(&self, buf: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        let mut buf = buf;
        if buf.remaining() == 0 {
            return (Ok(0), buf);
        }
        let result = poll_fn(|cx| self.poll_receive(cx, buf.remaining())).await;
        let result = result.map(|bytes| {
            buf.extend_from_slice(&bytes);
            bytes.len()
        });
        (result, buf)
    }

    /// Up to `most` arrived bytes; empty at the end of the stream.
    fn poll_receive(&self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        let mut state = self.world.lock();
        let partial_once_in = state.faults.partial_receive_once_in;
        let cut_at = if state.once_in(partial_once_in) { 1 + state.pick(64) } else { usize::MAX };
        let Some(pipe) = state.net.pipes.get_mut(&self.end.receives) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if let Some(front) = pipe.arrived.front_mut() {
            let n = front.len().min(most).min(cut_at);
            let bytes = front.split_to(n);
            if front.is_empty() {
                pipe.arrived.pop_front();
            }
            pipe.arrived_bytes -= n;
            pipe.wake_writer();
            return Poll::Ready(Ok(bytes));
        }
        if pipe.ended {
            return Poll::Ready(Ok(Bytes::new()));
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) async fn send(&self, bufs: Vec<Bytes>) -> io::Result<()> {
        for mut buf in bufs {
            while !buf.is_empty() {
                let n = self.world.lock().transmit(self.world.now(), &self.end, &buf)?;
                if n == 0 {
                    self.writable().await?;
                }
                bytes::Buf::advance(&mut buf, n);
            }
        }
        Ok(())
    }

    pub(crate) fn try_send(&self, bytes: &[u8], _more_follows: bool) -> io::Result<usize> {
        match self.world.lock().transmit(self.world.now(), &self.end, &Bytes::copy_from_slice(bytes))? {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    pub(crate) fn try_send_file(&self, file: &File, pos: u64, len: usize) -> io::Result<usize> {
        let file = file.sim();
        let mut bytes = vec![0; len.min(1 << 20)];
        let n = file.read_at(&mut bytes, pos)?;
        bytes.truncate(n);
        if n == 0 {
            return Ok(0);
        }
        match self.world.lock().transmit(self.world.now(), &self.end, &Bytes::from(bytes))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    /// Ready when there is room or nothing can be sent any more; the next send tells which.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| {
            let mut state = self.world.lock();
            let Some(pipe) = state.net.pipes.get_mut(&self.end.sends) else { return Poll::Ready(()) };
            if pipe.room() > 0 || pipe.broken().is_some() {
                return Poll::Ready(());
            }
            pipe.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        Ok(())
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.end.peer
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.end.local
    }

    pub(crate) fn stop_receiving(&self) {
        let mut state = self.world.lock();
        if let Some(pipe) = state.net.pipes.get_mut(&self.end.receives) {
            pipe.ended = true;
            pipe.wake_reader();
        }
    }

    pub(crate) fn shutdown(&self) {
        let now = self.world.now();
        let mut state = self.world.lock();
        state.close_writing(now, self.end.sends);
        if let Some(pipe) = state.net.pipes.get_mut(&self.end.receives) {
            pipe.ended = true;
            pipe.wake_reader();
        }
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let now = self.world.now();
        self.world.lock().close(now, &self.end);
    }
}
