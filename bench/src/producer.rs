//! Producers: connections that send batches and count what is answered.
//!
//! A lane is one producer: a connection to each leader of its partitions, a pace, and as many tasks as requests may be in
//! flight. The tasks of a lane take turns at the pace, so that batches leave in the order in which their records are due. A lane
//! belongs to one thread. A connection that breaks ends its lane; the error is counted and the others go on.

use std::cell::{Cell, RefCell};
use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use kringle_client::{ClientError, Connection, PendingBytes};
use kringle_protocol::messages::{ApiVersionsRequest, InitProducerIdRequest, ProduceRequest, ProduceResponse};
use kringle_protocol::{ApiKey, ErrorCode, Message, Reader, Records};
use kringle_runtime::{Rt, TaskHandle};

use crate::cluster::{CLIENT_ID, Cluster, PATIENCE, Place, RETRY};
use crate::error::{BenchError, check};
use crate::interrupt;
use crate::measure::{Amount, Clock, Recorder, Window, nanos};
use crate::pace::{Batch, Closed, Next, Open, Pace};
use crate::plan::Load;
use crate::request::{Envelopes, RequestBuffer, Stamp, produce_request};
use crate::template::{Sequence, Templates};
use crate::units::{to_f64, u64_to_f64};

/// Longest wait for answers after the load has ended.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

/// Longest sleep of a producer before it looks whether the run is still wanted.
const LONGEST_NAP: Duration = Duration::from_millis(100);

/// A load of which each thread has a part.
pub(crate) struct Job {
    pub(crate) load: Load,
    pub(crate) templates: Templates,
    pub(crate) cluster: Cluster,
    /// Batches to be sent by all lanes together in a closed loop; `None` goes by the clock alone.
    pub(crate) batches: Option<u64>,
}

impl Job {
    /// With `bytes` of keys and values it ends when that is sent.
    pub(crate) fn new(load: Load, cluster: Cluster, bytes: Option<u64>) -> Arc<Job> {
        let templates = Templates::build(&load.records, load.rate.is_some());
        let batches = bytes.map(|bytes| bytes.div_ceil((templates.full().payload_bytes as u64).max(1)));
        Arc::new(Job { load, templates, cluster, batches })
    }

    /// The lanes of a thread.
    pub(crate) fn lanes_of(&self, thread: usize, threads: usize) -> Vec<usize> {
        let lanes = self.load.connections;
        (0..lanes).filter(|lane| self.cluster.thread_of(*lane, lanes, threads) == thread).collect()
    }

    /// The partitions that a thread's lanes send to.
    pub(crate) fn places_of_thread(&self, thread: usize, threads: usize) -> Vec<Place> {
        let lanes = self.lanes_of(thread, threads);
        let shares = lanes.into_iter().map(|lane| self.cluster.share(lane, self.load.connections));
        shares.flatten().collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn pace(&self, lane: usize, window: Window) -> Pace {
        let lanes = to_f64(self.load.connections);
        match self.load.records_per_second() {
            None => {
                let share = |batches: u64| {
                    let (lane, lanes) = (lane as u64, self.load.connections as u64);
                    batches / lanes + u64::from(lane < batches % lanes)
                };
                Pace::Closed(Closed {
                    end_ns: window.planned_end_ns,
                    batches_left: self.batches.map_or(u64::MAX, share),
                })
            }
            Some(rate) => {
                let interval_ns = 1e9 * lanes / rate;
                // Lanes begin one after the other, so that together they are as even as one.
                let offset = Duration::from_secs_f64(interval_ns * to_f64(lane) / lanes / 1e9);
                Pace::Open(Open {
                    start_ns: window.load_ns + nanos(offset),
                    end_ns: window.planned_end_ns,
                    interval_ns,
                    linger_ns: nanos(self.load.linger),
                    sent: 0,
                })
            }
        }
    }
}

/// Who wants to know which batch got which offset; may give something to wait for before the next batch is sent.
pub(crate) type OnAcknowledged = Rc<dyn Fn(Place, i64, &Batch) -> Option<kringle_runtime::Answer<()>>>;

/// A producer that is connected and has not begun.
pub(crate) struct Lane {
    rt: Rt,
    clock: Clock,
    job: Arc<Job>,
    number: usize,
    links: BTreeMap<i32, Connection>,
    places: Vec<Place>,
    producer: Option<(i64, i16)>,
}

impl Lane {
    /// Connects, and asks for a producer id where the load is idempotent.
    pub(crate) async fn open(rt: &Rt, clock: Clock, job: &Arc<Job>, number: usize) -> Result<Lane, BenchError> {
        let places = job.cluster.share(number, job.load.connections);
        let mut links = BTreeMap::new();
        for place in &places {
            if let Entry::Vacant(link) = links.entry(place.leader) {
                link.insert(Connection::open(rt, job.cluster.address_of(place.leader), CLIENT_ID).await?);
            }
        }
        let mut producer = None;
        if let Some(link) = links.values().next().filter(|_| job.load.idempotent) {
            producer = Some(producer_id(rt, job, link).await?);
        }
        Ok(Lane { rt: rt.clone(), clock, job: Arc::clone(job), number, links, places, producer })
    }

    /// Starts to send. The tasks end with the window, when the budget is used up, or when the connection breaks.
    pub(crate) fn start(
        self,
        window: Window,
        recorder: &Recorder,
        on_acknowledged: Option<OnAcknowledged>,
    ) -> Result<Vec<TaskHandle>, BenchError> {
        let version = self.job.cluster.versions.best::<ProduceRequest>()?;
        let (rt, in_flight) = (self.rt.clone(), self.job.load.in_flight);
        let running = Rc::new(Running {
            pace: RefCell::new(self.job.pace(self.number, window)),
            turn: Turn::default(),
            next_place: Cell::new(0),
            sequences: RefCell::new(vec![0; self.places.len()]),
            envelopes: RefCell::new(Envelopes::new(version, self.job.load.acks)),
            version,
            recorder: recorder.clone(),
            on_acknowledged,
            broken: Cell::new(false),
            lane: self,
        });
        let task = |_| {
            let running = Rc::clone(&running);
            rt.spawn(async move { running.send_all().await })
        };
        Ok((0..in_flight).map(task).collect())
    }
}

/// Asks for a producer id; a broker that has only just started may need a moment.
async fn producer_id(rt: &Rt, job: &Job, link: &Connection) -> Result<(i64, i16), BenchError> {
    let version = job.cluster.versions.best::<InitProducerIdRequest>()?;
    let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
    let deadline = rt.now() + PATIENCE;
    loop {
        let answer = link.call(version, &request).await?;
        if !ErrorCode::from(answer.error_code).is_retriable() || rt.now() > deadline {
            check("a producer id", answer.error_code)?;
            return Ok((answer.producer_id, answer.producer_epoch));
        }
        rt.sleep(RETRY).await;
    }
}

/// A producer that sends.
struct Running {
    lane: Lane,
    version: i16,
    pace: RefCell<Pace>,
    turn: Turn,
    next_place: Cell<usize>,
    /// Of each place, the sequence of the next record.
    sequences: RefCell<Vec<i32>>,
    envelopes: RefCell<Envelopes>,
    recorder: Recorder,
    on_acknowledged: Option<OnAcknowledged>,
    broken: Cell<bool>,
}

impl Running {
    /// One of the requests in flight: again and again.
    async fn send_all(self: Rc<Self>) {
        let mut buffer = RequestBuffer::default();
        while let Some(batch) = self.next_batch().await {
            if self.broken.get() {
                return;
            }
            let place = self.take_place();
            let sent = self.send(&mut buffer, &place, &batch);
            let answer = match sent {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(offset) => {
                    self.count(&batch);
                    let wait = self.on_acknowledged.as_ref().and_then(|tell| tell(place.place, offset, &batch));
                    if let Some(wait) = wait {
                        wait.await;
                    }
                }
                Err(Failure::Refused(code)) => self.recorder.error(format!("produce: {code}")),
                Err(Failure::Broken(error)) => {
                    self.broken.set(true);
                    return self.recorder.error(format!("produce: {error}"));
                }
            }
        }
    }

    /// The next batch, when its time has come; `None` when there is nothing left to send.
    async fn next_batch(&self) -> Option<Batch> {
        let _turn = self.turn.take().await;
        let mut waited = false;
        loop {
            if interrupt::asked() {
                return None;
            }
            let now_ns = self.lane.clock.now_ns();
            let next = self.pace.borrow_mut().next(now_ns, &self.lane.job.templates);
            match next {
                Next::Over => return None,
                Next::Send(batch) => {
                    if waited {
                        self.recorder.late(now_ns, now_ns.saturating_sub(batch.ready_ns));
                    }
                    return Some(batch);
                }
                Next::WaitUntil(time_ns) => {
                    waited = true;
                    self.lane.rt.sleep(Duration::from_nanos(time_ns - now_ns).min(LONGEST_NAP)).await;
                }
            }
        }
    }

    fn take_place(&self) -> Turned {
        let index = self.next_place.get();
        self.next_place.set((index + 1) % self.lane.places.len());
        Turned { index, place: self.lane.places[index] }
    }

    /// Puts the batch on its way at once; what is given back waits for the answer.
    fn send<'a>(
        &'a self,
        buffer: &mut RequestBuffer,
        turned: &Turned,
        batch: &Batch,
    ) -> Result<impl Future<Output = Result<i64, Failure>> + use<'a>, Failure> {
        let job = &self.lane.job;
        let records = i32::try_from(batch.records).expect("a batch is counted in 32 bits");
        let sequence = self.lane.producer.map(|(producer_id, producer_epoch)| {
            let next = &mut self.sequences.borrow_mut()[turned.index];
            let base_sequence = *next;
            // After 2^31 - 1 comes 0.
            *next = next.wrapping_add(records) & i32::MAX;
            Sequence { producer_id, producer_epoch, base_sequence }
        });
        let stamp = Stamp { timestamp_ms: self.lane.rt.wall_ms(), sequence };
        let place = turned.place;
        let link = self.lane.links.get(&place.leader).expect("a link to each leader was opened");
        let template = (batch.template, &job.templates);
        if job.load.acks == 0 {
            let mut bytes = job.templates.at(batch.template).bytes().to_vec();
            job.templates.at(batch.template).patch(&mut bytes, stamp.timestamp_ms, stamp.sequence);
            let topic = &job.cluster.topics[place.topic];
            let records = Records::Inline(Bytes::from(bytes));
            link.send_only(self.version, &produce_request(topic, self.version, place.partition, 0, records))?;
            return Ok(Answer::Fence(self.fence(link)?).offset());
        }
        let body = buffer.fill(&mut self.envelopes.borrow_mut(), &job.cluster.topics, place, template, stamp)?;
        let pending = link.begin_bytes(ApiKey::PRODUCE, self.version, body)?;
        Ok(Answer::Produce(pending, self.version).offset())
    }

    /// Nothing answers acks=0, so a small request follows it: brokers work on a connection's requests in order.
    fn fence(&self, link: &Connection) -> Result<PendingBytes, ClientError> {
        let version = self.lane.job.cluster.versions.best::<ApiVersionsRequest>()?;
        let name = CLIENT_ID.to_owned();
        let question = ApiVersionsRequest { client_software_name: name, client_software_version: "1".to_owned() };
        link.begin_bytes(ApiKey::API_VERSIONS, version, Connection::encode(version, &question)?)
    }

    fn count(&self, batch: &Batch) {
        let now_ns = self.lane.clock.now_ns();
        let template = self.lane.job.templates.at(batch.template);
        for (latency_ns, records) in batch.latencies(now_ns) {
            self.recorder.latency(now_ns, latency_ns, records);
        }
        self.recorder.done(
            now_ns,
            Amount {
                requests: 1,
                records: template.records as u64,
                payload_bytes: template.payload_bytes as u64,
                wire_bytes: template.bytes().len() as u64,
            },
        );
    }
}

/// The place whose turn it is.
struct Turned {
    /// Index among the lane's places.
    index: usize,
    place: Place,
}

/// Why a batch was not taken.
enum Failure {
    Refused(ErrorCode),
    Broken(ClientError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Broken(error)
    }
}

/// What tells that a batch was taken.
enum Answer {
    Produce(PendingBytes, i16),
    Fence(PendingBytes),
}

impl Answer {
    /// The batch's offset; -1 where the broker does not tell.
    async fn offset(self) -> Result<i64, Failure> {
        match self {
            Answer::Fence(pending) => {
                pending.await?;
                Ok(-1)
            }
            Answer::Produce(pending, version) => {
                let bytes = pending.await?;
                let api = ApiKey::PRODUCE;
                let answer = ProduceResponse::decode(&mut Reader::new(bytes), version)
                    .map_err(|source| ClientError::Decode { api, version, source })?;
                let partition = answer.responses.first().and_then(|topic| topic.partition_responses.first());
                match partition {
                    Some(partition) if partition.error_code == 0 => Ok(partition.base_offset),
                    Some(partition) => Err(Failure::Refused(ErrorCode::from(partition.error_code))),
                    None => Err(Failure::Refused(ErrorCode::UNKNOWN_SERVER_ERROR)),
                }
            }
        }
    }
}

/// Whose turn it is, first come, first served.
#[derive(Default)]
struct Turn {
    taken: Cell<bool>,
    waiting: RefCell<VecDeque<Waker>>,
}

impl Turn {
    async fn take(&self) -> TurnTaken<'_> {
        poll_fn(|cx| {
            if self.taken.replace(true) {
                self.waiting.borrow_mut().push_back(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        TurnTaken { turn: self }
    }
}

struct TurnTaken<'a> {
    turn: &'a Turn,
}

impl Drop for TurnTaken<'_> {
    fn drop(&mut self) {
        self.turn.taken.set(false);
        if let Some(next) = self.turn.waiting.borrow_mut().pop_front() {
            next.wake();
        }
    }
}

/// Waits until the tasks have ended; those that go on for [`DRAIN`] beyond the window count as an error.
pub(crate) async fn finish(rt: &Rt, clock: Clock, window: Window, tasks: &[TaskHandle], recorder: &Recorder) {
    while tasks.iter().any(|task| !task.is_finished()) {
        if clock.now_ns() > window.end_ns().saturating_add(nanos(DRAIN)) {
            let left = tasks.iter().filter(|task| !task.is_finished()).count();
            for _ in 0..left {
                let late = DRAIN.as_secs();
                recorder.error(format!("unfinished {late} s after the end: no answer, or more offered than was taken"));
            }
            tasks.iter().for_each(TaskHandle::cancel);
            return;
        }
        rt.sleep(Duration::from_millis(2)).await;
    }
}

/// Keys and values per second that an open loop offers, in bytes.
pub(crate) fn offered(load: &Load) -> Option<f64> {
    load.records_per_second().map(|rate| rate * u64_to_f64(load.records.record_bytes() as u64))
}
