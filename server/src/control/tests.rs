//! Requests against the controller, and what becomes of the image.

use kringle_protocol::client_quota_record::EntityData;
use kringle_protocol::create_partitions_request::CreatePartitionsTopic;
use kringle_protocol::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use kringle_protocol::delete_topics_request::DeleteTopicState;
use kringle_protocol::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kringle_protocol::messages::{
    AccessControlEntryRecord, ClientQuotaRecord, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    IncrementalAlterConfigsRequest, PartitionChangeRecord, RemoveAccessControlEntryRecord, RemoveTopicRecord,
    UnfenceBrokerRecord, UpdateFeaturesRequest, UserScramCredentialRecord,
};
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::update_features_request::FeatureUpdateKey;
use kringle_protocol::{ErrorCode, Uuid};

use super::controller::configs::incremental_alter_configs;
use super::controller::features::update_features;
use super::controller::partitions::create_partitions;
use super::controller::producer_ids::allocate_producer_ids;
use super::controller::registration;
use super::controller::topics::{create_topics, delete_topics};
use super::features::{ELR_VERSION, METADATA_VERSION, advertised};
use super::image::{Image, ImageDelta, ResourceType};
use super::testing::{DIRECTORY, NODE, apply, counting, counting_from, decide, feature, running};

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions: partitions, replication_factor: 1, ..Default::default() }
}

/// Creates topics and gives the error code and message of each result.
fn create(image: &mut Image, topics: Vec<CreatableTopic>) -> Vec<(String, i16, Option<String>)> {
    let request = CreateTopicsRequest { topics, ..Default::default() };
    let mut random = counting_from(10 * image.topic_count());
    let decision = decide(image, &mut random, |context| create_topics(context, &request));
    apply(image, &decision.records);
    decision.response.topics.into_iter().map(|t| (t.name, t.error_code, t.error_message)).collect()
}

#[test]
fn a_new_topic_is_led_by_this_broker_in_its_only_directory() {
    let mut image = running();
    assert_eq!(create(&mut image, vec![topic("t", 3)]), [("t".to_owned(), 0, None)]);
    let created = image.topic("t").expect("created");
    assert_eq!(created.partitions.len(), 3);
    for partition in &created.partitions {
        assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch), (NODE, 0, 0));
        assert_eq!((&partition.replicas, &partition.isr), (&vec![NODE], &vec![NODE]));
        assert_eq!(partition.directories, [DIRECTORY]);
    }
    assert_eq!(image.topic_by_id(created.id), Some(created));
}

#[test]
fn every_refusal_of_create_topics_names_its_reason_and_creates_nothing() {
    let mut image = running();
    create(&mut image, vec![topic("there", 1), topic("with.dot", 1)]);
    let before = image.clone();
    let assigned = |replicas: &[i32]| CreatableTopic {
        name: "assigned".to_owned(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: replicas.to_vec() }],
        ..Default::default()
    };
    let configured = |name: &str, value: Option<&str>| CreatableTopic {
        configs: vec![CreatableTopicConfig { name: name.to_owned(), value: value.map(str::to_owned) }],
        ..topic("configured", 1)
    };
    let cases = [
        (topic("there", 1), ErrorCode::TOPIC_ALREADY_EXISTS, "Topic 'there' already exists."),
        (topic("a b", 1), ErrorCode::INVALID_TOPIC_EXCEPTION, "Topic name is invalid: 'a b' contains"),
        (
            topic("with_dot", 1),
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "Topic 'with_dot' collides with existing topic: with.dot",
        ),
        (topic("__cluster_metadata", 1), ErrorCode::INVALID_REQUEST, "Creation of internal topic __cluster_metadata"),
        (topic("zero", 0), ErrorCode::INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive"),
        (topic("many", 10_001), ErrorCode::POLICY_VIOLATION, "Excessively large number of partitions per request."),
        (
            CreatableTopic { replication_factor: 0, ..topic("r", 1) },
            ErrorCode::INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0",
        ),
        (
            CreatableTopic { replication_factor: 2, ..topic("r", 1) },
            ErrorCode::INVALID_REPLICATION_FACTOR,
            "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because \
             only 1 broker(s) are registered or some brokers have all their log directories cordoned.",
        ),
        (assigned(&[2]), ErrorCode::INVALID_REPLICA_ASSIGNMENT, "The manual partition assignment includes broker 2,"),
        (
            assigned(&[1, 1]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes the broker 1",
        ),
        (assigned(&[]), ErrorCode::INVALID_REPLICA_ASSIGNMENT, "The manual partition assignment includes an empty"),
        (
            CreatableTopic { num_partitions: 1, ..assigned(&[1]) },
            ErrorCode::INVALID_REQUEST,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
        (
            configured("retention.ms", None),
            ErrorCode::INVALID_CONFIG,
            "Null value not supported for topic configs: retention.ms",
        ),
        (
            configured("retention.ms", Some("x")),
            ErrorCode::INVALID_CONFIG,
            "Invalid value x for configuration retention.ms",
        ),
    ];
    for (asked, code, message) in cases {
        let name = asked.name.clone();
        let results = create(&mut image, vec![asked]);
        let [(_, error, Some(text))] = &results[..] else { panic!("{name}: {results:?}") };
        assert_eq!(*error, i16::from(code), "{name}: {text}");
        assert!(text.starts_with(message), "{name}: {text}");
        assert_eq!(image, before, "{name}");
    }
}

#[test]
fn a_topic_named_twice_is_not_created_but_its_neighbours_are() {
    let mut image = running();
    let results = create(&mut image, vec![topic("twice", 1), topic("once", 1), topic("twice", 1)]);
    let codes: Vec<_> = results.iter().map(|(name, code, _)| (name.as_str(), *code)).collect();
    assert_eq!(codes, [("once", 0), ("twice", ErrorCode::INVALID_REQUEST.into())]);
    assert!(image.topic("twice").is_none() && image.topic("once").is_some());
}

#[test]
fn validate_only_answers_as_if_but_records_nothing() {
    let image = running();
    let request = CreateTopicsRequest { topics: vec![topic("t", 2)], validate_only: true, ..Default::default() };
    let decision = decide(&image, &mut counting(), |context| create_topics(context, &request));
    assert!(decision.records.is_empty());
    let result = &decision.response.topics[0];
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 2, 1));
}

#[test]
fn a_topic_created_anew_has_another_id_and_no_old_configs() {
    let mut image = running();
    let mut random = counting();
    let configs = vec![CreatableTopicConfig { name: "retention.ms".to_owned(), value: Some("5".to_owned()) }];
    let request =
        CreateTopicsRequest { topics: vec![CreatableTopic { configs, ..topic("t", 1) }], ..Default::default() };
    let decision = decide(&image, &mut random, |context| create_topics(context, &request));
    apply(&mut image, &decision.records);
    let old = image.topic("t").expect("created").id;
    assert_eq!(image.configs(ResourceType::Topic, "t").expect("configured")["retention.ms"], "5");

    let by_id = DeleteTopicState { name: None, topic_id: old };
    let request = DeleteTopicsRequest { topics: vec![by_id], ..Default::default() };
    let decision = decide(&image, &mut random, |context| delete_topics(context, &request, 6));
    assert_eq!(decision.response.responses[0].name.as_deref(), Some("t"));
    let delta = apply(&mut image, &decision.records);
    assert_eq!(delta.deleted.get(&old).map(String::as_str), Some("t"));
    assert!(image.topic("t").is_none() && image.topic_by_id(old).is_none());
    assert!(image.configs(ResourceType::Topic, "t").is_none());

    let request = CreateTopicsRequest { topics: vec![topic("t", 1)], ..Default::default() };
    let decision = decide(&image, &mut random, |context| create_topics(context, &request));
    apply(&mut image, &decision.records);
    assert_ne!(image.topic("t").expect("created again").id, old);
}

#[test]
fn deletion_refuses_what_is_unknown_doubled_or_contradictory() {
    let mut image = running();
    create(&mut image, vec![topic("t", 1)]);
    let id = image.topic("t").expect("created").id;
    let state = |name: Option<&str>, topic_id| DeleteTopicState { name: name.map(str::to_owned), topic_id };
    let unknown = Uuid::from_bytes([99; 16]);
    let topics =
        vec![state(None, unknown), state(Some("t"), id), state(None, Uuid::ZERO), state(Some("none"), Uuid::ZERO)];
    let request = DeleteTopicsRequest { topics, ..Default::default() };
    let decision = decide(&image, &mut counting(), |context| delete_topics(context, &request, 6));
    assert!(decision.records.is_empty());
    let mut codes: Vec<_> = decision.response.responses.iter().map(|r| r.error_code).collect();
    codes.sort_unstable();
    let mut expected = [
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::INVALID_REQUEST,
        ErrorCode::INVALID_REQUEST,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ]
    .map(i16::from);
    expected.sort_unstable();
    assert_eq!(codes, expected);

    let both = vec![state(None, id), state(Some("t"), Uuid::ZERO)];
    let request = DeleteTopicsRequest { topics: both, ..Default::default() };
    let decision = decide(&image, &mut counting(), |context| delete_topics(context, &request, 6));
    assert!(decision.records.is_empty(), "{decision:?}");
}

#[test]
fn partitions_are_added_but_never_taken_away() {
    let mut image = running();
    create(&mut image, vec![topic("t", 2)]);
    let mut grow = |count| {
        let topics = vec![CreatePartitionsTopic { name: "t".to_owned(), count, assignments: None }];
        let request = CreatePartitionsRequest { topics, ..Default::default() };
        let decision = decide(&image, &mut counting(), |context| create_partitions(context, &request));
        apply(&mut image, &decision.records);
        (decision.response.results[0].clone(), image.topic("t").expect("there").partitions.len())
    };
    assert_eq!(grow(5).1, 5);
    let (refused, partitions) = grow(5);
    assert_eq!((refused.error_message.as_deref(), partitions), (Some("Topic already has 5 partition(s)."), 5));
    let (refused, partitions) = grow(3);
    let expected = "The topic t currently has 5 partition(s); 3 would not be an increase.";
    assert_eq!((refused.error_message.as_deref(), partitions), (Some(expected), 5));
}

fn alter(
    image: &mut Image,
    kind: ResourceType,
    name: &str,
    operations: &[(&str, i8, Option<&str>)],
) -> (i16, Option<String>) {
    let config = |(name, operation, value): &(&str, i8, Option<&str>)| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *operation,
        value: value.map(str::to_owned),
    };
    let configs = operations.iter().map(config).collect();
    let resource = AlterConfigsResource { resource_type: kind.id(), resource_name: name.to_owned(), configs };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let decision = decide(image, &mut counting(), |context| incremental_alter_configs(context, &request));
    apply(image, &decision.records);
    let result = &decision.response.responses[0];
    (result.error_code, result.error_message.clone())
}

#[test]
fn lists_grow_and_shrink_from_their_default_and_other_types_do_not() {
    let mut image = running();
    create(&mut image, vec![topic("t", 1)]);
    assert_eq!(alter(&mut image, ResourceType::Topic, "t", &[("cleanup.policy", 2, Some("compact"))]), (0, None));
    assert_eq!(image.configs(ResourceType::Topic, "t").expect("set")["cleanup.policy"], "delete,compact");
    assert_eq!(alter(&mut image, ResourceType::Topic, "t", &[("cleanup.policy", 3, Some("delete"))]), (0, None));
    assert_eq!(image.configs(ResourceType::Topic, "t").expect("set")["cleanup.policy"], "compact");
    assert_eq!(alter(&mut image, ResourceType::Topic, "t", &[("cleanup.policy", 1, None)]), (0, None));
    assert_eq!(image.configs(ResourceType::Topic, "t"), None);
    let (code, message) = alter(&mut image, ResourceType::Topic, "t", &[("retention.ms", 2, Some("5"))]);
    assert_eq!(code, i16::from(ErrorCode::INVALID_CONFIG));
    assert_eq!(message.as_deref(), Some("Can't APPEND to key retention.ms because its type is not LIST."));
}

#[test]
fn configs_of_what_is_not_there_are_refused() {
    let mut image = running();
    let unknown = alter(&mut image, ResourceType::Topic, "t", &[("retention.ms", 0, Some("5"))]);
    assert_eq!(unknown.0, i16::from(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    let other_broker = alter(&mut image, ResourceType::Broker, "2", &[("retention.ms", 0, Some("5"))]);
    assert_eq!(other_broker.1.as_deref(), Some("Unexpected broker id, expected 1, but received 2"));
    let doubled = [("retention.ms", 0, Some("5")), ("retention.ms", 1, None)];
    let (_, message) = alter(&mut image, ResourceType::Broker, "", &doubled);
    assert_eq!(message.as_deref(), Some("Error due to duplicate config keys"));
    let (_, message) = alter(&mut image, ResourceType::Broker, "", &[("retention.ms", 0, None)]);
    assert_eq!(message.as_deref(), Some("Null value not supported for : retention.ms"));
}

#[test]
fn with_eligible_leader_replicas_min_insync_replicas_stays_a_matter_of_the_cluster() {
    let mut image = running();
    apply(&mut image, &[feature(ELR_VERSION, 1)]);
    assert_eq!(alter(&mut image, ResourceType::Broker, "", &[("min.insync.replicas", 0, Some("1"))]), (0, None));
    let (code, _) = alter(&mut image, ResourceType::Broker, "", &[("min.insync.replicas", 1, None)]);
    assert_eq!(code, i16::from(ErrorCode::INVALID_CONFIG));
    let (code, _) = alter(&mut image, ResourceType::Broker, "1", &[("min.insync.replicas", 0, Some("1"))]);
    assert_eq!(code, i16::from(ErrorCode::INVALID_CONFIG));
}

#[test]
fn producer_ids_come_in_blocks_and_never_again() {
    let mut image = running();
    let mut next = || {
        let decision = decide(&image, &mut counting(), |context| allocate_producer_ids(context, NODE, 11));
        apply(&mut image, &decision.records);
        (decision.response.error_code, decision.response.producer_id_start, decision.response.producer_id_len)
    };
    assert_eq!(next(), (0, 0, 1000));
    assert_eq!(next(), (0, 1000, 1000));
    let stale = decide(&image, &mut counting(), |context| allocate_producer_ids(context, NODE, 10));
    assert_eq!(stale.response.error_code, i16::from(ErrorCode::STALE_BROKER_EPOCH));
}

#[test]
fn a_feature_that_is_not_served_can_be_turned_off_but_not_on() {
    let mut image = running();
    apply(&mut image, &[feature("share.version", 1)]);
    assert!(advertised(&image).iter().all(|(name, _)| name != "share.version"));
    let mut update = |level, upgrade_type| {
        let key = FeatureUpdateKey {
            feature: "share.version".to_owned(),
            max_version_level: level,
            upgrade_type,
            ..Default::default()
        };
        let request = UpdateFeaturesRequest { feature_updates: vec![key], ..Default::default() };
        let decision = decide(&image, &mut counting(), |context| update_features(context, &request, 2));
        apply(&mut image, &decision.records);
        (decision.response.error_code, image.feature("share.version"))
    };
    let refused = i16::from(ErrorCode::INVALID_UPDATE_VERSION);
    assert_eq!(update(1, 1), (refused, 1));
    assert_eq!(update(0, 1), (refused, 1));
    assert_eq!(update(0, 2), (0, 0));
}

#[test]
fn a_clean_stop_and_a_start_raise_every_leader_epoch() {
    for elr in [0, 1] {
        let mut image = running();
        apply(&mut image, &[feature(ELR_VERSION, elr)]);
        create(&mut image, vec![topic("t", 2)]);
        let stopped = registration::fence(&image, NODE, 11);
        apply(&mut image, &stopped);
        let partition = image.topic("t").expect("there").partitions[0].clone();
        assert_eq!((partition.leader, partition.leader_epoch), (-1, 1));
        assert_eq!(partition.isr.is_empty(), elr == 1);
        assert!(image.broker(NODE).expect("registered").fenced);

        let started = registration::unfence(&image, NODE, 11);
        apply(&mut image, &started);
        let partition = image.topic("t").expect("there").partitions[1].clone();
        assert_eq!((partition.leader, partition.leader_epoch, partition.isr), (NODE, 2, vec![NODE]));
        assert!(partition.eligible_leader_replicas.is_empty() && partition.last_known_elr.is_empty());
    }
}

#[test]
fn a_broker_that_was_killed_leads_again_with_a_higher_epoch() {
    let mut image = running();
    create(&mut image, vec![topic("t", 1)]);
    let started = registration::unfence(&image, NODE, 11);
    apply(&mut image, &started);
    let partition = &image.topic("t").expect("there").partitions[0];
    assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch), (NODE, 1, 1));
}

#[test]
fn an_image_rebuilt_from_its_snapshot_is_the_same_image() {
    let mut image = running();
    let configs = vec![CreatableTopicConfig { name: "retention.ms".to_owned(), value: Some("5".to_owned()) }];
    create(&mut image, vec![CreatableTopic { configs, ..topic("a", 3) }, topic("b", 1)]);
    alter(&mut image, ResourceType::Broker, "", &[("retention.ms", 0, Some("7"))]);
    let ids = decide(&image, &mut counting(), |context| allocate_producer_ids(context, NODE, 11));
    apply(&mut image, &ids.records);
    let stopped = registration::fence(&image, NODE, 11);
    apply(&mut image, &stopped);
    let mut rebuilt = Image::empty();
    apply(&mut rebuilt, &image.to_records().collect::<Vec<_>>());
    assert_eq!(rebuilt, image);
}

#[test]
fn a_clone_of_an_image_does_not_see_later_changes() {
    let mut image = running();
    create(&mut image, vec![topic("a", 1)]);
    let published = image.clone();
    create(&mut image, vec![topic("b", 1)]);
    apply(&mut image, &registration::fence(&published, NODE, 11));
    assert!(published.topic("b").is_none());
    assert_eq!(published.topic("a").expect("there").partitions[0].leader, NODE);
}

#[test]
fn what_kafka_recorded_and_nobody_here_reads_is_in_the_snapshot_too() {
    let quota = |user: &str, remove| ClientQuotaRecord {
        entity: vec![EntityData { entity_type: "user".to_owned(), entity_name: Some(user.to_owned()) }],
        key: "producer_byte_rate".to_owned(),
        value: 1000.0,
        remove,
    };
    let scram = |name: &str| UserScramCredentialRecord { name: name.to_owned(), mechanism: 1, ..Default::default() };
    let acl = |id| AccessControlEntryRecord { id: Uuid::from_bytes([id; 16]), ..Default::default() };
    let mut image = running();
    let delta = apply(
        &mut image,
        &[
            MetadataRecord::ClientQuotaRecord(quota("kept", false)),
            MetadataRecord::ClientQuotaRecord(quota("gone", false)),
            MetadataRecord::ClientQuotaRecord(quota("gone", true)),
            MetadataRecord::UserScramCredentialRecord(scram("kept")),
            MetadataRecord::AccessControlEntryRecord(acl(1)),
            MetadataRecord::AccessControlEntryRecord(acl(2)),
            MetadataRecord::RemoveAccessControlEntryRecord(RemoveAccessControlEntryRecord { id: acl(2).id }),
        ],
    );
    assert!(delta.security);
    let kept = (image.quotas().count(), image.scram_credentials().count(), image.acls().count());
    assert_eq!(kept, (1, 1, 1));
    let mut rebuilt = Image::empty();
    apply(&mut rebuilt, &image.to_records().collect::<Vec<_>>());
    assert_eq!(rebuilt, image);
}

#[test]
fn a_metadata_version_of_a_later_kafka_is_refused_by_name() {
    let error = Image::empty().apply(&feature(METADATA_VERSION, 31), &mut ImageDelta::default());
    let error = error.expect_err("Kringle knows 30").to_string();
    assert!(error.contains("metadata.version=31"), "{error}");
}

#[test]
fn records_of_what_was_never_created_are_refused() {
    let mut image = running();
    let nothing = Uuid::from_bytes([200; 16]);
    let changes = [
        MetadataRecord::RemoveTopicRecord(RemoveTopicRecord { topic_id: nothing }),
        MetadataRecord::PartitionChangeRecord(PartitionChangeRecord { topic_id: nothing, ..Default::default() }),
        MetadataRecord::UnfenceBrokerRecord(UnfenceBrokerRecord { id: NODE, epoch: 10 }),
    ];
    for change in changes {
        assert!(image.apply(&change, &mut ImageDelta::default()).is_err(), "{change:?}");
    }
}
