//! DescribeConfigs (key 32): settings of topics, this broker, all brokers and groups, as they act and where they come from.

use kringle_protocol::ErrorCode;
use kringle_protocol::describe_configs_request::DescribeConfigsResource;
use kringle_protocol::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kringle_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::Context;
use crate::config::{ConfigEntry, Configs, describe_broker, describe_broker_default, describe_group, describe_topic};
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
                let error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                return Err((error, error.message().to_owned()));
            }
            let overrides = image.configs(ResourceType::Topic, name).unwrap_or(&none);
            Ok(describe_topic(overrides, &dynamic, &node.config))
        }
        Some(ResourceType::Broker) if name.is_empty() => Ok(describe_broker_default(&dynamic, &node.config)),
        Some(ResourceType::Broker) => match name.parse::<i32>() {
            Ok(id) if id == node.node_id => Ok(describe_broker(&dynamic, &node.config)),
            Ok(id) => Err((
                ErrorCode::INVALID_REQUEST,
                format!("Unexpected broker id, expected {} or empty string, but received {id}", node.node_id),
            )),
            Err(_) => Err((ErrorCode::INVALID_REQUEST, format!("Broker id must be an integer, but it is: {name}"))),
        },
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
            Ok(Vec::new())
        }
        // One logger, whose level is set by the environment.
        Some(ResourceType::BrokerLogger) => Ok(Vec::new()),
        None => Err((ErrorCode::INVALID_REQUEST, format!("Unsupported resource type: {}", resource.resource_type))),
    }
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
