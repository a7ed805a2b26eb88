//! DescribeConfigs (key 32): settings of topics, this broker, all brokers and groups, as they act and where they come from.
//! ListConfigResources (key 74): of what there are settings to describe.

use kringle_protocol::ErrorCode;
use kringle_protocol::describe_configs_request::DescribeConfigsResource;
use kringle_protocol::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kringle_protocol::list_config_resources_response::ConfigResource;
use kringle_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::Context;
use crate::config::{
    ConfigEntry, Configs, describe_broker, describe_broker_default, describe_client_metrics, describe_group,
    describe_topic,
};
use crate::control::image::ResourceType;
use crate::names;

/// Why a resource is not described.
type Refused = (ErrorCode, String);

/// Answers from the image and the configuration.
pub(crate) async fn handle(context: Context, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let described = describe(&context, resource);
        let result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            error_code: ErrorCode::NONE.into(),
            ..DescribeConfigsResult::default()
        };
        match described {
            Err((error, message)) => {
                DescribeConfigsResult { error_code: error.into(), error_message: Some(message), ..result }
            }
            Ok(entries) => DescribeConfigsResult { configs: listed(entries, resource, &request), ..result },
        }
    });
    DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() }
}

fn describe(context: &Context, resource: &DescribeConfigsResource) -> Result<Vec<ConfigEntry>, Refused> {
    let node = &context.shard.node;
    let image = context.shard.image();
    let name = resource.resource_name.as_str();
    let dynamic = node.dynamic_configs(&image);
    let none = Configs::new();
    match ResourceType::from_id(resource.resource_type) {
        Some(ResourceType::Topic) => {
            if let Some(why) = names::illegal(name) {
                return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, why));
            }
            if image.topic(name).is_none() {
                return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new()));
            }
            let overrides = image.configs(ResourceType::Topic, name).unwrap_or(&none);
            Ok(describe_topic(overrides, &dynamic, &node.config))
        }
        Some(ResourceType::Broker) if name.is_empty() => Ok(describe_broker_default(&dynamic, &node.config)),
        Some(ResourceType::Broker) => {
            check_broker_id(node.node_id, name, " or empty string,")?;
            Ok(describe_broker(&dynamic, &node.config))
        }
        Some(ResourceType::Group) => {
            if name.is_empty() {
                return Err((ErrorCode::INVALID_REQUEST, "Group name must not be empty".to_owned()));
            }
            let overrides = image.configs(ResourceType::Group, name).unwrap_or(&none);
            Ok(describe_group(overrides, &dynamic, &node.config))
        }
        Some(ResourceType::ClientMetrics) => {
            if name.is_empty() {
                return Err((
                    ErrorCode::INVALID_REQUEST,
                    "Client metrics subscription name must not be empty".to_owned(),
                ));
            }
            Ok(describe_client_metrics(image.configs(ResourceType::ClientMetrics, name).unwrap_or(&none)))
        }
        Some(ResourceType::BrokerLogger) if name.is_empty() => {
            Err((ErrorCode::INVALID_REQUEST, "Broker id must not be empty".to_owned()))
        }
        // There is one logger, whose level the environment sets when the broker starts.
        Some(ResourceType::BrokerLogger) => check_broker_id(node.node_id, name, "").map(|()| Vec::new()),
        None => Err((ErrorCode::INVALID_REQUEST, ErrorCode::INVALID_REQUEST.message().to_owned())),
    }
}

/// Other brokers' settings are asked of them.
fn check_broker_id(own: i32, name: &str, or: &str) -> Result<(), Refused> {
    let why = match name.parse::<i32>() {
        Ok(id) if id == own => return Ok(()),
        Ok(id) => format!("Unexpected broker id, expected {own}{or} but received {id}"),
        Err(_) => format!("Broker id must be an integer, but it is: {name}"),
    };
    Err((ErrorCode::INVALID_REQUEST, why))
}

fn listed(
    entries: Vec<ConfigEntry>,
    resource: &DescribeConfigsResource,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResourceResult> {
    let wanted = |name: &str| match &resource.configuration_keys {
        None => true,
        Some(keys) => keys.is_empty() || keys.iter().any(|key| key == name),
    };
    let synonyms = |entry: &ConfigEntry| {
        let all = entry.synonyms.iter().map(|synonym| DescribeConfigsSynonym {
            name: synonym.name.clone(),
            value: synonym.value.clone(),
            source: synonym.source.id(),
        });
        if request.include_synonyms { all.collect() } else { Vec::new() }
    };
    let entries = entries.into_iter().filter(|entry| wanted(&entry.name));
    entries
        .map(|entry| DescribeConfigsResourceResult {
            synonyms: synonyms(&entry),
            documentation: if request.include_documentation { entry.documentation.map(str::to_owned) } else { None },
            read_only: entry.read_only,
            config_source: entry.source.id(),
            is_sensitive: entry.is_sensitive,
            config_type: entry.config_type.id(),
            name: entry.name,
            value: entry.value,
        })
        .collect()
}

/// Lists resources of the types asked for, each type once; of all types if none is named. Version 0 knew only
/// subscriptions to metrics of clients.
pub(crate) async fn list_resources(
    context: Context,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let mut asked: Vec<_> = match (context.version, request.resource_types.as_slice()) {
        (0, _) => vec![Some(ResourceType::ClientMetrics)],
        (_, []) => ResourceType::ALL.map(Some).to_vec(),
        (_, types) => types.iter().map(|id| ResourceType::from_id(*id)).collect(),
    };
    // In Kafka's order: groups first, topics last.
    asked.sort_unstable();
    asked.dedup();
    asked.reverse();
    if asked.contains(&None) {
        let error_code = ErrorCode::UNSUPPORTED_VERSION.into();
        return ListConfigResourcesResponse { error_code, ..ListConfigResourcesResponse::default() };
    }
    let image = context.shard.image();
    let of = |kind: ResourceType| -> Vec<String> {
        match kind {
            ResourceType::Topic => image.topics().map(|topic| topic.name.clone()).collect(),
            ResourceType::Broker | ResourceType::BrokerLogger => vec![context.shard.node.node_id.to_string()],
            // Those that nothing is set for are not known.
            ResourceType::ClientMetrics | ResourceType::Group => {
                let configured = image.configured().filter(|(resource, _)| resource.kind == kind);
                configured.map(|(resource, _)| resource.name.clone()).collect()
            }
        }
    };
    let listed = asked.into_iter().flatten().flat_map(|kind| {
        of(kind).into_iter().map(move |resource_name| ConfigResource { resource_name, resource_type: kind.id() })
    });
    ListConfigResourcesResponse { config_resources: listed.collect(), ..ListConfigResourcesResponse::default() }
}
