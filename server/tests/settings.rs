//! Settings that are changed while the broker runs act at once, and no longer than they are set.

mod support;

use kringle_log::Compression;
use kringle_protocol::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kringle_protocol::messages::IncrementalAlterConfigsRequest;
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
