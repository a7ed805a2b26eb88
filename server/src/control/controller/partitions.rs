//! Where partitions go, and CreatePartitions (key 37).

use std::collections::BTreeMap;

use kringle_protocol::create_partitions_request::CreatePartitionsTopic;
use kringle_protocol::create_partitions_response::CreatePartitionsTopicResult;
use kringle_protocol::create_topics_request::CreatableTopic;
use kringle_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::{ErrorCode, Uuid};

use super::{Context, Decision, Refusal};
use crate::control::image::{Image, PartitionImage, TopicImage};
use crate::control::snapshot::partition_record;

/// How many partitions one request may create.
pub(super) const MAX_PARTITIONS_PER_REQUEST: i64 = 10_000;

/// The id of a directory that is not chosen yet: the broker chooses one and tells the controller.
pub const DIRECTORY_UNASSIGNED: Uuid = Uuid::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

impl Context<'_> {
    /// The replicas of each partition of a new topic.
    pub(super) fn assign(&self, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Refusal> {
        let invalid_request = |message| Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
        if !topic.assignments.is_empty() {
            if topic.replication_factor != -1 {
                return invalid_request(
                    "A manual partition assignment was specified, but replication factor was not set to -1.",
                );
            }
            if topic.num_partitions != -1 {
                return invalid_request(
                    "A manual partition assignment was specified, but numPartitions was not set to -1.",
                );
            }
            return self.assign_manually(topic);
        }
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
        }
        if topic.num_partitions < -1 || topic.num_partitions == 0 {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        let or_default = |asked, default| if asked == -1 { default } else { asked };
        let partitions = or_default(topic.num_partitions, self.config.num_partitions);
        let factor = match topic.replication_factor {
            -1 => self.config.default_replication_factor,
            asked => asked,
        };
        self.place(partitions, factor)
    }

    fn assign_manually(&self, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Refusal> {
        let invalid = |message| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        let mut assigned = BTreeMap::new();
        let mut factor = None;
        for assignment in &topic.assignments {
            let (index, replicas) = (assignment.partition_index, &assignment.broker_ids);
            if assigned.contains_key(&index) {
                return invalid(format!("Found multiple manual partition assignments for partition {index}"));
            }
            check_manual(self.image, index, replicas, factor)?;
            factor = Some(replicas.len());
            assigned.insert(index, replicas.clone());
        }
        if !assigned.keys().copied().eq((0..).take(assigned.len())) {
            return invalid("partitions should be a consecutive 0-based integer sequence".to_owned());
        }
        Ok(assigned.into_values().collect())
    }

    /// Places partitions on the brokers that can lead, one after the other.
    fn place(&self, partitions: i32, factor: i16) -> Result<Vec<Vec<i32>>, Refusal> {
        let unable = |reason: String| {
            let message = format!("Unable to replicate the partition {factor} time(s): {reason}");
            Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, message))
        };
        let registered = self.image.brokers().count();
        let wanted = usize::try_from(factor).expect("checked to be positive");
        let active: Vec<_> = self.image.brokers().map(|b| b.broker_id).filter(|id| self.image.is_active(*id)).collect();
        if active.is_empty() {
            return unable("All brokers are currently fenced.".to_owned());
        }
        if wanted > registered {
            return unable(format!(
                "The target replication factor of {factor} cannot be reached because only {registered} broker(s) are \
                 registered or some brokers have all their log directories cordoned."
            ));
        }
        let first = |partition: i32| usize::try_from(partition).expect("counted from 0") % active.len();
        let replicas = |partition| active.iter().cycle().skip(first(partition)).take(wanted.min(active.len())).copied();
        Ok((0..partitions).map(|partition| replicas(partition).collect()).collect())
    }

    /// A partition that has just been placed.
    pub(super) fn new_partition(&self, replicas: Vec<i32>) -> PartitionImage {
        let isr: Vec<_> = replicas.iter().copied().filter(|broker| self.image.is_active(*broker)).collect();
        PartitionImage {
            leader: isr[0],
            directories: replicas.iter().map(|broker| self.default_directory(*broker)).collect(),
            replicas,
            isr,
            ..PartitionImage::default()
        }
    }

    /// A broker with one log directory has no choice to make.
    fn default_directory(&self, broker: i32) -> Uuid {
        match self.image.broker(broker).map(|broker| broker.log_dirs.as_slice()) {
            Some([only]) => *only,
            _ => DIRECTORY_UNASSIGNED,
        }
    }

    fn add_partitions(&self, topic: &CreatePartitionsTopic) -> Result<Vec<MetadataRecord>, Refusal> {
        let Some(existing) = self.image.topic(&topic.name) else {
            return Err(Refusal::bare(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        };
        let current = i32::try_from(existing.partitions.len()).expect("partition ids are i32");
        if topic.count == current {
            let message = format!("Topic already has {current} partition(s).");
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        if topic.count < current {
            let (name, count) = (&topic.name, topic.count);
            let message =
                format!("The topic {name} currently has {current} partition(s); {count} would not be an increase.");
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        let placed = self.place_additional(topic, existing, current)?;
        let metadata_version = self.image.metadata_version();
        let record = |(index, replicas)| {
            let partition = self.new_partition(replicas);
            MetadataRecord::PartitionRecord(partition_record(existing, index, &partition, metadata_version))
        };
        Ok((current..).zip(placed).map(record).collect())
    }

    fn place_additional(
        &self,
        topic: &CreatePartitionsTopic,
        existing: &TopicImage,
        current: i32,
    ) -> Result<Vec<Vec<i32>>, Refusal> {
        let additional = topic.count - current;
        if i64::from(additional) > MAX_PARTITIONS_PER_REQUEST {
            let message = "Excessively large number of partitions per request.";
            return Err(Refusal::new(ErrorCode::POLICY_VIOLATION, message));
        }
        let factor = existing.partitions.first().map_or(1, |partition| partition.replicas.len());
        let Some(assignments) = &topic.assignments else {
            return self.place(additional, i16::try_from(factor).expect("no more replicas than brokers"));
        };
        if usize::try_from(additional).is_ok_and(|additional| additional != assignments.len()) {
            let count = assignments.len();
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {count} assignment(s) were specified."
            );
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        }
        for (index, assignment) in (current..).zip(assignments) {
            check_manual(self.image, index, &assignment.broker_ids, Some(factor))?;
        }
        Ok(assignments.iter().map(|assignment| assignment.broker_ids.clone()).collect())
    }
}

/// Whether replicas that a client has chosen can be those of a partition.
pub(super) fn check_manual(
    image: &Image,
    partition: i32,
    replicas: &[i32],
    factor: Option<usize>,
) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    let assignment = "The manual partition assignment includes";
    if replicas.is_empty() {
        return invalid(format!("{assignment} an empty replica list."));
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for (at, broker) in sorted.iter().enumerate() {
        if image.broker(*broker).is_none() {
            return invalid(format!("{assignment} broker {broker}, but no such broker is registered."));
        }
        if at > 0 && sorted[at - 1] == *broker {
            return invalid(format!("{assignment} the broker {broker} more than once."));
        }
    }
    if let Some(factor) = factor.filter(|factor| *factor != replicas.len()) {
        let count = replicas.len();
        return invalid(format!(
            "{assignment} a partition with {count} replica(s), but this is not consistent with previous partitions, \
             which have {factor} replica(s)."
        ));
    }
    if !replicas.iter().any(|broker| image.is_active(*broker)) {
        return invalid(format!(
            "All brokers specified in the manual partition assignment for partition {partition} are fenced or in \
             controlled shutdown."
        ));
    }
    Ok(())
}

/// Decides on CreatePartitions.
pub fn create_partitions(
    context: &Context<'_>,
    request: &CreatePartitionsRequest,
) -> Decision<CreatePartitionsResponse> {
    let mut seen = BTreeMap::<&str, usize>::new();
    for topic in &request.topics {
        *seen.entry(&topic.name).or_default() += 1;
    }
    let result = |name: &str, refused: Option<Refusal>| CreatePartitionsTopicResult {
        name: name.to_owned(),
        error_code: refused.as_ref().map_or(0, |refusal| refusal.code.into()),
        error_message: refused.and_then(|refusal| refusal.message),
    };
    let twice = seen.iter().filter(|(_, count)| **count > 1);
    let mut results: Vec<_> = twice
        .map(|(name, _)| result(name, Some(Refusal::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name."))))
        .collect();
    let mut records = Vec::new();
    for topic in request.topics.iter().filter(|topic| seen[topic.name.as_str()] == 1) {
        match context.add_partitions(topic) {
            Ok(added) => {
                records.extend(added);
                results.push(result(&topic.name, None));
            }
            Err(refusal) => results.push(result(&topic.name, Some(refusal))),
        }
    }
    if request.validate_only {
        records.clear();
    }
    Decision { records, response: CreatePartitionsResponse { results, ..Default::default() } }
}
