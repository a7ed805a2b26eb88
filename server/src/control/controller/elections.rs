//! ElectLeaders (key 43) and AlterPartitionReassignments (key 45). With one broker every partition that can have a leader
//! has the preferred one, and there is nowhere to move a replica to: both only find out what is asked, and change nothing.

use kringle_protocol::ErrorCode;
use kringle_protocol::alter_partition_reassignments_request::ReassignablePartition;
use kringle_protocol::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kringle_protocol::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kringle_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ElectLeadersRequest, ElectLeadersResponse,
};

use super::Refusal;
use super::partitions::check_manual;
use crate::control::image::{Image, NO_LEADER, PartitionImage};

/// ElectionType: the first replica shall lead.
const PREFERRED: i8 = 0;
/// ElectionType: anybody shall lead where nobody does.
const UNCLEAN: i8 = 1;

/// Answers ElectLeaders. `None` asks for all partitions; of those, only what is wrong is told.
pub fn elect_leaders(image: &Image, request: &ElectLeadersRequest) -> ElectLeadersResponse {
    let kind = request.election_type;
    if !matches!(kind, PREFERRED | UNCLEAN) {
        let message = format!("Unknown election type {kind}");
        return elect_none(request, Refusal::new(ErrorCode::INVALID_REQUEST, message));
    }
    let result = |partition_id, refusal: Refusal| PartitionResult {
        partition_id,
        error_code: refusal.code.into(),
        error_message: refusal.message,
    };
    let replica_election_results = match &request.topic_partitions {
        Some(asked) => {
            let topic = |asked: &kringle_protocol::elect_leaders_request::TopicPartitions| ReplicaElectionResult {
                topic: asked.topic.clone(),
                partition_result: asked
                    .partitions
                    .iter()
                    .map(|index| result(*index, elect(image, &asked.topic, *index, kind)))
                    .collect(),
            };
            asked.iter().map(topic).collect()
        }
        None => {
            let topic = |topic: &crate::control::image::TopicImage| ReplicaElectionResult {
                topic: topic.name.clone(),
                partition_result: (0..)
                    .zip(&topic.partitions)
                    .map(|(index, partition)| (index, outcome(partition, kind)))
                    .filter(|(_, refusal)| refusal.code != ErrorCode::ELECTION_NOT_NEEDED)
                    .map(|(index, refusal)| result(index, refusal))
                    .collect(),
            };
            image.topics().map(topic).collect()
        }
    };
    ElectLeadersResponse { replica_election_results, ..Default::default() }
}

/// The answer where the request fails as a whole.
pub fn elect_none(request: &ElectLeadersRequest, refusal: Refusal) -> ElectLeadersResponse {
    let error_code = refusal.code.into();
    let result = |partition_id: &i32| PartitionResult {
        partition_id: *partition_id,
        error_code,
        error_message: refusal.message.clone(),
    };
    let topics = request.topic_partitions.iter().flatten().map(|asked| ReplicaElectionResult {
        topic: asked.topic.clone(),
        partition_result: asked.partitions.iter().map(result).collect(),
    });
    ElectLeadersResponse { error_code, replica_election_results: topics.collect(), ..Default::default() }
}

fn elect(image: &Image, topic: &str, index: i32, kind: i8) -> Refusal {
    let unknown = |message| Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message);
    let Some(found) = image.topic(topic) else { return unknown(format!("No such topic as {topic}")) };
    let partition = usize::try_from(index).ok().and_then(|index| found.partitions.get(index));
    partition
        .map_or_else(|| unknown(format!("No such partition as {topic}-{index}")), |partition| outcome(partition, kind))
}

fn outcome(partition: &PartitionImage, kind: i8) -> Refusal {
    let has_preferred = partition.replicas.first() == Some(&partition.leader);
    let code = match kind {
        PREFERRED if has_preferred => ErrorCode::ELECTION_NOT_NEEDED,
        PREFERRED => ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE,
        _ if partition.leader != NO_LEADER => ErrorCode::ELECTION_NOT_NEEDED,
        _ => ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE,
    };
    Refusal::new(code, code.message())
}

/// Answers AlterPartitionReassignments.
pub fn alter_reassignments(
    image: &Image,
    request: &AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let may_change_factor = request.allow_replication_factor_change;
    let responses = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let refused = reassign(image, &topic.name, partition, may_change_factor).err();
            ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code: refused.as_ref().map_or(0, |refusal| refusal.code.into()),
                error_message: refused.and_then(|refusal| refusal.message),
            }
        });
        ReassignableTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: may_change_factor,
        // Kafka says nothing in two ways.
        error_message: request.topics.is_empty().then(String::new),
        responses: responses.collect(),
        ..Default::default()
    }
}

/// The answer where the request fails as a whole.
pub fn reassign_none(
    request: &AlterPartitionReassignmentsRequest,
    code: ErrorCode,
) -> AlterPartitionReassignmentsResponse {
    let responses = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| ReassignablePartitionResponse {
            partition_index: partition.partition_index,
            error_code: code.into(),
            error_message: None,
        });
        ReassignableTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    AlterPartitionReassignmentsResponse {
        error_code: code.into(),
        error_message: None,
        responses: responses.collect(),
        ..Default::default()
    }
}

fn reassign(image: &Image, name: &str, asked: &ReassignablePartition, may_change_factor: bool) -> Result<(), Refusal> {
    let unknown = |message| Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
    let index = asked.partition_index;
    let Some(topic) = image.topic(name) else {
        return unknown(format!("Unable to find a topic named {name}."));
    };
    let Some(partition) = usize::try_from(index).ok().and_then(|index| topic.partitions.get(index)) else {
        return unknown(format!("Unable to find partition {name}:{index}."));
    };
    let Some(replicas) = &asked.replicas else {
        return Err(Refusal::bare(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS));
    };
    check_manual(image, index, replicas, None)?;
    if *replicas == partition.replicas {
        return Ok(());
    }
    let (code, message) = if replicas.len() == partition.replicas.len() || may_change_factor {
        (ErrorCode::INVALID_REPLICA_ASSIGNMENT, "Replicas of other brokers cannot be moved by a single broker.")
    } else {
        (ErrorCode::INVALID_REPLICATION_FACTOR, "The replication factor is not allowed to change.")
    };
    Err(Refusal::new(code, message))
}

#[cfg(test)]
mod tests {
    use kringle_protocol::alter_partition_reassignments_request::ReassignableTopic;
    use kringle_protocol::create_topics_request::CreatableTopic;
    use kringle_protocol::elect_leaders_request::TopicPartitions;
    use kringle_protocol::messages::CreateTopicsRequest;

    use super::*;
    use crate::control::controller::topics::create_topics;
    use crate::control::testing::{NODE, apply, counting, decide, running};

    fn with_topic() -> Image {
        let mut image = running();
        let topic =
            CreatableTopic { name: "t".to_owned(), num_partitions: 1, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let decision = decide(&image, &mut counting(), |context| create_topics(context, &request));
        apply(&mut image, &decision.records);
        image
    }

    #[test]
    fn no_election_is_needed_and_what_is_not_there_is_named() {
        let image = with_topic();
        let asked = |topic: &str, partitions: Vec<i32>| TopicPartitions { topic: topic.to_owned(), partitions };
        let topic_partitions = Some(vec![asked("t", vec![0, 9]), asked("none", vec![0])]);
        let request = ElectLeadersRequest { topic_partitions, ..Default::default() };
        let response = elect_leaders(&image, &request);
        let results = response.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
        let messages: Vec<_> = results.filter_map(|result| result.error_message.as_deref()).collect();
        let expected =
            ["Leader election not needed for topic partition.", "No such partition as t-9", "No such topic as none"];
        assert_eq!(messages, expected);

        let all = elect_leaders(&image, &ElectLeadersRequest { topic_partitions: None, ..Default::default() });
        assert!(all.replica_election_results.iter().all(|topic| topic.partition_result.is_empty()));
    }

    #[test]
    fn a_replica_stays_where_it_is_and_can_go_nowhere_else() {
        let image = with_topic();
        let ask = |replicas: Option<Vec<i32>>| {
            let partitions = vec![ReassignablePartition { partition_index: 0, replicas }];
            let topics = vec![ReassignableTopic { name: "t".to_owned(), partitions }];
            let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
            let response = alter_reassignments(&image, &request);
            response.responses[0].partitions[0].error_code
        };
        assert_eq!(ask(Some(vec![NODE])), 0);
        assert_eq!(ask(None), i16::from(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS));
        assert_eq!(ask(Some(vec![2])), i16::from(ErrorCode::INVALID_REPLICA_ASSIGNMENT));
    }
}
