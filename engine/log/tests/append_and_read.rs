//! What goes in comes out: appends, rolls, reads, durability, a stop and a start.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test; it drops files from the page cache itself"
)]

mod common;

use common::{Bench, DAY, NOW, batch_at, batch_of, close, drive, offsets_from, sync, valid_from};
use kringle_log::{Acks, AppendError, EndTxnMarker, LogConfig, LogError, Origin, ReadError, Step, Upto};
use kringle_protocol::ErrorCode;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

#[test]
fn what_is_appended_is_read_back_after_writing_rolling_and_reopening() {
    let bench = Bench::new(LogConfig { segment_bytes: 4000, index_interval_bytes: 300, ..LogConfig::default() });
    let mut log = bench.open();
    let mut end = 0;
    for i in 0..100 {
        let appended = log.append(batch_at(NOW + i, 3, 50), 5, Acks::Leader, NOW).unwrap();
        assert_eq!((appended.base_offset, appended.last_offset), (end, end + 2));
        end += 3;
        if i % 7 == 0 {
            drive(&mut log);
        }
    }
    drive(&mut log);
    assert!(log.segments() > 3);
    assert_eq!(log.high_watermark(), 300);
    let all: Vec<i64> = (0..300).collect();
    assert_eq!(offsets_from(&log, 0), all);
    assert_eq!(offsets_from(&log, 151), all[151..]);
    let segments = log.segments();
    close(log);
    let log = bench.open();
    assert_eq!((log.log_end_offset(), log.segments(), log.latest_epoch()), (300, segments, Some(5)));
    assert_eq!(offsets_from(&log, 0), all);
    assert_eq!(bench.names_of(".log").len(), segments);
    assert_eq!(bench.names_of(".snapshot").len(), segments, "one per roll and one at the end");
    assert_eq!(bench.bytes("leader-epoch-checkpoint"), b"0\n1\n5 0\n");
    assert_eq!(bench.bytes("partition.metadata"), b"version: 0\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw");
}

#[test]
fn a_look_up_that_must_not_wait_says_what_is_to_be_brought_into_memory() {
    let config = LogConfig { segment_bytes: 1 << 20, index_interval_bytes: 300, ..LogConfig::default() };
    // On the disk of the build rather than in a temporary directory, which may be memory that nothing drops.
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bench = Bench { home, ..Bench::new(config) };
    let mut log = bench.open();
    for _ in 0..400 {
        log.append(batch_at(NOW, 3, 2_000), 0, Acks::Leader, NOW).unwrap();
        drive(&mut log);
    }
    let limit = log.high_watermark();
    close(log);
    let log = bench.open();
    assert!(log.segments() > 2);
    for name in bench.names_of(".log").into_iter().chain(bench.names_of(".index")) {
        let file = std::fs::File::open(bench.path(&name)).unwrap();
        file.sync_all().unwrap();
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    }
    for from in [limit / 2, 1] {
        let mut colds = 0;
        let slice = loop {
            match log.read_cached(from, 1 << 20, Upto::HighWatermark, true) {
                Ok(slice) => break slice,
                Err(ReadError::Cold { offset }) => {
                    assert_eq!(offset, from);
                    log.reader().warm(offset);
                    colds += 1;
                }
                Err(e) => panic!("{e}"),
            }
        };
        assert_eq!(colds, 1, "looking up {from}");
        let waited = log.read(from, 1 << 20, Upto::HighWatermark, true).unwrap();
        assert_eq!((slice.position, slice.len), (waited.position, waited.len));
        assert_eq!(
            (slice.base_offset_of_first, slice.first_batch_len),
            (waited.base_offset_of_first, waited.first_batch_len)
        );
    }
    // The end of the log needs no disk.
    log.read_cached(limit, 1, Upto::HighWatermark, true).unwrap();
}

#[test]
fn each_offset_is_found_among_small_and_large_batches() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    // Where each batch begins: (first offset, one past its last, position). Large ones have an entry each, small ones share one.
    let (mut batches, mut position) = (Vec::new(), 0);
    for i in 0..400 {
        let size = [20_000, 30, 5_000, 12_000, 30, 30, 9_000][i % 7];
        let batch = batch_at(NOW, 3, size / 3);
        let len = batch.bytes.len() as u64;
        let at = log.append(batch, 0, Acks::Leader, NOW).unwrap();
        batches.push((at.base_offset, at.last_offset + 1, position));
        position += len;
        drive(&mut log);
    }
    close(log);
    let log = bench.open();
    for (first, next, position) in batches {
        for offset in first..next {
            let slice = log.read(offset, 1, Upto::HighWatermark, true).unwrap();
            assert_eq!((slice.base_offset_of_first, slice.position), (first, position), "offset {offset}");
        }
    }
}

#[test]
fn bytes_pass_untouched_but_for_offset_and_epoch_whatever_their_size() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    let mut expected = Vec::new();
    let mut offset = 0i64;
    // Small ones are copied together, large ones written from where they are.
    for size in [10, 100_000, 20, 30, 9_000, 8_000, 70_000] {
        let batch = batch_at(NOW, 2, size);
        let start = expected.len();
        expected.extend_from_slice(&batch.bytes);
        expected[start..start + 8].copy_from_slice(&offset.to_be_bytes());
        expected[start + 12..start + 16].copy_from_slice(&9i32.to_be_bytes());
        log.append(batch, 9, Acks::Leader, NOW).unwrap();
        offset += 2;
    }
    let Step::Write(job) = log.next_step() else { panic!("batches are staged") };
    assert_eq!(job.len_bytes(), expected.len(), "all go out as one write");
    assert!(matches!(log.next_step(), Step::Idle), "one job at a time");
    log.append(batch_at(NOW, 1, 1), 9, Acks::Leader, NOW).unwrap();
    let result = job.run_inline();
    log.finish_write(job, result).unwrap();
    assert!(bench.bytes("00000000000000000000.log") == expected);
    assert_eq!((log.log_end_offset(), log.staged_end_offset()), (14, 15));
}

#[test]
fn reads_keep_their_limits() {
    let bench = Bench::new(LogConfig { segment_bytes: 3000, ..LogConfig::default() });
    let mut log = bench.open();
    for _ in 0..30 {
        log.append(batch_at(NOW, 10, 20), 0, Acks::Leader, NOW).unwrap();
    }
    drive(&mut log);
    let one = log.read(25, 0, Upto::HighWatermark, true).unwrap();
    assert_eq!((one.base_offset_of_first, one.len), (20, one.first_batch_len));
    assert_eq!(log.read(25, 0, Upto::HighWatermark, false).unwrap().len, 0);
    assert_eq!(log.read(25, 100, Upto::HighWatermark, false).unwrap().len, 100, "a cut batch, as Kafka gives");
    let whole = log.read(0, usize::MAX, Upto::HighWatermark, true).unwrap();
    assert!(whole.len <= 3000 && whole.len.is_multiple_of(one.len), "to the end of its segment");
    assert!(log.read(300, 100, Upto::HighWatermark, true).unwrap().file.is_none(), "nothing at the end");
    for offset in [-1, 301] {
        let error = log.read(offset, 1, Upto::HighWatermark, true).unwrap_err();
        assert_eq!(error.code(), ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let at_tail = log.available_bytes(290, Upto::HighWatermark);
    assert_eq!(at_tail, one.len as u64);
    assert_eq!(log.available_bytes(300, Upto::HighWatermark), 0);
    assert!(log.available_bytes(0, Upto::HighWatermark) > at_tail);
}

#[test]
fn an_acks_all_batch_is_invisible_until_it_is_durable() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    log.append(batch_at(NOW, 2, 10), 0, Acks::Leader, NOW).unwrap();
    log.append(batch_at(NOW, 2, 10), 0, Acks::All, NOW).unwrap();
    log.append(batch_at(NOW, 2, 10), 0, Acks::Leader, NOW).unwrap();
    drive(&mut log);
    assert_eq!((log.log_end_offset(), log.high_watermark()), (6, 2));
    assert_eq!(offsets_from(&log, 0), [0, 1]);
    assert_eq!(log.unflushed().unwrap().messages, 6);
    let early = log.sync_job().unwrap();
    log.append(batch_at(NOW, 2, 10), 0, Acks::All, NOW + 5).unwrap();
    drive(&mut log);
    log.finish_sync(&early, Ok(())).unwrap();
    assert_eq!((log.durable_offset(), log.high_watermark()), (6, 6), "what came after the sync began must wait");
    sync(&mut log);
    assert_eq!((log.durable_offset(), log.high_watermark()), (8, 8));
    assert!(log.sync_job().is_none() && log.unflushed().is_none());
}

#[test]
fn a_duplicate_gets_its_first_answer_even_after_a_restart() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    for i in 0..3 {
        log.append(batch_of(4, 0, i * 5, 5), 0, Acks::Leader, NOW).unwrap();
    }
    let again = log.append(batch_of(4, 0, 5, 5), 0, Acks::Leader, NOW).unwrap();
    assert!(again.duplicate && again.base_offset == 5 && again.last_offset == 9);
    assert_eq!(log.staged_end_offset(), 15);
    drive(&mut log);
    close(log);
    let mut log = bench.open();
    assert!(log.append(batch_of(4, 0, 10, 5), 0, Acks::Leader, NOW).unwrap().duplicate);
    let refused = log.append(batch_of(4, 0, 5, 5), 0, Acks::Leader, NOW).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    log.expire_producers(NOW + 2 * DAY);
    assert!(log.producers().is_empty());
}

#[test]
fn segments_roll_by_size_time_and_full_indexes() {
    let by_time = LogConfig { segment_ms: 1000, ..LogConfig::default() };
    let by_index = LogConfig { segment_index_bytes: 48, index_interval_bytes: 0, ..LogConfig::default() };
    for (config, step_ms, expected) in [(by_time, 300, 3), (by_index, 0, 3)] {
        let bench = Bench::new(config);
        let mut log = bench.open();
        for i in 0..10 {
            log.append(batch_at(NOW + i * step_ms, 1, 10), 0, Acks::Leader, NOW).unwrap();
            drive(&mut log);
        }
        assert_eq!(log.segments(), expected);
        assert_eq!(offsets_from(&log, 0).len(), 10);
    }
}

#[test]
fn a_full_disk_drops_what_was_staged_and_the_log_goes_on() {
    let bench = Bench::new(LogConfig { segment_bytes: 2000, ..LogConfig::default() });
    let mut log = bench.open();
    log.append(batch_of(1, 0, 0, 2), 0, Acks::Leader, NOW).unwrap();
    drive(&mut log);
    for i in 0..40 {
        log.append(batch_of(1, 0, 2 + i * 2, 2), 1, Acks::All, NOW).unwrap();
    }
    let Step::Write(job) = log.next_step() else { panic!("batches are staged") };
    // A torn write: something reached the file.
    bench
        .file("00000000000000000000.log")
        .write_all_at(&mut [std::io::IoSlice::new(&[1; 300])], job.position())
        .unwrap();
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = log.finish_write(job, Err(full)).unwrap_err();
    assert!(matches!(error, LogError::DiskFull { from: 2 }) && !error.is_fatal());
    assert_eq!((log.staged_end_offset(), log.latest_epoch(), log.staged_bytes()), (2, Some(1), 0));
    assert!(matches!(log.next_step(), Step::Idle));
    log.refuse_appends(true);
    let refused = log.append(batch_of(1, 0, 2, 2), 1, Acks::Leader, NOW);
    assert!(matches!(refused, Err(AppendError::Offline)), "not before those are told whose batches are gone");
    log.refuse_appends(false);
    // The producer sends again from where it was.
    let again = log.append(batch_of(1, 0, 2, 2), 1, Acks::Leader, NOW).unwrap();
    assert_eq!((again.base_offset, again.duplicate), (2, false));
    drive(&mut log);
    assert_eq!(offsets_from(&log, 0), [0, 1, 2, 3]);
    close(log);
    assert_eq!(bench.open().log_end_offset(), 4);
}

#[test]
fn a_failed_write_or_sync_ends_the_log() {
    let broken = || Err(std::io::Error::other("I/O error"));
    for at_sync in [false, true] {
        let bench = Bench::new(LogConfig::default());
        let mut log = bench.open();
        log.append(batch_at(NOW, 1, 1), 0, Acks::Leader, NOW).unwrap();
        let error = if at_sync {
            drive(&mut log);
            let job = log.sync_job().unwrap();
            log.finish_sync(&job, broken()).unwrap_err()
        } else {
            let Step::Write(job) = log.next_step() else { panic!("a batch is staged") };
            log.finish_write(job, broken()).unwrap_err()
        };
        assert!(error.is_fatal() && log.is_offline());
        assert_eq!(log.append(batch_at(NOW, 1, 1), 0, Acks::Leader, NOW).unwrap_err(), AppendError::Offline);
        assert!(matches!(log.read(0, 1, Upto::LogEnd, true), Err(ReadError::Offline)));
        assert!(log.sync_job().is_none() && matches!(log.next_step(), Step::Idle));
    }
}

#[test]
fn read_committed_stops_before_open_transactions_and_names_the_aborted() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    let in_txn = |producer, sequence| {
        let mut builder = kringle_log::BatchBuilder::new(kringle_log::Compression::None)
            .producer(producer, 0, sequence)
            .transactional();
        builder.append(NOW, None, Some(b"v"), &[]);
        common::valid(builder.build(0, -1))
    };
    let end = |producer, commit| {
        valid_from(Origin::Coordinator, EndTxnMarker { commit, coordinator_epoch: 0 }.batch(producer, 0, NOW))
    };
    log.append(in_txn(1, 0), 0, Acks::Leader, NOW).unwrap();
    log.append(in_txn(2, 0), 0, Acks::Leader, NOW).unwrap();
    drive(&mut log);
    assert_eq!((log.high_watermark(), log.last_stable_offset()), (2, 0));
    assert!(log.read(0, 1, Upto::LastStable, true).unwrap().file.is_none());
    log.append(end(1, false), 0, Acks::Leader, NOW).unwrap();
    drive(&mut log);
    assert_eq!(log.last_stable_offset(), 1);
    log.append(end(2, true), 0, Acks::Leader, NOW).unwrap();
    drive(&mut log);
    assert_eq!(log.last_stable_offset(), 4);
    let slice = log.read(0, 1000, Upto::LastStable, true).unwrap();
    assert_eq!(slice.aborted, [(1, 0)]);
    assert!(log.read(0, 1000, Upto::HighWatermark, true).unwrap().aborted.is_empty());
    assert_eq!(bench.bytes("00000000000000000000.txnindex").len(), 34);
    close(log);
    let log = bench.open();
    assert_eq!(log.last_stable_offset(), 4);
    assert_eq!(log.read(0, 1000, Upto::LastStable, true).unwrap().aborted, [(1, 0)]);
}
