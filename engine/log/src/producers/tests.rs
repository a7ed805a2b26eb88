use super::*;
use crate::batch::TimestampType;
use crate::compression::Compression;

const DAY: i64 = 86_400_000;

fn batch(id: i64, epoch: i16, sequence: i32, count: i32, offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset: offset,
        length: 49,
        leader_epoch: 0,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: 0,
        max_timestamp: 1000 + offset,
        producer_id: id,
        producer_epoch: epoch,
        base_sequence: sequence,
        record_count: count,
    }
}

fn transactional(mut batch: BatchHeader) -> BatchHeader {
    batch.attributes = crate::batch::attributes(Compression::None, TimestampType::CreateTime, true, false);
    batch
}

fn append(state: &mut ProducerState, batch: &BatchHeader) -> Result<Update, ProducerError> {
    state.append_data(batch, Check::All, &"t-0")
}

#[test]
fn sequences_must_follow_and_the_last_five_batches_are_known_again() {
    let mut state = ProducerState::default();
    for i in 0..7 {
        append(&mut state, &batch(1, 0, i * 10, 10, i64::from(i) * 10)).unwrap();
    }
    for i in 0..7 {
        let again = state.duplicate_of(&batch(1, 0, i * 10, 10, 70));
        assert_eq!(again.map(|seen| seen.first_offset()), (i >= 2).then_some(i64::from(i) * 10));
    }
    assert!(state.duplicate_of(&batch(1, 0, 60, 9, 70)).is_none(), "the same start with another end is no duplicate");
    assert!(state.duplicate_of(&batch(1, 1, 60, 10, 70)).is_none());
    assert!(matches!(append(&mut state, &batch(1, 0, 71, 1, 70)), Err(ProducerError::OutOfOrder(_))));
    append(&mut state, &batch(1, 0, 70, 1, 70)).unwrap();
}

#[test]
fn sequences_wrap_after_the_largest_int() {
    let mut state = ProducerState::default();
    append(&mut state, &batch(1, 0, i32::MAX - 1, 1, 0)).unwrap();
    append(&mut state, &batch(1, 0, i32::MAX, 3, 1)).unwrap();
    assert_eq!(state.summaries()[0].last_sequence, 1);
    assert_eq!(state.duplicate_of(&batch(1, 0, i32::MAX, 3, 9)).unwrap().first_offset(), 1);
    append(&mut state, &batch(1, 0, 2, 1, 4)).unwrap();
}

#[test]
fn an_older_epoch_is_fenced_and_a_newer_one_starts_at_zero() {
    let mut state = ProducerState::default();
    append(&mut state, &batch(1, 5, 33, 1, 0)).expect("of an unknown producer any sequence is taken");
    assert!(matches!(append(&mut state, &batch(1, 4, 34, 1, 1)), Err(ProducerError::InvalidEpoch(_))));
    assert!(matches!(append(&mut state, &batch(1, 6, 34, 1, 1)), Err(ProducerError::OutOfOrder(_))));
    append(&mut state, &batch(1, 6, 0, 1, 1)).unwrap();
}

#[test]
fn transactions_hold_back_the_last_stable_offset_until_their_marker_is_below_the_high_watermark() {
    let mut state = ProducerState::default();
    append(&mut state, &transactional(batch(1, 0, 0, 2, 10))).unwrap();
    append(&mut state, &transactional(batch(2, 0, 0, 2, 12))).unwrap();
    assert_eq!(state.first_unstable_offset(), Some(10));
    assert!(matches!(append(&mut state, &batch(1, 0, 2, 1, 14)), Err(ProducerError::InvalidTxnState(_))));
    let abort = EndTxnMarker { commit: false, coordinator_epoch: 3 };
    let update = state.append_marker(&batch(1, 0, -1, 1, 14), abort, 1, Check::Epoch, &"t-0").unwrap();
    let expected = AbortedTxn { producer_id: 1, first_offset: 10, last_offset: 14, last_stable_offset: 12 };
    assert_eq!(update.aborted, Some(expected));
    state.high_watermark_moved(14);
    assert_eq!(state.first_unstable_offset(), Some(10));
    state.high_watermark_moved(15);
    assert_eq!(state.first_unstable_offset(), Some(12));
    let zombie = EndTxnMarker { commit: true, coordinator_epoch: 2 };
    let fenced = state.append_marker(&batch(1, 0, -1, 1, 15), zombie, 1, Check::Epoch, &"t-0");
    assert!(matches!(fenced, Err(ProducerError::CoordinatorFenced(_))));
}

#[test]
fn undoing_in_reverse_order_brings_the_state_back() {
    let mut state = ProducerState::default();
    append(&mut state, &batch(1, 0, 0, 5, 0)).unwrap();
    let before = snapshot::encode(&state);
    let mut undo = Vec::new();
    undo.push(append(&mut state, &batch(1, 0, 5, 5, 5)).unwrap().undo);
    undo.push(append(&mut state, &transactional(batch(2, 0, 0, 1, 10))).unwrap().undo);
    let marker = EndTxnMarker { commit: true, coordinator_epoch: 0 };
    undo.push(state.append_marker(&batch(2, 0, -1, 1, 11), marker, 9, Check::Epoch, &"t-0").unwrap().undo);
    while let Some(undo) = undo.pop() {
        state.undo(undo);
    }
    assert_eq!(snapshot::encode(&state), before);
    assert_eq!(state.first_unstable_offset(), None);
}

#[test]
fn snapshots_keep_the_last_batch_and_open_transactions_and_drop_the_expired() {
    let mut state = ProducerState::default();
    append(&mut state, &batch(1, 2, 0, 5, 0)).unwrap();
    append(&mut state, &batch(1, 2, 5, 5, 5)).unwrap();
    append(&mut state, &transactional(batch(2, 0, 0, 1, 10))).unwrap();
    let bytes = snapshot::encode(&state);
    assert_eq!(bytes.len(), 10 + 2 * 46);
    let loaded = snapshot::decode(&bytes, 11, 2000, DAY).unwrap();
    assert_eq!(loaded.end_offset(), 11);
    assert_eq!(loaded.summaries(), state.summaries());
    assert_eq!(loaded.first_unstable_offset(), Some(10));
    assert!(loaded.duplicate_of(&batch(1, 2, 5, 5, 99)).is_some());
    assert!(loaded.duplicate_of(&batch(1, 2, 0, 5, 99)).is_none());
    let later = snapshot::decode(&bytes, 11, 2 * DAY, DAY).unwrap();
    assert_eq!(later.summaries().len(), 1, "a producer with an open transaction never expires");
}

#[test]
fn a_snapshot_with_any_byte_changed_or_cut_is_refused() {
    let mut state = ProducerState::default();
    append(&mut state, &batch(1, 2, 0, 5, 0)).unwrap();
    let bytes = snapshot::encode(&state);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(snapshot::decode(&changed, 5, 0, DAY).is_err());
        assert!(snapshot::decode(&bytes[..at], 5, 0, DAY).is_err());
    }
}
