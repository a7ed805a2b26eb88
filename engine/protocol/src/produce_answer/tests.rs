//! The answer has the bytes of the owned response.

use bytes::Bytes;

use super::*;
use crate::produce_response::{BatchIndexAndErrorMessage, TopicProduceResponse};
use crate::uuid::Uuid;

fn owned(version: i16) -> ProduceResponse {
    let topic = |n: u8, partition_responses| TopicProduceResponse {
        name: if version < 13 { format!("topic-{n}") } else { String::new() },
        topic_id: if version < 13 { Uuid::ZERO } else { Uuid::from_bytes([n; 16]) },
        partition_responses,
    };
    let partition = |index| PartitionProduceResponse { index, base_offset: 77, ..PartitionProduceResponse::default() };
    let refused = |index| PartitionProduceResponse {
        index,
        error_code: 87,
        base_offset: -1,
        record_errors: if version < 8 {
            vec![]
        } else {
            vec![BatchIndexAndErrorMessage { batch_index: 3, batch_index_error_message: Some("bad".to_owned()) }]
        },
        error_message: (version >= 8).then(|| "refused".to_owned()),
        ..PartitionProduceResponse::default()
    };
    let responses = vec![topic(1, vec![partition(4), refused(0)]), topic(2, vec![partition(9)])];
    ProduceResponse { responses, ..ProduceResponse::default() }
}

#[test]
fn it_equals_the_owned_response_in_every_version() {
    for version in ProduceResponse::VERSIONS {
        let owned = owned(version);
        let mut expected = Writer::default();
        owned.encode(&mut expected, version).unwrap();

        let mut written = Writer::default();
        let mut answer = ProduceAnswer::begin(&mut written, version, owned.responses.len()).unwrap();
        for topic in &owned.responses {
            let named = match version {
                13 => TopicRef::Id(topic.topic_id),
                _ => TopicRef::Name(Bytes::copy_from_slice(topic.name.as_bytes())),
            };
            answer.topic(&named, topic.partition_responses.len()).unwrap();
            for partition in &topic.partition_responses {
                answer.partition(partition).unwrap();
            }
            answer.end_topic();
        }
        answer.end();
        assert_eq!(written.finish().0, expected.finish().0, "version {version}");
    }
}

#[test]
fn a_name_that_is_no_utf_8_is_answered_as_java_answers_it() {
    let mut w = Writer::default();
    let mut answer = ProduceAnswer::begin(&mut w, 9, 1).unwrap();
    answer.topic(&TopicRef::Name(Bytes::from_static(b"a\xff")), 0).unwrap();
    assert_eq!(w.finish().0[..], *b"\x02\x05a\xef\xbf\xbd\x01");
}

#[test]
fn what_a_version_cannot_say_is_an_error() {
    let mut w = Writer::default();
    for version in [2, 14] {
        assert!(matches!(ProduceAnswer::begin(&mut w, version, 0), Err(EncodeError::Version { .. })));
    }
    let by_id = TopicRef::Id(Uuid::ZERO);
    let by_name = TopicRef::Name(Bytes::from_static(b"t"));
    for (version, topic) in [(12, by_id), (13, by_name)] {
        let refused = ProduceAnswer::begin(&mut w, version, 1).unwrap().topic(&topic, 0);
        assert!(matches!(refused, Err(EncodeError::NotInVersion { .. })));
    }
}
