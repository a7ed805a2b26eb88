//! From the text of `server.properties` and the command line to [`BrokerConfig`], or to one line that says why not.

use super::broker::BrokerConfig;
use super::error::ConfigError;
use super::resolve::{Configs, DynamicConfigs, Effective, broker_setting};
use super::table::{self, Setting, Status};
use super::value::{ConfigType, Value};
use super::{properties, properties::BadEscape};

/// The settings of a broker, and what there is to say about them.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: BrokerConfig,
    /// In the order of the names.
    pub notices: Vec<Notice>,
}

/// Something about a setting that does not keep the broker from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Kafka has it, but what it speaks of does not exist here. Worth an info line.
    MeaninglessHere(String),
    /// It is kept and listed, and does nothing yet. Worth an info line.
    NotActing(String),
    /// Nobody knows it; perhaps a misspelling. Worth a warning.
    Unknown(String),
}

impl BrokerConfig {
    /// Settings from a file's text (none: a broker for this machine alone) and `overrides`, which are stronger.
    ///
    /// # Errors
    /// When a value is out of its range, or the settings together ask for what is not served.
    pub fn load(file: Option<&str>, overrides: &[(String, String)]) -> Result<Loaded, ConfigError> {
        let text = file.unwrap_or(include_str!("default.properties"));
        let pairs = properties::parse(text).map_err(|bad: BadEscape| ConfigError::Text(bad))?;
        let mut given: Configs = pairs.into_iter().collect();
        given.extend(overrides.iter().cloned());
        // What a person has not written is not worth a word.
        let written = |name: &str| file.is_some() || overrides.iter().any(|(overridden, _)| overridden == name);
        let notices = given.keys().filter(|name| written(name)).filter_map(|name| notice(name)).collect();

        check_roles(&given)?;
        check_values(&given)?;
        check_identity(&mut given)?;
        check_together(&Effective::new(&given, &DynamicConfigs::default()))?;
        Ok(Loaded { config: BrokerConfig::build(given)?, notices })
    }
}

fn notice(name: &str) -> Option<Notice> {
    match setting(name) {
        Some(setting) => match setting.status {
            Status::Meaningless => Some(Notice::MeaninglessHere(name.to_owned())),
            Status::Accepted => Some(Notice::NotActing(name.to_owned())),
            Status::Acts | Status::Partly(_) => None,
        },
        None if OF_PLUGINS.iter().any(|prefix| name.starts_with(prefix)) => {
            Some(Notice::MeaninglessHere(name.to_owned()))
        }
        None => Some(Notice::Unknown(name.to_owned())),
    }
}

/// Settings which Kafka hands on to classes it loads; there are none here.
const OF_PLUGINS: [&str; 6] = [
    "super.users",
    "allow.everyone.if.no.acl.found",
    "config.providers.",
    "rsm.config.",
    "rlmm.config.",
    "kafka.metrics.",
];

fn setting(name: &str) -> Option<&'static Setting> {
    broker_setting(name).or_else(|| table::kringle().get(name))
}

fn check_roles(given: &Configs) -> Result<(), ConfigError> {
    let Some(roles) = given.get("process.roles") else {
        return Err(match given.get("zookeeper.connect") {
            Some(servers) => ConfigError::ZooKeeper(servers.clone()),
            None => ConfigError::Missing { name: "process.roles", must: "write process.roles=broker,controller" },
        });
    };
    let setting = table::broker().get("process.roles").expect("it is in the table");
    let value = setting.parse(roles).map_err(|bad| ConfigError::value(setting.name, roles, bad.must))?;
    let Value::List(named) = value else { unreachable!("its type is list") };
    if named.len() == 2 {
        return Ok(());
    }
    let must = "only broker,controller is served yet: one node that is both";
    Err(ConfigError::value("process.roles", roles, must))
}

/// `broker.id` and `node.id` are two names of one thing; as in Kafka each fills in for the other.
fn check_identity(given: &mut Configs) -> Result<(), ConfigError> {
    match (given.get("node.id"), given.get("broker.id")) {
        (None, None) => return Err(ConfigError::Missing { name: "node.id", must: "write node.id=1" }),
        (Some(node), None) => drop(given.insert("broker.id".to_owned(), node.clone())),
        (None, Some(broker)) => drop(given.insert("node.id".to_owned(), broker.clone())),
        (Some(node), Some(broker)) if node.trim() != broker.trim() => {
            let must = format!("must be the same as node.id, which is {node}");
            return Err(ConfigError::value("broker.id", broker, must));
        }
        _ => {}
    }
    Ok(())
}

fn check_values(given: &Configs) -> Result<(), ConfigError> {
    for (name, raw) in given {
        let Some(setting) = setting(name) else { continue };
        if let Err(bad) = setting.parse(raw) {
            let shown = if setting.kind == ConfigType::Password { "[hidden]" } else { raw };
            return Err(ConfigError::value(name, shown, bad.must));
        }
    }
    Ok(())
}

fn check_together(settings: &Effective) -> Result<(), ConfigError> {
    check_quorum(settings)?;
    check_directories(settings)?;
    check_times(settings)?;
    let integer = |name| settings.integer(name);
    let text = |name: &str| settings.value(name).map(|value| value.to_string()).filter(|text| !text.is_empty());
    if let Some(class) = text("authorizer.class.name") {
        // A broker that let everybody in where its file asks for a guard would be a trap.
        return Err(ConfigError::value("authorizer.class.name", class, "authorization is not yet served; remove it"));
    }
    if settings.value("remote.log.storage.system.enable") == Some(Value::Boolean(true)) {
        let must = "tiered storage is not yet served: what was moved away could not be read";
        return Err(ConfigError::value("remote.log.storage.system.enable", "true", must));
    }
    if integer("max.connections.per.ip") == Some(0) && text("max.connections.per.ip.overrides").is_none() {
        let must = "can be 0 only together with max.connections.per.ip.overrides";
        return Err(ConfigError::value("max.connections.per.ip", "0", must));
    }
    match (integer("queued.max.request.bytes"), integer("socket.request.max.bytes")) {
        (Some(queued), Some(frame)) if queued > 0 && queued < frame => {
            let must = format!("must be at least socket.request.max.bytes, which is {frame}");
            Err(ConfigError::value("queued.max.request.bytes", queued.to_string(), must))
        }
        _ => Ok(()),
    }
}

/// One node is a quorum of one; voters elsewhere would wait for answers that never come.
fn check_quorum(settings: &Effective) -> Result<(), ConfigError> {
    for name in ["controller.quorum.voters", "controller.quorum.bootstrap.servers"] {
        let Some(Value::List(nodes)) = settings.value(name) else { continue };
        if nodes.len() > 1 {
            let must = "a quorum of several nodes is not yet served: name one at most";
            return Err(ConfigError::value(name, nodes.join(","), must));
        }
        let (Some(voter), Some(node_id)) = (nodes.first(), settings.integer("node.id")) else { continue };
        match voter.split_once('@') {
            Some((id, _)) if id.parse() != Ok(node_id) => {
                let must = format!("must name this node, whose node.id is {node_id}");
                return Err(ConfigError::value(name, voter, must));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Partitions or a metadata log in a directory that is not opened would be missing without a word.
fn check_directories(settings: &Effective) -> Result<(), ConfigError> {
    let list = |name| match settings.value(name) {
        Some(Value::List(dirs)) if !dirs.is_empty() => Some((name, dirs)),
        _ => None,
    };
    let Some((name, dirs)) = list("log.dirs").or_else(|| list("log.dir")) else { return Ok(()) };
    if dirs.len() > 1 {
        let must = "several log directories are not yet served: name one";
        return Err(ConfigError::value(name, dirs.join(","), must));
    }
    match settings.value("metadata.log.dir") {
        Some(Value::Text(other)) if other != dirs[0] => {
            let must = format!("a directory of its own is not yet served: it must be {}, as {name}", dirs[0]);
            Err(ConfigError::value("metadata.log.dir", other, must))
        }
        _ => Ok(()),
    }
}

fn check_times(settings: &Effective) -> Result<(), ConfigError> {
    let at_least = |name: &str, least: i64| match settings.integer(name) {
        Some(n) if n < least => Err(ConfigError::value(name, n.to_string(), format!("must be at least {least}"))),
        _ => Ok(()),
    };
    at_least("log.roll.ms", 1)?;
    at_least("log.roll.jitter.ms", 0)?;
    let retention = ["log.retention.ms", "log.retention.minutes", "log.retention.hours"];
    let counts = retention.into_iter().find_map(|name| settings.integer(name).map(|n| (name, n)));
    if let Some((name, 0)) = counts {
        return Err(ConfigError::value(name, "0", "must be -1 (for ever) or at least 1"));
    }
    at_least("default.replication.factor", 1)?;
    at_least("group.min.session.timeout.ms", 1)?;
    let (min, max) = ("group.min.session.timeout.ms", "group.max.session.timeout.ms");
    match (settings.integer(min), settings.integer(max)) {
        (Some(least), Some(most)) if most < least => {
            Err(ConfigError::value(max, most.to_string(), format!("must be at least {min}, which is {least}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
