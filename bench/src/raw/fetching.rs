//! Fetch: a topic from its start, again and again or once; and the tail of a topic that is being written, from its end on.
//!
//! Both rely on what `produce` leaves: batches of one size in a partition, so that the first batch of an answer says how many
//! records it carries without a walk over all of them.

use std::time::Duration;

use clap::Args;

use super::drive::{Load, Outcome, Pace};
use super::producing::wall_ns;
use super::report::{Report, Tally};
use super::wire::{self, Fetched};
use super::{RawError, Span, Target, measure};
use crate::frames;

/// What an answer holds beside its records; a tail keeps answers whole.
const ANSWER_OVERHEAD_BYTES: usize = 4096;
/// Counted as an error: records came, but no whole batch.
const NO_WHOLE_BATCH: i16 = -999;

/// What is read.
#[derive(Debug, Args)]
struct Read {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    span: Span,
    /// Most bytes in an answer
    #[arg(long, default_value_t = 1 << 20)]
    max: i32,
}

#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    #[command(flatten)]
    read: Read,
    /// Fewest bytes in an answer, unless half a second passes
    #[arg(long, default_value_t = 1)]
    min: i32,
    /// Read each partition once up to its end, however long that takes, instead of for --secs
    #[arg(long)]
    once: bool,
}

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    read: Read,
}

/// A connection's partition and how far it has read.
struct Lane {
    request: Vec<u8>,
    offset: i64,
    finished: bool,
}

struct Fetching {
    lanes: Vec<Lane>,
    once: bool,
}

impl Read {
    /// A lane for each connection.
    fn lanes(&self, min_bytes: i32) -> Vec<Lane> {
        let Target { topic, partitions, .. } = &self.target;
        (0..self.span.conns)
            .map(|connection| {
                let partition = i32::try_from(connection % usize::from(*partitions)).expect("it fitted 16 bits");
                let request = frames::fetch(topic, partition, min_bytes, self.max);
                Lane { request, offset: 0, finished: false }
            })
            .collect()
    }
}

impl Lane {
    fn request(&mut self) -> &[u8] {
        frames::set_fetch_offset(&mut self.request, self.offset);
        &self.request
    }

    /// Moves behind the records of an answer; the error that it is.
    fn advance(&mut self, fetched: &Fetched, head: &[u8]) -> Result<i16, RawError> {
        let first = head.get(fetched.records_at..).and_then(wire::batch_place).ok_or(RawError::Malformed("Fetch"))?;
        let whole = fetched.records_len / first.len;
        if whole == 0 {
            return Ok(NO_WHOLE_BATCH);
        }
        self.offset = first.base_offset + i64::try_from(whole).expect("an answer is small") * first.records;
        Ok(0)
    }
}

impl Load for Fetching {
    fn request(&mut self, connection: usize, _begins: bool) -> [&[u8]; 2] {
        [self.lanes[connection].request(), &[]]
    }

    fn answered(&mut self, connection: usize, head: &[u8], tally: &mut Tally) -> Result<Outcome, RawError> {
        let lane = &mut self.lanes[connection];
        let fetched = wire::fetched(head).ok_or(RawError::Malformed("Fetch"))?;
        if fetched.error != 0 {
            lane.offset = 0;
            return Ok(Outcome { error: fetched.error, bytes: 0 });
        }
        let mut error = 0;
        if fetched.records_len == 0 {
            tally.empty += 1;
        } else {
            error = lane.advance(&fetched, head)?;
        }
        if lane.offset >= fetched.high_watermark {
            lane.finished = true;
            lane.offset = fetched.log_start;
        }
        Ok(Outcome { error, bytes: fetched.records_len as u64 })
    }

    fn wants(&self, connection: usize) -> bool {
        !(self.once && self.lanes[connection].finished)
    }

    fn done(&self) -> bool {
        self.once && self.lanes.iter().all(|lane| lane.finished)
    }
}

pub(super) fn run(args: &FetchArgs) -> Result<Report, RawError> {
    let mut load = Fetching { lanes: args.read.lanes(args.min), once: args.once };
    let mut pace = args.read.span.pace(1, None);
    if args.once {
        pace = Pace { warm: Duration::ZERO, counted: None, ..pace };
    }
    measure("fetch", &args.read.target, &args.read.span, None, &pace, &mut load)
}

struct Tailing {
    lanes: Vec<Lane>,
    /// Which lanes know the end of their log. The first answer says where it is; what else it holds is old.
    begun: Vec<bool>,
}

impl Load for Tailing {
    fn request(&mut self, connection: usize, _begins: bool) -> [&[u8]; 2] {
        [self.lanes[connection].request(), &[]]
    }

    fn answered(&mut self, connection: usize, head: &[u8], tally: &mut Tally) -> Result<Outcome, RawError> {
        let arrived_ns = wall_ns();
        let lane = &mut self.lanes[connection];
        let fetched = wire::fetched(head).ok_or(RawError::Malformed("Fetch"))?;
        if fetched.error != 0 {
            return Ok(Outcome { error: fetched.error, bytes: 0 });
        }
        if !std::mem::replace(&mut self.begun[connection], true) {
            lane.offset = fetched.high_watermark;
            return Ok(Outcome { error: 0, bytes: 0 });
        }
        let mut records = &head[fetched.records_at..];
        let mut bytes = 0;
        if records.is_empty() {
            tally.empty += 1;
        }
        while let Some(place) = wire::batch_place(records).filter(|place| place.len <= records.len()) {
            let stamp_ns = wire::stamp(&records[..place.len]).ok_or(RawError::Malformed("stamped Fetch"))?;
            tally.end_to_end_us.saturating_record((arrived_ns.saturating_sub(stamp_ns) / 1000).max(1));
            lane.offset = place.base_offset + place.records;
            bytes += place.len as u64;
            records = &records[place.len..];
        }
        Ok(Outcome { error: 0, bytes })
    }
}

pub(super) fn run_tail(args: &TailArgs) -> Result<Report, RawError> {
    let read = &args.read;
    let mut load = Tailing { lanes: read.lanes(1), begun: vec![false; read.span.conns] };
    let whole = usize::try_from(read.max).unwrap_or(0) + ANSWER_OVERHEAD_BYTES;
    measure("tail", &read.target, &read.span, Some(whole), &read.span.pace(1, None), &mut load)
}
