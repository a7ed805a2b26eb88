//! What the settings of brokers may become while they run.

use super::{Change, Judge, Refusal, list_operation};
use crate::config::resolve::{Configs, DynamicConfigs, Effective, broker_setting, of_listener};
use crate::config::table::{self, Dynamic, Visibility};
use crate::config::value::{ConfigType, Value};

/// Settings of keys and certificates change only listener by listener.
const ONLY_BY_LISTENER: [&str; 10] = [
    "ssl.keystore.type",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.key.password",
    "ssl.keystore.key",
    "ssl.keystore.certificate.chain",
    "ssl.truststore.type",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.certificates",
];

/// Settings of a listener which may be given for all brokers.
const OF_ALL_BROKERS_LISTENERS: [&str; 3] = ["max.connections", "max.connection.creation.rate", "num.network.threads"];

/// Kafka grows or shrinks a pool of threads by half or double at most. The pools do not exist here, the rule does.
const THREADS: [&str; 9] = [
    "num.io.threads",
    "num.network.threads",
    "num.replica.fetchers",
    "num.recovery.threads.per.data.dir",
    "background.threads",
    "remote.log.reader.threads",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.follower.thread.pool.size",
];

const MIB: i64 = 1024 * 1024;

impl Judge<'_> {
    /// A broker's own check of operations, before the controller's.
    pub(super) fn check_broker_operations(&self, changes: &[Change]) -> Result<(), Refusal> {
        for change in changes {
            if !(0..=3).contains(&change.operation) {
                return Err(Refusal::request(format!("Unknown operations type {}", change.operation)));
            }
            let Some(operation) = list_operation(change.operation) else { continue };
            let name = &change.name;
            match table::broker().get(name) {
                None => return Err(Refusal::config(format!("Unknown config name: {name}"))),
                Some(setting) if setting.kind != ConfigType::List => {
                    let operation = operation.to_lowercase();
                    let message = format!("Config value {operation} is not allowed for config key: {name}");
                    return Err(Refusal::config(message));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Checks all that a broker (or, with the name `""`, all brokers) would have.
    pub(super) fn check_broker_configs(&self, broker: &str, configs: &Configs) -> Result<(), Refusal> {
        let read_only = |name: &str| {
            let setting = table::broker().get(name);
            setting.is_some_and(|s| s.dynamic == Dynamic::ReadOnly && s.visibility != Visibility::DynamicOnly)
                || table::kringle().get(name).is_some()
        };
        refuse(configs, read_only, "Cannot update these configs dynamically")?;
        refuse(
            configs,
            |name| ONLY_BY_LISTENER.contains(&name),
            "These security configs can be dynamically updated only per-listener using the listener prefix",
        )?;
        check_types(configs)?;
        if broker.is_empty() {
            let of_one_broker = |name: &str| match of_listener(name) {
                Some(base) => !OF_ALL_BROKERS_LISTENERS.contains(&base),
                None => broker_setting(name).is_some_and(|setting| setting.dynamic == Dynamic::PerBroker),
            };
            let why = "Cannot update these configs at default cluster level, broker id must be specified";
            refuse(configs, of_one_broker, why)?;
        }
        let mut dynamic: DynamicConfigs = self.dynamic.clone();
        match broker.is_empty() {
            true => dynamic.cluster.clone_from(configs),
            false => dynamic.broker.clone_from(configs),
        }
        let new = Effective::new(self.broker.given(), &dynamic);
        check_together(&new)?;
        self.check_step(&Effective::new(self.broker.given(), self.dynamic), &new)
    }

    /// What may not change from the present values in one step.
    fn check_step(&self, now: &Effective, new: &Effective) -> Result<(), Refusal> {
        for name in ["listeners", "listener.security.protocol.map"] {
            if now.value(name) != new.value(name) {
                return Err(Refusal::request(format!(
                    "{name} cannot be changed while the broker runs: not yet served"
                )));
            }
        }
        for name in THREADS {
            let (Some(now), Some(new)) = (now.integer(name), new.integer(name)) else { continue };
            let why = match new {
                _ if new < now / 2 => format!("value should be at least half the current value {now}"),
                _ if new > now * 2 => format!("value should not be greater than double the current value {now}"),
                _ => continue,
            };
            return Err(wrapped(&format!("Dynamic thread count update validation failed for {name}={new}, {why}")));
        }
        if let (Some(now), Some(new)) = (now.integer("log.cleaner.threads"), new.integer("log.cleaner.threads")) {
            if new < now / 2 {
                return Err(wrapped(&format!(
                    "Log cleaner threads cannot be reduced to less than half the current value {now}"
                )));
            }
            if new > now * 2 {
                return Err(wrapped(&format!(
                    "Log cleaner threads cannot be increased to more than double the current value {now}"
                )));
            }
        }
        if now.value("metric.reporters") != new.value("metric.reporters")
            && let Some(Value::List(classes)) = new.value("metric.reporters")
            && classes.iter().any(|class| class != "org.apache.kafka.common.metrics.JmxReporter")
        {
            return Err(wrapped(
                "Validation of dynamic config update of Set(metric.reporters) failed with class \
                 class kafka.server.DynamicMetricsReporters",
            ));
        }
        Ok(())
    }
}

fn refuse(configs: &Configs, is_bad: impl Fn(&str) -> bool, why: &str) -> Result<(), Refusal> {
    let bad: Vec<&str> = configs.keys().map(String::as_str).filter(|name| is_bad(name)).collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Refusal::request(format!("{why}: [{}]", bad.join(", "))))
}

/// How Kafka reports what its parts refuse after the settings as such are good.
fn wrapped(message: &str) -> Refusal {
    let class = "org.apache.kafka.common.config.ConfigException";
    Refusal::request(format!("Invalid value {class}: {message} for configuration Invalid dynamic configuration"))
}

fn check_types(configs: &Configs) -> Result<(), Refusal> {
    for setting in table::broker().iter().filter(|setting| setting.dynamic != Dynamic::ReadOnly) {
        let given = configs.iter().filter(|(name, _)| of_listener(name).unwrap_or(name) == setting.name);
        for (_, raw) in given {
            setting.parse(raw).map_err(|bad| Refusal::request(bad.to_string()))?;
            // There are no classes to load but those which Kafka itself comes with by default.
            if setting.kind == ConfigType::Class && setting.default.as_deref() != Some(raw.trim()) {
                let (name, class) = (setting.name, raw.trim());
                let message =
                    format!("Invalid value {class} for configuration {name}: Class {class} could not be found.");
                return Err(Refusal::request(message));
            }
        }
    }
    Ok(())
}

/// What the settings must be to each other.
fn check_together(new: &Effective) -> Result<(), Refusal> {
    let required = |good: bool, what: String| match good {
        true => Ok(()),
        false => Err(Refusal::request(format!("requirement failed: {what}"))),
    };
    let least = |name: &str, least: i64| {
        let good = new.integer(name).is_none_or(|n| n >= least);
        required(good, format!("{name} must be greater than or equal to {least}"))
    };
    least("log.roll.ms", 1)?;
    least("log.roll.jitter.ms", 0)?;
    let what = "log.retention.ms must be unlimited (-1) or, greater than or equal to 1";
    required(new.integer("log.retention.ms") != Some(0), what.to_owned())?;
    check_cordoned(new)?;
    if let (Some(buffer), Some(threads)) =
        (new.integer("log.cleaner.dedupe.buffer.size"), new.integer("log.cleaner.threads"))
    {
        let per_thread = buffer.checked_div(threads).ok_or_else(|| Refusal::request("/ by zero"))?;
        required(
            per_thread > MIB,
            "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.".to_owned(),
        )?;
    }
    for kind in ["consumer", "share", "streams"] {
        let name = |bound: &str| format!("group.{kind}.{bound}assignment.interval.ms");
        let (interval, least, most) = (new.integer(&name("")), new.integer(&name("min.")), new.integer(&name("max.")));
        if interval > most {
            return Err(Refusal::request(format!("{} must be less than or equal to {}", name(""), name("max."))));
        }
        if interval < least {
            return Err(Refusal::request(format!("{} must be greater than or equal to {}", name(""), name("min."))));
        }
    }
    check_per_ip(new)?;
    check_local_retention(new, "ms")?;
    check_local_retention(new, "bytes")
}

fn check_cordoned(new: &Effective) -> Result<(), Refusal> {
    let list = |name| match new.value(name) {
        Some(Value::List(elements)) if !elements.is_empty() => Some(elements),
        _ => None,
    };
    let dirs = list("log.dirs").or_else(|| list("log.dir")).unwrap_or_default();
    let missing: Vec<String> =
        list("cordoned.log.dirs").unwrap_or_default().into_iter().filter(|dir| !dirs.contains(dir)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    let what = "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries :";
    Err(Refusal::request(format!("requirement failed: {what} {missing}")))
}

fn check_per_ip(new: &Effective) -> Result<(), Refusal> {
    let name = "max.connections.per.ip.overrides";
    let Some(Value::Text(text)) = new.value(name) else { return Ok(()) };
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let Some((address, count)) = entry.rsplit_once(':') else {
            let length = entry.encode_utf16().count();
            let message = format!("Error parsing configuration property '{name}': begin 0, end -1, length {length}");
            return Err(Refusal::request(message));
        };
        if count.trim().parse::<i32>().is_err() {
            return Err(Refusal::request(format!("For input string: \"{}\"", count.trim())));
        }
        // Kafka resolves host names when the broker starts; names are not resolved here.
        let address = address.trim().trim_matches(['[', ']']);
        if address.parse::<std::net::IpAddr>().is_err() {
            return Err(Refusal::request(format!("{name}: {address} must be an IP address")));
        }
    }
    Ok(())
}

/// What stays on this machine under tiered storage cannot be more than what stays at all.
fn check_local_retention(new: &Effective, unit: &str) -> Result<(), Refusal> {
    let (name, of_all) = (format!("log.local.retention.{unit}"), format!("log.retention.{unit}"));
    let all = match unit {
        "ms" => table::topic().get("retention.ms").and_then(|setting| new.topic_default(setting)),
        _ => new.value(&of_all),
    };
    let (Some(local), Some(Value::Integer(all))) = (new.integer(&name), all) else { return Ok(()) };
    if all == -1 || local == -2 {
        return Ok(());
    }
    let why = match local {
        -1 => format!("Value must not be -1 as {of_all} value is set as {all}."),
        _ if local > all => format!("Value must not be more than {of_all} property value: {all}"),
        _ => return Ok(()),
    };
    Err(wrapped(&format!("Invalid value {local} for configuration {name}: {why}")))
}
