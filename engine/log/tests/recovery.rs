//! What a crash, a bad disk or another broker may leave, and what is made of it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use common::{Bench, NOW, batch_at, batch_of, close, drive, offsets_from, sync, valid, valid_from};
use kringle_log::{Acks, BatchBuilder, Compression, EndTxnMarker, LogConfig, LogError, Origin, Upto};
use kringle_protocol::Uuid;

const FIRST: &str = "00000000000000000000.log";

fn config() -> LogConfig {
    LogConfig { segment_bytes: 700, segment_ms: i64::MAX, index_interval_bytes: 200, ..LogConfig::default() }
}

/// A directory as a killed broker leaves it: 60 records of an idempotent producer in batches of two, several segments, nothing
/// closed.
fn killed(config: LogConfig) -> Bench {
    let bench = Bench::new(config);
    let mut log = bench.open();
    for i in 0..30 {
        log.append(batch_of(8, 0, i * 2, 2), 4, Acks::Leader, NOW).unwrap();
        drive(&mut log);
    }
    assert!(log.segments() > 2 || bench.config.segment_bytes > 700);
    bench
}

#[test]
fn a_killed_broker_loses_nothing_that_was_written() {
    let mut bench = killed(config());
    for recovery_point in [0, 25, 60] {
        let mut log = bench.recover(recovery_point);
        assert_eq!((log.log_end_offset(), log.durable_offset(), log.high_watermark()), (60, 60, 60));
        assert_eq!(offsets_from(&log, 0), (0..60).collect::<Vec<i64>>());
        assert!(log.append(batch_of(8, 0, 58, 2), 4, Acks::Leader, NOW).unwrap().duplicate);
        assert_eq!(log.latest_epoch(), Some(4));
        assert_eq!(log.reader().max_timestamp().unwrap().unwrap().timestamp, NOW);
    }
}

#[test]
fn the_last_five_batches_of_a_producer_are_known_again_after_a_kill() {
    let mut bench = killed(LogConfig::default());
    let mut log = bench.recover(0);
    for sequence in [50, 52, 54, 56, 58] {
        let again = log.append(batch_of(8, 0, sequence, 2), 4, Acks::All, NOW).unwrap();
        assert_eq!((again.duplicate, again.base_offset), (true, i64::from(sequence)));
    }
    assert_eq!(log.log_end_offset(), 60);
}

#[test]
fn the_last_batches_cut_at_every_byte_leave_the_whole_ones() {
    let whole = killed(LogConfig::default());
    let bytes = whole.bytes(FIRST);
    let one = bytes.len() / 30;
    for cut in bytes.len() - 2 * one..=bytes.len() {
        let mut bench = Bench::new(LogConfig::default());
        whole.copy_to(&bench);
        bench.write(FIRST, &bytes[..cut]);
        let mut log = bench.recover(0);
        let batches = i64::try_from(cut / one).unwrap();
        assert_eq!(log.log_end_offset(), batches * 2, "cut at {cut}");
        assert_eq!(bench.bytes(FIRST).len(), cut / one * one);
        let next = i32::try_from(batches * 2).unwrap();
        let appended = log.append(batch_of(8, 0, next, 2), 4, Acks::Leader, NOW).unwrap();
        assert_eq!((appended.base_offset, appended.duplicate), (batches * 2, false));
        drive(&mut log);
        assert_eq!(offsets_from(&log, 0).len(), usize::try_from(next).unwrap() + 2);
    }
}

#[test]
fn a_changed_byte_cuts_there_and_removes_the_later_segments() {
    let whole = killed(config());
    let logs = whole.names_of(".log");
    let victim = &logs[1];
    let base: i64 = victim.trim_end_matches(".log").parse().unwrap();
    let bytes = whole.bytes(victim);
    let one = usize::try_from(u32::from_be_bytes(bytes[8..12].try_into().unwrap())).unwrap() + 12;
    // Not in the first 16 bytes of a batch: offset and epoch lie outside the checksum.
    for at in (0..one).filter(|at| *at >= 16).map(|at| one + at) {
        let mut bench = Bench::new(config());
        whole.copy_to(&bench);
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        bench.write(victim, &changed);
        let mut log = bench.recover(0);
        assert_eq!(log.log_end_offset(), base + 2, "byte {at}");
        assert_eq!(bench.names_of(".log"), logs[..2]);
        let at = i32::try_from(base).unwrap() + 2;
        assert!(!log.append(batch_of(8, 0, at, 2), 4, Acks::Leader, NOW).unwrap().duplicate);
        drive(&mut log);
        assert_eq!(offsets_from(&log, 0).len(), usize::try_from(base).unwrap() + 4);
    }
}

#[test]
fn offsets_that_go_back_or_lie_below_the_segment_are_cut() {
    for bad in [0i64, 3] {
        let mut bench = killed(LogConfig::default());
        let mut bytes = bench.bytes(FIRST);
        let one = bytes.len() / 30;
        bytes[10 * one..10 * one + 8].copy_from_slice(&bad.to_be_bytes());
        bench.write(FIRST, &bytes);
        assert_eq!(bench.recover(0).log_end_offset(), 20);
    }
}

#[test]
fn lost_damaged_or_untrimmed_indexes_are_rebuilt() {
    let clean = killed(config());
    close(clean.open());
    let log = clean.names_of(".log")[1].clone();
    let (index, times) = (log.replace(".log", ".index"), log.replace(".log", ".timeindex"));
    let (index_bytes, time_bytes) = (clean.bytes(&index), clean.bytes(&times));
    assert!(!index_bytes.is_empty() && !time_bytes.is_empty());
    type Damage<'a> = (&'a str, &'a dyn Fn(&Bench));
    let damage: [Damage<'_>; 5] = [
        ("index removed", &|bench| bench.fs.remove_file(bench.path(&index)).unwrap()),
        ("time index removed", &|bench| bench.fs.remove_file(bench.path(&times)).unwrap()),
        ("index cut", &|bench| bench.write(&index, &index_bytes[..index_bytes.len() - 3])),
        ("time index cut", &|bench| bench.write(&times, &time_bytes[..time_bytes.len() - 5])),
        ("snapshots removed too", &|bench| {
            bench.fs.remove_file(bench.path(&index)).unwrap();
            bench.names_of(".snapshot").iter().for_each(|name| bench.fs.remove_file(bench.path(name)).unwrap());
        }),
    ];
    for (what, damage) in damage {
        let bench = Bench::new(config());
        clean.copy_to(&bench);
        damage(&bench);
        let log = bench.open();
        assert_eq!(offsets_from(&log, 0).len(), 60, "{what}");
        assert!(bench.bytes(&index) == index_bytes, "{what}");
        assert!(bench.bytes(&times) == time_bytes, "{what}");
    }
}

#[test]
fn indexes_that_a_killed_kafka_left_full_of_zeros_do_no_harm() {
    let mut bench = killed(config());
    let last = bench.names_of(".log").last().unwrap().clone();
    for suffix in [".index", ".timeindex"] {
        bench.file(&last.replace(".log", suffix)).set_len(10_485_756).unwrap();
    }
    // The log's space may be preallocated as well.
    let len = bench.bytes(&last).len() as u64;
    bench.file(&last).set_len(len + 100_000).unwrap();
    let log = bench.recover(0);
    assert_eq!(offsets_from(&log, 0).len(), 60);
    assert_eq!(bench.bytes(&last).len() as u64, len);
    close(log);
    // Also if the stop is said to have been clean.
    bench.file(&last.replace(".log", ".index")).set_len(10_485_760).unwrap();
    assert_eq!(offsets_from(&bench.open(), 0).len(), 60);
    assert!(bench.bytes(&last.replace(".log", ".index")).len() < 1000);
}

#[test]
fn a_damaged_snapshot_is_replaced_by_reading_the_log() {
    let mut bench = killed(config());
    close(bench.open());
    for clean in [true, false] {
        for name in bench.names_of(".snapshot") {
            let mut bytes = bench.bytes(&name);
            bytes[12] ^= 1;
            bench.write(&name, &bytes);
        }
        bench.clean = clean;
        let mut log = bench.open();
        if clean {
            // Kafka's rule: a cleanly closed directory without a usable snapshot remembers nobody.
            assert!(log.producers().is_empty());
        } else {
            assert!(log.append(batch_of(8, 0, 58, 2), 4, Acks::Leader, NOW).unwrap().duplicate);
        }
    }
}

#[test]
fn interrupted_deletions_and_compactions_are_finished_or_undone() {
    let mut bench = killed(config());
    close(bench.open());
    let logs = bench.names_of(".log");
    let victim = &logs[0];
    let index = victim.replace(".log", ".index");
    bench.write("00000000000000000007.log.deleted", b"x");
    bench.write("00000000000000000007.snapshot.deleted", b"x");
    bench.write(&format!("{}.cleaned", logs[2]), b"half a segment");
    bench.write(&format!("{}.swap", logs[2]), b"of a split that did not end");
    bench.write(&format!("{victim}.swap"), &bench.bytes(victim));
    bench.write(&format!("{index}.swap"), &bench.bytes(&index));
    let log = bench.recover(0);
    assert_eq!(offsets_from(&log, 0).len(), 60);
    for suffix in [".deleted", ".cleaned", ".swap"] {
        assert!(bench.names_of(suffix).is_empty(), "{suffix}");
    }
    assert_eq!(bench.names_of(".log"), logs);
}

#[test]
fn a_log_that_ends_before_its_start_begins_anew_there() {
    let mut bench = killed(config());
    bench.log_start = Some(500);
    let mut log = bench.recover(0);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.segments()), (500, 500, 1));
    assert_eq!(log.append(batch_at(NOW, 1, 1), 5, Acks::Leader, NOW).unwrap().base_offset, 500);
}

#[test]
fn open_transactions_and_aborted_ones_are_known_again_after_a_crash() {
    let mut bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    let in_txn = |producer, sequence| {
        let mut builder = BatchBuilder::new(Compression::Zstd).producer(producer, 0, sequence).transactional();
        builder.append(NOW, None, Some(b"v"), &[]);
        valid(builder.build(0, -1))
    };
    log.append(in_txn(1, 0), 0, Acks::Leader, NOW).unwrap();
    let abort = EndTxnMarker { commit: false, coordinator_epoch: 1 }.batch(1, 0, NOW);
    log.append(valid_from(Origin::Coordinator, abort), 0, Acks::Leader, NOW).unwrap();
    log.append(in_txn(2, 0), 0, Acks::Leader, NOW).unwrap();
    drive(&mut log);
    drop(log);
    let log = bench.recover(0);
    assert_eq!((log.high_watermark(), log.last_stable_offset()), (3, 2));
    assert_eq!(log.read(0, 1000, Upto::LastStable, true).unwrap().aborted, [(1, 0)]);
    assert_eq!(bench.bytes("00000000000000000000.txnindex").len(), 34);
}

#[test]
fn epochs_are_rebuilt_from_the_batches() {
    let mut bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    for epoch in [2, 2, 5, 9] {
        log.append(batch_at(NOW, 10, 1), epoch, Acks::Leader, NOW).unwrap();
    }
    drive(&mut log);
    drop(log);
    assert!(!bench.names().contains(&"leader-epoch-checkpoint".to_owned()));
    let log = bench.recover(0);
    assert_eq!(log.end_offset_for_epoch(2), (2, 20));
    assert_eq!(log.end_offset_for_epoch(7), (5, 30));
    assert_eq!(bench.bytes("leader-epoch-checkpoint"), b"0\n3\n2 0\n5 20\n9 30\n");
}

#[test]
fn a_directory_of_another_topic_of_this_name_is_refused() {
    let bench = killed(config());
    let other = Uuid::from_bytes([9; 16]);
    bench.write("partition.metadata", format!("version: 0\ntopic_id: {other}").as_bytes());
    assert!(matches!(bench.try_open(), Err(LogError::OtherTopic { found, .. }) if found == other));
    bench.write("partition.metadata", b"rubbish");
    let error = bench.try_open().err().unwrap().to_string();
    assert!(error.ends_with("partition.metadata: malformed line \"rubbish\""), "{error}");
}

#[test]
fn a_synced_segment_below_the_recovery_point_is_not_read_again() {
    let mut bench = killed(config());
    let mut log = bench.recover(0);
    sync(&mut log);
    let durable = log.durable_offset();
    drop(log);
    // Damage before the recovery point's segment stays unseen at the start: nothing there is scanned.
    let mut bytes = bench.bytes(FIRST);
    bytes[100] ^= 1;
    bench.write(FIRST, &bytes);
    assert_eq!(bench.recover(durable).log_end_offset(), 60);
}
