//! Where the bytes of a fetch are, looked up on whatever shard the connection lives on.

use std::sync::Arc;

use kringle_log::{LogReader, PartitionLog, ReadError, Slice, Upto};
use kringle_protocol::{ErrorCode, Uuid};

use crate::net::response::FileSlice;
use crate::shard::Shard;
use crate::shard::fetchers::FetchWait;
use crate::shard::shared::SharedLog;

/// So often a look-up is tried with what a helper has brought into memory.
const COLD_TRIES: u32 = 3;

/// [`PartitionLog::read`] or its sister that does not wait for the disk.
type Look = fn(&PartitionLog, i64, usize, Upto, bool) -> Result<Slice, ReadError>;

/// What is wanted of one partition; `topic` is an error where it was not found.
pub(super) struct Wanted {
    pub(super) topic: Result<Uuid, ErrorCode>,
    pub(super) partition: i32,
    pub(super) fetch_offset: i64,
    pub(super) current_leader_epoch: i32,
    pub(super) last_fetched_epoch: i32,
    pub(super) max_bytes: usize,
    pub(super) upto: Upto,
    /// Asked by a broker that would be a follower: there are none.
    pub(super) from_follower: bool,
}

/// What its log says.
pub(super) struct Found {
    pub(super) error: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start_offset: i64,
    /// Where the bytes are; of these the first `len` are sent.
    pub(super) slice: Option<FileSlice>,
    pub(super) len: usize,
    pub(super) first_batch_len: usize,
    /// Bytes from the fetch offset on, at most `max_bytes`: what counts towards `min.bytes`.
    pub(super) available: usize,
    pub(super) aborted: Option<Vec<(i64, i64)>>,
    pub(super) diverging: Option<(i32, i64)>,
    /// Who asked must look for the leader: this broker, in that epoch.
    pub(super) leader_epoch: Option<i32>,
    /// The slice ends with its segment, but the log goes on.
    pub(super) more_follows: bool,
    /// There is no such partition.
    pub(super) nowhere: bool,
}

impl Found {
    /// Record bytes are sent.
    pub(super) fn has_records(&self) -> bool {
        self.slice.is_some() && self.len > 0
    }

    pub(super) fn failed(error: ErrorCode) -> Found {
        Found {
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            slice: None,
            len: 0,
            first_batch_len: 0,
            available: 0,
            aborted: None,
            diverging: None,
            leader_epoch: None,
            more_follows: false,
            nowhere: false,
        }
    }

    fn nowhere(error: ErrorCode) -> Found {
        Found { nowhere: true, aborted: Some(Vec::new()), ..Found::failed(error) }
    }

    fn elsewhere(error: ErrorCode, leader_epoch: i32) -> Found {
        Found { leader_epoch: Some(leader_epoch), ..Found::failed(error) }
    }
}

/// A look-up that must ask the disk first: for what leads to this offset of its log.
pub(super) struct Cold {
    /// Its place among what is wanted.
    at: usize,
    log: LogReader,
    offset: i64,
}

/// Looks up all of `wanted`, in their order; with `wait` the partitions also wake it at their next progress. What is not in memory is to
/// be had by [`warm`].
pub(super) fn look_up(shard: &Shard, wanted: &[Wanted], wait: Option<&Arc<FetchWait>>) -> (Vec<Found>, Vec<Cold>) {
    let mut cold = Vec::new();
    let look = |(at, one)| {
        read(shard, one, at, wait, PartitionLog::read_cached).unwrap_or_else(|one| {
            cold.push(one);
            Found::failed(ErrorCode::NONE)
        })
    };
    let found = wanted.iter().enumerate().map(look).collect();
    (found, cold)
}

/// A helper brings in what was not in memory, while the shard goes on with its other connections; then it is looked up again.
pub(super) async fn warm(shard: &Shard, wanted: &[Wanted], found: &mut [Found], mut cold: Vec<Cold>) {
    let mut tries = 0;
    while !cold.is_empty() {
        tries += 1;
        // Memory may be so short that what was brought in is gone again. Then the shard waits, and the fetch gets on.
        let again = if tries < COLD_TRIES { PartitionLog::read_cached } else { PartitionLog::read };
        let places: Vec<usize> = cold.iter().map(|cold| cold.at).collect();
        shard.rt.blocking(move |_| cold.iter().for_each(|cold| cold.log.warm(cold.offset))).await;
        cold = Vec::new();
        for at in places {
            match read(shard, &wanted[at], at, None, again) {
                Ok(one) => found[at] = one,
                Err(one) => cold.push(one),
            }
        }
    }
}

/// The part of a look-up that is `at` this place; `look` is how its log is asked.
fn read(shard: &Shard, wanted: &Wanted, at: usize, wait: Option<&Arc<FetchWait>>, look: Look) -> Result<Found, Cold> {
    let topic = match wanted.topic {
        Ok(topic) => topic,
        Err(error) => return Ok(Found::nowhere(error)),
    };
    let Some(route) = shard.route(topic, wanted.partition) else {
        return Ok(Found::failed(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    };
    let partition = &route.shared;
    let error = partition.closed().or_else(|| epoch_error(partition, wanted.current_leader_epoch));
    match error.or(wanted.from_follower.then_some(ErrorCode::NOT_LEADER_OR_FOLLOWER)) {
        Some(error @ (ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH)) => {
            return Ok(Found::elsewhere(error, partition.leader_epoch()));
        }
        Some(error) => return Ok(Found::failed(error)),
        None => {}
    }
    if let Some(wait) = wait {
        partition.wake_on_progress(wait);
    }
    let log = partition.log();
    let mut found = Found {
        error: ErrorCode::NONE,
        high_watermark: log.high_watermark(),
        last_stable_offset: log.last_stable_offset(),
        log_start_offset: log.log_start_offset(),
        ..Found::failed(ErrorCode::NONE)
    };
    if wanted.last_fetched_epoch >= 0 {
        let (epoch, end_offset) = log.end_offset_for_epoch(wanted.last_fetched_epoch);
        if epoch < 0 && end_offset < 0 {
            return Ok(Found::failed(ErrorCode::OFFSET_OUT_OF_RANGE));
        }
        if epoch < wanted.last_fetched_epoch || end_offset < wanted.fetch_offset {
            found.diverging = Some((epoch, end_offset));
            return Ok(found);
        }
    }
    match look(&log, wanted.fetch_offset, wanted.max_bytes, wanted.upto, true) {
        Err(ReadError::Cold { offset }) => return Err(Cold { at, log: log.reader(), offset }),
        Err(error) => return Ok(Found::failed(error.code())),
        Ok(slice) => {
            found.first_batch_len = slice.first_batch_len;
            found.more_follows = slice.more_follows;
            found.len = slice.len;
            found.available = slice.len.min(wanted.max_bytes);
            found.aborted = matches!(wanted.upto, Upto::LastStable).then_some(slice.aborted);
            found.slice = slice.file.map(|file| FileSlice { file, position: slice.position, len: slice.len });
        }
    }
    Ok(found)
}

/// What Kafka answers to a client whose idea of the leader epoch differs from the leader's; -1 is no idea.
pub(crate) fn epoch_error(partition: &SharedLog, current_leader_epoch: i32) -> Option<ErrorCode> {
    if current_leader_epoch == -1 {
        return None;
    }
    match current_leader_epoch.cmp(&partition.leader_epoch()) {
        std::cmp::Ordering::Less => Some(ErrorCode::FENCED_LEADER_EPOCH),
        std::cmp::Ordering::Greater => Some(ErrorCode::UNKNOWN_LEADER_EPOCH),
        std::cmp::Ordering::Equal => None,
    }
}
