//! What DescribeConfigs and CreateTopics tell of settings: value, source, synonyms, type, documentation.
//!
//! Pure, and entry by entry what Kafka 4.3.1 says (`describe/tests.rs` compares them with its recorded answers), also where
//! that is odd: a topic's `segment.ms` that comes from the file's `log.roll.hours` has the source DEFAULT in DescribeConfigs,
//! because Kafka looks for the synonym `log.roll.ms` first, but STATIC_BROKER in CreateTopics.

use super::broker::BrokerConfig;
use super::resolve::{Configs, DynamicConfigs, Effective, broker_setting};
use super::table::{self, Dynamic, Setting, Visibility};
use super::value::ConfigType;

/// One entry of the answer to DescribeConfigs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The setting.
    pub name: String,
    /// Its value; none if it is null or may not be shown.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether the value may not be shown.
    pub is_sensitive: bool,
    /// Whether it cannot be changed while the broker runs.
    pub read_only: bool,
    /// Its type.
    pub config_type: ConfigType,
    /// What it is, in Kafka's words.
    pub documentation: Option<&'static str>,
    /// All values that are given for it, the one that counts first.
    pub synonyms: Vec<Synonym>,
}

/// A value that is given for a setting, perhaps under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    /// Under which name.
    pub name: String,
    /// The value as it was given; none if it may not be shown.
    pub value: Option<String>,
    /// Where.
    pub source: ConfigSource,
}

/// Where a value comes from; the number is that of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// The topic.
    Topic = 1,
    /// This broker, while it runs.
    DynamicBroker = 2,
    /// All brokers, while they run.
    DynamicDefaultBroker = 3,
    /// The file or the command line.
    StaticBroker = 4,
    /// Nobody gave one.
    Default = 5,
    /// The subscription to metrics of clients.
    ClientMetrics = 7,
    /// The group.
    Group = 8,
}

impl ConfigSource {
    /// The number on the wire.
    pub fn id(self) -> i8 {
        self as i8
    }
}

impl ConfigEntry {
    /// Whether nobody gave a value (DescribeConfigs v0).
    pub fn is_default(&self) -> bool {
        self.source == ConfigSource::Default
    }
}

/// A topic's settings, as DescribeConfigs lists them.
pub fn describe_topic(overrides: &Configs, dynamic: &DynamicConfigs, broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let effective = Effective::new(broker.given(), dynamic);
    let listed = table::topic().iter().filter(|setting| is_listed(setting, overrides));
    let entries = listed.map(|setting| {
        let value = match setting.visibility {
            Visibility::Public => effective.topic_value(setting, overrides).map(|value| value.to_string()),
            _ => overrides.get(setting.name).cloned(),
        };
        let mut synonyms = match setting.synonyms.first().and_then(|synonym| broker_setting(synonym)) {
            Some(of_broker) => given_values(of_broker.name, &of_broker.synonyms, false, dynamic, broker),
            None => Vec::new(),
        };
        if overrides.contains_key(setting.name) {
            let own = Synonym { name: setting.name.to_owned(), value: value.clone(), source: ConfigSource::Topic };
            synonyms.insert(0, own);
        }
        entry(setting, value, synonyms)
    });
    sorted(entries.collect())
}

/// A group's settings.
pub fn describe_group(overrides: &Configs, dynamic: &DynamicConfigs, broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let effective = Effective::new(broker.given(), dynamic);
    let entries = table::group().iter().map(|setting| {
        let value = effective.group_value(setting, overrides).map(|value| value.to_string());
        let mut synonyms = match setting.synonyms.first() {
            Some(of_broker) => given_values(of_broker, &[of_broker], false, dynamic, broker),
            None => vec![Synonym {
                name: setting.name.to_owned(),
                value: setting.default.clone(),
                source: ConfigSource::Default,
            }],
        };
        if overrides.contains_key(setting.name) {
            let own = Synonym { name: setting.name.to_owned(), value: value.clone(), source: ConfigSource::Group };
            synonyms.insert(0, own);
        }
        entry(setting, value, synonyms)
    });
    sorted(entries.collect())
}

/// A subscription's settings. Kafka has nothing more to say of those that nobody gave.
pub fn describe_client_metrics(overrides: &Configs) -> Vec<ConfigEntry> {
    let entries = table::client_metrics().iter().map(|setting| {
        let given = overrides.get(setting.name).map(|raw| setting.parse(raw).map_or(raw.clone(), |v| v.to_string()));
        let own = given.clone().map(|value| Synonym {
            name: setting.name.to_owned(),
            value: Some(value),
            source: ConfigSource::ClientMetrics,
        });
        let value = given.or_else(|| setting.default.clone());
        entry(setting, value, own.into_iter().collect())
    });
    sorted(entries.collect())
}

/// A broker's settings: those which Kafka lists always, and whatever was given.
pub fn describe_broker(dynamic: &DynamicConfigs, broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let effective = Effective::new(broker.given(), dynamic);
    let public = table::broker().iter().chain(table::kringle().iter()).filter(|s| s.visibility == Visibility::Public);
    let mut names: Vec<&str> = public.map(|setting| setting.name).chain(effective.names()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| broker_entry(name, &effective, dynamic, broker)).collect()
}

/// What was set for all brokers while they run.
pub fn describe_broker_default(dynamic: &DynamicConfigs, broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let entries = dynamic.cluster.iter().map(|(name, raw)| {
        let sensitive = is_sensitive(name);
        let mut synonyms = given_values(name, &names_of(name), sensitive, dynamic, broker);
        synonyms.retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBroker);
        let value = (!sensitive).then(|| raw.clone());
        of_broker(name, value, synonyms)
    });
    entries.collect()
}

/// One setting of a created topic, as CreateTopics v5+ lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedConfig {
    /// The setting.
    pub name: &'static str,
    /// Its value as it was given, blanks and all.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
}

/// The settings of a topic that is being created. None is read-only or sensitive.
pub fn describe_created(overrides: &Configs, dynamic: &DynamicConfigs, broker: &BrokerConfig) -> Vec<CreatedConfig> {
    let layers = [
        (&dynamic.broker, ConfigSource::DynamicBroker),
        (&dynamic.cluster, ConfigSource::DynamicDefaultBroker),
        (broker.given(), ConfigSource::StaticBroker),
    ];
    let listed = table::topic().iter().filter(|setting| is_listed(setting, overrides));
    let entries = listed.map(|setting| {
        if let Some(own) = overrides.get(setting.name) {
            return CreatedConfig { name: setting.name, value: Some(own.clone()), source: ConfigSource::Topic };
        }
        let synonyms = setting.synonyms.first().and_then(|synonym| broker_setting(synonym)).map(|s| &s.synonyms[..]);
        for (layer, source) in layers {
            for synonym in synonyms.unwrap_or_default() {
                if let Some(raw) = layer.get(*synonym) {
                    return CreatedConfig { name: setting.name, value: Some(in_topics_unit(synonym, raw)), source };
                }
            }
        }
        CreatedConfig { name: setting.name, value: setting.default.clone(), source: ConfigSource::Default }
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable_by_key(|entry| entry.name);
    entries
}

/// Hours and minutes of a broker are milliseconds of a topic.
fn in_topics_unit(synonym: &str, raw: &str) -> String {
    let unit_ms = match synonym.rsplit('.').next() {
        Some("hours") => 60 * 60 * 1000,
        Some("minutes") => 60 * 1000,
        _ => return raw.to_owned(),
    };
    raw.trim().parse::<i64>().map_or_else(|_| raw.to_owned(), |n| n.saturating_mul(unit_ms).to_string())
}

fn broker_entry(name: &str, effective: &Effective, dynamic: &DynamicConfigs, broker: &BrokerConfig) -> ConfigEntry {
    let sensitive = is_sensitive(name);
    let public = table::broker().get(name).or_else(|| table::kringle().get(name));
    let value = match public {
        _ if sensitive => None,
        Some(setting) if setting.visibility == Visibility::Public => effective.value(name).map(|v| v.to_string()),
        _ => effective.raw(name).map(str::to_owned),
    };
    let synonyms = given_values(name, &names_of(name), sensitive, dynamic, broker);
    of_broker(name, value, synonyms)
}

/// Kafka does not know how settings of listeners may change, and calls them read-only; nor has it documentation for them.
fn of_broker(name: &str, value: Option<String>, synonyms: Vec<Synonym>) -> ConfigEntry {
    let own = table::broker().get(name).or_else(|| table::kringle().get(name));
    ConfigEntry {
        name: name.to_owned(),
        value,
        source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
        is_sensitive: is_sensitive(name),
        read_only: own.is_none_or(|setting| setting.dynamic == Dynamic::ReadOnly),
        config_type: own.or_else(|| broker_setting(name)).map_or(ConfigType::Unknown, |setting| setting.kind),
        documentation: own.and_then(|setting| setting.documentation.as_deref()),
        synonyms,
    }
}

fn entry(setting: &'static Setting, value: Option<String>, synonyms: Vec<Synonym>) -> ConfigEntry {
    ConfigEntry {
        name: setting.name.to_owned(),
        value,
        source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
        is_sensitive: false,
        read_only: false,
        config_type: setting.kind,
        documentation: setting.documentation.as_deref(),
        synonyms,
    }
}

fn is_listed(setting: &Setting, overrides: &Configs) -> bool {
    setting.visibility == Visibility::Public || overrides.contains_key(setting.name)
}

fn sorted(mut entries: Vec<ConfigEntry>) -> Vec<ConfigEntry> {
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// Passwords, and what nobody knows the type of.
fn is_sensitive(name: &str) -> bool {
    let setting = broker_setting(name).or_else(|| table::kringle().get(name));
    setting.is_none_or(|setting| setting.kind == ConfigType::Password)
}

/// The names under which a value of the broker's setting `name` may be given.
fn names_of(name: &str) -> Vec<&str> {
    match table::broker().get(name) {
        Some(setting) => setting.synonyms.clone(),
        None => [Some(name), super::resolve::of_listener(name)].into_iter().flatten().collect(),
    }
}

/// All values given under one of `names`, from the strongest layer to the weakest. As in Kafka, what comes before the
/// first one of `name` itself is left out.
fn given_values(
    name: &str,
    names: &[&str],
    sensitive: bool,
    dynamic: &DynamicConfigs,
    broker: &BrokerConfig,
) -> Vec<Synonym> {
    let layers = [
        (&dynamic.broker, ConfigSource::DynamicBroker),
        (&dynamic.cluster, ConfigSource::DynamicDefaultBroker),
        (broker.given(), ConfigSource::StaticBroker),
    ];
    let mut found = Vec::new();
    for (layer, source) in layers {
        found.extend(names.iter().filter_map(|n| layer.get(*n).map(|raw| (*n, raw.clone(), source))));
    }
    let default = |n: &&str| table::broker().get(n).or_else(|| table::kringle().get(n))?.default.clone();
    found.extend(names.iter().filter_map(|n| default(n).map(|value| (*n, value, ConfigSource::Default))));
    let from_name = found.into_iter().skip_while(|(n, ..)| *n != name);
    let synonyms = from_name.map(|(n, value, source)| Synonym {
        name: n.to_owned(),
        value: (!sensitive).then_some(value),
        source,
    });
    synonyms.collect()
}

#[cfg(test)]
mod tests;
