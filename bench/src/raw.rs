//! `kringle-bench raw`: the thin load, for side-by-side comparisons.
//!
//! One thread sends requests that were encoded before the run, so that nearly all the work between two answers is the
//! broker's. It checks error codes and nothing else; the other workloads of this binary behave as clients do. Each run prints one
//! line of JSON; one with errors ends with status 1.

mod connection;
mod drive;
mod fetching;
mod idle;
mod producing;
mod report;
mod seeking;
mod wire;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use connection::Connection;
use drive::{Load, Pace};
use report::Report;

use crate::{frames, process};

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RawError {
    /// No broker there, or out of descriptors here.
    #[error("{addr}: cannot connect ({source})")]
    Connect { addr: SocketAddr, source: std::io::Error },
    /// The broker ended, or did not like what it got; its log says which.
    #[error("connection closed by the broker")]
    Closed,
    /// The socket failed.
    #[error("connection lost ({0})")]
    Io(#[from] std::io::Error),
    /// More answers than requests.
    #[error("an answer to no request")]
    Unasked,
    /// An answer that ends too early for what it must hold.
    #[error("the answer is no {0} answer")]
    Malformed(&'static str),
    /// The topic could not be created.
    #[error("topic {topic}: error code {code}")]
    NotCreated { topic: String, code: i16 },
}

/// What the thin load does.
#[derive(Debug, Args)]
pub(crate) struct RawArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create a topic with one replica, or find it there
    Create(Target),
    /// Send the same batches again and again
    Produce(producing::ProduceArgs),
    /// Read a topic that `produce` filled, from its start, again and again
    Fetch(fetching::FetchArgs),
    /// Read what a `produce --stamp` is sending, and say how old it is on arrival
    Tail(fetching::TailArgs),
    /// Ask for some places of a log again and again, by offset or by time
    Seek(seeking::SeekArgs),
    /// Open connections that have asked once and then say nothing, until standard input closes
    Idle(idle::IdleArgs),
}

/// Which broker and topic.
#[derive(Debug, Args)]
struct Target {
    /// host:port of the broker
    #[arg(long, default_value = "127.0.0.1:9092")]
    broker: SocketAddr,
    /// Topic
    #[arg(long)]
    topic: String,
    /// Its partitions
    #[arg(long, default_value_t = 4)]
    partitions: u16,
}

/// How long, and whose CPU time is counted.
#[derive(Debug, Args)]
struct Span {
    /// Connections
    #[arg(long, default_value_t = 4)]
    conns: usize,
    /// Seconds that count
    #[arg(long, default_value_t = 10.0)]
    secs: f64,
    /// Seconds before them
    #[arg(long, default_value_t = 2.0)]
    warm: f64,
    /// Process of the broker, for its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
}

impl Span {
    fn pace(&self, in_flight: usize, requests_per_s: Option<f64>) -> Pace {
        let counted = Some(Duration::from_secs_f64(self.secs));
        Pace { in_flight, requests_per_s, warm: Duration::from_secs_f64(self.warm), counted }
    }
}

/// Runs what the command line asks for.
pub(crate) fn main(args: &RawArgs) -> ExitCode {
    let done = match &args.what {
        What::Create(target) => create(target).map(|()| ExitCode::SUCCESS),
        What::Produce(args) => producing::run(args).map(printed),
        What::Fetch(args) => fetching::run(args).map(printed),
        What::Tail(args) => fetching::run_tail(args).map(printed),
        What::Seek(args) => seeking::run(args).map(printed),
        What::Idle(args) => idle::run(args).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn printed(report: Report) -> ExitCode {
    println!("{}", serde_json::to_string(&report).expect("a report is plain numbers"));
    if report.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Opens the connections and runs the load over them.
fn measure(
    mode: &'static str,
    target: &Target,
    span: &Span,
    head_bytes: Option<usize>,
    pace: &Pace,
    load: &mut impl Load,
) -> Result<Report, RawError> {
    let mut connections =
        (0..span.conns).map(|_| Connection::open(target.broker, head_bytes)).collect::<Result<Vec<_>, _>>()?;
    let mut before = None;
    let (tally, took) = drive::drive(load, &mut connections, pace, || before = span.pid.and_then(process::used))?;
    let used = span.pid.zip(before).and_then(|(pid, before)| process::used_since(pid, before));
    Ok(Report::new(mode, &tally, took, used))
}

/// One request and its answer, without its length.
fn call(broker: SocketAddr, request: &[u8]) -> Result<(TcpStream, Vec<u8>), RawError> {
    let mut socket = TcpStream::connect(broker).map_err(|source| RawError::Connect { addr: broker, source })?;
    socket.write_all(request)?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut answer = Vec::new();
    (&socket).take(u64::from(u32::from_be_bytes(length))).read_to_end(&mut answer)?;
    Ok((socket, answer))
}

fn create(target: &Target) -> Result<(), RawError> {
    const TOPIC_ALREADY_EXISTS: i16 = 36;
    let (_, answer) = call(target.broker, &frames::create_topic(&target.topic, i32::from(target.partitions)))?;
    match wire::created(&answer).ok_or(RawError::Malformed("CreateTopics"))? {
        0 | TOPIC_ALREADY_EXISTS => Ok(()),
        code => Err(RawError::NotCreated { topic: target.topic.clone(), code }),
    }
}
