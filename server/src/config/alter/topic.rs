//! What the settings of a topic must be.

use super::{Judge, NewValue, Refusal};
use crate::config::resolve::{Configs, Effective};
use crate::config::table;
use crate::config::value::Value;

/// Checks one setting of a topic by itself.
///
/// # Errors
/// What Kafka says of it.
pub fn validate_topic_override(name: &str, value: &str) -> Result<(), String> {
    let setting = table::topic().get(name).ok_or_else(|| unknown(name))?;
    setting.parse(value).map(drop).map_err(|bad| bad.to_string())
}

fn unknown(name: &str) -> String {
    format!("Unknown topic config name: {name}")
}

impl Judge<'_> {
    /// The settings of a topic that is to be created.
    ///
    /// # Errors
    /// INVALID_CONFIG with Kafka's words.
    pub fn created(&self, configs: &[NewValue]) -> Result<Configs, Refusal> {
        let nulls: Vec<&str> = configs.iter().filter(|(_, v)| v.is_none()).map(|(name, _)| name.as_str()).collect();
        if !nulls.is_empty() {
            let message = format!("Null value not supported for topic configs: {}", nulls.join(","));
            return Err(Refusal::config(message));
        }
        let configs = configs.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        self.check_topic_configs(&configs)?;
        Ok(configs)
    }

    pub(super) fn check_topic_configs(&self, configs: &Configs) -> Result<(), Refusal> {
        if let Some(name) = configs.keys().find(|name| table::topic().get(name).is_none()) {
            return Err(Refusal::config(unknown(name)));
        }
        for setting in table::topic().iter() {
            if let Some(raw) = configs.get(setting.name) {
                setting.parse(raw).map_err(|bad| Refusal::config(bad.to_string()))?;
            }
        }
        let effective = Effective::new(self.broker.given(), self.dynamic);
        let value = |name| table::topic().get(name).and_then(|setting| effective.topic_value(setting, configs));
        let (least, most) = (value("min.compaction.lag.ms"), value("max.compaction.lag.ms"));
        if let (Some(Value::Integer(least)), Some(Value::Integer(most))) = (least, most)
            && least > most
        {
            return Err(Refusal::config(format!(
                "conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"
            )));
        }
        if value("remote.storage.enable") == Some(Value::Boolean(true)) {
            return Err(Refusal::config(
                "Tiered Storage functionality is disabled in the broker. \
                 Topic cannot be configured with remote log storage.",
            ));
        }
        Ok(())
    }
}
