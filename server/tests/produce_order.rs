//! Producers on all shards append to the same partitions: each keeps its order, nothing is lost or doubled.

mod support;

use std::collections::HashMap;

use bytes::Bytes;
use kringle_log::{BatchBuilder, Compression, batches};
use kringle_protocol::messages::{InitProducerIdRequest, ProduceRequest};
use support::{Client, TestBroker, now_ms, produce_request};

const PRODUCERS: usize = 8;
const BATCHES: i32 = 200;
const IN_FLIGHT: i32 = 5;
const PARTITIONS: i32 = 3;

fn sequenced(producer: i64, sequence: i32, padding: usize) -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None).producer(producer, 0, sequence);
    batch.append(now_ms(), None, Some(&vec![b'x'; padding]), &[]);
    batch.build(0, -1)
}

/// Sends its batches in order to each partition in turn, five in flight, and checks every answer.
fn produce(mut client: Client, seed: usize) -> i64 {
    let init = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 1000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let given = client.call(3, &init);
    assert_eq!(given.error_code, 0);
    let producer = given.producer_id;
    let mut sent = 0;
    let mut answered = 0;
    let total = BATCHES * PARTITIONS;
    while answered < total {
        while sent < total && sent - answered < IN_FLIGHT {
            let (partition, sequence) = (sent % PARTITIONS, sent / PARTITIONS);
            // Most are small; some are more than one write in line takes, and go another way than those around them.
            let turn = usize::try_from(sent).expect("a count") + seed;
            let padding = if turn.is_multiple_of(37) { 300_000 } else { 100 };
            let acks = if turn.is_multiple_of(11) { -1 } else { 1 };
            let request = produce_request("t", partition, acks, sequenced(producer, sequence, padding));
            let frame = client.frame(9, &request);
            client.send(&frame);
            sent += 1;
        }
        let answer = client.receive().expect("an answer");
        let response = client.decode_earlier::<ProduceRequest>(9, answer, sent - answered - 1);
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.index, partition.error_code), (answered % PARTITIONS, 0), "answer {answered}");
        answered += 1;
    }
    producer
}

fn sequences_by_producer(client: &mut Client, partition: i32) -> HashMap<i64, Vec<i32>> {
    let mut found: HashMap<i64, Vec<i32>> = HashMap::new();
    let mut offset = 0;
    let end = i64::from(BATCHES) * i64::try_from(PRODUCERS).expect("a few");
    while offset < end {
        let (code, _, records) = client.fetch("t", partition, offset, 1000);
        assert_eq!(code, 0);
        for batch in batches(&records).map_while(Result::ok) {
            assert_eq!(batch.base_offset, offset, "offsets have no gap");
            found.entry(batch.producer_id).or_default().push(batch.base_sequence);
            offset = batch.last_offset() + 1;
        }
    }
    found
}

fn run(overrides: &[&str]) {
    let broker = TestBroker::start_with(overrides);
    let mut client = broker.connect();
    client.create_topic("t", PARTITIONS);
    let threads: Vec<_> = (0..PRODUCERS)
        .map(|seed| {
            let client = broker.connect();
            std::thread::spawn(move || produce(client, seed))
        })
        .collect();
    let mut producers: Vec<i64> =
        threads.into_iter().map(|thread| thread.join().expect("no producer failed")).collect();
    producers.sort_unstable();
    for partition in 0..PARTITIONS {
        let found = sequences_by_producer(&mut client, partition);
        let mut seen: Vec<i64> = found.keys().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, producers);
        for (producer, sequences) in found {
            assert_eq!(sequences, (0..BATCHES).collect::<Vec<_>>(), "producer {producer} of partition {partition}");
        }
    }
}

#[test]
fn producers_on_three_shards_keep_their_order() {
    run(&["kringle.shards=3"]);
}

#[test]
fn producers_keep_their_order_while_segments_roll() {
    run(&["kringle.shards=2", "log.segment.bytes=1048576"]);
}
