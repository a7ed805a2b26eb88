//! The controller's listener, which Kafka's stock settings open beside the broker's: what tools with `--bootstrap-controller`
//! ask, and nothing else.

mod support;

use kringle_protocol::messages::{ApiVersionsRequest, DescribeClusterRequest, DescribeQuorumRequest, MetadataRequest};
use kringle_protocol::{ApiKey, ErrorCode};
use support::{Client, TestBroker};

const BROKER: i8 = 1;
const CONTROLLER: i8 = 2;

/// Kafka's stock file, on any ports.
fn stock() -> TestBroker {
    TestBroker::start_with_file(
        concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/fixtures/server.properties"),
        &[
            "listeners=PLAINTEXT://:0,CONTROLLER://:0",
            "advertised.listeners=PLAINTEXT://localhost:0,CONTROLLER://localhost:0",
        ],
    )
}

fn controller(broker: &TestBroker) -> Client {
    Client::connect(broker.controller.expect("it says where its controller listens"))
}

fn served(client: &mut Client) -> Vec<i16> {
    let name = "test".to_owned();
    let request = ApiVersionsRequest { client_software_name: name.clone(), client_software_version: name };
    client.call(3, &request).api_keys.iter().map(|api| api.api_key).collect()
}

#[test]
fn it_advertises_its_part_of_what_the_broker_serves_and_closes_on_anything_else() {
    let broker = stock();
    let all = served(&mut broker.connect());
    let mut client = controller(&broker);
    let here = served(&mut client);
    assert!(here.iter().all(|key| all.contains(key)), "{here:?}");
    for key in [ApiKey::DESCRIBE_CLUSTER, ApiKey::DESCRIBE_QUORUM, ApiKey::CREATE_TOPICS, ApiKey::DESCRIBE_CONFIGS] {
        assert!(here.contains(&key.into()), "{key}");
    }
    for key in [ApiKey::PRODUCE, ApiKey::FETCH, ApiKey::METADATA, ApiKey::JOIN_GROUP] {
        assert!(!here.contains(&key.into()), "{key}");
    }
    let frame = client.frame(12, &MetadataRequest { topics: None, ..Default::default() });
    client.send(&frame);
    assert!(client.is_closed());
}

#[test]
fn each_listener_describes_its_own_kind_of_node() {
    let broker = stock();
    let addresses = [(broker.address, BROKER, CONTROLLER), (broker.controller.expect("open"), CONTROLLER, BROKER)];
    for (address, own, other) in addresses {
        let mut client = Client::connect(address);
        let described = client.call(1, &DescribeClusterRequest { endpoint_type: own, ..Default::default() });
        assert_eq!((described.error_code, described.endpoint_type), (0, own));
        let nodes: Vec<_> = described.brokers.iter().map(|n| (n.broker_id, n.host.as_str(), n.port)).collect();
        assert_eq!(nodes, [(1, "localhost", i32::from(address.port()))]);
        let refused = client.call(1, &DescribeClusterRequest { endpoint_type: other, ..Default::default() });
        assert_eq!(refused.error_code, i16::from(ErrorCode::MISMATCHED_ENDPOINT_TYPE));
        let unknown = client.call(1, &DescribeClusterRequest { endpoint_type: 3, ..Default::default() });
        assert_eq!(unknown.error_code, i16::from(ErrorCode::UNSUPPORTED_ENDPOINT_TYPE));
    }
}

#[test]
fn a_topic_made_at_the_controller_is_there_for_the_brokers_clients() {
    let broker = stock();
    controller(&broker).create_topic("from-the-controller", 2);
    let topics = broker.connect().call(12, &MetadataRequest { topics: None, ..Default::default() }).topics;
    let names: Vec<_> = topics.iter().map(|topic| (topic.name.as_deref(), topic.partitions.len())).collect();
    assert_eq!(names, [(Some("from-the-controller"), 2)]);
}

#[test]
fn the_stock_settings_make_a_directory_whose_voter_is_in_its_log() {
    let broker = stock();
    let asked = kringle_protocol::describe_quorum_request::PartitionData { partition_index: 0 };
    let topic = kringle_protocol::describe_quorum_request::TopicData {
        topic_name: "__cluster_metadata".to_owned(),
        partitions: vec![asked],
    };
    let quorum = controller(&broker).call(2, &DescribeQuorumRequest { topics: vec![topic] });
    let voters = &quorum.topics[0].partitions[0].current_voters;
    assert_eq!(voters.len(), 1);
    assert_ne!(
        voters[0].replica_directory_id,
        kringle_protocol::Uuid::ZERO,
        "kraft.version 1: voters have directories"
    );
    let listener = &quorum.nodes[0].listeners[0];
    let told = (listener.name.as_str(), listener.host.as_str(), listener.port);
    assert_eq!(told, ("CONTROLLER", "localhost", broker.controller.expect("open").port()));
    let first = broker.dir().join("__cluster_metadata-0/00000000000000000000-0000000000.checkpoint");
    assert!(first.exists(), "as `format --standalone` leaves it");
}
