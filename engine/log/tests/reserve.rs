//! Disk space that is reserved behind a log that grows: nobody sees it, and none is left when the segment ends.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use std::io;
use std::os::unix::fs::MetadataExt;

use common::{Bench, NOW, batch_at, close, drive, offsets_from, seal_first};
use kringle_log::{Acks, LogConfig, PartitionLog};

const LOG: &str = "00000000000000000000.log";
const MIB: u64 = 1 << 20;
/// Blocks that are filled up, the file system's own, and what it rounds up to.
const SLACK: u64 = 160 << 10;

fn write(log: &mut PartitionLog, bytes: usize) {
    log.append(batch_at(NOW, 1, bytes), 0, Acks::Leader, NOW).unwrap();
    drive(log);
}

/// Reserves what is wanted; whether it was.
fn reserve(log: &mut PartitionLog) -> bool {
    let Some(job) = log.next_space() else { return false };
    assert!(log.is_busy() && log.next_space().is_none(), "it is the outstanding job");
    let result = job.run_inline(&log.fs().clone());
    assert!(result.is_ok(), "a quarter of a few MiB is free: {result:?}");
    log.finish_reserving(&job, result);
    true
}

#[allow(clippy::disallowed_methods, reason = "how much of the disk a file takes, only the disk tells")]
fn on_disk(bench: &Bench, name: &str) -> u64 {
    std::fs::metadata(bench.path(name)).unwrap().blocks() * 512
}

/// A log of more than 2 MiB with space behind it.
fn with_space(bench: &Bench) -> PartitionLog {
    let mut log = bench.open();
    while log.size_bytes() < 2 * MIB {
        write(&mut log, 60_000);
        reserve(&mut log);
    }
    assert!(on_disk(bench, LOG) > log.size_bytes() + MIB / 4);
    log
}

#[test]
fn a_segment_has_up_to_a_quarter_of_its_size_from_one_mebibyte_on() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    let mut times = 0;
    for n in 0..100 {
        write(&mut log, 60_000);
        let size = log.size_bytes();
        times += i32::from(reserve(&mut log));
        assert_eq!(times == 0, size < MIB, "after {n}");
        let taken = on_disk(&bench, LOG);
        assert!(times == 0 || taken >= size + size / 8, "after {n}: {taken} of {size}");
        assert!(taken <= size + size / 4 + SLACK, "after {n}: {taken} of {size}");
        assert!(bench.log_file_len() <= size + (64 << 10), "the file is no longer for that");
    }
    assert!((5..25).contains(&times), "{times} times");
    assert_eq!(offsets_from(&log, 0), (0..100).collect::<Vec<_>>());
}

#[test]
fn none_is_left_behind_a_sealed_segment_and_none_reserved_that_it_cannot_use() {
    let bench = Bench::new(LogConfig { segment_bytes: 2_600_000, ..LogConfig::default() });
    let mut log = with_space(&bench);
    let size = seal_first(&mut log, |log| {
        reserve(log);
        assert!(on_disk(&bench, LOG) <= 2_600_000 + SLACK);
        write(log, 60_000);
    });
    assert!(on_disk(&bench, LOG) <= size + SLACK);
    assert!(!log.wants_space(), "the next is small");
}

#[test]
fn a_clean_stop_and_recovery_give_it_back() {
    let mut bench = Bench::new(LogConfig::default());
    let log = with_space(&bench);
    let size = log.size_bytes();
    close(log);
    assert!(on_disk(&bench, LOG) <= size + SLACK);
    let mut log = bench.open();
    assert!(reserve(&mut log));
    assert!(on_disk(&bench, LOG) > size + MIB / 4);
    drop(log);
    let log = bench.recover(0);
    assert!(on_disk(&bench, LOG) <= size + SLACK);
    assert_eq!(log.size_bytes(), size);
}

#[test]
fn a_segment_that_got_none_is_not_asked_about_again() {
    let bench = Bench::new(LogConfig { segment_bytes: 3_000_000, ..LogConfig::default() });
    let mut log = with_space(&bench);
    while !log.wants_space() {
        write(&mut log, 60_000);
    }
    let job = log.next_space().unwrap();
    log.finish_reserving(&job, Err(io::ErrorKind::StorageFull.into()));
    assert!(!log.is_busy());
    let size = seal_first(&mut log, |log| {
        assert!(!log.wants_space());
        write(log, 60_000);
    });
    assert!(on_disk(&bench, LOG) <= size + SLACK, "what it had is given back");
    for _ in 0..20 {
        write(&mut log, 60_000);
    }
    assert!(log.wants_space(), "the next is another matter");
}
