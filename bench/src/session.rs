//! One load after the other: threads are started, the window is opened, the live line is written, the broker is watched.
//!
//! The main thread owns this. Each thread of a load prepares (connects), says so, waits for the window and works until it is
//! over. A thread that cannot prepare ends the load before it begins.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use kringle_runtime::{Answer, Host, LocalBoxFuture, RealOptions, Reply, Rt, oneshot};

use crate::broker_stats::{BrokerUse, BrokerWatch, OwnUse};
use crate::cli;
use crate::cluster::Cluster;
use crate::error::BenchError;
use crate::interrupt;
use crate::measure::{Amount, Clock, Series, Window, nanos};
use crate::plan::Timing;
use crate::units::{grouped, latency, significant, u64_to_f64};

/// Between the last thread's being ready and the first request.
const HEAD_START: Duration = Duration::from_millis(20);
/// How often the live line changes.
const LIVE: Duration = Duration::from_secs(1);

/// What all loads of a command line share.
pub(crate) struct Session {
    host: Host,
    pub(crate) clock: Clock,
    pub(crate) threads: usize,
    pub(crate) cluster: Cluster,
    quiet: bool,
    watch: BrokerWatch,
}

/// What a load was besides its series.
pub(crate) struct Observed {
    /// How long was measured, and how long should have been.
    pub(crate) measured: Duration,
    pub(crate) planned: Duration,
    /// Or why it is not known.
    pub(crate) broker: Result<BrokerUse, String>,
    pub(crate) own: OwnUse,
    /// What the broker's metrics have grown by; empty without --metrics.
    pub(crate) metrics: Vec<(String, f64)>,
}

/// Given to each thread: says that it is ready, gives the window.
pub(crate) struct Gate {
    ready: mpsc::Sender<Result<(), BenchError>>,
    opened: Answer<Window>,
}

impl Gate {
    /// To be called when everything is connected. `None`: the load does not take place.
    pub(crate) async fn pass(self) -> Option<Window> {
        self.ready.send(Ok(())).ok()?;
        self.opened.await
    }
}

/// What a thread of a load does: prepare, pass the gate, work.
pub(crate) type Work = Arc<dyn Fn(Rt, usize, Gate) -> LocalBoxFuture<'static, Result<(), BenchError>> + Send + Sync>;

impl Session {
    /// Connects and makes the topics ready.
    pub(crate) fn begin(target: &cli::Target, run: &cli::Run) -> Result<Session, BenchError> {
        let clock = Clock::start();
        interrupt::watch(clock).map_err(|source| BenchError::Io { what: "waiting for signals".to_owned(), source })?;
        let host = Host::real(RealOptions { receive_buffers: 1024, ..RealOptions::default() })?;
        let target = target.clone();
        let cluster = on_runtime(&host, move |rt| Box::pin(async move { Cluster::prepare(&rt, &target).await }))??;
        let watch = BrokerWatch::new(cluster.bootstrap, run.broker_pid, run.metrics.clone())?;
        Ok(Session { host, clock, threads: run.threads, cluster, quiet: run.quiet, watch })
    }

    /// Asks or tells the broker something between loads.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Rt, Cluster) -> LocalBoxFuture<'static, T> + Send + 'static,
    ) -> Result<T, BenchError> {
        let cluster = self.cluster.clone();
        on_runtime(&self.host, move |rt| question(rt, cluster))
    }

    /// Runs a load on all threads. `title` and the first of `series` make the live line.
    pub(crate) fn load(
        &self,
        title: &str,
        timing: Timing,
        series: &[Arc<Series>],
        work: &Work,
    ) -> Result<Observed, BenchError> {
        interrupt::load_begins();
        let (ready, prepared) = mpsc::channel();
        let (mut running, mut gates) = (Vec::new(), Vec::new());
        for thread in 0..self.threads {
            let (open, opened) = oneshot();
            gates.push(open);
            let gate = Gate { ready: ready.clone(), opened };
            let (ready, work) = (ready.clone(), Arc::clone(work));
            let started = self.host.start(&format!("load-{thread}"), thread, None, move |rt| {
                Box::pin(async move {
                    if let Err(error) = work(rt, thread, gate).await {
                        // The load may have begun already; then the error is found after the threads have ended.
                        drop(ready.send(Err(error)));
                    }
                })
            });
            running.push(started.map_err(|source| BenchError::Io { what: "starting a thread".to_owned(), source })?);
        }
        drop(ready);
        let mut failed = None;
        for _ in 0..self.threads {
            if let Ok(Err(error)) | Err(error) = prepared.recv().map_err(|_| lost()) {
                failed.get_or_insert(error);
            }
        }
        let observed = match failed {
            // Dropping the gates tells the threads that nothing will happen.
            Some(error) => {
                drop(gates);
                Err(error)
            }
            None => Ok(self.watch_load(title, timing, series, gates, || {
                running.iter().all(kringle_runtime::Running::is_finished)
            })),
        };
        for thread in running {
            thread.join()?;
        }
        let observed = observed?;
        match prepared.try_recv() {
            Ok(Err(error)) => Err(error),
            _ => Ok(observed),
        }
    }

    /// Opens the gates and stays until the window is over or all threads have ended.
    fn watch_load(
        &self,
        title: &str,
        timing: Timing,
        series: &[Arc<Series>],
        gates: Vec<Reply<Window>>,
        ended: impl Fn() -> bool,
    ) -> Observed {
        let load_ns = self.clock.now_ns() + nanos(HEAD_START);
        let measure_ns = load_ns.saturating_add(nanos(timing.warmup));
        let window = Window { load_ns, measure_ns, planned_end_ns: measure_ns.saturating_add(nanos(timing.duration)) };
        for gate in gates {
            gate.send(window);
        }
        let mut line = LiveLine::new(title, self.quiet);
        self.sleep_until(|| window.measure_ns.min(window.end_ns()), &ended, || line.write(None, series));
        let (broker, mut own) = (self.watch.begin(), OwnUse::begin());
        self.sleep_until(
            || window.end_ns(),
            &ended,
            || line.write(Some(self.clock.now_ns().saturating_sub(window.measure_ns)), series),
        );
        let measured = window.measured(self.clock.now_ns());
        own.end();
        let (broker_use, metrics) = broker.end();
        // Late answers count, so the threads stay for them.
        let soon_ns = self.clock.now_ns() + nanos(LIVE);
        self.sleep_until(|| soon_ns, &ended, || ());
        if !ended() {
            line.waits_for_answers();
            self.sleep_until(|| u64::MAX, &ended, || ());
        }
        line.clear();
        Observed { measured, planned: timing.duration, broker: broker_use, own, metrics }
    }

    /// Calls `tick` each second meanwhile.
    fn sleep_until(&self, time_ns: impl Fn() -> u64, ended: impl Fn() -> bool, mut tick: impl FnMut()) {
        let mut next_tick_ns = self.clock.now_ns() + nanos(LIVE);
        loop {
            let (now_ns, time_ns) = (self.clock.now_ns(), time_ns());
            if now_ns >= time_ns || ended() {
                return;
            }
            if now_ns >= next_tick_ns {
                tick();
                next_tick_ns += nanos(LIVE);
            }
            let nap_ns = (time_ns - now_ns).min(next_tick_ns.saturating_sub(now_ns)).min(20_000_000);
            std::thread::sleep(Duration::from_nanos(nap_ns));
        }
    }
}

fn lost() -> BenchError {
    let source = std::io::Error::other("it ended before it was ready");
    BenchError::Io { what: "a thread of the load".to_owned(), source }
}

/// Runs something short on a thread with a runtime.
fn on_runtime<T: Send + 'static>(
    host: &Host,
    work: impl FnOnce(Rt) -> LocalBoxFuture<'static, T> + Send + 'static,
) -> Result<T, BenchError> {
    let (give, take) = mpsc::channel();
    let thread = host.start("ask", 0, None, move |rt| {
        Box::pin(async move {
            let result = work(rt).await;
            give.send(result).expect("the main thread waits for it");
        })
    });
    let thread = thread.map_err(|source| BenchError::Io { what: "starting a thread".to_owned(), source })?;
    thread.join()?;
    take.recv().map_err(|_| lost())
}

/// What is going on, on standard error: overwritten on a terminal, a line each second elsewhere.
struct LiveLine {
    title: String,
    quiet: bool,
    terminal: bool,
    /// Intervals of the first series at the last line.
    intervals_before: usize,
}

impl LiveLine {
    fn new(title: &str, quiet: bool) -> LiveLine {
        let terminal = std::io::stderr().is_terminal();
        LiveLine { title: title.to_owned(), quiet, terminal, intervals_before: 0 }
    }

    /// `elapsed_ns` of the measured window; `None` is the warm-up, of which nothing is published.
    fn write(&mut self, elapsed_ns: Option<u64>, series: &[Arc<Series>]) {
        if self.quiet {
            return;
        }
        let text = match elapsed_ns {
            None => format!("{}: warming up", self.title),
            Some(elapsed_ns) => {
                let mut text = format!("{}: {:>3.0} s", self.title, u64_to_f64(elapsed_ns) / 1e9);
                for (index, one) in series.iter().enumerate() {
                    text.push_str(&self.of_series(one, index == 0));
                }
                text
            }
        };
        self.put(&text);
    }

    fn of_series(&mut self, series: &Series, first: bool) -> String {
        let totals = series.totals();
        let errors: u64 = totals.errors.values().sum();
        let errors = if errors == 0 { String::new() } else { format!(", {} ERRORS", grouped(u64_to_f64(errors))) };
        let seconds = series.interval.as_secs_f64();
        // The newest second that is whole; the intervals behind it may not have been handed over by all threads.
        let per_line = (LIVE.as_secs_f64() / seconds).round().max(1.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 50")]
        let count = per_line as usize;
        let end = totals.intervals.len();
        let newest = &totals.intervals[end.saturating_sub(count)..end];
        let stalled = first && end == self.intervals_before;
        if first {
            self.intervals_before = end;
        }
        let mut amount = Amount::default();
        let mut worst_ns = 0;
        for interval in newest.iter().filter(|_| !stalled) {
            amount.add(interval.amount);
            worst_ns = worst_ns.max(interval.latency.max());
        }
        let per_second = |count: u64| u64_to_f64(count) / (per_line * seconds);
        if amount.records == 0 {
            let requests = significant(per_second(amount.requests));
            return format!(" | {} {requests}/s, max {}{errors}", series.name, latency(worst_ns));
        }
        format!(
            " | {} {} MB/s, {} records/s, max {}{errors}",
            series.name,
            significant(per_second(amount.wire_bytes) / 1e6),
            grouped(per_second(amount.records)),
            latency(worst_ns),
        )
    }

    fn waits_for_answers(&mut self) {
        if !self.quiet {
            self.put(&format!("{}: waiting for the last answers", self.title));
        }
    }

    fn put(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        // A live line that cannot be written is no reason to stop.
        drop(if self.terminal { write!(stderr, "\r\x1b[2K{text}") } else { writeln!(stderr, "{text}") });
        drop(stderr.flush());
    }

    fn clear(&self) {
        if self.terminal && !self.quiet {
            drop(write!(std::io::stderr().lock(), "\r\x1b[2K"));
        }
    }
}
