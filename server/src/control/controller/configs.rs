//! IncrementalAlterConfigs (key 44) and AlterConfigs (key 33).
//!
//! In Kafka the broker checks first (ConfigAdminManager), then the controller; both are here. BROKER_LOGGER changes
//! nothing in the metadata and is refused.

use std::collections::{BTreeMap, BTreeSet};

use kringle_protocol::ErrorCode;
use kringle_protocol::alter_configs_request::AlterConfigsResource as LegacyResource;
use kringle_protocol::alter_configs_response::AlterConfigsResourceResponse as LegacyResult;
use kringle_protocol::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kringle_protocol::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kringle_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kringle_protocol::messages::{ClearElrRecord, ConfigRecord};
use kringle_protocol::metadata_record::MetadataRecord;

use super::{Context, Decision, Refusal};
use crate::control::image::{Configs, ResourceType};
use crate::control::topic_names;

/// While KIP-966 is on its value for the cluster is fixed by a record, since the controller elects by it.
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// AlterConfigOp.OpType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    fn from_id(id: i8) -> Option<Operation> {
        [Self::Set, Self::Delete, Self::Append, Self::Subtract].get(usize::try_from(id).ok()?).copied()
    }
}

/// Decides on IncrementalAlterConfigs.
pub fn incremental_alter_configs(
    context: &Context<'_>,
    request: &IncrementalAlterConfigsRequest,
) -> Decision<IncrementalAlterConfigsResponse> {
    let twice = named_twice(request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    let mut records = Vec::new();
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
        let refused = check_once(&twice, kind, name)
            .and_then(|()| alter_incrementally(context, resource))
            .map(|altered| records.extend(altered))
            .err();
        let (error_code, error_message) = outcome(refused);
        let resource_name = name.to_owned();
        responses.push(AlterConfigsResourceResponse { error_code, error_message, resource_type: kind, resource_name });
    }
    if request.validate_only {
        records.clear();
    }
    Decision { records, response: IncrementalAlterConfigsResponse { responses, ..Default::default() } }
}

/// Decides on the older AlterConfigs, which replaces all overrides of a resource.
pub fn alter_configs(context: &Context<'_>, request: &AlterConfigsRequest) -> Decision<AlterConfigsResponse> {
    let twice = named_twice(request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    let mut records = Vec::new();
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
        let refused = check_once(&twice, kind, name)
            .and_then(|()| replace_all(context, resource))
            .map(|altered| records.extend(altered))
            .err();
        let (error_code, error_message) = outcome(refused);
        responses.push(LegacyResult { error_code, error_message, resource_type: kind, resource_name: name.to_owned() });
    }
    if request.validate_only {
        records.clear();
    }
    Decision { records, response: AlterConfigsResponse { responses, ..Default::default() } }
}

fn outcome(refused: Option<Refusal>) -> (i16, Option<String>) {
    refused.map_or((0, None), |refusal| (refusal.code.into(), refusal.message))
}

fn named_twice<'a>(resources: impl Iterator<Item = (i8, &'a str)>) -> BTreeSet<(i8, &'a str)> {
    let mut seen = BTreeSet::new();
    resources.filter(|resource| !seen.insert(*resource)).collect()
}

fn check_once(twice: &BTreeSet<(i8, &str)>, kind: i8, name: &str) -> Result<(), Refusal> {
    if twice.contains(&(kind, name)) {
        return Err(Refusal::new(ErrorCode::INVALID_REQUEST, "Each resource must appear at most once."));
    }
    Ok(())
}

fn check_keys<'a>(configs: impl Iterator<Item = (&'a str, bool)>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    let mut nulls = Vec::new();
    for (name, lacks_value) in configs {
        if !seen.insert(name) {
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, "Error due to duplicate config keys"));
        }
        if lacks_value {
            nulls.push(name);
        }
    }
    if nulls.is_empty() {
        return Ok(());
    }
    let message = format!("Null value not supported for : {}", nulls.join(", "));
    Err(Refusal::new(ErrorCode::INVALID_REQUEST, message))
}

fn alter_incrementally(context: &Context<'_>, resource: &AlterConfigsResource) -> Result<Vec<MetadataRecord>, Refusal> {
    let is_delete = |config: &AlterableConfig| Operation::from_id(config.config_operation) == Some(Operation::Delete);
    check_keys(resource.configs.iter().map(|c| (c.name.as_str(), c.value.is_none() && !is_delete(c))))?;
    let kind = check_resource(context, resource.resource_type, &resource.resource_name)?;
    let current = context.image.configs(kind, &resource.resource_name).cloned().unwrap_or_default();
    let mut changes = BTreeMap::new();
    for config in &resource.configs {
        let Some(operation) = Operation::from_id(config.config_operation) else {
            let message = format!("Unknown operations type {}", config.config_operation);
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
        };
        let value = changed_value(context, kind, &current, operation, config)?;
        changes.insert(config.name.clone(), value);
    }
    change(context, kind, &resource.resource_name, &current, changes)
}

fn replace_all(context: &Context<'_>, resource: &LegacyResource) -> Result<Vec<MetadataRecord>, Refusal> {
    check_keys(resource.configs.iter().map(|c| (c.name.as_str(), c.value.is_none())))?;
    let kind = check_resource(context, resource.resource_type, &resource.resource_name)?;
    let current = context.image.configs(kind, &resource.resource_name).cloned().unwrap_or_default();
    let mut changes: BTreeMap<_, _> = current.keys().map(|name| (name.clone(), None)).collect();
    changes.extend(resource.configs.iter().map(|config| (config.name.clone(), config.value.clone())));
    change(context, kind, &resource.resource_name, &current, changes)
}

/// The value after the operation; `None`: no override.
fn changed_value(
    context: &Context<'_>,
    kind: ResourceType,
    current: &Configs,
    operation: Operation,
    config: &AlterableConfig,
) -> Result<Option<String>, Refusal> {
    let (name, value) = (&config.name, config.value.as_deref().unwrap_or_default());
    let word = match operation {
        Operation::Set => return Ok(Some(value.to_owned())),
        Operation::Delete => return Ok(None),
        Operation::Append => "APPEND",
        Operation::Subtract => "SUBTRACT",
    };
    if !context.schema.is_list(kind, name) {
        let message = if kind == ResourceType::Broker {
            format!("Config value {} is not allowed for config key: {name}", word.to_lowercase())
        } else {
            format!("Can't {word} to key {name} because its type is not LIST.")
        };
        return Err(Refusal::new(ErrorCode::INVALID_CONFIG, message));
    }
    let before = current.get(name).cloned().or_else(|| context.schema.default_of(kind, name)).unwrap_or_default();
    let mut list: Vec<_> = before.split(',').filter(|part| !part.is_empty()).collect();
    for part in value.split(',') {
        let at = list.iter().position(|listed| *listed == part);
        match (operation, at) {
            (Operation::Append, None) => list.push(part),
            (Operation::Subtract, Some(at)) => drop(list.remove(at)),
            _ => {}
        }
    }
    Ok(Some(list.join(",")))
}

/// The resource must be of a sort whose configs are metadata, and its name must be possible. Whether it exists is asked
/// later, after its values, as in Kafka.
fn check_resource(context: &Context<'_>, kind: i8, name: &str) -> Result<ResourceType, Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
    let resource = match ResourceType::from_id(kind) {
        Some(resource) if resource != ResourceType::BrokerLogger => resource,
        Some(_) => {
            return invalid("Log levels cannot be changed at run time; restart with another log filter.".to_owned());
        }
        None => return invalid(format!("Unknown resource type {kind}")),
    };
    match resource {
        ResourceType::Broker if !name.is_empty() => match name.parse::<i32>() {
            Err(_) => invalid(format!("Node id must be an integer, but it is: {name}")),
            Ok(id) if id != context.node_id => {
                invalid(format!("Unexpected broker id, expected {}, but received {name}", context.node_id))
            }
            Ok(_) => Ok(resource),
        },
        ResourceType::Topic if name.is_empty() => invalid("Default topic resources are not allowed.".to_owned()),
        ResourceType::Group if name.is_empty() => invalid("Default group resources are not allowed.".to_owned()),
        ResourceType::Topic => match topic_names::illegal(name) {
            Some(reason) => Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, reason)),
            None => Ok(resource),
        },
        _ => Ok(resource),
    }
}

fn change(
    context: &Context<'_>,
    kind: ResourceType,
    name: &str,
    current: &Configs,
    changes: BTreeMap<String, Option<String>>,
) -> Result<Vec<MetadataRecord>, Refusal> {
    check_min_insync_replicas(context, kind, name, &changes)?;
    let mut after = current.clone();
    for (config, value) in &changes {
        match value {
            Some(value) => drop(after.insert(config.clone(), value.clone())),
            None => drop(after.remove(config)),
        }
    }
    context.schema.validate(kind, name, &after)?;
    if kind == ResourceType::Topic && context.image.topic(name).is_none() {
        let message = "This server does not host this topic-partition.";
        return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
    }
    // A broker's unchanged value is written too: that makes brokers load their key stores anew (KAFKA-14136).
    let is_new =
        |config: &str, value: &Option<String>| kind == ResourceType::Broker || current.get(config) != value.as_ref();
    let changes: Vec<_> = changes.into_iter().filter(|(config, value)| is_new(config, value)).collect();
    let clears_elr = context.image.elr_is_enabled() && changes.iter().any(|(config, _)| config == MIN_INSYNC_REPLICAS);
    let topic_name = if kind == ResourceType::Topic { name } else { "" };
    let clear =
        clears_elr.then(|| MetadataRecord::ClearElrRecord(ClearElrRecord { topic_name: topic_name.to_owned() }));
    let records = changes.into_iter().map(|(config, value)| {
        let resource_name = name.to_owned();
        MetadataRecord::ConfigRecord(ConfigRecord { resource_type: kind.id(), resource_name, name: config, value })
    });
    Ok(records.chain(clear).collect())
}

fn check_min_insync_replicas(
    context: &Context<'_>,
    kind: ResourceType,
    name: &str,
    changes: &BTreeMap<String, Option<String>>,
) -> Result<(), Refusal> {
    let changed = changes.get(MIN_INSYNC_REPLICAS).filter(|_| context.image.elr_is_enabled());
    let message = match (kind, name, changed) {
        (ResourceType::Broker, "", Some(None)) => {
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
        }
        (ResourceType::Broker, "", _) => return Ok(()),
        (ResourceType::Broker, _, Some(_)) => {
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled."
        }
        _ => return Ok(()),
    };
    Err(Refusal::new(ErrorCode::INVALID_CONFIG, message))
}
