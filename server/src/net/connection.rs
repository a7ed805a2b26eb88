//! One client connection: a reader task that works on requests, a writer task that sends the answers.
//!
//! Both live on the shard that got the connection. As in Kafka the requests of a connection are worked on one after the
//! other and answered in order; only a Produce overlaps Produces before it, so that a pipelining producer keeps its
//! window in flight. Whatever cannot be answered (an unknown API or version, an undecodable request, a failed acks=0
//! produce) closes the connection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kringle_protocol::ApiKey;
use kringle_runtime::{Notify, Socket, Time};

use super::frame::{FrameError, FrameReader};
use super::response::Response;
use super::send;
use crate::api::produce::{self, Produce};
use crate::api::{self, Close};
use crate::node::ListenerId;
use crate::shard::Shard;

/// Answers a connection may have in work or unsent; a client that pipelines more waits in its socket.
const MAX_PIPELINED: usize = 128;

/// Looks at idle connections within `connections.max.idle.ms`: so much later than that, at most, they are closed.
const IDLE_LOOKS: u32 = 10;
const LONGEST_IDLE_LOOK: Duration = Duration::from_secs(10);

/// What the requests of one connection have in common.
pub(crate) struct Connection {
    pub(crate) shard: Rc<Shard>,
    /// Unique within the node while it runs.
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    /// The listener it came in by.
    pub(crate) listener: ListenerId,
    socket: Rc<Socket>,
    queue: RefCell<VecDeque<Queued>>,
    /// Queued, being finished or being sent.
    outstanding: Cell<usize>,
    changed: Notify,
    /// Since when the next request is waited for; `None` while one is worked on.
    waits_since: Cell<Option<Time>>,
    closing: Cell<bool>,
    /// Nothing more is read, but what was taken is still answered.
    draining: Cell<bool>,
}

enum Queued {
    Ready(Response),
    Produce(Produce),
}

impl Queued {
    fn is_ready(&self) -> bool {
        match self {
            Queued::Ready(_) => true,
            Queued::Produce(produce) => produce.is_complete(),
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Refused(#[from] Close),
    #[error("the broker closes it")]
    Closing,
}

impl End {
    fn is_bad_input(&self) -> bool {
        match self {
            End::Frame(why) => matches!(why, FrameError::Length(..)),
            End::Refused(why) => {
                matches!(why, Close::UnknownApi(_) | Close::UnknownVersion { .. } | Close::Decode(_))
            }
            End::Closing => false,
        }
    }
}

/// Serves a connection until either side closes it.
pub(crate) async fn serve(shard: Rc<Shard>, socket: Socket, listener: ListenerId, id: u64) {
    let socket = Rc::new(socket);
    let connection = Rc::new(Connection {
        id,
        peer: socket.peer_addr(),
        listener,
        socket,
        queue: RefCell::default(),
        outstanding: Cell::new(0),
        changed: Notify::new(),
        waits_since: Cell::new(None),
        closing: Cell::new(false),
        draining: Cell::new(false),
        shard: shard.clone(),
    });
    shard.metrics.connections_served.add(1);
    shard.connections.borrow_mut().insert(id, connection.clone());
    let writer = shard.rt.spawn(connection.clone().write());
    let end = connection.clone().read().await;
    if let Err(why) = end {
        tracing::debug!(peer = %connection.peer, "connection ends: {why}");
        shard.metrics.connections_closed_for_bad_input.add(u64::from(why.is_bad_input()));
    }
    if connection.draining.get() {
        connection.wait_until(|outstanding| outstanding == 0).await;
    }
    connection.close();
    writer.cancel();
    shard.connections.borrow_mut().remove(&id);
    shard.node.connections.closed(connection.peer.ip());
    shard.connection_ended();
}

/// Closes idle connections, for the life of the shard: one look at all of them now and then costs less than a timer for each request.
pub(crate) async fn close_idle(shard: Rc<Shard>) {
    let max_idle = shard.node.config.connections_max_idle;
    if max_idle == Duration::MAX {
        return;
    }
    let period = (max_idle / IDLE_LOOKS).clamp(Duration::from_millis(1), LONGEST_IDLE_LOOK);
    loop {
        shard.rt.sleep(period).await;
        let Some(limit) = shard.rt.now().checked_sub(max_idle) else { continue };
        let all: Vec<Rc<Connection>> = shard.connections.borrow().values().cloned().collect();
        all.iter().for_each(|connection| connection.close_if_idle(limit));
    }
}

impl Connection {
    /// The broker stops: closes the connection once the produces it has taken are answered. A producer that lost such an
    /// answer would send again what is in the log already. Whatever else waits, a long poll above all, ends now.
    pub(crate) fn drain(&self) {
        if self.outstanding.get() == 0 {
            return self.close();
        }
        self.draining.set(true);
        self.socket.stop_receiving();
    }

    /// Closes the connection if it has waited for a request since `limit` or longer.
    fn close_if_idle(&self, limit: Time) {
        if self.waits_since.get().is_some_and(|since| since <= limit) {
            tracing::debug!(peer = %self.peer, "connection ends: idle for longer than connections.max.idle.ms");
            self.close();
        }
    }

    /// Ends both tasks; safe to call twice.
    pub(crate) fn close(&self) {
        if !self.closing.replace(true) {
            self.socket.shutdown();
            self.changed.notify_all();
        }
    }

    /// The client's address as Kafka writes it in group members: `/127.0.0.1`.
    pub(crate) fn client_host(&self) -> String {
        format!("/{}", self.peer.ip())
    }

    async fn read(self: Rc<Self>) -> Result<(), End> {
        let shard = &self.shard;
        let max = shard.node.config.socket_request_max_bytes;
        let mut frames = FrameReader::new(shard.rt.clone(), self.socket.clone(), shard.budget.clone(), max);
        loop {
            self.waits_since.set(Some(shard.rt.now()));
            let frame = frames.next().await?;
            self.waits_since.set(None);
            // Before the request, not after: what has arrived but is not begun must not happen when nobody will be told.
            if self.closing.get() || self.draining.get() {
                return Err(End::Closing);
            }
            shard.metrics.requests.add(1);
            self.request(frame).await?;
        }
    }

    async fn request(self: &Rc<Self>, frame: Bytes) -> Result<(), Close> {
        let request = api::Request::parse(frame, self.listener)?;
        if request.key == ApiKey::PRODUCE {
            self.wait_until(|outstanding| outstanding < MAX_PIPELINED).await;
            if self.closing.get() {
                return Ok(());
            }
            self.push(Queued::Produce(produce::start(self, request)?));
            return Ok(());
        }
        self.wait_until(|outstanding| outstanding == 0).await;
        if self.closing.get() {
            return Ok(());
        }
        let response = api::handle(self, request).await?;
        self.push(Queued::Ready(response));
        Ok(())
    }

    async fn wait_until(&self, enough: impl Fn(usize) -> bool) {
        loop {
            let seen = self.changed.version();
            if enough(self.outstanding.get()) || self.closing.get() {
                return;
            }
            self.changed.wait_after(seen).await;
        }
    }

    fn push(&self, queued: Queued) {
        let is_ready = queued.is_ready();
        self.outstanding.set(self.outstanding.get() + 1);
        self.queue.borrow_mut().push_back(queued);
        if is_ready {
            // Of a produce under way its last outcome will tell.
            self.changed.notify_all();
        }
    }

    async fn write(self: Rc<Self>) {
        loop {
            let seen = self.changed.version();
            match self.send_what_is_ready().await {
                Ok(0) => self.changed.wait_after(seen).await,
                Ok(_) => {}
                Err(why) => {
                    tracing::debug!(peer = %self.peer, "connection ends: {why}");
                    return self.close();
                }
            }
        }
    }

    /// Answers that are ready in the same turn leave as one send. How many there were.
    async fn send_what_is_ready(&self) -> Result<usize, Close> {
        if !self.queue.borrow().front().is_some_and(Queued::is_ready) {
            return Ok(0);
        }
        let mut outgoing = Response::default();
        let mut answers = 0;
        let mut end = Ok(());
        while end.is_ok() && answers < MAX_PIPELINED {
            let Some(next) = self.queue.borrow_mut().pop_front_if(|next| next.is_ready()) else { break };
            answers += 1;
            match next {
                Queued::Ready(response) => {
                    // Whatever is no produce was not begun before all else had left.
                    debug_assert_eq!(answers, 1, "it is the first");
                    outgoing = response;
                }
                Queued::Produce(produce) => end = produce.answer(&self.shard, &mut outgoing),
            }
        }
        send::all(&self.shard, &self.socket, outgoing).await.map_err(Close::Send)?;
        self.outstanding.set(self.outstanding.get() - answers);
        self.changed.notify_all();
        end.map(|()| answers)
    }

    /// Tells of an answer that became ready, or left.
    pub(crate) fn changed(&self) -> Notify {
        self.changed.clone()
    }
}
