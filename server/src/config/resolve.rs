//! Which value of a setting counts: one given for the topic or group, else one set for this broker while it runs, else one
//! set for all brokers, else the one in the file, else Kafka's default. Pure.
//!
//! As in Kafka a value set while the broker runs hides the file's values of all its synonyms: with `log.retention.ms` set,
//! `log.retention.hours` reads as its default again.

use std::collections::BTreeMap;

use super::table::{self, Setting};
use super::value::Value;

/// Settings as they were given, by name.
pub type Configs = BTreeMap<String, String>;

/// What was set for brokers while they run; kept in the metadata log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DynamicConfigs {
    /// For this broker.
    pub broker: Configs,
    /// For all brokers.
    pub cluster: Configs,
}

/// A broker's settings as given, the stronger over the weaker.
#[derive(Debug, Clone)]
pub(super) struct Effective(Configs);

impl Effective {
    pub(super) fn new(given: &Configs, dynamic: &DynamicConfigs) -> Effective {
        let mut all = given.clone();
        for (name, raw) in dynamic.cluster.iter().chain(&dynamic.broker) {
            // A value that does not parse is ignored, as Kafka does with what an older version may have stored.
            if broker_setting(name).is_some_and(|setting| setting.parse(raw).is_err()) {
                continue;
            }
            for synonym in broker_setting(name).map_or(&[][..], |setting| &setting.synonyms) {
                all.remove(*synonym);
            }
            all.insert(name.clone(), raw.clone());
        }
        Effective(all)
    }

    /// The value as it was given.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value of a broker's setting; none if it is null.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        let setting = broker_setting(name).or_else(|| table::kringle().get(name))?;
        match self.raw(name).map(|raw| setting.parse(raw)) {
            Some(Ok(value)) => Some(value),
            _ => setting.default_value(),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Some(Value::Integer(n)) => Some(n),
            _ => None,
        }
    }

    /// What a topic has that sets nothing itself.
    pub(super) fn topic_default(&self, setting: &Setting) -> Option<Value> {
        let first = |units: &[(&str, i64)]| {
            units.iter().find_map(|(name, ms)| self.integer(name).map(|n| n.saturating_mul(*ms))).map(Value::Integer)
        };
        match setting.name {
            "retention.ms" => {
                let units =
                    [("log.retention.ms", 1), ("log.retention.minutes", MINUTE_MS), ("log.retention.hours", HOUR_MS)];
                first(&units).map(|value| match value {
                    Value::Integer(ms) if ms < 0 => Value::Integer(-1),
                    value => value,
                })
            }
            "segment.ms" => first(&[("log.roll.ms", 1), ("log.roll.hours", HOUR_MS)]),
            "segment.jitter.ms" => first(&[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR_MS)]),
            "flush.ms" => first(&[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)]),
            _ => match setting.synonyms.first() {
                Some(synonym) => self.value(synonym),
                None => setting.default_value(),
            },
        }
    }

    /// A topic's value: its own, if it is a good one, or the default.
    pub(super) fn topic_value(&self, setting: &Setting, overrides: &Configs) -> Option<Value> {
        let own = overrides.get(setting.name).and_then(|raw| setting.parse(raw).ok());
        own.or_else(|| self.topic_default(setting))
    }

    /// A group's value, likewise.
    pub(super) fn group_value(&self, setting: &Setting, overrides: &Configs) -> Option<Value> {
        let own = overrides.get(setting.name).and_then(|raw| setting.parse(raw).ok());
        own.or_else(|| match setting.synonyms.first() {
            Some(synonym) => self.value(synonym),
            None => setting.default_value(),
        })
    }
}

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The broker's setting of that name; that of a listener (`listener.name.<listener>.<setting>`) is the setting it repeats.
pub(super) fn broker_setting(name: &str) -> Option<&'static Setting> {
    table::broker().get(name).or_else(|| table::broker().get(of_listener(name)?))
}

/// Which setting `listener.name.<listener>.<setting>` repeats; SASL ones have a mechanism between.
pub(super) fn of_listener(name: &str) -> Option<&str> {
    let (_listener, base) = name.strip_prefix("listener.name.")?.split_once('.')?;
    Some(PER_MECHANISM.into_iter().find(|setting| base.ends_with(setting)).unwrap_or(base))
}

/// Settings which a listener may have once per SASL mechanism.
const PER_MECHANISM: [&str; 5] = [
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
];
