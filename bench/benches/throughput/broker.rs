//! Produce and Fetch through a real loopback socket to a whole broker, with one and with two shards.
//!
//! The broker runs in this process, so that its CPU time can be told from the client's: the client is this thread, with
//! requests that are encoded beforehand. Topics keep little, so that the page cache of deleted segments is written again.

mod client;
mod running;

use bytes::Bytes;
use kringle_bench::frames;
use kringle_bench::throughput::{Amount, CpuOf};

use crate::batches::{amount, random_batch};
use crate::ground::Ground;
use crate::meter::Meter;
use client::{Client, Expected, Load};
use running::Lazy;

/// Partitions of the topics; connections are spread over them, and so over the shards.
const PARTITIONS: i32 = 4;
/// More than the segments of the produced topic take at a time.
const TOUCHED_BYTES: usize = 512 << 20;
/// What is produced goes here.
const PRODUCED: &str = "produced";
/// What is fetched stands here, the same in the first partitions.
const FETCHED: &str = "fetched";
const FETCHED_PARTITIONS: i32 = 4;
const FETCHED_BATCHES: usize = 1500;
const FETCHED_BATCH: Shape = Shape { records: 16, record_bytes: 1024 };
const SHARDS: [(usize, &str); 2] = [(1, "1 shard"), (2, "2 shards")];

/// A batch.
#[derive(Clone, Copy)]
struct Shape {
    records: usize,
    record_bytes: usize,
}

impl Shape {
    fn batch(self) -> Bytes {
        random_batch(self.records, self.record_bytes)
    }
}

struct Produce {
    case: &'static str,
    batch: Shape,
    acks: i16,
    connections: usize,
    in_flight: usize,
    /// Small requests are counted, large ones weighed.
    counted: bool,
}

const SMALL: Shape = Shape { records: 1, record_bytes: 100 };
const MIDDLE: Shape = Shape { records: 16, record_bytes: 1024 };
const LARGE: Shape = Shape { records: 128, record_bytes: 1024 };

const PRODUCE: [Produce; 5] = [
    Produce {
        case: "1 x 100 B, acks=1, 1 connection x 1 in flight, requests",
        batch: SMALL,
        acks: 1,
        connections: 1,
        in_flight: 1,
        counted: true,
    },
    Produce {
        case: "1 x 100 B, acks=1, 16 connections x 8 in flight, requests",
        batch: SMALL,
        acks: 1,
        connections: 16,
        in_flight: 8,
        counted: true,
    },
    Produce {
        case: "16 x 1 KiB, acks=1, 4 connections x 5 in flight",
        batch: MIDDLE,
        acks: 1,
        connections: 4,
        in_flight: 5,
        counted: false,
    },
    Produce {
        case: "128 x 1 KiB, acks=1, 4 connections x 5 in flight",
        batch: LARGE,
        acks: 1,
        connections: 4,
        in_flight: 5,
        counted: false,
    },
    Produce {
        case: "16 x 1 KiB, acks=all (durable), 16 connections x 5 in flight",
        batch: MIDDLE,
        acks: -1,
        connections: 16,
        in_flight: 5,
        counted: false,
    },
];

/// What is asked for, and by how many connections.
const FETCH: [(&str, usize, usize); 3] = [
    ("64 KiB, 4 connections x 1 in flight", 64 << 10, 4),
    ("1 MiB, 1 connection x 1 in flight", 1 << 20, 1),
    ("1 MiB, 4 connections x 1 in flight", 1 << 20, 4),
];

pub(crate) fn rows(meter: &mut Meter, ground: &Ground) {
    let mut brokers = SHARDS.map(|(shards, way)| (Lazy::new(ground, shards), way));
    for what in &PRODUCE {
        let batch = what.batch.batch();
        let request = if what.counted { Amount::Operations(1) } else { amount(batch.len()) };
        for (broker, way) in &mut brokers {
            let mut load = None;
            let name = ["broker produce", what.case, way];
            meter.row(name, per_round(request, what.connections), CpuOf::Server, |iterations, watch| {
                let load = load.get_or_insert_with(|| produce(broker, what, &batch));
                watch.time(|| load.run(iterations));
            });
        }
    }
    for (case, bytes, connections) in FETCH {
        for (broker, way) in &mut brokers {
            let mut load = None;
            let name = ["broker fetch, cached", case, way];
            meter.row(name, per_round(amount(bytes), connections), CpuOf::Server, |iterations, watch| {
                let load = load.get_or_insert_with(|| fetch(broker, bytes, connections));
                watch.time(|| load.run(iterations));
            });
        }
    }
}

/// An iteration is a request on every connection.
fn per_round(request: Amount, connections: usize) -> Amount {
    match request {
        Amount::Bytes(bytes) => Amount::Bytes(bytes * connections as u64),
        Amount::Operations(count) => Amount::Operations(count * connections as u64),
    }
}

fn produce(broker: &mut Lazy, what: &Produce, batch: &Bytes) -> Load {
    let broker = broker.running();
    broker.ensure_topic(PRODUCED, PARTITIONS);
    let clients = (0..what.connections).zip((0..PARTITIONS).cycle()).map(|(_, partition)| {
        let requests = vec![frames::produce(PRODUCED, partition, what.acks, batch)];
        Client::connect(broker.address, requests, Expected::Appended { topic: PRODUCED })
    });
    let mut load = Load::new(clients.collect(), what.in_flight);
    if !what.counted {
        // Once through all the page cache that the topic will use.
        load.run((TOUCHED_BYTES / batch.len() / what.connections) as u64);
    }
    load
}

fn fetch(broker: &mut Lazy, bytes: usize, connections: usize) -> Load {
    let broker = broker.running();
    if broker.ensure_topic(FETCHED, FETCHED_PARTITIONS) {
        let batch = FETCHED_BATCH.batch();
        for partition in 0..FETCHED_PARTITIONS {
            let requests = vec![frames::produce(FETCHED, partition, 1, &batch)];
            let client = Client::connect(broker.address, requests, Expected::Appended { topic: FETCHED });
            Load::new(vec![client], 8).run(FETCHED_BATCHES as u64);
        }
    }
    let batches = bytes.div_ceil(FETCHED_BATCH.batch().len());
    let first_batches = (0..FETCHED_BATCHES - batches).step_by(batches);
    let offsets: Vec<i64> =
        first_batches.map(|batch| i64::try_from(batch * FETCHED_BATCH.records).expect("a small topic")).collect();
    let clients = (0..connections).zip((0..FETCHED_PARTITIONS).cycle()).map(|(_, partition)| {
        let requests = offsets.iter().map(|offset| fetch_request(partition, *offset, bytes)).collect();
        Client::connect(broker.address, requests, Expected::Records { topic: FETCHED, bytes })
    });
    Load::new(clients.collect(), 1)
}

fn fetch_request(partition: i32, offset: i64, bytes: usize) -> Vec<u8> {
    let mut request = frames::fetch(FETCHED, partition, 1, i32::try_from(bytes).expect("a small fetch"));
    frames::set_fetch_offset(&mut request, offset);
    request
}
