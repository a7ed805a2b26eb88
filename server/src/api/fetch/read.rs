//! Where the bytes of a fetch are, looked up on whatever shard the connection lives on.

use std::sync::Arc;

use kringle_log::Upto;
use kringle_protocol::{ErrorCode, Uuid};

use crate::net::response::FileSlice;
use crate::shard::Shard;
use crate::shard::fetchers::FetchWait;
use crate::shard::shared::SharedLog;

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

/// Looks up all of `wanted`, in their order; with `wait` the partitions also wake it at their next progress.
pub(super) fn look_up(shard: &Shard, wanted: &[Wanted], wait: Option<&Arc<FetchWait>>) -> Vec<Found> {
    wanted.iter().map(|one| read(shard, one, wait)).collect()
}

fn read(shard: &Shard, wanted: &Wanted, wait: Option<&Arc<FetchWait>>) -> Found {
    let topic = match wanted.topic {
        Ok(topic) => topic,
        Err(error) => return Found::nowhere(error),
    };
    let Some(route) = shard.route(topic, wanted.partition) else {
        return Found::failed(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    };
    let partition = &route.shared;
    let error = partition.closed().or_else(|| epoch_error(partition, wanted.current_leader_epoch));
    match error.or(wanted.from_follower.then_some(ErrorCode::NOT_LEADER_OR_FOLLOWER)) {
        Some(error @ (ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH)) => {
            return Found::elsewhere(error, partition.leader_epoch());
        }
        Some(error) => return Found::failed(error),
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
            return Found::failed(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if epoch < wanted.last_fetched_epoch || end_offset < wanted.fetch_offset {
            found.diverging = Some((epoch, end_offset));
            return found;
        }
    }
    match log.read(wanted.fetch_offset, wanted.max_bytes, wanted.upto, true) {
        Err(error) => Found::failed(error.code()),
        Ok(slice) => {
            found.first_batch_len = slice.first_batch_len;
            found.more_follows = slice.more_follows;
            found.len = slice.len;
            found.available = slice.len.min(wanted.max_bytes);
            found.aborted = matches!(wanted.upto, Upto::LastStable).then_some(slice.aborted);
            found.slice = slice.file.map(|file| FileSlice { file, position: slice.position, len: slice.len });
            found
        }
    }
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
