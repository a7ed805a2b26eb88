//! Produce: the same batches again and again, each connection walking over its share of the partitions.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::drive::{Load, Outcome};
use super::report::{Report, Tally};
use super::wire::{self, ProduceFrame};
use super::{RawError, Span, Target, measure};

#[derive(Debug, Args)]
pub(super) struct ProduceArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    span: Span,
    /// Requests in flight on one connection
    #[arg(long, default_value_t = 5)]
    inflight: usize,
    /// Records in a batch; a request is one batch
    #[arg(long, default_value_t = 16)]
    records: u32,
    /// Bytes in a record's value
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// 1 or -1
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    acks: i16,
    /// MB/s of values that are offered, whatever comes back; without it, as much as is answered
    #[arg(long)]
    rate: Option<f64>,
    /// Stop after so many MB of values, however long that takes, instead of after --secs
    #[arg(long)]
    total_mb: Option<u64>,
    /// Write the time into each batch, for `tail` (needs --size of at least 8)
    #[arg(long, conflicts_with = "one_batch")]
    stamp: bool,
    /// Send the same batch to all partitions, so that many partitions cost this program no more memory than one
    #[arg(long)]
    one_batch: bool,
}

/// Nanoseconds of the wall clock, which producer and consumer on one machine share.
pub(super) fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_nanos()).expect("the clock is before 2554")
}

struct Producing {
    /// One for each partition.
    frames: Vec<ProduceFrame>,
    /// What all frames end with, where they share it.
    batch: Vec<u8>,
    /// Which partition is next, for each connection.
    next: Vec<usize>,
    /// With stamps: the request being sent, for each connection.
    stamped: Option<Vec<Vec<u8>>>,
    batch_bytes: u64,
    /// Batches that may still be begun; none is no limit.
    left: Option<u64>,
    unanswered: u64,
}

impl Load for Producing {
    fn begun(&mut self) {
        self.unanswered += 1;
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    fn wants(&self, _connection: usize) -> bool {
        self.left != Some(0)
    }

    fn done(&self) -> bool {
        self.left == Some(0) && self.unanswered == 0
    }

    fn request(&mut self, connection: usize, begins: bool) -> [&[u8]; 2] {
        let frame = &self.frames[self.next[connection]];
        let Some(stamped) = &mut self.stamped else { return [&frame.bytes, &self.batch] };
        let copy = &mut stamped[connection];
        if begins {
            frame.stamped(wall_ns(), copy);
        }
        [copy, &[]]
    }

    fn sent(&mut self, connection: usize) {
        let connections = self.next.len();
        let next = &mut self.next[connection];
        *next = (*next + connections) % self.frames.len();
    }

    fn answered(&mut self, _connection: usize, head: &[u8], _tally: &mut Tally) -> Result<Outcome, RawError> {
        self.unanswered -= 1;
        let error = wire::produced(head).ok_or(RawError::Malformed("Produce"))?;
        Ok(Outcome { error, bytes: if error == 0 { self.batch_bytes } else { 0 } })
    }
}

pub(super) fn run(args: &ProduceArgs) -> Result<Report, RawError> {
    let (target, span) = (&args.target, &args.span);
    let now_ms = i64::try_from(wall_ns() / 1_000_000).expect("milliseconds fit");
    let mut batch = Vec::new();
    let frames: Vec<_> = (0..i32::from(target.partitions))
        .map(|partition| {
            let frame = ProduceFrame::new(&target.topic, partition, args.acks, args.records, args.size, now_ms);
            if !args.one_batch {
                return frame;
            }
            let (head, last_batch) = frame.without_batch();
            batch = last_batch;
            head
        })
        .collect();
    let batch_bytes = u64::from(args.records) * u64::try_from(args.size).expect("a size fits");
    let mut load = Producing {
        next: (0..span.conns).map(|connection| connection % frames.len()).collect(),
        stamped: args.stamp.then(|| vec![Vec::new(); span.conns]),
        frames,
        batch,
        batch_bytes,
        left: args.total_mb.map(|mb| (mb * 1_000_000).div_ceil(batch_bytes)),
        unanswered: 0,
    };
    #[allow(clippy::cast_precision_loss, reason = "a batch is smaller than 2^53 bytes")]
    let requests_per_s = args.rate.map(|mb| mb * 1e6 / batch_bytes as f64);
    let mut pace = span.pace(args.inflight, requests_per_s);
    if args.total_mb.is_some() {
        pace.counted = None;
    }
    measure("produce", target, span, None, &pace, &mut load)
}
