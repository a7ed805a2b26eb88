//! What a subscription to metrics of clients (KIP-714) must be. Nobody is asked for metrics yet: it is kept, and shown.

use super::Refusal;
use crate::config::resolve::Configs;
use crate::config::table;
use crate::config::value::Value;

/// How often clients may be told to send, in milliseconds.
const INTERVAL_MS: std::ops::RangeInclusive<i64> = 100..=3_600_000;

/// What `match` may look at.
const PROPERTIES: [&str; 6] = [
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

pub(super) fn check(name: &str, configs: &Configs) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::request("Subscription name can't be empty"));
    }
    if let Some(unknown) = configs.keys().find(|name| table::client_metrics().get(name).is_none()) {
        return Err(Refusal::request(format!("Unknown client metrics configuration: {unknown}")));
    }
    for setting in table::client_metrics().iter() {
        let Some(raw) = configs.get(setting.name) else { continue };
        match (setting.name, setting.parse(raw).map_err(|bad| Refusal::config(bad.to_string()))?) {
            ("interval.ms", Value::Integer(ms)) if !INTERVAL_MS.contains(&ms) => {
                let range = "interval must be between 100 and 3600000 (1 hour)";
                return Err(Refusal::request(format!("Invalid value {ms} for interval.ms, {range}")));
            }
            ("match", Value::List(patterns)) => patterns.iter().try_for_each(|pattern| check_pattern(pattern))?,
            _ => {}
        }
    }
    Ok(())
}

/// `property=pattern`. What a pattern may be in Java is not looked at.
fn check_pattern(pattern: &str) -> Result<(), Refusal> {
    let mut parts = pattern.split('=').map(str::trim);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(property), Some(_), None) if PROPERTIES.contains(&property) => Ok(()),
        _ => Err(Refusal::config(format!("Illegal client matching pattern: {pattern}"))),
    }
}
