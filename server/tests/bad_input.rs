//! Hostile bytes: Kafka's error or a closed connection; nothing is written, nobody else notices, memory stays bounded.

mod support;

use bytes::Bytes;
use kringle_log::Compression;
use kringle_protocol::ErrorCode;
use kringle_protocol::messages::*;
use support::{TestBroker, batch, produce_request, raw_request, still_answers};

/// A pseudo-random sequence that is the same in every run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(state >> 56).expect("eight bits")
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn random_bytes_close_the_connection_and_hurt_nobody() {
    let broker = TestBroker::start();
    let mut bystander = broker.connect();
    bystander.create_topic("t", 1);
    for seed in 0..200 {
        let mut client = broker.connect();
        let mut bytes = noise(seed, 600);
        // A plausible length, so that the body is looked at.
        bytes[..4].copy_from_slice(&500_u32.to_be_bytes());
        client.send(&bytes);
    }
    assert_eq!(bystander.produce("t", 0, -1, batch(Compression::None, &[b"fine"])), (0, 0));
    still_answers(&broker);
}

#[test]
fn negative_and_huge_lengths_close_the_connection() {
    let broker = TestBroker::start();
    for length in [-1_i32, i32::MIN, i32::MAX, 104_857_601] {
        let mut client = broker.connect();
        client.send(&length.to_be_bytes());
        assert!(client.is_closed(), "length {length}");
    }
    still_answers(&broker);
}

#[test]
fn a_half_frame_costs_no_memory_and_blocks_nobody() {
    let broker = TestBroker::start();
    let before = broker.rss_bytes();
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut client = broker.connect();
        client.send(&100_000_000_u32.to_be_bytes());
        client.send(&[0; 64]);
        open.push(client);
    }
    still_answers(&broker);
    let grown = broker.rss_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "100 announcements of 100 MB cost {grown} bytes");
}

#[test]
fn array_counts_beyond_the_frame_close_the_connection() {
    let broker = TestBroker::start();
    // Metadata v1, DescribeGroups v0, ListOffsets v1 (replica id first), OffsetFetch v1 (group first).
    for (key, version, before_the_count) in
        [(3, 1, &[][..]), (15, 0, &[]), (2, 1, &[0, 0, 0, 0]), (9, 1, &[0, 1, b'g'])]
    {
        let mut client = broker.connect();
        let mut body = before_the_count.to_vec();
        body.extend_from_slice(&i32::MAX.to_be_bytes());
        client.send(&raw_request(key, version, &body));
        assert!(client.is_closed(), "API {key} v{version}");
    }
    still_answers(&broker);
}

#[test]
fn unknown_apis_and_versions_close_the_connection() {
    let broker = TestBroker::start();
    for (key, version) in [(-1, 0), (4, 0), (7, 0), (999, 0), (3, 99), (3, -1), (0, 2), (1, 3)] {
        let mut client = broker.connect();
        client.send(&raw_request(key, version, &[]));
        assert!(client.is_closed(), "API {key} v{version}");
    }
}

#[test]
fn api_versions_in_a_version_too_new_is_answered_in_version_0() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    // The body is the empty tag section of the header: version 99 is taken for a flexible one.
    client.send(&raw_request(18, 99, &[0]));
    let answer = client.receive().expect("answered");
    // Correlation id, error code, one API: ApiVersions itself.
    assert_eq!(&answer[..4], &7_i32.to_be_bytes());
    assert_eq!(&answer[4..6], &35_i16.to_be_bytes());
    assert_eq!(&answer[6..], &[0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
}

/// Produces `records` and expects `error`; nothing may have been written.
fn is_refused(broker: &TestBroker, topic: &str, records: Bytes, error: ErrorCode) {
    let mut client = broker.connect();
    let (code, _) = client.produce(topic, 0, -1, records);
    assert_eq!(ErrorCode::from(code), error);
    assert_eq!(client.high_watermark(topic, 0), 0, "something was written");
}

#[test]
fn broken_batches_get_kafkas_error_and_write_nothing() {
    let broker = TestBroker::start();
    broker.connect().create_topic("t", 1);
    let good = batch(Compression::None, &[b"one", b"two"]);
    let change = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        Bytes::from(bytes)
    };
    // A byte of the records: the CRC is wrong.
    is_refused(&broker, "t", change(good.len() - 1, 0xff), ErrorCode::CORRUPT_MESSAGE);
    // The length field reaches beyond what was sent: as in Kafka that is no batch at all. A negative one is corrupt.
    is_refused(&broker, "t", change(8, 0x7f), ErrorCode::INVALID_RECORD);
    is_refused(&broker, "t", good.slice(..good.len() - 3), ErrorCode::INVALID_RECORD);
    is_refused(&broker, "t", change(8, 0x80), ErrorCode::CORRUPT_MESSAGE);
    // Two batches in one partition of one request.
    is_refused(&broker, "t", [&good[..], &good[..]].concat().into(), ErrorCode::INVALID_RECORD);
    let mut client = broker.connect();
    assert_eq!(client.produce("t", 0, -1, good).0, 0, "the good one is taken");
}

/// A batch of a codec that nobody knows, with a checksum that fits.
fn of_an_unknown_codec() -> Bytes {
    let mut bytes = batch(Compression::None, &[b"one"]).to_vec();
    bytes[22] |= 5;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn from_version_7_on_an_unknown_codec_spoils_only_its_own_partition() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    client.create_topic("t", 2);
    let mut request = produce_request("t", 0, -1, of_an_unknown_codec());
    request.topic_data.extend(produce_request("t", 1, -1, batch(Compression::None, &[b"good"])).topic_data);
    for (version, second) in [(6, ErrorCode::UNKNOWN_SERVER_ERROR), (7, ErrorCode::NONE), (9, ErrorCode::NONE)] {
        let response = client.call(version, &request);
        let codes: Vec<ErrorCode> =
            response.responses[0].partition_responses.iter().map(|partition| partition.error_code.into()).collect();
        assert_eq!(codes, [ErrorCode::UNKNOWN_SERVER_ERROR, second], "version {version}");
    }
}

#[test]
fn a_decompression_bomb_ends_at_a_limit() {
    let broker = TestBroker::start();
    broker.connect().create_topic("t", 1);
    let zeros = vec![0; 512 << 20];
    for compression in [Compression::Gzip, Compression::Zstd] {
        let bomb = batch(compression, &[&zeros]);
        assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
        let before = broker.rss_bytes();
        let mut client = broker.connect();
        // Kafka takes it: the compressed size counts. What matters is the memory it costs to look at it.
        client.produce("t", 0, -1, bomb);
        let grown = broker.rss_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "{compression:?}: 512 MB of zeros cost {grown} bytes");
    }
    still_answers(&broker);
}

#[test]
fn names_that_are_paths_or_too_long_are_refused() {
    let broker = TestBroker::start();
    let long = "x".repeat(250);
    for name in ["..", ".", "a/b", "../up", "", "ä", "a b", &long] {
        let mut client = broker.connect();
        let topic = kringle_protocol::create_topics_request::CreatableTopic {
            name: name.to_owned(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
        let code = client.call(5, &request).topics[0].error_code;
        assert_eq!(ErrorCode::from(code), ErrorCode::INVALID_TOPIC_EXCEPTION, "{name:?}");
    }
    let home = broker.dir().parent().expect("has one");
    let left: Vec<_> = walk(home).into_iter().filter(|path| path.contains("up") || path.contains("xxx")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[allow(clippy::disallowed_methods, reason = "a test looks at the directory from outside")]
fn walk(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }).collect()
}

#[test]
fn a_frame_of_empty_texts_does_not_become_thirty_times_as_large() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    // DescribeGroups with millions of empty names of two bytes each.
    let groups: u32 = 10_000_000;
    let body = [&groups.to_be_bytes()[..], &vec![0; 2 * groups as usize]].concat();
    let before = broker.rss_bytes();
    client.send(&raw_request(15, 0, &body));
    assert!(client.is_closed());
    let grown = broker.rss_bytes().saturating_sub(before);
    assert!(grown < 5 * body.len() as u64, "grew by {grown} bytes for a frame of {}", body.len());
    still_answers(&broker);
}
