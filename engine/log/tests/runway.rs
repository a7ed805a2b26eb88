//! Zeros ahead of the log end: they are never part of the log, whoever looks, and nothing of the log is lost to them.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use common::{Bench, NOW, batch_at, close, drive, offsets_from, sync};
use kringle_log::{Acks, LogConfig, PartitionLog, Step};

fn append(log: &mut PartitionLog, bytes: usize) {
    log.append(batch_at(NOW, 1, bytes), 0, Acks::All, NOW).unwrap();
}

fn commit(log: &mut PartitionLog, bytes: usize) {
    append(log, bytes);
    drive(log);
    sync(log);
}

/// Lays what is due; the bytes that were laid.
fn lay(log: &mut PartitionLog) -> u64 {
    let before = log.runway_bytes();
    while let Some(zeros) = log.next_zeros() {
        log.finish_zeros(&zeros, zeros.run_inline()).unwrap();
    }
    log.runway_bytes() - before
}

/// A log with ten batches and zeros behind them.
fn with_runway(bench: &Bench) -> PartitionLog {
    let mut log = bench.open();
    for _ in 0..10 {
        commit(&mut log, 100);
    }
    assert!(lay(&mut log) > 0);
    log
}

#[test]
fn only_logs_with_many_small_commits_get_one() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    for _ in 0..7 {
        commit(&mut log, 100);
        assert_eq!(lay(&mut log), 0, "too few commits");
    }
    commit(&mut log, 300 << 10);
    for _ in 0..7 {
        commit(&mut log, 100);
        assert_eq!(lay(&mut log), 0, "a large commit is not long ago");
    }
    commit(&mut log, 100);
    assert_eq!(lay(&mut log), 128 << 10);
    assert_eq!(lay(&mut log), 0, "it is there");
}

#[test]
fn zeros_reach_as_far_ahead_as_the_log_has_come_on_them_up_to_one_mebibyte() {
    const AT_ONCE: u64 = 128 << 10;
    let bench = Bench::new(LogConfig::default());
    let mut log = with_runway(&bench);
    let mut farthest = 0;
    for n in 1..=40 {
        commit(&mut log, 100 << 10);
        lay(&mut log);
        let come = n * (101 << 10);
        assert!(log.runway_bytes() < come.clamp(AT_ONCE, 1 << 20) + AT_ONCE, "{n}");
        farthest = log.runway_bytes().max(farthest);
    }
    assert!(farthest >= 1 << 20);
}

#[test]
fn batches_overwrite_it_and_a_clean_stop_cuts_it_off() {
    let bench = Bench::new(LogConfig::default());
    let mut log = with_runway(&bench);
    for _ in 0..5 {
        commit(&mut log, 1000);
    }
    assert_eq!(offsets_from(&log, 0), (0..15).collect::<Vec<_>>());
    let size = log.size_bytes();
    assert!(bench.log_file_len() > size);
    close(log);
    assert_eq!(bench.log_file_len(), size);
    assert_eq!(offsets_from(&bench.open(), 0), (0..15).collect::<Vec<_>>());
}

#[test]
fn a_batch_longer_than_the_runway_is_whole() {
    let bench = Bench::new(LogConfig::default());
    let mut log = with_runway(&bench);
    commit(&mut log, 700 << 10);
    commit(&mut log, 10);
    assert_eq!(offsets_from(&log, 0), (0..12).collect::<Vec<_>>());
    assert_eq!(bench.log_file_len(), log.size_bytes());
}

#[test]
fn recovery_cuts_it_off_and_loses_nothing() {
    let mut bench = Bench::new(LogConfig::default());
    let log = with_runway(&bench);
    let size = log.size_bytes();
    drop(log);
    assert!(bench.log_file_len() > size);
    let log = bench.recover(0);
    assert_eq!((log.log_end_offset(), bench.log_file_len()), (10, size));
}

#[test]
fn a_sealed_segment_has_none() {
    let bench = Bench::new(LogConfig { segment_bytes: 4000, ..LogConfig::default() });
    let mut log = with_runway(&bench);
    let size = log.size_bytes();
    commit(&mut log, 3500);
    assert_eq!((log.segments(), bench.log_file_len()), (2, size));
}

#[test]
fn zeros_and_batches_are_written_one_after_the_other() {
    let mut bench = Bench::new(LogConfig::default());
    let mut log = with_runway(&bench);
    append(&mut log, 900 << 10);
    let Step::Write(job) = log.next_step() else { panic!("a batch is staged") };
    assert!(log.next_zeros().is_none(), "a batch is being written");
    let written = job.run_inline();
    log.finish_write(job, written).unwrap();
    append(&mut log, 10);
    let zeros = log.next_zeros().unwrap();
    assert!(log.is_busy() && matches!(log.next_step(), Step::Idle), "zeros are being written");
    log.finish_zeros(&zeros, zeros.run_inline()).unwrap();
    commit(&mut log, 10);
    drop(log);
    assert_eq!(offsets_from(&bench.recover(0), 0), (0..13).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_costs_the_runway_and_a_failing_one_the_log() {
    let bench = Bench::new(LogConfig::default());
    let mut log = with_runway(&bench);
    commit(&mut log, 100);
    let zeros = log.next_zeros().unwrap();
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    log.finish_zeros(&zeros, Err(full)).unwrap();
    assert!(log.next_zeros().is_none() && !log.wants_runway());
    commit(&mut log, 100);
    assert_eq!(offsets_from(&log, 0), (0..12).collect::<Vec<_>>());

    let bench = Bench::new(LogConfig::default());
    let mut log = with_runway(&bench);
    commit(&mut log, 100);
    let zeros = log.next_zeros().unwrap();
    let broken = std::io::Error::other("I/O error");
    assert!(log.finish_zeros(&zeros, Err(broken)).unwrap_err().is_fatal() && log.is_offline());
}

#[test]
fn none_is_laid_while_the_segment_is_being_sealed_or_after_the_end() {
    let bench = Bench::new(LogConfig { segment_bytes: 4000, ..LogConfig::default() });
    let mut log = bench.open();
    for _ in 0..10 {
        commit(&mut log, 100);
    }
    append(&mut log, 3500);
    let Step::Roll(job) = log.next_step() else { panic!("the segment is full") };
    assert!(log.next_zeros().is_none(), "the segment is being sealed");
    let fs = log.fs().clone();
    log.finish_roll(job.run(&fs)).unwrap();
    assert!(log.wants_runway(), "the new segment has none");
    drive(&mut log);
    log.close_job().run(&fs).unwrap();
    assert!(log.next_zeros().is_none());
}
