//! Produce requests in buffers that are used again and again.
//!
//! A request under way owns its bytes; with the answer they come back, still touched and mostly still right: for the same topic
//! and template only the partition and a few header fields of the batch are patched.

use bytes::{Bytes, BytesMut};
use kringle_client::ClientError;
use kringle_protocol::messages::ProduceRequest;
use kringle_protocol::produce_request::{PartitionProduceData, TopicProduceData};
use kringle_protocol::{ApiKey, Message, Records, Writer};

use crate::cluster::{Place, Topic};
use crate::template::{Sequence, Template, Templates};

/// How long the broker may wait for replicas.
const TIMEOUT_MS: i32 = 30_000;

/// A request for one batch of one partition.
pub(crate) fn produce_request(
    topic: &Topic,
    version: i16,
    partition: i32,
    acks: i16,
    records: Records,
) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records };
    let mut named = TopicProduceData { partition_data: vec![data], ..Default::default() };
    if version >= 13 {
        named.topic_id = topic.id;
    } else {
        named.name.clone_from(&topic.name);
    }
    ProduceRequest { acks, timeout_ms: TIMEOUT_MS, topic_data: vec![named], ..Default::default() }
}

/// What stands before and after the batch in the body of a request.
pub(crate) struct Envelope {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Where in the head the partition is.
    partition_at: usize,
}

impl Envelope {
    pub(crate) fn new(topic: &Topic, version: i16, acks: i16, template: &Template) -> Result<Envelope, ClientError> {
        let (head, tail) = Envelope::around(topic, version, acks, template, 0)?;
        let (other, _) = Envelope::around(topic, version, acks, template, -1)?;
        let partition_at = head.iter().zip(&other).position(|(a, b)| a != b).expect("another partition is other bytes");
        Ok(Envelope { head, tail, partition_at })
    }

    fn around(
        topic: &Topic,
        version: i16,
        acks: i16,
        template: &Template,
        partition: i32,
    ) -> Result<(Vec<u8>, Vec<u8>), ClientError> {
        let failed = |source| ClientError::Encode { api: ApiKey::PRODUCE, version, source };
        let len = u32::try_from(template.bytes().len()).map_err(|_| failed(kringle_protocol::EncodeError::TooLong))?;
        let request = produce_request(topic, version, partition, acks, Records::External { len });
        let mut writer = Writer::default();
        request.encode(&mut writer, version).map_err(failed)?;
        let (bytes, cuts) = writer.finish();
        let (head, tail) = bytes.split_at(cuts.first().map_or(bytes.len(), |cut| cut.position));
        Ok((head.to_vec(), tail.to_vec()))
    }
}

/// The envelopes of each topic and template, made when first needed.
pub(crate) struct Envelopes {
    version: i16,
    acks: i16,
    /// By topic, then by template.
    known: Vec<Vec<Option<Envelope>>>,
}

impl Envelopes {
    pub(crate) fn new(version: i16, acks: i16) -> Envelopes {
        Envelopes { version, acks, known: Vec::new() }
    }

    fn of(
        &mut self,
        place: Place,
        topics: &[Topic],
        template: usize,
        templates: &Templates,
    ) -> Result<&Envelope, ClientError> {
        if self.known.len() <= place.topic {
            self.known.resize_with(place.topic + 1, Vec::new);
        }
        let of_topic = &mut self.known[place.topic];
        if of_topic.len() <= template {
            of_topic.resize_with(template + 1, || None);
        }
        let slot = &mut of_topic[template];
        if slot.is_none() {
            *slot = Some(Envelope::new(&topics[place.topic], self.version, self.acks, templates.at(template))?);
        }
        Ok(slot.as_ref().expect("made just now"))
    }
}

/// The buffer of one request in flight.
#[derive(Default)]
pub(crate) struct RequestBuffer {
    bytes: Bytes,
    /// Topic and template that the bytes were made for.
    holds: Option<(usize, usize)>,
}

/// What distinguishes this sending of a template.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) timestamp_ms: i64,
    pub(crate) sequence: Option<Sequence>,
}

impl RequestBuffer {
    /// The body of a Produce request. What was given out before must have been answered, or a new buffer is made.
    pub(crate) fn fill(
        &mut self,
        envelopes: &mut Envelopes,
        topics: &[Topic],
        place: Place,
        (index, templates): (usize, &Templates),
        stamp: Stamp,
    ) -> Result<Bytes, ClientError> {
        let envelope = envelopes.of(place, topics, index, templates)?;
        let template = templates.at(index);
        let mut body = std::mem::take(&mut self.bytes).try_into_mut().unwrap_or_else(|_| {
            self.holds = None;
            BytesMut::new()
        });
        if self.holds != Some((place.topic, index)) {
            body.clear();
            body.extend_from_slice(&envelope.head);
            body.extend_from_slice(template.bytes());
            body.extend_from_slice(&envelope.tail);
            self.holds = Some((place.topic, index));
        }
        let batch_at = envelope.head.len();
        body[envelope.partition_at..envelope.partition_at + 4].copy_from_slice(&place.partition.to_be_bytes());
        template.patch(&mut body[batch_at..batch_at + template.bytes().len()], stamp.timestamp_ms, stamp.sequence);
        self.bytes = body.freeze();
        Ok(self.bytes.clone())
    }
}

#[cfg(test)]
mod tests {
    use kringle_client::Connection;
    use kringle_protocol::Uuid;

    use super::*;
    use crate::plan::{Payload, RecordPlan};

    fn topics() -> Vec<Topic> {
        let topic = |name: &str| Topic { name: name.to_owned(), id: Uuid::default(), leaders: vec![1, 1] };
        vec![topic("short"), topic("with-a-longer-name")]
    }

    fn plan_of(batch_records: usize) -> RecordPlan {
        RecordPlan {
            value_bytes: 50,
            key_bytes: 0,
            keys: 1,
            payload: Payload::Random,
            batch_bytes: None,
            batch_records: Some(batch_records),
            codec: "none".parse().unwrap(),
            seed: 1,
        }
    }

    #[test]
    fn a_patched_request_is_what_the_encoder_would_have_made() {
        let plan = plan_of(5);
        let (templates, topics) = (Templates::build(&plan, true), topics());
        for version in [3, 9, 12, 13] {
            let mut envelopes = Envelopes::new(version, -1);
            let mut buffer = RequestBuffer::default();
            for (topic, partition, index) in [(0, 0, 2), (0, 1, 2), (1, 1, 0), (1, 0, 2), (0, 1, 0)] {
                let place = Place { topic, partition, leader: 1 };
                let stamp = Stamp { timestamp_ms: 1_700_000_000_000, sequence: None };
                let body = buffer.fill(&mut envelopes, &topics, place, (index, &templates), stamp).unwrap();
                let mut batch = templates.at(index).bytes().to_vec();
                templates.at(index).patch(&mut batch, stamp.timestamp_ms, None);
                let records = Records::Inline(batch.into());
                let request = produce_request(&topics[topic], version, partition, -1, records);
                assert_eq!(body, Connection::encode(version, &request).unwrap(), "version {version}");
            }
        }
    }

    #[test]
    fn a_buffer_that_is_still_under_way_is_not_touched() {
        let plan = plan_of(1);
        let (templates, topics) = (Templates::build(&plan, false), topics());
        let (mut envelopes, mut buffer) = (Envelopes::new(12, 1), RequestBuffer::default());
        let mut fill = |timestamp_ms| {
            let place = Place { topic: 0, partition: 0, leader: 1 };
            let stamp = Stamp { timestamp_ms, sequence: None };
            buffer.fill(&mut envelopes, &topics, place, (0, &templates), stamp).unwrap()
        };
        let under_way = fill(1);
        let copy = under_way.to_vec();
        let next = fill(2);
        assert_eq!(under_way, copy);
        assert_ne!(next, under_way);
    }
}
