//! Readers: connections that fetch partitions of one leader and hand out the batches that come.
//!
//! Headers are looked at, records are not: what a consumer does with them is not the broker's cost. Each fetch names all
//! partitions (no fetch session) and one is under way at a time, as a Java consumer has it for each broker.

use kringle_client::ClientError;
use kringle_log::{BatchView, batches, for_each_record};
use kringle_protocol::fetch_request::{FetchPartition, FetchTopic};
use kringle_protocol::fetch_response::FetchableTopicResponse;
use kringle_protocol::messages::FetchRequest;
use kringle_protocol::{ErrorCode, Uuid};
use kringle_runtime::Rt;

use crate::cluster::{Cluster, Place};
use crate::error::BenchError;
use crate::fetch_link::FetchLink;
use crate::measure::Amount;
use crate::plan::ReadPlan;

/// The last version that names topics instead of giving their ids.
const LAST_BY_NAME: i16 = 12;

/// A connection to one leader and the partitions that are read there.
pub(crate) struct Reader {
    link: FetchLink,
    version: i16,
    plan: ReadPlan,
    names: Vec<(String, Uuid)>,
    parts: Vec<Part>,
}

/// A partition that is read.
pub(crate) struct Part {
    pub(crate) place: Place,
    /// What is fetched next.
    pub(crate) offset: i64,
    /// Where the readable part ended at the last answer.
    pub(crate) high_watermark: i64,
}

/// Why there was nothing.
pub(crate) enum ReadFailure {
    /// The broker refused a partition, or its bytes were bad; the others are read on.
    Refused(String),
    /// The connection is of no use any more.
    Broken(ClientError),
}

impl From<ClientError> for ReadFailure {
    fn from(error: ClientError) -> ReadFailure {
        ReadFailure::Broken(error)
    }
}

impl Reader {
    /// Connects to each leader of these places, which are read from the offsets beside them.
    pub(crate) async fn open_all(
        rt: &Rt,
        cluster: &Cluster,
        plan: &ReadPlan,
        places: &[Place],
        offsets: &[i64],
    ) -> Result<Vec<Reader>, BenchError> {
        let best = cluster.versions.best::<FetchRequest>()?;
        let has_ids = cluster.topics.iter().all(|topic| topic.id != Uuid::default());
        let version = if has_ids { best } else { best.min(LAST_BY_NAME) };
        let names: Vec<_> = cluster.topics.iter().map(|topic| (topic.name.clone(), topic.id)).collect();
        let mut readers: Vec<(i32, Reader)> = Vec::new();
        for (place, offset) in places.iter().zip(offsets) {
            let part = Part { place: *place, offset: *offset, high_watermark: *offset };
            if let Some((_, reader)) = readers.iter_mut().find(|(leader, _)| *leader == place.leader) {
                reader.parts.push(part);
                continue;
            }
            let link = FetchLink::open(rt, cluster.address_of(place.leader)).await?;
            let reader = Reader { link, version, plan: plan.clone(), names: names.clone(), parts: vec![part] };
            readers.push((place.leader, reader));
        }
        Ok(readers.into_iter().map(|(_, reader)| reader).collect())
    }

    /// The partitions, to look at or to move.
    pub(crate) fn parts(&mut self) -> &mut [Part] {
        &mut self.parts
    }

    /// Fetches once. Each batch is handed out with its place; the offsets move behind what has come.
    pub(crate) async fn fetch(&mut self, mut each: impl FnMut(Place, &BatchView<'_>)) -> Result<Amount, ReadFailure> {
        let answer = self.link.call(self.version, &self.request()).await?;
        if answer.error_code != 0 {
            return Err(ReadFailure::Refused(ErrorCode::from(answer.error_code).to_string()));
        }
        let mut amount = Amount { requests: 1, ..Amount::default() };
        let mut failed = None;
        for topic in &answer.responses {
            if let Err(failure) = self.take_topic(topic, &mut amount, &mut each) {
                failed.get_or_insert(failure);
            }
        }
        match failed {
            Some(failure) => Err(ReadFailure::Refused(failure)),
            None => Ok(amount),
        }
    }

    fn request(&self) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (index, (name, id)) in self.names.iter().enumerate() {
            let parts = self.parts.iter().filter(|part| part.place.topic == index);
            let partitions: Vec<_> = parts
                .map(|part| FetchPartition {
                    partition: part.place.partition,
                    fetch_offset: part.offset,
                    partition_max_bytes: self.plan.partition_bytes,
                    ..Default::default()
                })
                .collect();
            if partitions.is_empty() {
                continue;
            }
            let mut topic = FetchTopic { partitions, ..Default::default() };
            if self.version > LAST_BY_NAME {
                topic.topic_id = *id;
            } else {
                topic.topic.clone_from(name);
            }
            topics.push(topic);
        }
        FetchRequest {
            max_wait_ms: self.plan.max_wait_ms,
            min_bytes: self.plan.min_bytes,
            max_bytes: self.plan.max_bytes,
            topics,
            ..Default::default()
        }
    }

    fn take_topic(
        &mut self,
        topic: &FetchableTopicResponse,
        amount: &mut Amount,
        each: &mut impl FnMut(Place, &BatchView<'_>),
    ) -> Result<(), String> {
        let by_name = self.version <= LAST_BY_NAME;
        let index = self
            .names
            .iter()
            .position(|(name, id)| if by_name { *name == topic.topic } else { *id == topic.topic_id })
            .ok_or("an answer for a topic that was not asked for")?;
        for partition in &topic.partitions {
            let part = self
                .parts
                .iter_mut()
                .find(|part| part.place.topic == index && part.place.partition == partition.partition_index)
                .ok_or("an answer for a partition that was not asked for")?;
            if partition.error_code != 0 {
                return Err(ErrorCode::from(partition.error_code).to_string());
            }
            part.high_watermark = partition.high_watermark;
            // The last batch may be cut by the limits of the fetch: it comes whole with the next.
            for batch in batches(partition.records.inline()).map_while(Result::ok) {
                let header = batch.header();
                if header.next_offset() <= part.offset {
                    continue;
                }
                if self.plan.verify {
                    verify(&batch)?;
                }
                part.offset = header.next_offset();
                amount.records += u64::try_from(header.record_count).unwrap_or(0);
                amount.wire_bytes += batch.bytes().len() as u64;
                each(part.place, &batch);
            }
        }
        Ok(())
    }
}

/// What a consumer would check.
fn verify(batch: &BatchView<'_>) -> Result<(), String> {
    if !batch.crc_is_valid() {
        return Err(format!("a wrong CRC at offset {}", batch.header().base_offset));
    }
    let mut records = 0;
    for_each_record(batch, |_| records += 1).map_err(|error| error.to_string())?;
    if records == batch.header().record_count {
        Ok(())
    } else {
        Err("a batch with fewer records than it says".to_owned())
    }
}
