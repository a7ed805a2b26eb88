//! ApiVersions (key 18): what this broker serves, and which part of it on a controller's listener. What is not in
//! [`SERVED`] is not advertised, and closes the connection.

use std::rc::Rc;

use kringle_protocol::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kringle_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kringle_protocol::{ApiKey, ErrorCode, Message};

use super::{Close, Request};
use crate::control::features;
use crate::net::connection::Connection;
use crate::net::response::{FileSlices, Response};
use crate::node::ListenerId;

/// The APIs of this broker, each in exactly the versions of Kafka 4.3.1.
pub(crate) const SERVED: &[ApiKey] = &[
    ApiKey::PRODUCE,
    ApiKey::FETCH,
    ApiKey::LIST_OFFSETS,
    ApiKey::METADATA,
    ApiKey::OFFSET_COMMIT,
    ApiKey::OFFSET_FETCH,
    ApiKey::FIND_COORDINATOR,
    ApiKey::JOIN_GROUP,
    ApiKey::HEARTBEAT,
    ApiKey::LEAVE_GROUP,
    ApiKey::SYNC_GROUP,
    ApiKey::DESCRIBE_GROUPS,
    ApiKey::LIST_GROUPS,
    ApiKey::SASL_HANDSHAKE,
    ApiKey::API_VERSIONS,
    ApiKey::CREATE_TOPICS,
    ApiKey::DELETE_TOPICS,
    ApiKey::DELETE_RECORDS,
    ApiKey::INIT_PRODUCER_ID,
    ApiKey::OFFSET_FOR_LEADER_EPOCH,
    ApiKey::DESCRIBE_CONFIGS,
    ApiKey::ALTER_CONFIGS,
    ApiKey::DESCRIBE_LOG_DIRS,
    ApiKey::SASL_AUTHENTICATE,
    ApiKey::CREATE_PARTITIONS,
    ApiKey::DELETE_GROUPS,
    ApiKey::ELECT_LEADERS,
    ApiKey::INCREMENTAL_ALTER_CONFIGS,
    ApiKey::ALTER_PARTITION_REASSIGNMENTS,
    ApiKey::LIST_PARTITION_REASSIGNMENTS,
    ApiKey::OFFSET_DELETE,
    ApiKey::DESCRIBE_QUORUM,
    ApiKey::UPDATE_FEATURES,
    ApiKey::DESCRIBE_CLUSTER,
    ApiKey::DESCRIBE_PRODUCERS,
    ApiKey::LIST_CONFIG_RESOURCES,
    ApiKey::DESCRIBE_TOPIC_PARTITIONS,
];

/// Whether that listener serves any version of the API.
pub(crate) fn is_served(key: ApiKey, listener: ListenerId) -> bool {
    SERVED.contains(&key) && is_for(key, listener)
}

/// Whether Kafka serves the API on such a listener. Fetch on a controller is how the other voters and observers read the
/// metadata log; a quorum of one has none.
fn is_for(key: ApiKey, listener: ListenerId) -> bool {
    match listener {
        ListenerId::Broker(_) => key.info().on_broker,
        ListenerId::Controller(_) => key.info().on_controller && key != ApiKey::FETCH,
    }
}

/// Whether this version of the API is served. Produce 0-2 are advertised for old librdkafka's sake, but not served.
pub(crate) fn serves(key: ApiKey, version: i16) -> bool {
    let min = if key == ApiKey::PRODUCE { 3 } else { key.min_version() };
    (min..=key.max_version()).contains(&version)
}

/// Answers without looking at anything but the node's features.
///
/// # Errors
/// An undecodable request.
pub(crate) fn answer(connection: &Rc<Connection>, mut request: Request) -> Result<Response, Close> {
    let key = ApiKey::API_VERSIONS;
    let version = request.version;
    let room = connection.shard.take_answer_room();
    if !serves(key, version) {
        // The client cannot know our versions yet, so it is told in the oldest one.
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION.into(),
            api_keys: vec![one(key)],
            ..ApiVersionsResponse::default()
        };
        return Ok(Response::encode(room, key, 0, request.correlation_id, &response, FileSlices::new())?);
    }
    let body = ApiVersionsRequest::decode(&mut request.body, version)?;
    let response = if version >= 3 && !(is_name(&body.client_software_name) && is_name(&body.client_software_version)) {
        ApiVersionsResponse { error_code: ErrorCode::INVALID_REQUEST.into(), ..ApiVersionsResponse::default() }
    } else {
        everything(connection, version)
    };
    Ok(Response::encode(room, key, version, request.correlation_id, &response, FileSlices::new())?)
}

fn everything(connection: &Connection, version: i16) -> ApiVersionsResponse {
    let image = connection.shard.image();
    let supported = features::SUPPORTED.iter().filter(|feature| version >= 4 || feature.min > 0).map(|feature| {
        SupportedFeatureKey { name: feature.name.to_owned(), min_version: feature.min, max_version: feature.max }
    });
    let finalized = features::advertised(&image).into_iter().map(|(name, level)| FinalizedFeatureKey {
        name: name.to_owned(),
        max_version_level: level,
        min_version_level: level,
    });
    ApiVersionsResponse {
        api_keys: SERVED.iter().filter(|key| is_for(**key, connection.listener)).map(|key| one(*key)).collect(),
        supported_features: supported.collect(),
        finalized_features_epoch: image.offset(),
        finalized_features: finalized.collect(),
        ..ApiVersionsResponse::default()
    }
}

fn one(key: ApiKey) -> ApiVersion {
    ApiVersion { api_key: key.into(), min_version: key.min_version(), max_version: key.max_version() }
}

/// Kafka's pattern for the name and version of client software: letters, digits, `.` and `-`, which only stand inside.
fn is_name(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(inside) && edge(text.chars().next()) && edge(text.chars().last())
}

#[cfg(test)]
mod tests {
    use kringle_protocol::api_table;

    use super::*;

    #[test]
    fn names_of_client_software_are_checked_as_kafka_checks_them() {
        for good in ["librdkafka", "a", "1.2.3-x"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "é"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_controllers_listener_serves_what_tools_change_the_cluster_by_and_no_records() {
        let served = |key| is_served(key, ListenerId::Controller(0));
        for key in [ApiKey::API_VERSIONS, ApiKey::DESCRIBE_CLUSTER, ApiKey::DESCRIBE_QUORUM, ApiKey::CREATE_TOPICS] {
            assert!(served(key), "{key}");
        }
        for key in [ApiKey::PRODUCE, ApiKey::FETCH, ApiKey::METADATA, ApiKey::FIND_COORDINATOR] {
            assert!(!served(key) && is_served(key, ListenerId::Broker(0)), "{key}");
        }
    }

    #[test]
    fn everything_served_is_in_the_protocol_table() {
        for key in SERVED {
            assert!(api_table().iter().any(|api| api.key == *key), "{key}");
        }
    }
}
