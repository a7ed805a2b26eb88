//! Runs a bench through criterion and keeps what criterion does not: the CPU time of each sample.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use kringle_bench::throughput::{Amount, CpuOf, Row, Sample};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Samples that criterion measures of each row, after the warm-up; the fewest it takes.
const SAMPLES: usize = 10;
/// `--quick` compares a sample with the one before it.
const QUICK_SAMPLES: usize = 2;
/// A row with a long preparation is over after its first iteration for criterion's quick mode; the report wants more.
const QUICK_LEAST: Duration = Duration::from_millis(50);
/// Load average from which others take part in every figure; what built the benches is in it too.
const BUSY_LOAD: f64 = 3.0;
const WARM_UP: Duration = Duration::from_millis(400);
const MEASUREMENT: Duration = Duration::from_millis(1600);
/// At most; most rows are steady sooner.
const QUICK_MEASUREMENT: Duration = Duration::from_millis(1500);
/// Resamples of criterion's statistics: its default of 100,000 would take as long as the measurement.
const RESAMPLES: usize = 2_000;

/// Collects rows.
pub(crate) struct Meter {
    criterion: Criterion,
    samples: usize,
    quick: bool,
    /// `cargo test --benches` and `--test` only try whether everything runs.
    measures: bool,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Meter {
    /// With criterion's command line.
    pub(crate) fn from_arguments() -> Meter {
        let given = |name| std::env::args().any(|argument| argument == name);
        let quick = given("--quick");
        let (samples, time) = if quick { (QUICK_SAMPLES, QUICK_MEASUREMENT) } else { (SAMPLES, MEASUREMENT) };
        let criterion = Criterion::default()
            .without_plots()
            .sample_size(SAMPLES)
            .warm_up_time(WARM_UP)
            .measurement_time(time)
            .nresamples(RESAMPLES)
            .configure_from_args();
        let measures = given("--bench") && !given("--test");
        Meter { criterion, samples, quick, measures, rows: Vec::new(), notes: Vec::new() }
    }

    /// Says what the reader of the report must know.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// As [`Meter::note`], if a row of the group was measured.
    pub(crate) fn note_about(&mut self, group: &str, note: impl Into<String>) {
        if self.rows.iter().any(|row| row.group == group) {
            self.note(note);
        }
    }

    /// What makes the figures of this machine doubtful: a host that takes memory back, others that want the cores.
    pub(crate) fn note_machine(&mut self) {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if text.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor ")) {
            self.note(
                "a virtual machine: rows that write new page cache (log append, produce) repeat on memory that this run has \
                 touched before, but the host may take freed memory back between rows",
            );
        }
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load: f64 = load.split(' ').next().and_then(|minute| minute.parse().ok()).unwrap_or(0.0);
        if load > BUSY_LOAD {
            self.note(format!("the machine was not idle: load average {load} before the first row; rates are too low"));
        }
        if self.quick {
            self.note("a --quick run: two samples of each row, less exact");
        }
    }

    /// Measures a row, unless the filter of the command line leaves it out. `work` does so many iterations and times them, all
    /// but what it does to prepare.
    pub(crate) fn row(
        &mut self,
        [group, case, way]: [&str; 3],
        amount: Amount,
        cpu_of: CpuOf,
        mut work: impl FnMut(u64, &mut Stopwatch),
    ) {
        let name = if way.is_empty() { case.to_owned() } else { format!("{case}/{way}") };
        let mut samples = Vec::new();
        let mut benches = self.criterion.benchmark_group(group);
        benches.throughput(match amount {
            Amount::Bytes(bytes) => Throughput::Bytes(bytes),
            Amount::Operations(count) => Throughput::Elements(count),
        });
        let mut sample = |iterations| {
            let mut watch = Stopwatch::new(cpu_of);
            work(iterations, &mut watch);
            Sample { iterations, wall: watch.wall, cpu: watch.cpu }
        };
        benches.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                samples.push(sample(iterations));
                samples[samples.len() - 1].wall
            });
        });
        benches.finish();
        while self.quick && self.measures && samples.last().is_some_and(|last| last.wall < QUICK_LEAST) {
            let iterations = samples[samples.len() - 1].iterations * 2;
            samples.push(sample(iterations));
        }
        if self.measures {
            // Before them come the calls of the warm-up.
            let measured = &samples[samples.len().saturating_sub(self.samples)..];
            self.rows.extend(Row::from_samples(group, case, way, amount, measured));
        }
    }

    /// As [`Meter::row`] for what needs no preparation and happens on this thread.
    pub(crate) fn pure<T>(&mut self, name: [&str; 3], amount: Amount, mut once: impl FnMut() -> T) {
        self.row(name, amount, CpuOf::Process, |iterations, watch| {
            watch.time(|| {
                for _ in 0..iterations {
                    std::hint::black_box(once());
                }
            });
        });
    }

    /// Everything that was measured, and the notes.
    pub(crate) fn finish(self) -> (Vec<Row>, Vec<String>) {
        self.criterion.final_summary();
        (self.rows, self.notes)
    }
}

/// Time on the clock and CPU time of what is between its starts and stops.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    cpu_of: CpuOf,
    started: Option<(Instant, Duration)>,
    wall: Duration,
    cpu: Duration,
}

impl Stopwatch {
    fn new(cpu_of: CpuOf) -> Stopwatch {
        Stopwatch { cpu_of, started: None, wall: Duration::ZERO, cpu: Duration::ZERO }
    }

    /// A stopwatch for another thread; [`Stopwatch::add`] brings its time home.
    pub(crate) fn another(&self) -> Stopwatch {
        Stopwatch::new(self.cpu_of)
    }

    /// Adds the time of another.
    pub(crate) fn add(&mut self, other: &Stopwatch) {
        self.wall += other.wall;
        self.cpu += other.cpu;
    }

    pub(crate) fn start(&mut self) {
        let cpu = cpu_used(self.cpu_of);
        self.started = Some((Instant::now(), cpu));
    }

    pub(crate) fn stop(&mut self) {
        let (began, cpu) = self.started.take().expect("started");
        self.wall += began.elapsed();
        self.cpu += cpu_used(self.cpu_of).saturating_sub(cpu);
    }

    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.start();
        let done = work();
        self.stop();
        done
    }
}

/// User and system time so far. Kernel workers of io_uring are threads of the process and count.
fn cpu_used(cpu_of: CpuOf) -> Duration {
    let of = |who| {
        let usage = getrusage(who).expect("getrusage takes these");
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Duration::from_micros(micros.try_into().expect("time used is not negative"))
    };
    let process = of(UsageWho::RUSAGE_SELF);
    match cpu_of {
        CpuOf::Process => process,
        CpuOf::Server => process.saturating_sub(of(UsageWho::RUSAGE_THREAD)),
    }
}

/// Parts of `iterations`, none larger than `most`: what is written is cut back between them.
pub(crate) fn rounds(iterations: u64, most: u64) -> impl Iterator<Item = u64> {
    let most = most.max(1);
    (0..iterations.div_ceil(most)).map(move |round| most.min(iterations - round * most))
}
