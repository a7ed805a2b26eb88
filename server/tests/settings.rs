//! Settings that are changed while the broker runs act at once, and no longer than they are set.

#![allow(clippy::disallowed_methods, reason = "tests stand outside the broker: they use the system as it is")]

mod support;

use std::time::{Duration, Instant};

use kringle_log::Compression;
use kringle_protocol::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kringle_protocol::messages::{
    FindCoordinatorRequest, IncrementalAlterConfigsRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use kringle_protocol::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use support::{Client, TestBroker, batch};

const BROKER: i8 = 4;
const MESSAGE_TOO_LARGE: i16 = 10;

/// Sets a setting of all brokers; `None` takes it back.
fn set(client: &mut Client, name: &str, value: Option<&str>) {
    let config = AlterableConfig {
        name: name.to_owned(),
        config_operation: i8::from(value.is_none()),
        value: value.map(str::to_owned),
    };
    let resource = AlterConfigsResource { resource_type: BROKER, resource_name: String::new(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response = client.call(1, &request);
    assert_eq!(response.responses[0].error_code, 0, "{response:?}");
}

#[test]
fn a_limit_of_message_sizes_holds_for_topics_that_set_none() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    client.create_topic("t", 1);
    let large = batch(Compression::None, &[&[7; 5000]]);
    assert_eq!(client.produce("t", 0, -1, large.clone()).0, 0);
    set(&mut client, "message.max.bytes", Some("1000"));
    assert_eq!(client.produce("t", 0, -1, large.clone()).0, MESSAGE_TOO_LARGE);
    set(&mut client, "message.max.bytes", None);
    assert_eq!(client.produce("t", 0, -1, large).0, 0);
}

#[test]
fn a_limit_of_connections_holds_for_those_who_come_and_outlives_the_broker() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broker = TestBroker::start_on(dir.path(), &[]);
    let mut client = broker.connect();
    set(&mut client, "max.connections.per.ip", Some("1"));
    assert!(broker.connect().is_closed());
    client.create_topic("who-is-connected-stays", 1);
    drop(client);
    assert!(broker.stop());

    let broker = TestBroker::start_on(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("still-one", 1);
    assert!(broker.connect().is_closed());
    set(&mut client, "max.connections.per.ip", None);
    broker.connect().create_topic("as-many-as-come", 1);
}

#[test]
fn committed_offsets_are_compressed_as_configured_and_read_back_after_a_restart() {
    const GZIP: u8 = 1;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let overrides = ["offsets.topic.compression.codec=1", "offsets.topic.num.partitions=1"];
    let broker = TestBroker::start_on(dir.path(), &overrides);
    let mut client = broker.connect();
    client.create_topic("t", 1);
    let partition = OffsetCommitRequestPartition { committed_offset: 7, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: "t".to_owned(), partitions: vec![partition], ..Default::default() };
    let commit = OffsetCommitRequest { group_id: "g".to_owned(), topics: vec![topic], ..Default::default() };
    find_coordinator(&mut client);
    assert_eq!(retried(|| client.call(8, &commit).topics[0].partitions[0].error_code), 0);
    let (_, _, records) = client.fetch("__consumer_offsets", 0, 0, 1000);
    // The low bits of a batch's attributes name its codec.
    assert_eq!(records[22] & 7, GZIP);
    drop(client);
    assert!(broker.stop());

    let broker = TestBroker::start_on(dir.path(), &overrides);
    let fetch = OffsetFetchRequest { group_id: "g".to_owned(), topics: None, ..Default::default() };
    let mut client = broker.connect();
    find_coordinator(&mut client);
    assert_eq!(retried(|| client.call(7, &fetch).error_code), 0);
    let answer = client.call(7, &fetch);
    assert_eq!(answer.topics[0].partitions[0].committed_offset, 7);
}

/// The first request about a group makes the topic of the offsets.
fn find_coordinator(client: &mut Client) {
    let find = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
    assert_eq!(retried(|| client.call(3, &find).error_code), 0);
}

/// Asks again while the coordinator is being made or loaded.
fn retried(mut ask: impl FnMut() -> i16) -> i16 {
    const LOADING: [i16; 3] = [14, 15, 16];
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let error = ask();
        if !LOADING.contains(&error) || Instant::now() > until {
            return error;
        }
    }
}
