//! CreateTopics (key 19) and DeleteTopics (key 20).

use std::collections::{BTreeMap, BTreeSet};

use kringle_protocol::create_topics_request::CreatableTopic;
use kringle_protocol::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kringle_protocol::delete_topics_response::DeletableTopicResult;
use kringle_protocol::messages::{ConfigRecord, RemoveTopicRecord, TopicRecord};
use kringle_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::{ErrorCode, Uuid};

use super::partitions::MAX_PARTITIONS_PER_REQUEST;
use super::{Context, Decision, Refusal};
use crate::config::{Configs, CreatedConfig, Judge, describe_created};
use crate::control::image::{PartitionImage, ResourceType, TopicImage};
use crate::control::snapshot::partition_record;
use crate::control::topic_names;

/// The metadata log's own topic, which is none that a client could create.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Decides on CreateTopics. Results come in the order of the request, but for names given twice, which come last.
pub fn create_topics(context: &mut Context<'_>, request: &CreateTopicsRequest) -> Decision<CreateTopicsResponse> {
    let mut seen = BTreeMap::<&str, usize>::new();
    for topic in &request.topics {
        *seen.entry(&topic.name).or_default() += 1;
    }
    let accepted = |name: &str| seen[name] == 1 && name != CLUSTER_METADATA;
    let topics: Vec<_> = request.topics.iter().filter(|topic| accepted(&topic.name)).collect();
    let mut records = Vec::new();
    let mut results = Vec::with_capacity(request.topics.len());
    let too_many = check_partition_total(context, &topics);
    for topic in topics {
        let created = too_many.clone().and_then(|()| create_topic(context, topic));
        results.push(match created {
            Ok((new_records, result)) => {
                records.extend(new_records);
                result
            }
            Err(refusal) => refused(&topic.name, refusal),
        });
    }
    for (name, _) in seen.iter().filter(|(name, count)| **count > 1 && **name != CLUSTER_METADATA) {
        results.push(refused(name, Refusal::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name.")));
    }
    if seen.contains_key(CLUSTER_METADATA) {
        let message = format!("Creation of internal topic {CLUSTER_METADATA} is prohibited.");
        results.push(refused(CLUSTER_METADATA, Refusal::new(ErrorCode::INVALID_REQUEST, message)));
    }
    if request.validate_only {
        records.clear();
    }
    Decision { records, response: CreateTopicsResponse { topics: results, ..Default::default() } }
}

fn refused(name: &str, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_owned(),
        error_code: refusal.code.into(),
        error_message: refusal.message,
        ..Default::default()
    }
}

fn check_partition_total(context: &Context<'_>, topics: &[&CreatableTopic]) -> Result<(), Refusal> {
    let count = |topic: &&CreatableTopic| match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => i64::from(context.config.num_partitions),
        (0, partitions) => i64::from(partitions.max(0)),
        (assigned, _) => i64::try_from(assigned).unwrap_or(i64::MAX),
    };
    if topics.iter().map(count).sum::<i64>() > MAX_PARTITIONS_PER_REQUEST {
        let message = "Excessively large number of partitions per request.";
        return Err(Refusal::new(ErrorCode::POLICY_VIOLATION, message));
    }
    Ok(())
}

fn create_topic(
    context: &mut Context<'_>,
    topic: &CreatableTopic,
) -> Result<(Vec<MetadataRecord>, CreatableTopicResult), Refusal> {
    check_name(context, &topic.name)?;
    let configs = check_configs(context, topic)?;
    let assignments = context.assign(topic)?;
    let id = context.new_id();
    let partitions = assignments.into_iter().map(|replicas| context.new_partition(replicas)).collect();
    let created = TopicImage { name: topic.name.clone(), id, partitions };
    let result = CreatableTopicResult {
        name: topic.name.clone(),
        topic_id: id,
        error_message: None,
        num_partitions: i32::try_from(created.partitions.len()).expect("limited by MAX_PARTITIONS_PER_REQUEST"),
        replication_factor: replication_factor(&created.partitions),
        configs: Some(described(context, &configs)),
        ..Default::default()
    };
    Ok((creation_records(context, &created, configs), result))
}

/// The topic, then its configs, then its partitions: the order in which Kafka writes them.
fn creation_records(context: &Context<'_>, topic: &TopicImage, configs: Configs) -> Vec<MetadataRecord> {
    let record = TopicRecord { name: topic.name.clone(), topic_id: topic.id };
    let configs = configs.into_iter().map(|(name, value)| {
        MetadataRecord::ConfigRecord(ConfigRecord {
            resource_type: ResourceType::Topic.id(),
            resource_name: topic.name.clone(),
            name,
            value: Some(value),
        })
    });
    let metadata_version = context.image.metadata_version();
    let partitions = (0..).zip(&topic.partitions).map(|(index, partition)| {
        MetadataRecord::PartitionRecord(partition_record(topic, index, partition, metadata_version))
    });
    std::iter::once(MetadataRecord::TopicRecord(record)).chain(configs).chain(partitions).collect()
}

fn replication_factor(partitions: &[PartitionImage]) -> i16 {
    let replicas = partitions.first().map_or(0, |partition| partition.replicas.len());
    i16::try_from(replicas).expect("no more replicas than registered brokers")
}

fn check_name(context: &Context<'_>, name: &str) -> Result<(), Refusal> {
    if context.image.topic(name).is_some() {
        return Err(Refusal::new(ErrorCode::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists.")));
    }
    // A collision is looked for last but wins over an illegal character, as in Kafka.
    if topic_names::can_collide(name)
        && let Some(other) = context.image.topics().find(|other| topic_names::collide(&other.name, name))
    {
        let message = format!("Topic '{name}' collides with existing topic: {}", other.name);
        return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
    }
    match topic_names::illegal(name) {
        Some(reason) => Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, reason)),
        None => Ok(()),
    }
}

fn check_configs(context: &Context<'_>, topic: &CreatableTopic) -> Result<Configs, Refusal> {
    let asked: Vec<_> = topic.configs.iter().map(|config| (config.name.clone(), config.value.clone())).collect();
    let dynamic = context.dynamic();
    let judge = Judge { broker: context.config, dynamic: &dynamic, elr: context.image.elr_is_enabled() };
    Ok(judge.created(&asked)?)
}

fn described(context: &Context<'_>, configs: &Configs) -> Vec<CreatableTopicConfigs> {
    let created = describe_created(configs, &context.dynamic(), context.config);
    let of = |config: CreatedConfig| CreatableTopicConfigs {
        name: config.name.to_owned(),
        value: config.value,
        config_source: config.source.id(),
        ..Default::default()
    };
    created.into_iter().map(of).collect()
}

/// Decides on DeleteTopics. Up to version 5 topics are named in `topic_names`, later in `topics`, there by name or id.
pub fn delete_topics(
    context: &mut Context<'_>,
    request: &DeleteTopicsRequest,
    version: i16,
) -> Decision<DeleteTopicsResponse> {
    let named = request.topic_names.iter().map(|name| (Some(name.as_str()), Uuid::ZERO));
    let asked: Vec<_> = named.chain(request.topics.iter().map(|t| (t.name.as_deref(), t.topic_id))).collect();
    let mut deletion = Deletion { results: Vec::new(), ids: BTreeMap::new(), twice: BTreeSet::new() };
    if !context.config.delete_topic_enable {
        let refusal = if version < 3 {
            Refusal::new(ErrorCode::INVALID_REQUEST, "Topic deletion is disabled.")
        } else {
            Refusal::bare(ErrorCode::TOPIC_DELETION_DISABLED)
        };
        asked.iter().for_each(|(name, id)| deletion.refuse(*name, *id, refusal.clone()));
        return deletion.decide();
    }
    let (mut names, mut ids) = (BTreeMap::new(), BTreeMap::new());
    for (name, id) in asked {
        match (name, id) {
            (None, Uuid::ZERO) => deletion.invalid(None, id, "Neither topic name nor id were specified."),
            (None, id) => *ids.entry(id).or_default() += 1,
            (Some(name), Uuid::ZERO) => *names.entry(name).or_default() += 1,
            (Some(name), id) => deletion.invalid(Some(name), id, "You may not specify both topic name and topic id."),
        }
    }
    for (id, count) in ids {
        deletion.by_id(context, id, count);
    }
    for (name, count) in names {
        deletion.by_name(context, name, count);
    }
    deletion.decide()
}

/// What a DeleteTopics request has come to so far.
struct Deletion {
    results: Vec<DeletableTopicResult>,
    ids: BTreeMap<Uuid, String>,
    twice: BTreeSet<Uuid>,
}

impl Deletion {
    fn by_id(&mut self, context: &Context<'_>, id: Uuid, count: i32) {
        if count > 1 {
            self.twice.insert(id);
            self.invalid(None, id, "Duplicate topic id.");
        } else if let Some(topic) = context.image.topic_by_id(id) {
            self.ids.insert(id, topic.name.clone());
        } else {
            self.refuse(
                None,
                id,
                Refusal::new(ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID."),
            );
        }
    }

    fn by_name(&mut self, context: &Context<'_>, name: &str, count: i32) {
        if count > 1 {
            return self.invalid(Some(name), Uuid::ZERO, "Duplicate topic name.");
        }
        let Some(topic) = context.image.topic(name) else {
            let message = "This server does not host this topic-partition.";
            let refusal = Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message);
            return self.refuse(Some(name), Uuid::ZERO, refusal);
        };
        if self.twice.contains(&topic.id) || self.ids.insert(topic.id, name.to_owned()).is_some() {
            self.ids.remove(&topic.id);
            self.invalid(Some(name), topic.id, "The provided topic name maps to an ID that was already supplied.");
        }
    }

    fn invalid(&mut self, name: Option<&str>, id: Uuid, message: &str) {
        self.refuse(name, id, Refusal::new(ErrorCode::INVALID_REQUEST, message));
    }

    fn refuse(&mut self, name: Option<&str>, id: Uuid, refusal: Refusal) {
        self.results.push(DeletableTopicResult {
            name: name.map(str::to_owned),
            topic_id: id,
            error_code: refusal.code.into(),
            error_message: refusal.message,
        });
    }

    fn decide(mut self) -> Decision<DeleteTopicsResponse> {
        let mut records = Vec::with_capacity(self.ids.len());
        for (id, name) in self.ids {
            records.push(MetadataRecord::RemoveTopicRecord(RemoveTopicRecord { topic_id: id }));
            self.results.push(DeletableTopicResult { name: Some(name), topic_id: id, ..Default::default() });
        }
        Decision { records, response: DeleteTopicsResponse { responses: self.results, ..Default::default() } }
    }
}
