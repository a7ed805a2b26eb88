//! Runs group coordinators: one per led `__consumer_offsets` partition, on the shard that owns the partition.
//!
//! The coordinator itself is a pure state machine (`crate::group`). Here it gets its requests, its time and its records:
//! what it wants written is appended to its partition as acks=all, and it is told when the records are below the high
//! watermark, or that they were refused. A partition's coordinator is loaded from the log before its first request.

mod load;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use kringle_log::{BatchBuilder, Compression, Origin, validate};
use kringle_protocol::{ErrorCode, Uuid};
use kringle_runtime::{Notify, Reply, oneshot};
use rustc_hash::FxHashMap;

use crate::config::BrokerConfig;
use crate::group::{
    Caller, Coordinator, GroupConfig, GroupRequest, GroupResponse, Output, Record, ReplyToken, WriteId, partition_for,
};
use crate::names::CONSUMER_OFFSETS;
use crate::shard::Shard;
use crate::shard::partition::{Done, Partition};

/// The coordinators of one shard, by partition of `__consumer_offsets`.
#[derive(Default)]
pub(crate) struct Coordinators {
    slots: RefCell<FxHashMap<i32, Rc<Slot>>>,
    /// A deadline came nearer.
    deadline_changed: Notify,
}

/// What the coordinators of a shard hold.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) groups: usize,
    pub(crate) offsets: usize,
    /// Records of other kinds of groups, which are kept and not acted on.
    pub(crate) foreign_records: u64,
}

impl Coordinators {
    pub(crate) fn held(&self) -> Held {
        let mut held = Held::default();
        for slot in self.slots.borrow().values() {
            let machine = slot.machine.borrow();
            let (groups, offsets) = machine.held();
            held.groups += groups;
            held.offsets += offsets;
            held.foreign_records += machine.foreign_records();
        }
        held
    }
}

/// One coordinator and who waits for its answers.
pub(crate) struct Slot {
    partition: Rc<Partition>,
    machine: RefCell<Coordinator>,
    waiting: RefCell<FxHashMap<ReplyToken, Reply<GroupResponse>>>,
    next_token: Cell<ReplyToken>,
    loaded: Cell<bool>,
    load_ended: Notify,
    write_ended: Notify,
    deadline_ms: Cell<i64>,
}

impl Shard {
    /// Sends a request to the coordinator of `group_id`, wherever it lives. NOT_COORDINATOR where there is none.
    pub(crate) async fn coordinate(
        self: &Rc<Self>,
        group_id: &str,
        caller: Caller,
        version: i16,
        request: GroupRequest,
    ) -> GroupResponse {
        match self.topic(CONSUMER_OFFSETS) {
            None => request.refused(version, ErrorCode::NOT_COORDINATOR),
            Some(topic) => {
                self.coordinate_on(partition_for(group_id, topic.partitions), caller, version, request).await
            }
        }
    }

    /// The same, for the coordinator of a given partition.
    pub(crate) async fn coordinate_on(
        self: &Rc<Self>,
        partition: i32,
        caller: Caller,
        version: i16,
        request: GroupRequest,
    ) -> GroupResponse {
        let Some(topic) = self.topic(CONSUMER_OFFSETS) else {
            return request.refused(version, ErrorCode::NOT_COORDINATOR);
        };
        let id = topic.id;
        let stopped = request.clone();
        self.on(self.owner_of(id, partition), move |owner| async move {
            let led = owner.partition(id, partition).ok_or(ErrorCode::NOT_COORDINATOR);
            let slot = match led {
                Ok(led) => owner.coordinator(&led).await,
                Err(error) => Err(error),
            };
            match slot {
                Ok(slot) => slot.request(&owner, &caller, version, request).await,
                Err(error) => request.refused(version, error),
            }
        })
        .await
        .unwrap_or_else(|| stopped.refused(version, ErrorCode::NOT_COORDINATOR))
    }

    /// The loaded coordinator of a partition; the first to ask loads it, the others wait.
    async fn coordinator(self: &Rc<Self>, partition: &Rc<Partition>) -> Result<Rc<Slot>, ErrorCode> {
        let index = partition.tp.partition;
        let existing = self.coordinators.slots.borrow().get(&index).cloned();
        let slot = match existing {
            Some(slot) => slot,
            None => {
                let slot = Rc::new(Slot::new(self, partition.clone()));
                self.coordinators.slots.borrow_mut().insert(index, slot.clone());
                self.rt.spawn(load::load(self.clone(), slot.clone()));
                slot
            }
        };
        loop {
            let seen = slot.load_ended.version();
            if slot.loaded.get() {
                return Ok(slot);
            }
            if partition.closed().is_some() {
                return Err(ErrorCode::NOT_COORDINATOR);
            }
            slot.load_ended.wait_after(seen).await;
        }
    }

    /// Drops the coordinator of a partition that is led no more; whoever waits is told NOT_COORDINATOR.
    pub(crate) fn unload_coordinator(&self, partition: i32) {
        let Some(slot) = self.coordinators.slots.borrow_mut().remove(&partition) else { return };
        let replies = slot.machine.borrow_mut().unload();
        slot.answer(replies);
        slot.load_ended.notify_all();
    }

    /// Tells the coordinators of this shard that topics are gone, so that their offsets go too.
    pub(crate) fn forget_offsets(self: &Rc<Self>, topics: Vec<(String, Uuid)>) {
        let slots: Vec<Rc<Slot>> = self.coordinators.slots.borrow().values().cloned().collect();
        let topics: Rc<[(String, Uuid)]> = topics.into();
        for slot in slots {
            self.rt.spawn(slot.forget_offsets(self.clone(), topics.clone()));
        }
    }

    /// Ticks the coordinators when their deadlines pass. Runs for the life of the shard.
    pub(crate) async fn coordinator_loop(self: Rc<Self>) {
        loop {
            let seen = self.coordinators.deadline_changed.version();
            let now_ms = self.rt.wall_ms();
            let slots: Vec<Rc<Slot>> = self.coordinators.slots.borrow().values().cloned().collect();
            let mut next_ms = i64::MAX;
            for slot in slots {
                if slot.deadline_ms.get() <= now_ms {
                    let output = slot.machine.borrow_mut().tick(now_ms);
                    slot.carry_out(&self, output);
                }
                next_ms = next_ms.min(slot.deadline_ms.get());
            }
            let changed = self.coordinators.deadline_changed.wait_after(seen);
            if next_ms == i64::MAX {
                changed.await;
            } else {
                let left_ms = u64::try_from(next_ms - self.rt.wall_ms()).unwrap_or(0).max(1);
                self.rt.timeout(std::time::Duration::from_millis(left_ms), changed).await;
            }
        }
    }
}

impl Slot {
    fn new(shard: &Shard, partition: Rc<Partition>) -> Slot {
        let rt = shard.rt.clone();
        let random = Box::new(move || rt.random_bytes());
        Slot {
            machine: RefCell::new(Coordinator::new(group_config(&shard.node.config), random)),
            partition,
            waiting: RefCell::default(),
            next_token: Cell::new(1),
            loaded: Cell::new(false),
            load_ended: Notify::new(),
            write_ended: Notify::new(),
            deadline_ms: Cell::new(i64::MAX),
        }
    }

    async fn request(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        caller: &Caller,
        version: i16,
        request: GroupRequest,
    ) -> GroupResponse {
        let (reply, answer) = oneshot();
        let token = self.next_token.replace(self.next_token.get() + 1);
        self.waiting.borrow_mut().insert(token, reply);
        let unanswered = request.clone();
        let output = self.machine.borrow_mut().request(shard.rt.wall_ms(), caller, version, request, token);
        self.carry_out(shard, output);
        answer.await.unwrap_or_else(|| unanswered.refused(version, ErrorCode::NOT_COORDINATOR))
    }

    /// Sends what is to be answered, appends what is to be written.
    fn carry_out(self: &Rc<Self>, shard: &Rc<Shard>, output: Output) {
        self.answer(output.replies);
        if let Some(write) = output.write {
            self.append(shard, write.id, &write.records);
        }
        let deadline_ms = self.machine.borrow().next_deadline_ms().unwrap_or(i64::MAX);
        if self.deadline_ms.replace(deadline_ms) > deadline_ms {
            shard.coordinators.deadline_changed.notify_all();
        }
    }

    /// One write after the other until nothing of the topics is left.
    async fn forget_offsets(self: Rc<Self>, shard: Rc<Shard>, topics: Rc<[(String, Uuid)]>) {
        loop {
            let seen = self.write_ended.version();
            let output = self.machine.borrow_mut().topics_deleted(&topics, shard.rt.wall_ms());
            let more = output.write.is_some();
            self.carry_out(&shard, output);
            if !more || self.partition.closed().is_some() {
                return;
            }
            self.write_ended.wait_after(seen).await;
        }
    }

    fn answer(&self, replies: Vec<(ReplyToken, GroupResponse)>) {
        for (token, response) in replies {
            if let Some(reply) = self.waiting.borrow_mut().remove(&token) {
                reply.send(response);
            }
        }
    }

    fn append(self: &Rc<Self>, shard: &Rc<Shard>, id: WriteId, records: &[Record]) {
        let now_ms = shard.rt.wall_ms();
        let codec = Compression::from_id(shard.node.config.offsets_topic_compression_codec);
        let mut builder = BatchBuilder::new(codec.unwrap_or_default());
        for (key, value) in records {
            builder.append(now_ms, Some(key), value.as_deref(), &[]);
        }
        let topic = shard.topic(CONSUMER_OFFSETS);
        let config = topic.map(|topic| topic.log_config.clone()).unwrap_or_default();
        let rules = config.rules(self.partition.tp.clone());
        let batch = validate(&builder.build(0, -1), &rules, Origin::Coordinator, now_ms);
        let appended = match batch {
            Err(refused) => Err(refused.code),
            Ok(batch) => {
                let (slot, later) = (self.clone(), shard.clone());
                let done = Done::Call(Box::new(move |result| slot.ended(&later, id, result)));
                shard.append(&self.partition, batch, done)
            }
        };
        if let Err(code) = appended {
            self.ended(shard, id, Err(code));
        }
    }

    fn ended(self: &Rc<Self>, shard: &Rc<Shard>, id: WriteId, result: Result<(), ErrorCode>) {
        let now_ms = shard.rt.wall_ms();
        let output = match result {
            Ok(()) => self.machine.borrow_mut().committed(id, now_ms),
            Err(code) => self.machine.borrow_mut().failed(id, code, now_ms),
        };
        self.carry_out(shard, output);
        self.write_ended.notify_all();
    }
}

/// A coordinator's settings, of the broker's.
fn group_config(config: &BrokerConfig) -> GroupConfig {
    let check_interval_ms = config.offsets_retention_check_interval.as_millis();
    GroupConfig {
        min_session_timeout_ms: config.group_min_session_timeout_ms,
        max_session_timeout_ms: config.group_max_session_timeout_ms,
        initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
        max_size: config.group_max_size,
        offset_metadata_max_bytes: config.offset_metadata_max_bytes,
        offsets_retention_ms: config.offsets_retention_ms,
        offsets_retention_check_interval_ms: i64::try_from(check_interval_ms).unwrap_or(i64::MAX),
        ..GroupConfig::default()
    }
}
