//! The command line: one subcommand for each workload, and the groups of options that they share.
//!
//! What the options add up to is decided in `plan`; here is only what may be said and what it is called.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::floor::FloorArgs;
use crate::limits::LimitsArgs;
use crate::memory::{DropCacheArgs, HoldMemoryArgs};
use crate::plan::{Codec, Payload};
use crate::raw::RawArgs;
use crate::sparse::SparseLogArgs;
use crate::units::{Rate, parse_duration, parse_rate, parse_size};

const AFTER_HELP: &str = "\
Units: kB, MB, GB are powers of ten, KiB, MiB, GiB powers of two; durations are 500us, 5ms, 10s, 2m, and seconds without a unit. MB/s of produced data
counts keys and values before compression; `wire` counts record batches as they are sent.

Memory: on a virtual machine the first touch of a page is a fault in the host, ten times as dear as the write itself. A broker
that has just started, or a page cache that has just been emptied, then shows the host's figures, not the broker's. So this
program reuses its buffers, warms up before it measures (--warmup), and you should compare brokers in one session, on a
machine whose memory has been used before (`hold-memory` keeps it so).

Exit code: 0 when nothing failed, 1 when the run had errors (the report then begins with them), 2 for a wrong command line.";

/// Loads a Kafka-compatible broker and reports throughput, latency and what it cost the broker.
#[derive(Debug, Parser)]
#[command(name = "kringle-bench", version, about, after_help = AFTER_HELP, max_term_width = 120)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one value in the life of the program")]
pub(crate) enum Command {
    /// A workload on a broker.
    #[command(flatten)]
    Load(Workload),
    /// The thin load of side-by-side comparisons: requests encoded beforehand, one thread
    Raw(RawArgs),
    /// The machine's floor: a one-core broker that only receives, checks, writes and answers
    Floor(FloorArgs),
    /// Keep memory touched, so that figures are the broker's and not the host's
    HoldMemory(HoldMemoryArgs),
    /// Drop the page cache of every file below a directory: what is read next comes from the disk
    DropCache(DropCacheArgs),
    /// How fast this machine does the things that a broker is made of
    Limits(LimitsArgs),
    /// Lay a long log that is mostly holes into a partition of a stopped broker
    SparseLog(SparseLogArgs),
}

/// The workloads.
#[derive(Debug, Subcommand)]
pub(crate) enum Workload {
    /// Produce as fast as the broker answers, or at a given --rate
    Produce(Produce),
    /// Read a topic again and again from its beginning
    Consume(Consume),
    /// From the moment a record should be produced to the moment a consumer has it
    E2e(E2e),
    /// One stream of records, read by N consumers each
    FanOut(FanOut),
    /// Read a backlog while a live producer and a live consumer go on, against the same without it
    CatchUp(CatchUp),
    /// Many connections, each of which sends little
    SmallProducers(SmallProducers),
    /// Members that join, work, commit and leave
    GroupChurn(GroupChurn),
    /// Find the peak, then offer 10, 20 ... 110 % of it
    Sweep(Sweep),
    /// The same load with every codec and level
    Codecs(Codecs),
    /// The same load with growing batches
    BatchSizes(BatchSizes),
}

/// Which broker and which topics.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Broker and topics")]
pub(crate) struct Target {
    /// Any broker of the cluster
    #[arg(short, long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub(crate) broker: String,
    /// Name of the topic; further topics are NAME-1, NAME-2 ...
    #[arg(short, long, default_value = "bench")]
    pub(crate) topic: String,
    /// Number of topics
    #[arg(long, default_value = "1", value_parser = parse_count, value_name = "N")]
    pub(crate) topics: usize,
    /// Partitions of each topic that has to be created; one that exists keeps its own
    #[arg(short, long, default_value_t = 4, value_name = "N")]
    pub(crate) partitions: i32,
    /// Replicas of each partition that has to be created
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) replication: i16,
    /// Config of topics that have to be created, may be given several times
    #[arg(long = "topic-config", value_name = "KEY=VALUE")]
    pub(crate) topic_configs: Vec<String>,
    /// Delete the topics first, so that the run begins with empty ones
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Delete the topics at the end
    #[arg(long)]
    pub(crate) delete: bool,
}

/// How long, how parallel, and where the results go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Run and report")]
pub(crate) struct Run {
    /// Load that is not measured
    ///
    /// It connects and fills caches, and it touches memory. On a virtual machine the first touch of a page is a fault in the
    /// host, ten times as dear as the write itself: a broker measured on untouched memory shows the host's figures. This
    /// program reuses its own buffers for the same reason; `hold-memory` keeps the machine's memory touched between runs.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    pub(crate) warmup: Duration,
    /// Load that is measured
    #[arg(short, long, default_value = "10s", value_parser = parse_some_time)]
    pub(crate) duration: Duration,
    /// Threads of this program; partitions and connections are divided among them
    #[arg(long, default_value = "1", value_parser = parse_count, value_name = "N")]
    pub(crate) threads: usize,
    /// Writes the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Writes the report as one HTML page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// A line for the report, of what is compared with what
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// No live line
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The broker's process on this machine; without it the one that listens on the broker's port is looked for
    #[arg(long, value_name = "PID")]
    pub(crate) broker_pid: Option<u32>,
    /// The broker's Prometheus metrics (Kringle: kringle.admin.listener)
    #[arg(long, value_name = "http://HOST:PORT/metrics")]
    pub(crate) metrics: Option<String>,
}

/// What the records are and how they are batched.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Records and batches")]
pub(crate) struct Records {
    /// Bytes of a value
    #[arg(short, long, default_value = "1KiB", value_parser = parse_size)]
    pub(crate) size: usize,
    /// Bytes of a key; 0 is no key
    #[arg(long, default_value = "0", value_parser = parse_size, value_name = "SIZE")]
    pub(crate) key_size: usize,
    /// Number of different keys
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) keys: usize,
    /// What values look like
    #[arg(long, default_value = "random", value_enum)]
    pub(crate) payload: Payload,
    /// A batch is full at so many bytes before compression; 16KiB if neither this nor --batch-records is given
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    pub(crate) batch_bytes: Option<usize>,
    /// A batch is full at so many records
    #[arg(long, value_name = "N")]
    pub(crate) batch_records: Option<usize>,
    /// How long an open loop waits for a batch to fill; the wait counts as latency. A closed loop sends full batches
    #[arg(long, default_value = "5ms", value_parser = parse_duration)]
    pub(crate) linger: Duration,
    /// none, gzip, snappy, lz4 or zstd, with a level if wanted: zstd:6 (lz4: 9 is the fast one, as in Kafka)
    #[arg(short, long, default_value = "none", value_name = "CODEC[:LEVEL]")]
    pub(crate) compression: Codec,
    /// The same seed gives the same records
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// How they are sent.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sending")]
pub(crate) struct Sending {
    /// Connections, each a producer of its own
    #[arg(long, default_value = "1", value_parser = parse_count, value_name = "N")]
    pub(crate) connections: usize,
    /// Produce requests under way on each connection
    #[arg(long, default_value = "5", value_parser = parse_count, value_name = "N")]
    pub(crate) in_flight: usize,
    /// 0, 1 or all
    #[arg(long, default_value = "all", value_parser = parse_acks, allow_hyphen_values = true)]
    pub(crate) acks: i16,
    /// Idempotent producers: each batch carries producer id and sequence
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// Open loop at this rate: 300MB/s or 50k/s (records, also without a unit); without it a closed loop at full speed
    #[arg(short, long, value_parser = parse_rate)]
    pub(crate) rate: Option<Rate>,
}

/// How they are read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reading")]
pub(crate) struct Reading {
    /// Most bytes of one answer
    #[arg(long, default_value = "50MiB", value_parser = parse_size, value_name = "SIZE")]
    pub(crate) fetch_max_bytes: usize,
    /// Most bytes of one partition in an answer
    #[arg(long, default_value = "1MiB", value_parser = parse_size, value_name = "SIZE")]
    pub(crate) fetch_partition_bytes: usize,
    /// The broker waits for so many bytes ...
    #[arg(long, default_value = "1", value_parser = parse_size, value_name = "SIZE")]
    pub(crate) fetch_min_bytes: usize,
    /// ... but no longer than this
    #[arg(long, default_value = "500ms", value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) fetch_max_wait: Duration,
    /// Checks every batch's CRC and decodes every record, which costs this program more than fetching them
    #[arg(long)]
    pub(crate) verify: bool,
}

/// `produce`
#[derive(Args, Debug)]
pub(crate) struct Produce {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) records: Records,
    #[command(flatten)]
    pub(crate) sending: Sending,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// `consume`
#[derive(Args, Debug)]
pub(crate) struct Consume {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Connections; partitions are divided among them, and read by several where there are fewer
    #[arg(long, default_value = "1", value_parser = parse_count, value_name = "N")]
    pub(crate) connections: usize,
    /// Produces until the topics hold this much before reading begins; 0 reads what is there
    #[arg(long, default_value = "256MB", value_parser = parse_size, value_name = "SIZE")]
    pub(crate) prefill: usize,
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) records: Records,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// `e2e`
#[derive(Args, Debug)]
pub(crate) struct E2e {
    #[command(flatten)]
    pub(crate) produce: Produce,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

/// `fan-out`
#[derive(Args, Debug)]
pub(crate) struct FanOut {
    /// Consumers, each of which reads everything
    #[arg(short = 'n', long, default_value = "4", value_parser = parse_count, value_name = "N")]
    pub(crate) consumers: usize,
    #[command(flatten)]
    pub(crate) e2e: E2e,
}

/// `catch-up`
#[derive(Args, Debug)]
pub(crate) struct CatchUp {
    /// What is produced before the measurement, to be read while the live load goes on; 0 reads what is there
    #[arg(long, default_value = "1GB", value_parser = parse_size, value_name = "SIZE")]
    pub(crate) backlog: usize,
    #[command(flatten)]
    pub(crate) e2e: E2e,
}

/// `small-producers`
#[derive(Args, Debug)]
pub(crate) struct SmallProducers {
    /// Producers, each with a connection
    #[arg(short = 'n', long, default_value = "500", value_parser = parse_count, value_name = "N")]
    pub(crate) producers: usize,
    /// Bytes of a value; each is a batch and a request of its own
    #[arg(short, long, default_value = "100", value_parser = parse_size)]
    pub(crate) size: usize,
    /// 0, 1 or all
    #[arg(long, default_value = "all", value_parser = parse_acks, allow_hyphen_values = true)]
    pub(crate) acks: i16,
    /// Open loop at this rate, of all producers together; without it each sends when it has its answer
    #[arg(short, long, value_parser = parse_rate)]
    pub(crate) rate: Option<Rate>,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// `group-churn`
#[derive(Args, Debug)]
pub(crate) struct GroupChurn {
    /// Consumer groups
    #[arg(long, default_value = "10", value_parser = parse_count, value_name = "N")]
    pub(crate) groups: usize,
    /// Members of each group, each with a connection
    #[arg(long, default_value = "5", value_parser = parse_count, value_name = "N")]
    pub(crate) members: usize,
    /// How long a member stays, half as long to one and a half times as long
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    pub(crate) stay: Duration,
    /// Time between two heartbeats of a member, each followed by a commit of its offsets
    #[arg(long, default_value = "100ms", value_parser = parse_duration)]
    pub(crate) heartbeat: Duration,
    /// The same seed gives the same stays
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// `sweep`
#[derive(Args, Debug)]
pub(crate) struct Sweep {
    /// Percent of the peak that are offered, each for --duration
    #[arg(long, value_delimiter = ',', default_value = "10,20,30,40,50,60,70,80,90,100,110", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) steps: Vec<u32>,
    #[command(flatten)]
    pub(crate) produce: Produce,
}

/// `codecs`
#[derive(Args, Debug)]
pub(crate) struct Codecs {
    /// Which to compare
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "none,gzip:1,gzip:6,gzip:9,snappy,lz4,lz4:12,zstd:1,zstd:3,zstd:9"
    )]
    pub(crate) codecs: Vec<Codec>,
    #[command(flatten)]
    pub(crate) produce: Produce,
}

/// `batch-sizes`
#[derive(Args, Debug)]
pub(crate) struct BatchSizes {
    /// Bytes of a batch before compression; the smallest is one record
    #[arg(long, value_delimiter = ',', value_parser = parse_size, default_value = "1kB,4kB,16kB,64kB,256kB,1MB")]
    pub(crate) sizes: Vec<usize>,
    #[command(flatten)]
    pub(crate) produce: Produce,
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "a whole number from 1 on".to_owned())
}

fn parse_some_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("more than no time".to_owned()) } else { Ok(time) }
}

fn parse_acks(text: &str) -> Result<i16, String> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        "all" | "-1" => Ok(-1),
        _ => Err("acks are 0, 1 or all".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_workload_runs_without_options() {
        for workload in
            "produce consume e2e fan-out catch-up small-producers group-churn sweep codecs batch-sizes".split(' ')
        {
            Cli::try_parse_from(["kringle-bench", workload]).unwrap_or_else(|error| panic!("{workload}: {error}"));
        }
    }

    #[test]
    fn nothing_may_be_none_or_take_no_time() {
        let wrong = "produce --connections 0|produce --in-flight 0|produce --threads 0|produce -d 0s|sweep --steps 50,0|group-churn --members 0";
        for line in wrong.split('|') {
            let words = std::iter::once("kringle-bench").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
        Cli::try_parse_from(["kringle-bench", "produce", "--acks", "-1"]).unwrap();
    }
}
