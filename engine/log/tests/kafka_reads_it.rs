//! Apache Kafka's own `DumpLogSegments` reads what this crate writes. Runs where `KAFKA_LIBS` names a directory with Kafka's jars
//! and there is a `java`; says so and passes elsewhere.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use std::process::Command;

use common::{Bench, DAY, NOW, close, drive, sync, valid, valid_from};
use kringle_log::{Acks, BatchBuilder, Compression, EndTxnMarker, LogConfig, Origin};

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// What the tool says about some files, or `None` where it cannot be run.
fn dump(bench: &Bench, names: &[String], options: &[&str]) -> Option<String> {
    let Some(libs) = std::env::var_os("KAFKA_LIBS") else {
        eprintln!("skipped: KAFKA_LIBS is not set, so Apache Kafka cannot be asked");
        return None;
    };
    let files: Vec<String> = names.iter().map(|name| bench.path(name).display().to_string()).collect();
    let output = Command::new("java")
        .arg("-cp")
        .arg(format!("{}/*", libs.display()))
        .args(["org.apache.kafka.tools.DumpLogSegments", "--files", &files.join(",")])
        .args(options)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    Some(text)
}

/// Segments with every codec, idempotent and transactional batches, markers, several epochs.
fn written() -> Bench {
    let config =
        LogConfig { segment_bytes: 20_000, segment_ms: i64::MAX, index_interval_bytes: 500, ..LogConfig::default() };
    let bench = Bench::new(config);
    let mut log = bench.open();
    let mut sequence = 0;
    for i in 0..100 {
        let codec = CODECS[usize::try_from(i).unwrap() % CODECS.len()];
        let mut batch = BatchBuilder::new(codec).producer(77, 2, sequence);
        for k in 0..10 {
            let value = format!("value {i} {k}").repeat(10);
            batch.append(NOW + i * 1000 + k, Some(b"key"), Some(value.as_bytes()), &[("h", Some(b"v")), ("n", None)]);
        }
        sequence += batch.count();
        log.append(valid(batch.build(0, -1)), i32::try_from(i / 40).unwrap(), Acks::All, NOW).unwrap();
        drive(&mut log);
    }
    for commit in [true, false] {
        let mut batch = BatchBuilder::new(Compression::Zstd).producer(78, 0, i32::from(!commit)).transactional();
        batch.append(NOW + DAY, None, Some(b"v"), &[]);
        log.append(valid(batch.build(0, -1)), 3, Acks::All, NOW).unwrap();
        let marker = EndTxnMarker { commit, coordinator_epoch: 5 }.batch(78, 0, NOW + DAY);
        log.append(valid_from(Origin::Coordinator, marker), 3, Acks::All, NOW).unwrap();
    }
    drive(&mut log);
    sync(&mut log);
    assert!(log.segments() > 2);
    close(log);
    bench
}

#[test]
fn dump_log_reads_segments_indexes_and_snapshots_without_complaint() {
    let bench = written();
    let Some(logs) = dump(&bench, &bench.names_of(".log"), &["--deep-iteration", "--print-data-log"]) else { return };
    for bad in ["Found", "corrupt", "isvalid: false", "Exception", "mismatch"] {
        assert!(!logs.contains(bad), "{bad}: {logs}");
    }
    assert_eq!(logs.matches("payload: value").count(), 1000);
    assert!(logs.contains("endTxnMarker: ABORT coordinatorEpoch: 5") && logs.contains("endTxnMarker: COMMIT"));

    let indexes = [bench.names_of(".index"), bench.names_of(".timeindex")].concat();
    let sane = dump(&bench, &indexes, &["--index-sanity-check"]).unwrap();
    assert_eq!(sane.matches("passed sanity check").count(), indexes.len(), "{sane}");
    let verified = dump(&bench, &indexes, &["--verify-index-only"]).unwrap();
    for bad in ["Found", "Mismatch", "mismatch", "out of order", "Exception"] {
        assert!(!verified.contains(bad), "{verified}");
    }

    let snapshots = dump(&bench, &bench.names_of(".snapshot"), &[]).unwrap();
    assert!(snapshots.contains("producerId: 77 producerEpoch: 2"), "{snapshots}");
    assert!(snapshots.contains("lastSequence: 999"), "{snapshots}");
    let aborted = dump(&bench, &bench.names_of(".txnindex"), &[]).unwrap();
    assert!(aborted.contains("producerId: 78"), "{aborted}");
}

#[test]
fn dump_log_finds_nothing_wrong_after_a_crash_and_recovery() {
    let mut bench = written();
    for suffix in [".index", ".timeindex"] {
        bench.names_of(suffix).iter().for_each(|name| bench.fs.remove_file(bench.path(name)).unwrap());
    }
    let last = bench.names_of(".log").pop().unwrap();
    let len = bench.bytes(&last).len() as u64;
    bench.file(&last).set_len(len - 1).unwrap();
    drop(bench.recover(0));
    let indexes = [bench.names_of(".index"), bench.names_of(".timeindex")].concat();
    let Some(verified) = dump(&bench, &indexes, &["--verify-index-only"]) else { return };
    for bad in ["Found", "Mismatch", "mismatch", "out of order", "Exception"] {
        assert!(!verified.contains(bad), "{verified}");
    }
}
