//! Loading a coordinator: the records of its partition from the first to the last, before its first request.

use std::rc::Rc;

use bytes::Bytes;
use kringle_log::{BatchView, EndTxnMarker, batches, for_each_record};

use super::Slot;
use crate::group::Coordinator;
use crate::shard::Shard;

/// Bytes of log replayed between two turns of the shard.
const LOAD_BYTES: usize = 1 << 20;

/// Replays the partition, then opens the coordinator to requests.
pub(super) async fn load(shard: Rc<Shard>, slot: Rc<Slot>) {
    let started = shard.rt.now();
    let (mut from, end) = {
        let log = slot.partition.log();
        (log.log_start_offset(), log.log_end_offset())
    };
    let mut replayed = 0;
    while from < end {
        let reader = slot.partition.log().reader();
        let read = shard.rt.blocking(move |_| reader.read_batches(from, end, LOAD_BYTES)).await;
        let bytes = match read {
            Ok(bytes) if !bytes.is_empty() => bytes,
            Ok(_) => break,
            Err(error) => {
                tracing::error!("{}: cannot be read, its groups are incomplete: {error}", slot.partition.tp);
                break;
            }
        };
        from = replay(&slot, &bytes, &mut replayed).max(from + 1);
        shard.rt.yield_now().await;
    }
    let output = slot.machine.borrow_mut().loaded(shard.rt.wall_ms());
    slot.loaded.set(true);
    slot.carry_out(&shard, output);
    slot.load_ended.notify_all();
    if replayed > 0 {
        let took = shard.rt.now() - started;
        tracing::info!("{}: {replayed} records loaded in {} ms", slot.partition.tp, took.as_millis());
    }
}

/// Replays whole batches; the offset after the last.
fn replay(slot: &Slot, bytes: &Bytes, replayed: &mut usize) -> i64 {
    let mut next = 0;
    for batch in batches(bytes) {
        let Ok(batch) = batch else { break };
        next = batch.next_offset();
        if let Err(error) = replay_batch(&mut slot.machine.borrow_mut(), &batch, replayed) {
            tracing::warn!("{}: the batch at offset {} was skipped: {error}", slot.partition.tp, batch.base_offset);
        }
    }
    next
}

/// Offsets committed inside a transaction count once its commit marker is met: the coordinator keeps them till then.
fn replay_batch(machine: &mut Coordinator, batch: &BatchView<'_>, replayed: &mut usize) -> Result<(), String> {
    if batch.is_control() {
        if let Some((marker, _)) = EndTxnMarker::of(batch).map_err(|error| error.to_string())? {
            machine.replay_marker(batch.producer_id, marker.commit);
        }
        return Ok(());
    }
    let mut failed = None;
    for_each_record(batch, |record| {
        *replayed += 1;
        let key = record.key.unwrap_or_default();
        let taken = if batch.is_transactional() {
            machine.replay_in_transaction(batch.producer_id, key, record.value)
        } else {
            machine.replay(key, record.value)
        };
        failed = failed.take().or(taken.err());
    })
    .map_err(|error| error.to_string())?;
    failed.map_or(Ok(()), |error| Err(error.to_string()))
}
