//! [`ProduceView`]: a Produce request read in place; one about a single partition without an allocation.
//!
//! [`ProduceView::parse`] walks the request once and refuses it if any of it is malformed. Names and records are slices of the
//! frame. Same bounds as the owned `ProduceRequest`, and equal to it (tested).

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::codec::{Codec, Ctx};
use crate::message::Message;
use crate::messages::ProduceRequest;
use crate::reader::{DecodeError, MAX_STRING_BYTES, Reader, Width, text};
use crate::uuid::Uuid;

/// From this version on topics are named by their id.
pub(crate) const TOPIC_ID_VERSION: i16 = 13;

/// Granted, of a request's memory, to what the broker keeps of each topic and partition while it works on the request: the
/// smallest takes a few bytes on the wire.
const MEMORY_PER_ELEMENT_BYTES: usize = 256;

/// A well-formed Produce request.
#[derive(Debug, Clone)]
pub struct ProduceView {
    transactional_id: Option<Bytes>,
    acks: i16,
    timeout_ms: i32,
    topic_count: usize,
    partitions: SmallVec<[PartitionView; 1]>,
    trailing: usize,
}

/// How a request names a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// Up to version 12. Not necessarily UTF-8.
    Name(Bytes),
    /// From version 13 on.
    Id(Uuid),
}

impl TopicRef {
    /// The name with malformed UTF-8 replaced, as Java does; `None` if the topic is named by id.
    #[must_use]
    pub fn name(&self) -> Option<Cow<'_, str>> {
        match self {
            TopicRef::Name(name) => Some(text(name)),
            TopicRef::Id(_) => None,
        }
    }
}

/// What is to be appended to one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// Position of the topic in the request; a request may name a topic twice.
    pub topic_index: usize,
    /// The topic.
    pub topic: TopicRef,
    /// Number of the partition.
    pub index: i32,
    /// The batches, a slice of the frame; `None` where the client sent null.
    pub records: Option<Bytes>,
}

impl ProduceView {
    /// Reads a request of versions 3-13; `body` stands behind the request header.
    ///
    /// # Errors
    /// The version does not exist, or the bytes are not such a request.
    pub fn parse(mut body: Reader, version: i16) -> Result<ProduceView, DecodeError> {
        if !ProduceRequest::VERSIONS.contains(&version) {
            return Err(DecodeError::Version { message: ProduceRequest::NAME, version });
        }
        let r = &mut body;
        let c = Ctx::new(version, ProduceRequest::FLEXIBLE_FROM);
        let transactional_id = string(r, c)?;
        let acks = r.i16()?;
        let timeout_ms = r.i32()?;
        let topic_count = array(r, c, crate::produce_request::TopicProduceData::min_len(c))?;
        let mut partitions = SmallVec::new();
        for topic_index in 0..topic_count {
            r.charge(MEMORY_PER_ELEMENT_BYTES)?;
            let (topic, partition_count) = topic(r, c)?;
            r.charge(partition_count.saturating_mul(MEMORY_PER_ELEMENT_BYTES))?;
            for _ in 0..partition_count {
                let (index, records) = partition(r, c)?;
                partitions.push(PartitionView { topic_index, topic: topic.clone(), index, records });
            }
            r.skip_tags(c)?;
        }
        r.skip_tags(c)?;
        Ok(ProduceView { transactional_id, acks, timeout_ms, topic_count, partitions, trailing: r.remaining() })
    }

    /// The transaction's name, malformed UTF-8 replaced.
    #[must_use]
    pub fn transactional_id(&self) -> Option<Cow<'_, str>> {
        self.transactional_id.as_ref().map(|id| text(id))
    }

    /// Which acknowledgement is wanted: -1 all, 0 none, 1 the leader's; not checked.
    #[must_use]
    pub fn acks(&self) -> i16 {
        self.acks
    }

    /// How long the broker may wait for replicas.
    #[must_use]
    pub fn timeout_ms(&self) -> i32 {
        self.timeout_ms
    }

    /// How many topics the request has, those without partitions included.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topic_count
    }

    /// Bytes behind the request.
    #[must_use]
    pub fn trailing(&self) -> usize {
        self.trailing
    }

    /// The partitions, in the order of the request.
    #[must_use]
    pub fn partitions(&self) -> &[PartitionView] {
        &self.partitions
    }

    /// The same, to keep.
    pub fn into_partitions(self) -> impl Iterator<Item = PartitionView> {
        self.partitions.into_iter()
    }
}

fn topic(r: &mut Reader, c: Ctx) -> Result<(TopicRef, usize), DecodeError> {
    let topic = if c.version >= TOPIC_ID_VERSION {
        TopicRef::Id(r.uuid()?)
    } else {
        TopicRef::Name(string(r, c)?.ok_or_else(|| r.null())?)
    };
    Ok((topic, array(r, c, crate::produce_request::PartitionProduceData::min_len(c))?))
}

fn partition(r: &mut Reader, c: Ctx) -> Result<(i32, Option<Bytes>), DecodeError> {
    let index = r.i32()?;
    let records = r.nullable_bytes(c)?;
    r.skip_tags(c)?;
    Ok((index, records))
}

fn string(r: &mut Reader, c: Ctx) -> Result<Option<Bytes>, DecodeError> {
    match r.length(c, Width::Two)? {
        None => Ok(None),
        Some(len) if len > MAX_STRING_BYTES => {
            Err(DecodeError::Length { position: r.position(), length: i64::try_from(len).unwrap_or(i64::MAX) })
        }
        Some(len) => r.slice(len).map(Some),
    }
}

fn array(r: &mut Reader, c: Ctx, min_element: usize) -> Result<usize, DecodeError> {
    r.array_length(c, min_element)?.ok_or_else(|| r.null())
}

#[cfg(test)]
mod tests;
