//! A shard: one core, one ring, the connections it was given and the partitions it owns.
//!
//! A partition belongs to its owner. Whoever needs something of a partition sends the owner a message ([`Shard::on`]); a
//! message to oneself is a plain call. Two things need no message: a look-up (`shared`) and a short append (`appends`). Everything here is `!Send` and lives on the shard's thread,
//! except [`ShardHandle`], by which the others reach it.

pub(crate) mod appends;
pub(crate) mod checkpoint;
pub(crate) mod commit;
pub(crate) mod fetchers;
mod journal;
mod mail;
mod maintenance;
pub(crate) mod metrics;
pub(crate) mod partition;
pub(crate) mod publish;
mod pump;
pub(crate) mod routes;
pub(crate) mod shared;
pub(crate) mod topics;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use kringle_protocol::Uuid;
use kringle_runtime::{DetachedSocket, Notify, Receiver, Rt, Sender, oneshot};
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::api::fetch::session::Sessions;
use crate::config::BrokerConfig;
use crate::control::image::Image;
use crate::coordinator::Coordinators;
use crate::net::budget::Budget;
use crate::net::connection::{self, Connection};
use crate::node::{ListenerId, Node};
use appends::Letter;
use journal::Journal;
use metrics::{ShardMetrics, Snapshot, counter, gauge};
use partition::Partition;
use routes::Route;
use topics::Topics;

/// A buffer for answers that grew beyond this is not kept.
const ANSWER_ROOM_BYTES: usize = 64 << 10;
/// So many are kept: answers of one turn.
const ANSWER_ROOMS: usize = 16;

/// What others send to a shard.
pub(crate) enum Message {
    /// A connection that the accepting shard hands over.
    Connection { socket: DetachedSocket, listener: ListenerId, id: u64 },
    /// Work on the shard's own data, in order. It must not block; what takes longer it spawns.
    Run(Vec<Work>),
}

type Work = Box<dyn FnOnce(&Rc<Shard>) + Send>;

/// How the other threads of the node reach a shard.
pub(crate) struct ShardHandle {
    inbox: Sender<Message>,
    /// Connections it serves, for the accepting shard to choose the least loaded.
    pub(crate) connections: AtomicUsize,
}

impl ShardHandle {
    pub(crate) fn new(inbox: Sender<Message>) -> ShardHandle {
        ShardHandle { inbox, connections: AtomicUsize::new(0) }
    }

    /// Queues a message, waiting while the shard's inbox is full. False when the shard has stopped.
    pub(crate) async fn send(&self, message: Message) -> bool {
        self.inbox.send(message).await.is_ok()
    }

    /// Messages that it has not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.inbox.len()
    }

    /// Runs `work` on the shard and waits for its answer. `None` when the shard has stopped.
    pub(crate) async fn run<T, F>(&self, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(&Rc<Shard>, kringle_runtime::Reply<T>) + Send + 'static,
    {
        let (reply, answer) = oneshot();
        if !self.send(Message::Run(vec![Box::new(move |shard| work(shard, reply))])).await {
            return None;
        }
        answer.await
    }
}

/// The state of one shard. See the module's text.
pub(crate) struct Shard {
    pub(crate) rt: Rt,
    pub(crate) node: Arc<Node>,
    pub(crate) budget: Budget,
    pub(crate) metrics: ShardMetrics,
    pub(crate) connections: RefCell<FxHashMap<u64, Rc<Connection>>>,
    pub(crate) sessions: RefCell<Sessions>,
    pub(crate) topics: Topics,
    pub(crate) partitions: RefCell<FxHashMap<(Uuid, i32), Rc<Partition>>>,
    /// Partitions of any owner that this shard has been asked for.
    routes: RefCell<FxHashMap<(Uuid, i32), Rc<Route>>>,
    pub(crate) coordinators: Coordinators,
    image: RefCell<Arc<Image>>,
    config: RefCell<Rc<BrokerConfig>>,
    /// Where batches wait that came in this turn; see `appends`.
    to_append: RefCell<Vec<Rc<Route>>>,
    append_wanted: Notify,
    /// Batches that were sent to their owners and not answered yet.
    letters: RefCell<Slab<Letter>>,
    /// Partitions with staged batches, written at the end of the turn in which they were staged.
    to_write: RefCell<Vec<Rc<Partition>>>,
    write_wanted: Notify,
    /// Partitions with written acks=all batches that are not yet durable.
    to_commit: RefCell<VecDeque<Rc<Partition>>>,
    commit_wanted: Notify,
    /// Commits that are under way, those by the journal aside.
    commits: Cell<usize>,
    journal: Journal,
    /// Work for other shards, by shard; see `mail`.
    outbox: RefCell<Vec<Vec<Work>>>,
    mail_wanted: Notify,
    /// Empty buffers to put answers together in.
    answer_rooms: RefCell<Vec<BytesMut>>,
    stopping: Cell<bool>,
}

impl Shard {
    pub(crate) fn new(rt: Rt, node: Arc<Node>, image: Arc<Image>) -> Rc<Shard> {
        let budget = Budget::new(node.config.memory_budget_bytes / node.shards().len().max(1));
        let sessions = Sessions::new(node.config.max_incremental_fetch_session_cache_slots, rt.random_u64());
        Rc::new(Shard {
            budget,
            sessions: RefCell::new(sessions),
            metrics: ShardMetrics::default(),
            connections: RefCell::default(),
            topics: Topics::default(),
            partitions: RefCell::default(),
            routes: RefCell::default(),
            to_append: RefCell::default(),
            append_wanted: Notify::new(),
            letters: RefCell::default(),
            coordinators: Coordinators::default(),
            config: RefCell::new(Rc::new(node.config.with_dynamic(&node.dynamic_configs(&image)))),
            image: RefCell::new(image),
            to_write: RefCell::default(),
            write_wanted: Notify::new(),
            to_commit: RefCell::default(),
            commit_wanted: Notify::new(),
            commits: Cell::new(0),
            journal: Journal::new(node.config.journal_bytes, rt.random_u64()),
            outbox: RefCell::default(),
            mail_wanted: Notify::new(),
            answer_rooms: RefCell::default(),
            stopping: Cell::new(false),
            rt,
            node,
        })
    }

    /// The shard's number within the node.
    pub(crate) fn index(&self) -> usize {
        self.rt.index()
    }

    /// The metadata this shard works by.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.borrow().clone()
    }

    /// The broker's settings as they act now, those included that were set while it runs.
    pub(crate) fn config(&self) -> Rc<BrokerConfig> {
        self.config.borrow().clone()
    }

    /// An empty buffer to put answers together in.
    pub(crate) fn take_answer_room(&self) -> BytesMut {
        self.answer_rooms.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes it back when the answers have left.
    pub(crate) fn keep_answer_room(&self, mut room: BytesMut) {
        let mut rooms = self.answer_rooms.borrow_mut();
        if (1..=ANSWER_ROOM_BYTES).contains(&room.capacity()) && rooms.len() < ANSWER_ROOMS {
            room.clear();
            rooms.push(room);
        }
    }

    /// Which shard owns a partition: the same answer on every shard, at any time.
    pub(crate) fn owner_of(&self, topic: Uuid, partition: i32) -> usize {
        owner(topic, partition, self.node.shards().len())
    }

    /// The partition, where this shard owns it.
    pub(crate) fn partition(&self, topic: Uuid, partition: i32) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&(topic, partition)).cloned()
    }

    /// Runs `work` on the shard `owner`; here at once if that is this shard. `None` when that shard has stopped.
    pub(crate) async fn on<T, F, Fut>(self: &Rc<Self>, owner: usize, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Shard>) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        if owner == self.index() {
            return Some(work(self.clone()).await);
        }
        let handle = self.node.shards().get(owner)?;
        handle
            .run(move |shard, reply| {
                let future = work(shard.clone());
                shard.rt.spawn(async move { reply.send(future.await) });
            })
            .await
    }

    /// Works off the inbox until the node stops.
    pub(crate) async fn serve(self: Rc<Self>, mut inbox: Receiver<Message>) {
        self.rt.spawn(self.clone().append_loop());
        self.rt.spawn(self.clone().write_loop());
        self.rt.spawn(self.clone().commit_loop());
        self.rt.spawn(self.clone().journal_loop());
        self.rt.spawn(self.clone().mail_loop());
        self.rt.spawn(self.clone().maintenance_loop());
        self.rt.spawn(self.clone().coordinator_loop());
        self.rt.spawn(connection::close_idle(self.clone()));
        while let Some(message) = inbox.recv().await {
            match message {
                Message::Run(works) => works.into_iter().for_each(|work| work(&self)),
                Message::Connection { socket, listener, id } => {
                    let socket = self.rt.adopt(socket);
                    self.rt.spawn(connection::serve(self.clone(), socket, listener, id));
                }
            }
            if self.stopping.get() {
                break;
            }
        }
    }

    /// Closes every connection once it has sent its answers; their tasks end by themselves.
    pub(crate) fn close_connections(&self) {
        for connection in self.connections.borrow().values() {
            connection.drain();
        }
    }

    /// Lets [`Shard::serve`] return after the present message.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
    }

    /// A copy of what the shard counts, with what it holds right now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let stats = self.rt.stats();
        let held = self.coordinators.held();
        self.metrics.snapshot(vec![
            gauge("connections", "Open connections.", self.connections.borrow().len()),
            gauge("partitions", "Partitions led.", self.partitions.borrow().len()),
            gauge("inbox_messages", "Messages of other threads that wait.", self.node.shards()[self.index()].waiting()),
            gauge("request_memory_bytes", "Memory held by requests, of the shard's budget.", self.budget.held()),
            counter("request_memory_waits", "Reads that waited for memory.", self.budget.waits()),
            gauge("fetch_sessions", "Open fetch sessions.", self.sessions.borrow().len()),
            gauge("groups", "Groups of the coordinators.", held.groups),
            gauge("committed_offsets", "Committed offsets of the coordinators.", held.offsets),
            counter("foreign_group_records", "Records of kinds of groups that are not served.", held.foreign_records),
            counter("loop_turns", "Turns of the shard's loop.", stats.turns),
            counter("loop_looks", "Times it looked for work before it slept, or instead.", stats.looks),
            counter("loop_stalls", "Turns of the shard's loop over 10 ms.", stats.stalls),
            counter("ring_enters", "System calls into the ring, or into epoll.", stats.enters),
            counter("ring_operations", "Operations given to the ring, or to threads.", stats.submissions),
        ])
    }

    /// Counts a connection that ended.
    pub(crate) fn connection_ended(&self) {
        self.node.shards()[self.index()].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Spreads the partitions of a topic over the shards, beginning at a shard that the topic's id chooses.
fn owner(topic: Uuid, partition: i32, shards: usize) -> usize {
    let bytes = topic.as_bytes();
    let start = u64::from_be_bytes(bytes[8..].try_into().expect("a uuid has 16 bytes"));
    let index = u64::from(partition.unsigned_abs());
    let shards = shards.max(1) as u64;
    usize::try_from((start % shards + index % shards) % shards).expect("less than the number of shards")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_of_a_topic_are_spread_evenly() {
        let topic = Uuid::from_bytes([7; 16]);
        let mut counts = [0; 4];
        for partition in 0..100 {
            counts[owner(topic, partition, 4)] += 1;
        }
        assert_eq!(counts, [25; 4]);
    }
}
