//! IncrementalAlterConfigs (key 44) and AlterConfigs (key 33). What a setting may be, `crate::config` judges; here is what
//! it cannot know: other resources of the request, topics, and the records.

use std::collections::BTreeSet;

use kringle_protocol::ErrorCode;
use kringle_protocol::alter_configs_response::AlterConfigsResourceResponse as LegacyResult;
use kringle_protocol::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kringle_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ClearElrRecord, ConfigRecord, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kringle_protocol::metadata_record::MetadataRecord;

use super::{Context, Decision, Refusal};
use crate::config::{self, Change, Configs, Judge, NewValue, Target};
use crate::control::image::ResourceType;
use crate::control::topic_names;

/// Eligible leaders (KIP-966) are those that met it, so they are forgotten when it changes.
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

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
        let changes = resource.configs.iter().map(|config| Change {
            name: config.name.clone(),
            operation: config.config_operation,
            value: config.value.clone(),
        });
        let changes: Vec<_> = changes.collect();
        let altered = check_once(&twice, kind, name)
            .and_then(|()| context.alter(kind, name, |judge, target| judge.incremental(target, &changes)));
        let (error_code, error_message) = outcome(altered, &mut records);
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
        let configs: Vec<_> = resource.configs.iter().map(|c| (c.name.clone(), c.value.clone())).collect();
        let altered = check_once(&twice, kind, name)
            .and_then(|()| context.alter(kind, name, |judge, target| judge.replace(target, &configs)));
        let (error_code, error_message) = outcome(altered, &mut records);
        responses.push(LegacyResult { error_code, error_message, resource_type: kind, resource_name: name.to_owned() });
    }
    if request.validate_only {
        records.clear();
    }
    Decision { records, response: AlterConfigsResponse { responses, ..Default::default() } }
}

fn outcome(altered: Result<Vec<MetadataRecord>, Refusal>, records: &mut Vec<MetadataRecord>) -> (i16, Option<String>) {
    match altered {
        Ok(altered) => {
            records.extend(altered);
            (0, None)
        }
        Err(refusal) => (refusal.code.into(), refusal.message),
    }
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

impl Context<'_> {
    fn alter(
        &self,
        kind: i8,
        name: &str,
        judge: impl FnOnce(&Judge<'_>, &Target<'_>) -> Result<Vec<NewValue>, config::Refusal>,
    ) -> Result<Vec<MetadataRecord>, Refusal> {
        let resource = ResourceType::from_id(kind);
        if resource == Some(ResourceType::Topic)
            && !name.is_empty()
            && let Some(reason) = topic_names::illegal(name)
        {
            return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, reason));
        }
        let none = Configs::new();
        let current = resource.and_then(|resource| self.image.configs(resource, name)).unwrap_or(&none);
        let target = Target { kind, name, current, exists: self.image.topic(name).is_some() };
        let dynamic = self.dynamic();
        let elr = self.image.elr_is_enabled();
        let values = judge(&Judge { broker: self.config, dynamic: &dynamic, elr }, &target)?;
        let clears_elr = elr && values.iter().any(|(config, _)| config == MIN_INSYNC_REPLICAS);
        let topic_name = if resource == Some(ResourceType::Topic) { name } else { "" }.to_owned();
        let clear = clears_elr.then(|| MetadataRecord::ClearElrRecord(ClearElrRecord { topic_name }));
        let records = values.into_iter().map(|(config, value)| {
            let resource_name = name.to_owned();
            MetadataRecord::ConfigRecord(ConfigRecord { resource_type: kind, resource_name, name: config, value })
        });
        Ok(records.chain(clear).collect())
    }
}
