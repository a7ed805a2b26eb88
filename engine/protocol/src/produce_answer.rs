//! [`ProduceAnswer`]: the hottest answer, written as it is found out, without an allocation.
//!
//! Topic by topic, partition by partition, as many as were announced. The same bytes as the owned `ProduceResponse` (tested).

use crate::codec::{Codec, Ctx};
use crate::message::Message;
use crate::messages::ProduceResponse;
use crate::produce_response::PartitionProduceResponse;
use crate::produce_view::{TOPIC_ID_VERSION, TopicRef};
use crate::reader::Width;
use crate::writer::{EncodeError, Writer};

/// A Produce answer that is being written.
#[derive(Debug)]
pub struct ProduceAnswer<'a> {
    w: &'a mut Writer,
    c: Ctx,
}

impl<'a> ProduceAnswer<'a> {
    /// Begins an answer about so many topics.
    ///
    /// # Errors
    /// The version does not exist, or there are too many topics for an answer.
    pub fn begin(w: &'a mut Writer, version: i16, topics: usize) -> Result<ProduceAnswer<'a>, EncodeError> {
        if !ProduceResponse::VERSIONS.contains(&version) {
            return Err(EncodeError::Version { message: ProduceResponse::NAME, version });
        }
        let c = Ctx::new(version, ProduceResponse::FLEXIBLE_FROM);
        w.length(Some(topics), c, Width::Four)?;
        Ok(ProduceAnswer { w, c })
    }

    /// The next topic, with so many partitions.
    ///
    /// # Errors
    /// The version does not name topics this way, or something is too long for an answer.
    pub fn topic(&mut self, topic: &TopicRef, partitions: usize) -> Result<(), EncodeError> {
        let by_id = self.c.version >= TOPIC_ID_VERSION;
        let not_in_version = |field| EncodeError::NotInVersion { field, version: self.c.version };
        match topic {
            TopicRef::Id(id) if by_id => self.w.put(id, self.c)?,
            TopicRef::Name(_) if !by_id => self.w.nullable_string(topic.name().as_deref(), self.c)?,
            TopicRef::Id(_) => return Err(not_in_version("topic_id")),
            TopicRef::Name(_) => return Err(not_in_version("name")),
        }
        self.w.length(Some(partitions), self.c, Width::Four)
    }

    /// The next partition of the topic.
    ///
    /// # Errors
    /// It holds what this version cannot carry.
    pub fn partition(&mut self, partition: &PartitionProduceResponse) -> Result<(), EncodeError> {
        partition.write(self.w, self.c)
    }

    /// The topic has no more partitions.
    pub fn end_topic(&mut self) {
        self.no_tags();
    }

    /// The answer has no more topics.
    pub fn end(mut self) {
        const THROTTLE_TIME_MS: i32 = 0;
        self.w.i32(THROTTLE_TIME_MS);
        self.no_tags();
    }

    fn no_tags(&mut self) {
        if self.c.flexible {
            self.w.empty_tags();
        }
    }
}

#[cfg(test)]
mod tests;
