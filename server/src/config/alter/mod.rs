//! Changing settings while the broker runs: IncrementalAlterConfigs and AlterConfigs, and the settings of CreateTopics.
//!
//! Pure: given what a resource has and what is asked, it answers with what to write to the metadata log, or with Kafka's
//! error and words (`alter/tests.rs` compares them with recorded answers). Nothing is stored here. A resource changes as a
//! whole or not at all. The caller checks authorization, that a resource is named once in a request, and whether a topic's
//! name is a legal one.

mod broker;
mod client_metrics;
mod group;
mod topic;

use std::collections::BTreeSet;

use super::broker::BrokerConfig;
use super::resolve::{Configs, DynamicConfigs};
use super::table;
use super::value::ConfigType;

pub use topic::validate_topic_override;

/// The kinds of resource, by Kafka's numbers.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const UNKNOWN_SERVER_ERROR: i16 = -1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;

/// Kafka's error for a resource whose settings cannot become what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", message.as_deref().unwrap_or("unknown error"))]
pub struct Refusal {
    /// The number of the error.
    pub code: i16,
    /// What is wrong, in Kafka's words.
    pub message: Option<String>,
}

impl Refusal {
    fn request(message: impl Into<String>) -> Refusal {
        Refusal { code: INVALID_REQUEST, message: Some(message.into()) }
    }

    fn config(message: impl Into<String>) -> Refusal {
        Refusal { code: INVALID_CONFIG, message: Some(message.into()) }
    }
}

/// What the broker knows when it judges a change.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// The broker's own settings.
    pub broker: &'a BrokerConfig,
    /// What was set while it runs.
    pub dynamic: &'a DynamicConfigs,
    /// Whether the feature `eligible.leader.replicas.version` is on: then brokers share one `min.insync.replicas`.
    pub elr: bool,
}

/// The resource that is to change.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its kind, by Kafka's number.
    pub kind: i8,
    /// Its name; `""` stands for all brokers.
    pub name: &'a str,
    /// What is set for it now.
    pub current: &'a Configs,
    /// Whether there is such a topic; of no interest for other kinds.
    pub exists: bool,
}

/// One change of IncrementalAlterConfigs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The setting.
    pub name: String,
    /// 0 sets, 1 deletes, 2 appends to a list, 3 subtracts from one.
    pub operation: i8,
    /// To what, or with what.
    pub value: Option<String>,
}

/// A setting's new value, none to delete it: what a ConfigRecord says.
pub type NewValue = (String, Option<String>);

const DELETE: i8 = 1;

impl Judge<'_> {
    /// What IncrementalAlterConfigs makes of a resource.
    ///
    /// # Errors
    /// What Kafka answers for the resource; it stays as it is.
    pub fn incremental(&self, target: &Target<'_>, changes: &[Change]) -> Result<Vec<NewValue>, Refusal> {
        refuse_twins(changes.iter().map(|change| change.name.as_str()))?;
        let valueless = changes.iter().filter(|change| change.operation != DELETE && change.value.is_none());
        refuse_nulls(valueless.map(|change| change.name.as_str()))?;
        match target.kind {
            BROKER => {
                self.check_node_id(target.name)?;
                self.check_broker_operations(changes)?;
                let asked = changed(target, changes)?;
                self.check_broker_configs(target.name, &merged(target.current, &asked))?;
            }
            BROKER_LOGGER => return Err(self.refuse_loggers(target.name, changes)),
            TOPIC | GROUP | CLIENT_METRICS => {}
            kind => return Err(Refusal::request(format!("Unknown resource type {kind}"))),
        }
        let asked = changed(target, changes)?;
        self.check_result(target, &asked)?;
        Ok(worth_writing(target, asked))
    }

    /// What AlterConfigs makes of a resource: settings that are not named are deleted.
    ///
    /// # Errors
    /// What Kafka answers for the resource; it stays as it is.
    pub fn replace(&self, target: &Target<'_>, configs: &[NewValue]) -> Result<Vec<NewValue>, Refusal> {
        refuse_twins(configs.iter().map(|(name, _)| name.as_str()))?;
        refuse_nulls(configs.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()))?;
        match target.kind {
            BROKER => {
                self.check_node_id(target.name)?;
                self.check_broker_configs(target.name, &merged(&Configs::new(), configs))?;
            }
            TOPIC | GROUP | CLIENT_METRICS => {}
            kind => return Err(Refusal::request(format!("Unknown resource type {kind}"))),
        }
        let named: BTreeSet<&str> = configs.iter().map(|(name, _)| name.as_str()).collect();
        let left_out = target.current.keys().filter(|name| !named.contains(name.as_str()));
        let asked: Vec<NewValue> = configs.iter().cloned().chain(left_out.map(|name| (name.clone(), None))).collect();
        self.check_result(target, &asked)?;
        Ok(worth_writing(target, asked))
    }

    /// What the controller checks, whoever asks.
    fn check_result(&self, target: &Target<'_>, asked: &[NewValue]) -> Result<(), Refusal> {
        let result = merged(target.current, asked);
        match target.kind {
            TOPIC if target.name.is_empty() => Err(Refusal::request("Default topic resources are not allowed.")),
            TOPIC => {
                self.check_topic_configs(&result)?;
                if target.exists {
                    return Ok(());
                }
                let message = format!("The topic '{}' does not exist.", target.name);
                Err(Refusal { code: UNKNOWN_TOPIC_OR_PARTITION, message: Some(message) })
            }
            GROUP if target.name.is_empty() => Err(Refusal::request("Default group resources are not allowed.")),
            GROUP => self.check_group_configs(&result),
            CLIENT_METRICS => client_metrics::check(target.name, &result),
            _ => self.check_min_insync_replicas(target.name, asked),
        }
    }

    /// With ELR on, what is committed must not depend on the broker that leads.
    fn check_min_insync_replicas(&self, broker: &str, asked: &[NewValue]) -> Result<(), Refusal> {
        let Some((name, value)) = asked.iter().find(|(name, _)| self.elr && name == "min.insync.replicas") else {
            return Ok(());
        };
        if !broker.is_empty() {
            return Err(Refusal::config(format!("Broker-level {name} cannot be altered while ELR is enabled.")));
        }
        match value {
            Some(_) => Ok(()),
            None => Err(Refusal::config(format!("Cluster-level {name} cannot be removed while ELR is enabled."))),
        }
    }

    fn check_node_id(&self, name: &str) -> Result<(), Refusal> {
        if name.is_empty() {
            return Ok(());
        }
        let id: i32 =
            name.parse().map_err(|_| Refusal::request(format!("Node id must be an integer, but it is: {name}")))?;
        let expected = self.broker.node_id;
        if id == expected {
            return Ok(());
        }
        Err(Refusal::request(format!("Unexpected broker id, expected {expected}, but received {name}")))
    }

    /// There are no log4j loggers here.
    fn refuse_loggers(&self, name: &str, changes: &[Change]) -> Refusal {
        let Ok(id) = name.parse::<i32>() else {
            return Refusal::request(format!("Node id must be an integer, but it is: {name}"));
        };
        let expected = self.broker.node_id;
        if id != expected {
            return Refusal::request(format!("Unexpected node id. Expected {expected}, but received {id}"));
        }
        match changes.iter().find_map(|change| list_operation(change.operation)) {
            Some(operation) => {
                Refusal::request(format!("{operation} operation is not allowed for the BROKER_LOGGER resource"))
            }
            None => {
                let logger = changes.first().map_or("", |change| &change.name);
                Refusal::config(format!("Logger {logger} does not exist!"))
            }
        }
    }
}

fn refuse_twins<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Refusal::request("Error due to duplicate config keys"));
        }
    }
    Ok(())
}

fn refuse_nulls<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Refusal::request(format!("Null value not supported for : {}", names.join(", "))))
}

fn list_operation(operation: i8) -> Option<&'static str> {
    match operation {
        2 => Some("APPEND"),
        3 => Some("SUBTRACT"),
        _ => None,
    }
}

/// What the changes make of each setting they name.
fn changed(target: &Target<'_>, changes: &[Change]) -> Result<Vec<NewValue>, Refusal> {
    let one = |change: &Change| {
        let value = change.value.as_deref().unwrap_or_default();
        let new = match change.operation {
            0 => Some(value.to_owned()),
            DELETE => None,
            2 | 3 => Some(in_list(target, change, value)?),
            _ => return Err(Refusal { code: UNKNOWN_SERVER_ERROR, message: None }),
        };
        Ok((change.name.clone(), new))
    };
    changes.iter().map(one).collect()
}

/// Adds elements to a list or takes them away. As in Kafka the list is text here: blanks around elements count.
fn in_list(target: &Target<'_>, change: &Change, value: &str) -> Result<String, Refusal> {
    let tables = match target.kind {
        TOPIC => table::topic(),
        GROUP => table::group(),
        // Lists, all but one, and yet Kafka lets none of them grow.
        CLIENT_METRICS => table::client_metrics(),
        _ => table::broker(),
    };
    let grows = |setting: &&table::Setting| setting.kind == ConfigType::List && target.kind != CLIENT_METRICS;
    let setting = tables.get(&change.name).filter(grows);
    let Some(setting) = setting else {
        let operation = list_operation(change.operation).unwrap_or_default();
        let name = &change.name;
        return Err(Refusal::config(format!("Can't {operation} to key {name} because its type is not LIST.")));
    };
    let now = target.current.get(&change.name).or(setting.default.as_ref()).map_or("", String::as_str);
    let mut elements: Vec<&str> = now.split(',').filter(|element| !element.is_empty()).collect();
    for element in value.split(',') {
        let at = elements.iter().position(|e| *e == element);
        match (at, change.operation) {
            (None, 2) => elements.push(element),
            (Some(at), 3) => drop(elements.remove(at)),
            _ => {}
        }
    }
    Ok(elements.join(","))
}

fn merged(current: &Configs, asked: &[NewValue]) -> Configs {
    let mut all = current.clone();
    for (name, value) in asked {
        match value {
            Some(value) => all.insert(name.clone(), value.clone()),
            None => all.remove(name),
        };
    }
    all
}

/// A broker writes unchanged values too: that makes it load files anew which have changed under their name (KAFKA-14136).
fn worth_writing(target: &Target<'_>, mut asked: Vec<NewValue>) -> Vec<NewValue> {
    if target.kind != BROKER {
        asked.retain(|(name, value)| target.current.get(name) != value.as_ref());
    }
    asked
}

#[cfg(test)]
mod tests;
