//! Requests and responses: written and read back, as client and broker do together.

use bytes::Bytes;
use kringle_bench::throughput::Amount;
use kringle_protocol::messages::{FetchResponse, MetadataResponse, OffsetCommitRequest, ProduceRequest};
use kringle_protocol::produce_view::ProduceView;
use kringle_protocol::{
    Message, Reader, Records, Uuid, Writer, fetch_response, metadata_response, offset_commit_request, produce_request,
};

use crate::batches::random_batch;
use crate::meter::Meter;

const GROUP: &str = "codec (whole messages)";
const ONE: Amount = Amount::Operations(1);
const PARTITIONS: std::ops::Range<i32> = 0..10;

pub(crate) fn rows(meter: &mut Meter) {
    let request = produce();
    let body = encoded(&request, 12);
    let case = "Produce v12 request, 10 partitions x 1 KiB";
    meter.pure([GROUP, case, "write"], ONE, || encoded(&request, 12));
    meter.pure([GROUP, case, "read"], ONE, || ProduceRequest::decode(&mut Reader::new(body.clone()), 12));
    meter.pure([GROUP, case, "read in place"], ONE, || ProduceView::parse(Reader::new(body.clone()), 12));
    round_trip(meter, "Fetch v17 response, 10 partitions x 1 KiB", &fetch(), 17);
    round_trip(meter, "Metadata v12 response, 10 topics x 10 partitions", &metadata(), 12);
    round_trip(meter, "OffsetCommit v9 request, 10 topics x 10 partitions", &commit(), 9);
}

fn round_trip<M: Message>(meter: &mut Meter, case: &str, message: &M, version: i16) {
    meter.pure([GROUP, case, "write and read"], ONE, || {
        let body = encoded(message, version);
        M::decode(&mut Reader::new(body), version).expect("as written")
    });
}

fn encoded<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::default();
    message.encode(&mut writer, version).expect("the version carries it");
    writer.finish().0.freeze()
}

fn produce() -> ProduceRequest {
    let records = Records::Inline(random_batch(1, 1024));
    let partitions =
        PARTITIONS.map(|index| produce_request::PartitionProduceData { index, records: records.clone() }).collect();
    let topic = produce_request::TopicProduceData {
        name: "orders".to_owned(),
        partition_data: partitions,
        ..Default::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

fn fetch() -> FetchResponse {
    let records = Records::Inline(random_batch(1, 1024));
    let partition = |partition_index| fetch_response::PartitionData {
        partition_index,
        high_watermark: 1_000_000,
        last_stable_offset: 1_000_000,
        records: records.clone(),
        ..Default::default()
    };
    let topic = fetch_response::FetchableTopicResponse {
        topic_id: Uuid::from_bytes([7; 16]),
        partitions: PARTITIONS.map(partition).collect(),
        ..Default::default()
    };
    FetchResponse { responses: vec![topic], ..Default::default() }
}

fn metadata() -> MetadataResponse {
    let partition = |partition_index| metadata_response::MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        replica_nodes: vec![1],
        isr_nodes: vec![1],
        ..Default::default()
    };
    let topic = |index| metadata_response::MetadataResponseTopic {
        name: Some(format!("topic-{index}")),
        partitions: PARTITIONS.map(partition).collect(),
        ..Default::default()
    };
    let broker = metadata_response::MetadataResponseBroker {
        node_id: 1,
        host: "localhost".to_owned(),
        port: 9092,
        ..Default::default()
    };
    MetadataResponse { brokers: vec![broker], topics: PARTITIONS.map(topic).collect(), ..Default::default() }
}

fn commit() -> OffsetCommitRequest {
    let partition = |partition_index| offset_commit_request::OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 1_000_000,
        ..Default::default()
    };
    let topic = |index| offset_commit_request::OffsetCommitRequestTopic {
        name: format!("topic-{index}"),
        partitions: PARTITIONS.map(partition).collect(),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: "group".to_owned(),
        member_id: "member".to_owned(),
        topics: PARTITIONS.map(topic).collect(),
        ..Default::default()
    }
}
