//! Places of a log, asked for again and again: what it costs a broker to find them, whatever lies between.
//!
//! The places are drawn once, from a seed. Each is asked for before the run, so that what has to come from the disk is there; then they go
//! round, one request at a time on each connection, as `--conns` says. All connections ask partition 0.

use clap::{Args, ValueEnum};

use super::drive::{Load, Outcome};
use super::report::{Report, Tally};
use super::{RawError, Span, Target, call, measure, wire};
use crate::frames::{self, EARLIEST, LATEST};

/// Counted as an error: the answer is not the place that was asked for.
const WRONG_PLACE: i16 = -998;
const MALFORMED: RawError = RawError::Malformed("Fetch or ListOffsets");

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Fetch from an offset
    Offset,
    /// ListOffsets for the time of a record
    Time,
}

#[derive(Debug, Args)]
pub(super) struct SeekArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    span: Span,
    /// How the broker is asked
    #[arg(long, value_enum, default_value_t = By::Offset)]
    by: By,
    /// How many places
    #[arg(long, default_value_t = 256)]
    places: u32,
    /// The last so many offsets, one after the other, instead of places anywhere
    #[arg(long)]
    last: Option<i64>,
    /// Anywhere before this offset instead of before the end
    #[arg(long)]
    before: Option<i64>,
    /// Only the last of so many offsets, counted from the first
    #[arg(long, default_value_t = 1)]
    every: i64,
    /// Most bytes in an answer; the batch asked for comes whole
    #[arg(long, default_value_t = 1)]
    max: i32,
    /// The same seed draws the same places
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A place, and what asks for it.
struct Place {
    offset: i64,
    request: Vec<u8>,
}

struct Seeking {
    by: By,
    places: Vec<Place>,
    /// The place that each connection asks for.
    at: Vec<usize>,
}

impl Load for Seeking {
    fn request(&mut self, connection: usize, _begins: bool) -> [&[u8]; 2] {
        [&self.places[self.at[connection]].request, &[]]
    }

    fn answered(&mut self, connection: usize, head: &[u8], _tally: &mut Tally) -> Result<Outcome, RawError> {
        let at = &mut self.at[connection];
        let wanted = self.places[*at].offset;
        *at = (*at + 1) % self.places.len();
        let found = found(self.by, head)?;
        let error = if found.error == 0 && !found.holds(wanted) { WRONG_PLACE } else { found.error };
        Ok(Outcome { error, bytes: found.bytes })
    }
}

/// What an answer says.
struct Found {
    error: i16,
    first: i64,
    end: i64,
    bytes: u64,
}

impl Found {
    fn holds(&self, offset: i64) -> bool {
        (self.first..self.end).contains(&offset)
    }
}

fn found(by: By, answer: &[u8]) -> Result<Found, RawError> {
    match by {
        By::Time => {
            let (error, offset) = wire::listed(answer).ok_or(MALFORMED)?;
            Ok(Found { error, first: offset, end: offset + 1, bytes: 0 })
        }
        By::Offset => {
            let fetched = wire::fetched(answer).ok_or(MALFORMED)?;
            let bytes = fetched.records_len as u64;
            if fetched.error != 0 || bytes == 0 {
                return Ok(Found { error: fetched.error, first: 0, end: 0, bytes });
            }
            let batch = answer.get(fetched.records_at..).and_then(wire::batch_place).ok_or(MALFORMED)?;
            Ok(Found { error: 0, first: batch.base_offset, end: batch.base_offset + batch.records, bytes })
        }
    }
}

pub(super) fn run(args: &SeekArgs) -> Result<Report, RawError> {
    let (target, topic) = (&args.target, &args.target.topic);
    let end_of = |which| {
        let (_, answer) = call(target.broker, &frames::list_offsets(topic, 0, which))?;
        wire::listed(&answer).filter(|(error, _)| *error == 0).map(|(_, offset)| offset).ok_or(MALFORMED)
    };
    let (start, end) = (end_of(EARLIEST)?, end_of(LATEST)?);
    let fetch = frames::fetch(topic, 0, 1, args.max);
    let mut places = Vec::new();
    for offset in offsets(args, start, args.before.map_or(end, |before| before.min(end))) {
        let mut request = fetch.clone();
        frames::set_fetch_offset(&mut request, offset);
        let (_, answer) = call(target.broker, &request)?;
        if args.by == By::Time {
            let records = wire::fetched(&answer).and_then(|fetched| answer.get(fetched.records_at..));
            request = frames::list_offsets(topic, 0, records.and_then(wire::batch_time).ok_or(MALFORMED)?);
            call(target.broker, &request)?;
        }
        places.push(Place { offset, request });
    }
    let apart = places.len() / args.span.conns.max(1);
    let at = (0..args.span.conns).map(|connection| connection * apart).collect();
    let mode = if args.by == By::Time { "seek-time" } else { "seek" };
    measure(mode, target, &args.span, None, &args.span.pace(1, None), &mut Seeking { by: args.by, places, at })
}

/// The offsets that are asked for.
fn offsets(args: &SeekArgs, start: i64, end: i64) -> Vec<i64> {
    if let Some(last) = args.last {
        return (start.max(end - last)..end).collect();
    }
    let every = args.every.max(1);
    let groups = ((end - start) / every).max(1).unsigned_abs();
    let mut state = args.seed;
    let draw = |_| {
        // Multiplied and shifted (splitmix64): neighbouring seeds draw unlike places.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let group = (mixed ^ (mixed >> 31)) % groups;
        start + i64::try_from(group).expect("below the log's end") * every + every - 1
    };
    (0..args.places).map(draw).collect()
}
