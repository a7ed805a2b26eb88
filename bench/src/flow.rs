//! Records that are produced and consumed at once: the engine of `e2e`, `fan-out` and `catch-up`.
//!
//! Each thread produces to its partitions and reads them, so that a batch's way is followed without a lock. A batch is known by
//! its partition and base offset, which the producer learns from the acknowledgement and the consumer from the header. Either may
//! come first; when both have, the latency is known. That works for any codec, and depends on no clock but ours and on no
//! timestamp that a broker may replace.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kringle_runtime::{Answer, Reply, Rt, TaskHandle, oneshot};
use rustc_hash::FxHashMap;

use crate::cluster::Place;
use crate::error::BenchError;
use crate::measure::{Amount, Clock, Recorder, Series, Window, nanos};
use crate::pace::Batch;
use crate::plan::{ReadPlan, Timing};
use crate::producer::{Job, Lane, finish, offered};
use crate::reader::{ReadFailure, Reader};
use crate::report::Outcome;
use crate::rereading::again_and_again;
use crate::session::{Session, Work};
use crate::workloads::produce::begin;

/// Longest wait for consumers to see what was acknowledged.
const LAST_SIGHT: Duration = Duration::from_secs(10);

/// What flows.
#[derive(Clone)]
pub(crate) struct Flow {
    pub(crate) job: Arc<Job>,
    pub(crate) read: ReadPlan,
    /// Consumers, each of which reads everything.
    pub(crate) consumers: usize,
    /// A batch is sent when the one before was consumed.
    pub(crate) ping: bool,
    /// Besides, everything is read again from the beginning.
    pub(crate) backlog: Option<Arc<Backlog>>,
}

/// What is known of reading the backlog when the load is over.
#[derive(Default)]
pub(crate) struct Backlog {
    /// How long the slowest thread took to read it once; 0 while none has.
    pub(crate) first_pass_ns: AtomicU64,
    /// What all threads read meanwhile, on the wire.
    pub(crate) first_pass_bytes: AtomicU64,
}

/// Runs a flow and measures both ends.
pub(crate) fn run(session: &Session, title: &str, flow: &Flow, timing: Timing) -> Result<Outcome, BenchError> {
    let open = flow.job.load.rate.is_some();
    let (to_ack, to_consumer) =
        if open { ("due to acknowledged", "due to consumed") } else { ("sent to acknowledged", "sent to consumed") };
    let mut series = vec![
        Series::new("produced", Some(to_ack), timing.duration),
        Series::new("consumed", Some(to_consumer), timing.duration),
    ];
    if flow.backlog.is_some() {
        series.push(Series::new("backlog read", Some("fetch to answer"), timing.duration));
    }
    let (clock, threads, recorded, flow) = (session.clock, session.threads, series.clone(), flow.clone());
    let job = Arc::clone(&flow.job);
    let work: Work = Arc::new(move |rt, thread, gate| {
        let (flow, series) = (flow.clone(), recorded.clone());
        Box::pin(async move {
            let prepared = Prepared::new(&rt, clock, &flow, thread, threads).await?;
            let Some(window) = gate.pass().await else { return Ok(()) };
            let recorders: Vec<_> = series.iter().map(|one| one.recorder(window)).collect();
            begin(&rt, clock, window).await;
            prepared.run(&rt, clock, window, &flow, &recorders).await
        })
    });
    let observed = session.load(title, timing, &series, &work)?;
    let mut outcome = Outcome::new(title, session.threads, observed, &series);
    outcome.offered_mb_s = offered(&job.load).map(|rate| rate / 1e6);
    outcome.compression_ratio = Some(job.templates.ratio());
    outcome.batch_wire_bytes = Some(job.templates.full().bytes().len());
    Ok(outcome)
}

/// A thread's connections.
struct Prepared {
    lanes: Vec<Lane>,
    /// Of all consumers.
    tails: Vec<Reader>,
    backlog: Vec<Reader>,
}

impl Prepared {
    async fn new(rt: &Rt, clock: Clock, flow: &Flow, thread: usize, threads: usize) -> Result<Prepared, BenchError> {
        let cluster = &flow.job.cluster;
        let places = flow.job.places_of_thread(thread, threads);
        let ends = cluster.offsets(rt, &places, -1).await?;
        let mut tails = Vec::new();
        for _ in 0..flow.consumers {
            tails.extend(Reader::open_all(rt, cluster, &flow.read, &places, &ends).await?);
        }
        let mut backlog = Vec::new();
        if flow.backlog.is_some() {
            let starts = cluster.offsets(rt, &places, -2).await?;
            backlog = Reader::open_all(rt, cluster, &flow.read, &places, &starts).await?;
        }
        let mut lanes = Vec::new();
        for number in flow.job.lanes_of(thread, threads) {
            lanes.push(Lane::open(rt, clock, &flow.job, number).await?);
        }
        Ok(Prepared { lanes, tails, backlog })
    }

    async fn run(
        self,
        rt: &Rt,
        clock: Clock,
        window: Window,
        flow: &Flow,
        recorders: &[Recorder],
    ) -> Result<(), BenchError> {
        let (produced, consumed) = (&recorders[0], &recorders[1]);
        let sightings = Rc::new(Sightings {
            clock,
            consumers: flow.consumers,
            record_bytes: flow.job.load.records.record_bytes() as u64,
            recorder: consumed.clone(),
            ping: flow.ping,
            known: RefCell::default(),
        });
        let mut readers = Vec::new();
        for reader in self.tails {
            let sightings = Rc::clone(&sightings);
            readers.push(rt.spawn(async move { sightings.follow(reader).await }));
        }
        if let (Some(backlog), Some(recorder)) = (&flow.backlog, recorders.get(2)) {
            for reader in self.backlog {
                let (backlog, recorder) = (Arc::clone(backlog), recorder.clone());
                readers.push(rt.spawn(async move { backlog.read(reader, clock, window, recorder).await }));
            }
        }
        let mut tasks: Vec<TaskHandle> = Vec::new();
        for lane in self.lanes {
            let sightings = Rc::clone(&sightings);
            let tell = move |place: Place, offset: i64, batch: &Batch| sightings.acknowledged(place, offset, batch);
            tasks.extend(lane.start(window, produced, Some(Rc::new(tell)))?);
        }
        finish(rt, clock, window, &tasks, produced).await;
        let last_ns = clock.now_ns().saturating_add(nanos(LAST_SIGHT));
        while sightings.missing() > 0 && clock.now_ns() < last_ns {
            rt.sleep(Duration::from_millis(2)).await;
        }
        for _ in 0..sightings.missing() {
            consumed.error(format!("acknowledged, and not consumed {} s later", LAST_SIGHT.as_secs()));
        }
        readers.iter().for_each(TaskHandle::cancel);
        Ok(())
    }
}

/// What is known of batches that not all consumers have seen, or whose acknowledgement is still to come.
struct Sightings {
    clock: Clock,
    consumers: usize,
    record_bytes: u64,
    recorder: Recorder,
    ping: bool,
    known: RefCell<FxHashMap<(Place, i64), Sighting>>,
}

#[derive(Default)]
struct Sighting {
    sent: Option<Batch>,
    /// When each consumer saw it, before it was known what it was.
    early_ns: Vec<u64>,
    seen: usize,
    /// Who waits until all have seen it.
    waits: Option<Reply<()>>,
}

impl Sightings {
    /// One consumer, until the connection breaks or the task is cancelled.
    async fn follow(&self, mut reader: Reader) {
        loop {
            let fetched = reader.fetch(|place, batch| self.seen(place, batch.header().base_offset)).await;
            match fetched {
                Ok(amount) => {
                    let payload_bytes = amount.records * self.record_bytes;
                    self.recorder.done(self.clock.now_ns(), Amount { payload_bytes, ..amount });
                }
                Err(ReadFailure::Refused(why)) => self.recorder.error(format!("fetch: {why}")),
                Err(ReadFailure::Broken(error)) => return self.recorder.error(format!("fetch: {error}")),
            }
        }
    }

    fn acknowledged(&self, place: Place, offset: i64, batch: &Batch) -> Option<Answer<()>> {
        let mut known = self.known.borrow_mut();
        let sighting = known.entry((place, offset)).or_default();
        sighting.sent = Some(*batch);
        for seen_ns in std::mem::take(&mut sighting.early_ns) {
            self.record(batch, seen_ns);
        }
        if sighting.seen >= self.consumers {
            known.remove(&(place, offset));
            return None;
        }
        self.ping.then(|| {
            let (reply, answer) = oneshot();
            sighting.waits = Some(reply);
            answer
        })
    }

    fn seen(&self, place: Place, offset: i64) {
        let now_ns = self.clock.now_ns();
        let mut known = self.known.borrow_mut();
        let sighting = known.entry((place, offset)).or_default();
        sighting.seen += 1;
        match sighting.sent {
            None => sighting.early_ns.push(now_ns),
            Some(batch) => {
                self.record(&batch, now_ns);
                if sighting.seen >= self.consumers {
                    if let Some(waits) = sighting.waits.take() {
                        waits.send(());
                    }
                    known.remove(&(place, offset));
                }
            }
        }
    }

    fn record(&self, batch: &Batch, seen_ns: u64) {
        for (latency_ns, records) in batch.latencies(seen_ns) {
            self.recorder.latency(seen_ns, latency_ns, records);
        }
    }

    /// Acknowledged batches that some consumer has not seen.
    fn missing(&self) -> usize {
        self.known.borrow().values().filter(|sighting| sighting.sent.is_some()).count()
    }
}

impl Backlog {
    /// Reads it again and again, and notes what the first time took.
    async fn read(&self, reader: Reader, clock: Clock, window: Window, recorder: Recorder) {
        let began_ns = clock.now_ns();
        // The backlog may be older than this run, and its records of another size than those that are sent.
        let record_bytes = 0;
        again_and_again(reader, clock, window, &recorder, record_bytes, |fetched| {
            if fetched.pass > 0 {
                return;
            }
            self.first_pass_bytes.fetch_add(fetched.amount.wire_bytes, Ordering::Relaxed);
            if fetched.ends_pass {
                self.first_pass_ns.fetch_max(clock.now_ns() - began_ns, Ordering::Relaxed);
            }
        })
        .await;
    }
}
