//! What was acknowledged is there after kill -9, at whatever moment it comes.
#![allow(clippy::disallowed_methods, reason = "tests stand outside the broker: they use the system as it is")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kringle_log::{Compression, batches, for_each_record};
use kringle_protocol::messages::InitProducerIdRequest;
use support::{Client, TestBroker, batch};

const KILLS: usize = 5;
const PARTITIONS: i32 = 3;

/// All values of a partition in order.
fn read_all(client: &mut Client, partition: i32) -> Vec<String> {
    let mut values = Vec::new();
    let mut offset = 0;
    loop {
        let (error, high_watermark, bytes) = client.fetch("t", partition, offset, 0);
        assert_eq!(error, 0);
        for batch in batches(&bytes) {
            let batch = batch.expect("whole batches");
            for_each_record(&batch, |record| {
                values.push(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned());
            })
            .expect("records");
            offset = batch.next_offset();
        }
        if offset >= high_watermark {
            return values;
        }
    }
}

#[test]
fn acks_all_survives_kill_9_at_any_moment() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut broker = TestBroker::start_on(home.path(), &[]);
    broker.connect().create_topic("t", PARTITIONS);
    let acked: Vec<Mutex<Vec<String>>> = (0..PARTITIONS).map(|_| Mutex::default()).collect();
    let acked = Arc::new(acked);
    for round in 0..KILLS {
        let stop = Arc::new(AtomicBool::new(false));
        let producers: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                let (acked, stop, address) = (acked.clone(), stop.clone(), broker.address);
                std::thread::spawn(move || produce_until(address, partition, round, &acked[of(partition)], &stop))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(150 + 37 * round as u64));
        broker.kill();
        stop.store(true, Ordering::Relaxed);
        for producer in producers {
            producer.join().expect("no panic");
        }
        broker = TestBroker::start_on(home.path(), &[]);
        let mut client = broker.connect();
        for partition in 0..PARTITIONS {
            let found = read_all(&mut client, partition);
            let promised = acked[of(partition)].lock().expect("no panic").clone();
            let mut rest = found.iter();
            for value in &promised {
                assert!(rest.any(|found| found == value), "partition {partition}: {value} is lost or out of order");
            }
        }
    }
    let total: usize = acked.iter().map(|values| values.lock().expect("no panic").len()).sum();
    assert!(total > 100, "only {total} records were acknowledged: nothing was tested");
}

fn of(partition: i32) -> usize {
    usize::try_from(partition).expect("partitions count from 0")
}

/// acks=all until the broker goes away.
fn produce_until(
    address: std::net::SocketAddr,
    partition: i32,
    round: usize,
    acked: &Mutex<Vec<String>>,
    stop: &AtomicBool,
) {
    let mut client = Client::connect(address);
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let value = format!("{round}/{n}");
        let frame = client
            .frame(9, &support::produce_request("t", partition, -1, batch(Compression::None, &[value.as_bytes()])));
        client.send(&frame);
        let Some(answer) = client.receive() else { return };
        let response = client.decode::<kringle_protocol::messages::ProduceRequest>(9, answer);
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
        acked.lock().expect("no panic").push(value);
        n += 1;
    }
}

#[test]
fn an_idempotent_producers_window_survives_a_restart() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let broker = TestBroker::start_on(home.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("t", 1);
    let init = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 1000, ..Default::default() };
    let id = client.call(4, &init);
    assert_eq!(id.error_code, 0);
    let numbered = |sequence: i32| {
        let builder = kringle_log::BatchBuilder::new(Compression::None);
        let mut builder = builder.producer(id.producer_id, id.producer_epoch, sequence);
        // A producer is forgotten a day after its last record's timestamp.
        builder.append(support::now_ms(), None, Some(b"v"), &[]);
        builder.build(0, -1)
    };
    for sequence in 0..7 {
        assert_eq!(client.produce("t", 0, -1, numbered(sequence)), (0, sequence.into()));
    }
    assert_eq!(client.produce("t", 0, -1, numbered(6)), (0, 6), "a duplicate is told its first offset");
    assert_eq!(client.produce("t", 0, -1, numbered(9)).0, 45, "a gap is out of order");
    assert!(broker.stop());
    let broker = TestBroker::start_on(home.path(), &[]);
    let mut client = broker.connect();
    assert_eq!(client.produce("t", 0, -1, numbered(6)), (0, 6), "remembered over a restart");
    assert_eq!(client.produce("t", 0, -1, numbered(7)), (0, 7));
    assert_eq!(client.high_watermark("t", 0), 8);
    let next = client.call(4, &init);
    assert!(next.producer_id > id.producer_id, "ids are never handed out twice");
}

#[test]
fn a_producer_without_patience_still_gets_its_yes_from_stable_storage() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let broker = TestBroker::start_on(home.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("t", 1);
    for (offset, timeout_ms) in [(0, 0), (1, -1), (2, i32::MIN)] {
        let request = support::produce_request("t", 0, -1, batch(Compression::None, &[b"v"]));
        let request = kringle_protocol::messages::ProduceRequest { timeout_ms, ..request };
        let response = client.call(9, &request);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, offset), "timeout {timeout_ms}");
        // Only what is on stable storage is below the high watermark.
        assert_eq!(client.high_watermark("t", 0), offset + 1);
    }
    broker.kill();
    let again = TestBroker::start_on(home.path(), &[]);
    assert_eq!(again.connect().high_watermark("t", 0), 3);
}

/// A broker that is killed, and the log's file cut to what was synced there, as a power cut may leave it: so many records are in the
/// journal alone, behind those whose number this gives.
fn cut_off(home: &std::path::Path, journaled: i64) -> i64 {
    let broker = TestBroker::start_on(home, &["kringle.shards=1", "kringle.admin.listener=127.0.0.1:0"]);
    let mut client = broker.connect();
    client.create_topic("t", 1);
    let log = home.join("t-0/00000000000000000000.log");
    let one = batch(Compression::None, &[b"v"]);
    let bytes_of_one = one.len() as u64;
    let mut next = 0;
    let mut produce_one = || {
        assert_eq!(client.produce("t", 0, -1, one.clone()), (0, next));
        next += 1;
        next
    };
    // The first go to the log's own file, while the journal is being laid.
    let synced = loop {
        let end = produce_one();
        if broker.metric("kringle_journal_records_total") == [1.0] {
            break end - 1;
        }
        assert!(end < 10_000, "no journal");
    };
    while produce_one() < synced + journaled {}
    broker.kill();
    let log = std::fs::File::options().write(true).open(&log).expect("there");
    log.set_len(bytes_of_one * u64::try_from(synced).expect("a count")).expect("cut");
    synced
}

#[test]
fn what_only_the_journal_has_is_there_after_a_crash() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let synced = cut_off(home.path(), 50);
    let broker = TestBroker::start_on(home.path(), &[]);
    assert_eq!(broker.connect().high_watermark("t", 0), synced + 50);
    assert!(broker.stop());
    assert!(!home.path().join("kringle-journal-0").exists(), "a clean stop leaves none");
    let broker = TestBroker::start_on(home.path(), &[]);
    assert_eq!(broker.connect().high_watermark("t", 0), synced + 50);
}

#[test]
fn a_journal_from_before_another_broker_ran_is_not_used() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let synced = cut_off(home.path(), 50);
    // As the start of Apache Kafka on this directory would.
    let state = home.path().join("__cluster_metadata-0/quorum-state");
    let text = std::fs::read_to_string(&state).expect("there");
    let (head, rest) = text.split_once("\"leaderEpoch\":").expect("an epoch");
    let (epoch, tail) = rest.split_once(',').expect("a number");
    let next = epoch.parse::<i32>().expect("a number") + 1;
    std::fs::write(&state, format!("{head}\"leaderEpoch\":{next},{tail}")).expect("written");
    let broker = TestBroker::start_on(home.path(), &[]);
    assert_eq!(broker.connect().high_watermark("t", 0), synced, "the log as the other broker left it");
}
