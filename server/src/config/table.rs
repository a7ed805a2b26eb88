//! All settings there are, as tables: Kafka 4.3.1's for brokers, topics, groups and metrics of clients, and Kringle's own.
//!
//! The tables are text files in `tables/`, one setting per line, read once when first asked for. Names, types, defaults,
//! ranges and documentation are Kafka's (clients see them in DescribeConfigs); the column `status` says what Kringle
//! makes of a setting and is kept true by whoever changes that. Escapes in cells: `\N` is null, `\R` is a setting that has no
//! default, `\n`, `\t` and `\\` are themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::value::{BadValue, ConfigType, Validator, Value};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: ConfigType,
    /// Its default as clients see it; none if it is null or the setting must be given.
    pub default: Option<String>,
    /// Whether there is no default at all, not even null.
    pub required: bool,
    /// What a value must be.
    pub validator: Validator,
    /// How much it matters, in Kafka's grades: `high`, `medium` or `low`.
    pub importance: &'static str,
    /// Whether it is listed.
    pub visibility: Visibility,
    /// Who may change it while the broker runs.
    pub dynamic: Dynamic,
    /// What Kringle makes of it.
    pub status: Status,
    /// Names under which a value of this setting may be given, the strongest first. For a broker's setting they include its
    /// own name; for a topic's or group's there is one at most: the broker's setting which is its default.
    pub synonyms: Vec<&'static str>,
    /// What clients see with DescribeConfigs v3+; none for settings which Kafka does not document.
    pub documentation: Option<String>,
}

/// Whether a setting is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Always.
    Public,
    /// Only where it has been set.
    Internal,
    /// Only where it has been set, and there is no typed default.
    DynamicOnly,
}

/// Who may change a setting while the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dynamic {
    /// Nobody.
    ReadOnly,
    /// A change names the broker.
    PerBroker,
    /// A change may also go to all brokers at once.
    ClusterWide,
    /// It belongs to a topic.
    Topic,
    /// It belongs to a group.
    Group,
    /// It belongs to a subscription to metrics of clients.
    ClientMetrics,
}

/// What Kringle makes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does what Kafka's documentation says.
    Acts,
    /// It does some of that; what, or what not, stands here.
    Partly(&'static str),
    /// It is checked, kept and listed, and does nothing yet.
    Accepted,
    /// It speaks of something which Kringle does not have: JVM threads, classes, purgatories.
    Meaningless,
}

/// The settings of one kind of resource, in the order in which Kafka defines, and so checks, them.
#[derive(Debug)]
pub struct Table {
    settings: Vec<Setting>,
    by_name: BTreeMap<&'static str, usize>,
}

impl Table {
    /// The setting of that name.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.by_name.get(name).map(|&at| &self.settings[at])
    }

    /// All settings.
    pub fn iter(&self) -> std::slice::Iter<'_, Setting> {
        self.settings.iter()
    }
}

/// The settings of a broker.
pub fn broker() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| read(include_str!("tables/broker.tsv")));
    &TABLE
}

/// The settings of a topic.
pub fn topic() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| read(include_str!("tables/topic.tsv")));
    &TABLE
}

/// The settings of a group.
pub fn group() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| read(include_str!("tables/group.tsv")));
    &TABLE
}

/// The settings of a subscription to metrics of clients.
pub fn client_metrics() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| read(include_str!("tables/client-metrics.tsv")));
    &TABLE
}

/// Kringle's own settings of a broker.
pub fn kringle() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| read(include_str!("tables/kringle.tsv")));
    &TABLE
}

impl Setting {
    /// Parses and checks a value. What a checked list names twice counts once (KIP-1161).
    pub fn parse(&self, raw: &str) -> Result<Value, BadValue> {
        let mut value = self.kind.parse(self.name, raw)?;
        if let (Validator::List { .. }, Value::List(elements)) = (&self.validator, &mut value) {
            let mut seen = BTreeSet::new();
            elements.retain(|element| seen.insert(element.clone()));
        }
        self.validator.check(self.name, &value)?;
        Ok(value)
    }

    /// The default as a value; none where it is null.
    pub fn default_value(&self) -> Option<Value> {
        let default = self.default.as_deref()?;
        Some(self.kind.parse(self.name, default).expect("a test parses every default"))
    }
}

fn read(text: &'static str) -> Table {
    let rows = text
        .lines()
        .skip(1)
        .map(|line| read_row(line).unwrap_or_else(|| panic!("a test reads every row, but not this one: {line}")));
    let settings: Vec<Setting> = rows.collect();
    let by_name = settings.iter().enumerate().map(|(at, setting)| (setting.name, at)).collect();
    Table { settings, by_name }
}

fn read_row(line: &'static str) -> Option<Setting> {
    let mut cells = line.split('\t');
    let name = cells.next()?;
    let kind = ConfigType::named(cells.next()?)?;
    let default = cells.next()?;
    let validator = Validator::read(cells.next()?)?;
    let importance = cells.next()?;
    let visibility = match cells.next()? {
        "public" => Visibility::Public,
        "internal" => Visibility::Internal,
        "dynamic-only" => Visibility::DynamicOnly,
        _ => return None,
    };
    let dynamic = match cells.next()? {
        "read-only" => Dynamic::ReadOnly,
        "per-broker" => Dynamic::PerBroker,
        "cluster-wide" => Dynamic::ClusterWide,
        "topic" => Dynamic::Topic,
        "group" => Dynamic::Group,
        "client-metrics" => Dynamic::ClientMetrics,
        _ => return None,
    };
    let status = match cells.next()? {
        "acts" => Status::Acts,
        "accepted" => Status::Accepted,
        "meaningless" => Status::Meaningless,
        partly => Status::Partly(partly.strip_prefix("partly: ")?),
    };
    let synonyms = match cells.next()? {
        "-" if matches!(dynamic, Dynamic::Topic | Dynamic::Group | Dynamic::ClientMetrics) => Vec::new(),
        "-" => vec![name],
        names => names.split(' ').collect(),
    };
    let documentation = unescape(cells.next()?);
    let required = default == "\\R";
    let default = if required { None } else { unescape(default) };
    let whole = cells.next().is_none();
    let setting = Setting {
        name,
        kind,
        default,
        required,
        validator,
        importance,
        visibility,
        dynamic,
        status,
        synonyms,
        documentation,
    };
    whole.then_some(setting)
}

fn unescape(cell: &str) -> Option<String> {
    if cell == "\\N" {
        return None;
    }
    let mut text = String::with_capacity(cell.len());
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                other => other,
            },
            c => c,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_and_every_default_keeps_its_own_rule() {
        let sizes = [broker(), topic(), group()].map(|table| (table.settings.len(), table.by_name.len()));
        assert_eq!(sizes, [(363, 363), (34, 34), (17, 17)]);
        for table in [broker(), topic(), group(), client_metrics(), kringle()] {
            for setting in table.iter() {
                let Some(default) = &setting.default else { continue };
                let value = setting.parse(default).unwrap_or_else(|bad| panic!("{}: {bad}", setting.name));
                assert_eq!(value.to_string(), *default, "{}", setting.name);
            }
        }
    }

    #[test]
    fn what_a_list_names_twice_counts_once() {
        let shown = |table: &'static Table, name: &str, raw: &str| {
            table.get(name).unwrap().parse(raw).map(|value| value.to_string()).map_err(|bad| bad.to_string())
        };
        assert_eq!(shown(topic(), "cleanup.policy", "compact,delete, compact").unwrap(), "compact,delete");
        assert!(shown(topic(), "cleanup.policy", ",").unwrap_err().contains("must not be empty"));
        let throttled = "leader.replication.throttled.replicas";
        assert_eq!(shown(topic(), throttled, "0:1,0:1").unwrap(), "0:1,0:1");
    }

    #[test]
    fn every_synonym_is_a_setting_of_the_broker() {
        for table in [broker(), topic(), group()] {
            for setting in table.iter() {
                for synonym in &setting.synonyms {
                    assert!(broker().get(synonym).is_some(), "{}: {synonym}", setting.name);
                }
            }
        }
    }
}
