//! The view reads what the owned request reads, and refuses what it refuses.

use bytes::Bytes;

use super::*;
use crate::produce_request::{PartitionProduceData, TopicProduceData};
use crate::records::Records;
use crate::writer::Writer;

fn request(version: i16) -> ProduceRequest {
    let topic = |n: u8, partitions: Vec<PartitionProduceData>| TopicProduceData {
        name: if version < 13 { format!("topic-{n}") } else { String::new() },
        topic_id: if version < 13 { Uuid::ZERO } else { Uuid::from_bytes([n; 16]) },
        partition_data: partitions,
    };
    let partition = |index, records| PartitionProduceData { index, records };
    ProduceRequest {
        transactional_id: Some("tx".to_owned()),
        acks: -1,
        timeout_ms: 1500,
        topic_data: vec![
            topic(1, vec![partition(4, Records::Inline(Bytes::from_static(b"batch"))), partition(0, Records::Null)]),
            topic(2, vec![]),
            topic(3, vec![partition(9, Records::Inline(Bytes::from_static(b"")))]),
        ],
    }
}

fn bytes(version: i16) -> Bytes {
    let mut w = Writer::default();
    request(version).encode(&mut w, version).unwrap();
    w.finish().0.freeze()
}

#[test]
fn the_view_equals_the_owned_request_in_every_version() {
    for version in ProduceRequest::VERSIONS {
        let view = ProduceView::parse(Reader::new(bytes(version)), version).unwrap();
        let owned = request(version);
        assert_eq!(view.transactional_id(), Some("tx".into()));
        assert_eq!((view.acks(), view.timeout_ms(), view.trailing()), (-1, 1500, 0));
        assert_eq!((view.topic_count(), view.partitions().len()), (3, 3));
        let mut expected = Vec::new();
        for (topic_index, topic) in owned.topic_data.iter().enumerate() {
            for partition in &topic.partition_data {
                expected.push(PartitionView {
                    topic_index,
                    topic: match version {
                        13 => TopicRef::Id(topic.topic_id),
                        _ => TopicRef::Name(Bytes::copy_from_slice(topic.name.as_bytes())),
                    },
                    index: partition.index,
                    records: match &partition.records {
                        Records::Inline(bytes) => Some(bytes.clone()),
                        _ => None,
                    },
                });
            }
        }
        assert_eq!(view.partitions(), expected);
    }
}

#[test]
fn records_are_slices_of_the_frame() {
    let frame = bytes(9);
    let view = ProduceView::parse(Reader::new(frame.clone()), 9).unwrap();
    let records = view.partitions()[0].records.clone().unwrap();
    assert!(frame.as_ptr_range().contains(&records.as_ptr()));
}

#[test]
fn a_cut_request_is_refused_at_every_byte() {
    for version in ProduceRequest::VERSIONS {
        let whole = bytes(version);
        for len in 0..whole.len() {
            let cut = whole.slice(..len);
            assert!(ProduceView::parse(Reader::new(cut), version).is_err(), "version {version}, {len} bytes");
        }
    }
}

#[test]
fn view_and_owned_request_agree_about_damaged_bytes() {
    for version in ProduceRequest::VERSIONS {
        let whole = bytes(version);
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = whole.to_vec();
                damaged[at] = value;
                let damaged = Bytes::from(damaged);
                let view = ProduceView::parse(Reader::new(damaged.clone()), version);
                let owned = ProduceRequest::decode(&mut Reader::new(damaged), version);
                match (view, owned) {
                    (Ok(view), Ok(owned)) => {
                        let count: usize = owned.topic_data.iter().map(|topic| topic.partition_data.len()).sum();
                        assert_eq!(view.partitions().len(), count);
                    }
                    (Err(view), Err(owned)) => assert_eq!(view, owned),
                    (view, owned) => panic!("version {version}, byte {at} = {value}: {view:?} but {owned:?}"),
                }
            }
        }
    }
}

#[test]
fn versions_below_3_and_above_13_do_not_exist() {
    for version in [-1, 0, 2, 14] {
        let refused = ProduceView::parse(Reader::new(bytes(13)), version);
        assert!(matches!(refused, Err(DecodeError::Version { .. })));
    }
}
