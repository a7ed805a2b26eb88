//! Zeros that fill up blocks behind a log that does not wait for the disk: never a part of it, and gone when it is sealed or closed.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use common::{Bench, NOW, batch_at, close, drive, offsets_from, seal_first, sync};
use kringle_log::{Acks, LogConfig, PartitionLog};

const LOG: &str = "00000000000000000000.log";
const BLOCK: u64 = 64 << 10;

fn write(log: &mut PartitionLog, acks: Acks, bytes: usize) {
    log.append(batch_at(NOW, 1, bytes), 0, acks, NOW).unwrap();
    drive(log);
}

/// A log of 101 batches with zeros behind them.
fn filled(bench: &Bench) -> PartitionLog {
    let mut log = bench.open();
    for _ in 0..101 {
        write(&mut log, Acks::Leader, 11_000);
    }
    assert!(log.size_bytes() > 1 << 20 && bench.log_file_len() > log.size_bytes());
    log
}

#[test]
fn the_file_ends_with_a_block_and_has_at_most_a_sixteenth_of_zeros() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    for n in 0..200 {
        let before = log.size_bytes();
        write(&mut log, Acks::Leader, 11_000);
        let (size, len) = (log.size_bytes(), bench.log_file_len());
        assert!(len - size <= size / 16, "after {n}: {size} bytes in a file of {len}");
        assert!(before < 64 << 10 || len.is_multiple_of(4096), "after {n}: {size} bytes in a file of {len}");
        assert!(size < (1 << 20) + 2 * BLOCK || len == size.next_multiple_of(BLOCK), "{size} bytes in a file of {len}");
    }
    assert_eq!(offsets_from(&log, 0), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_log_that_waits_for_the_disk_gets_none() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    for _ in 0..120 {
        write(&mut log, Acks::All, 11_000);
        assert_eq!(bench.log_file_len(), log.size_bytes());
    }
    sync(&mut log);
    write(&mut log, Acks::Leader, 60_000);
    assert!(bench.log_file_len() > log.size_bytes(), "nothing waits any more");
}

#[test]
fn a_clean_stop_and_recovery_cut_them_off() {
    let mut bench = Bench::new(LogConfig::default());
    let log = filled(&bench);
    let size = log.size_bytes();
    close(log);
    assert_eq!(bench.log_file_len(), size);
    let mut log = bench.open();
    write(&mut log, Acks::Leader, 60_000);
    let size = log.size_bytes();
    assert!(bench.log_file_len() > size);
    drop(log);
    let log = bench.recover(0);
    assert_eq!((log.log_end_offset(), bench.log_file_len()), (102, size));
    assert_eq!(offsets_from(&log, 0), (0..102).collect::<Vec<_>>());
}

#[test]
fn a_sealed_segment_has_none_and_no_segment_more_than_it_may_be_long() {
    let bench = Bench::new(LogConfig { segment_bytes: 1_300_000, ..LogConfig::default() });
    let mut log = filled(&bench);
    let size = seal_first(&mut log, |log| {
        assert!(bench.log_file_len() <= 1_300_000);
        write(log, Acks::Leader, 11_000);
    });
    assert_eq!(bench.log_file_len(), size);
}

#[test]
fn zeros_that_came_back_behind_a_sealed_segment_are_no_gap_and_lost_batches_are() {
    let mut bench = Bench::new(LogConfig { segment_bytes: 1_300_000, ..LogConfig::default() });
    let mut log = filled(&bench);
    let last = seal_first(&mut log, |log| write(log, Acks::Leader, 11_000));
    let end = log.log_end_offset();
    drop(log);
    bench.file(LOG).set_len(last + 30_000).unwrap();
    let log = bench.recover(0);
    assert_eq!((log.log_end_offset(), bench.log_file_len()), (end, last));
    assert_eq!(offsets_from(&log, 0), (0..end).collect::<Vec<_>>());
    drop(log);

    bench.file(LOG).set_len(last - 100).unwrap();
    bench.file(LOG).set_len(last + 30_000).unwrap();
    let log = bench.recover(0);
    assert_eq!((log.log_end_offset(), log.segments()), (end - 2, 1), "the last batch of the segment, and all after it");
}

#[test]
fn a_segment_sealed_beside_a_sync_is_synced_by_the_next() {
    let bench = Bench::new(LogConfig { segment_bytes: 1_300_000, ..LogConfig::default() });
    let mut log = filled(&bench);
    let job = log.sync_job().unwrap();
    let synced = job.run_inline(log.fs());
    let upto = log.log_end_offset();
    log.append(batch_at(NOW, 1, 200_000), 0, Acks::Leader, NOW).unwrap();
    let kringle_log::Step::Roll(roll) = log.next_step() else { panic!("the segment is full") };
    let fs = log.fs().clone();
    log.finish_roll(roll.run(&fs)).unwrap();
    log.finish_sync(&job, synced).unwrap();
    assert_eq!((log.durable_offset(), log.recovery_point()), (upto, 0), "the sealed segment was cut since");
    let next = log.sync_job().unwrap();
    assert_eq!(next.files(), 4, "its log, its indexes and the names of the next");
    let synced = next.run_inline(log.fs());
    log.finish_sync(&next, synced).unwrap();
    assert!(log.sync_job().is_none());
    assert_eq!(log.recovery_point(), upto);
    assert!(log.sealed_sync_job().is_none());
}

#[test]
fn after_a_roll_the_sealed_segment_can_be_synced_alone() {
    let bench = Bench::new(LogConfig { segment_bytes: 1_300_000, ..LogConfig::default() });
    let mut log = filled(&bench);
    let base = log.log_end_offset();
    for _ in 0..2 {
        write(&mut log, Acks::Leader, 600_000);
    }
    assert_eq!((log.segments(), log.recovery_point()), (2, 0));
    let job = log.sealed_sync_job().unwrap();
    assert_eq!(job.files(), 4, "its log, its indexes and the names of the next");
    let synced = job.run_inline(log.fs());
    log.finish_sync(&job, synced).unwrap();
    assert!(log.sealed_sync_job().is_none());
    assert_eq!((log.durable_offset(), log.recovery_point()), (base, base));
}

#[test]
fn recovery_never_begins_where_the_next_segment_may() {
    let bench = Bench::new(LogConfig::default());
    let mut log = filled(&bench);
    sync(&mut log);
    let end = log.log_end_offset();
    assert_eq!((log.durable_offset(), log.recovery_point()), (end, end - 1));
}
