//! DescribeConfigs (key 32): settings of topics, this broker, all brokers and groups, as they act and where they come from.

use kringle_protocol::ErrorCode;
use kringle_protocol::describe_configs_request::DescribeConfigsResource;
use kringle_protocol::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kringle_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

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
