//! Hides what is each broker's own: ids, addresses, clocks. What is hidden is still compared for consistency: the same
//! id twice shows as the same `<id 1>` twice, on both sides or on neither.
//!
//! Two passes, because numbering goes by first appearance: first what has no order is sorted and what belongs to other
//! runs is dropped, then values are hidden.

use std::collections::BTreeMap;

use kringle_protocol::Uuid;
use kringle_protocol::dynamic::Value;

use crate::batch;
use crate::broker::Broker;
use crate::runner::{Outcome, Taken};
use crate::value::{member, text};

/// Every name made by any run of any comparison begins so.
pub(crate) const PREFIX: &str = "cmp";

/// Fields by which the items of an array are told apart, the first that an item has.
const KEYS: [&str; 19] = [
    "name",
    "topic",
    "topic_name",
    "group_id",
    "partition_index",
    "index",
    "partition",
    "partition_id",
    "key",
    "api_key",
    "node_id",
    "broker_id",
    "replica_id",
    "resource_name",
    "log_dir",
    "feature",
    "group_instance_id",
    "client_id",
    "member_id",
];
/// Arrays whose order has a meaning.
const ORDERED: [&str; 3] = ["synonyms", "records", "voters"];
/// Milliseconds since 1970 have so many digits.
const TIME_DIGITS: usize = 13;
const ID_TEXT_LENGTH: usize = 36;

/// Hides what is one broker's own in the steps of one run.
pub(crate) struct Normaliser<'a> {
    broker: &'a Broker,
    prefix: &'a str,
    now_ms: i64,
    /// By kind: what was seen, in order.
    seen: BTreeMap<&'static str, Vec<String>>,
    /// Ids of topics that have a name.
    topics: BTreeMap<Uuid, String>,
}

impl<'a> Normaliser<'a> {
    /// For the run that used `prefix` and made `topics`.
    pub(crate) fn new(broker: &'a Broker, prefix: &'a str, now_ms: i64, topics: &BTreeMap<String, Uuid>) -> Self {
        let topics = topics.iter().map(|(name, id)| (*id, name.clone())).collect();
        Self { broker, prefix, now_ms, seen: BTreeMap::new(), topics }
    }

    /// Goes through the steps of a run in their order.
    pub(crate) fn steps(&mut self, taken: &mut [Taken]) {
        for step in taken {
            if let Outcome::Answer(value) = &mut step.outcome {
                arrange("", value, self.prefix);
                self.hide(&step.api, "", value);
            }
        }
    }

    fn numbered(&mut self, kind: &'static str, what: String) -> String {
        let list = self.seen.entry(kind).or_default();
        let at = list.iter().position(|seen| *seen == what).unwrap_or_else(|| {
            list.push(what);
            list.len() - 1
        });
        format!("<{kind} {}>", at + 1)
    }

    fn hide(&mut self, api: &str, field: &str, value: &mut Value) {
        match value {
            Value::Struct(fields) => {
                let path = fields.iter().any(|(name, value)| name == "name" && text(value).is_some_and(is_path_config));
                for (name, value) in fields {
                    match value {
                        Value::String(text) if path && name == "value" => *text = "<path>".into(),
                        value => self.hide(api, name, value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide(api, field, item)),
            Value::Int(n) => {
                if let Some(text) = self.number(api, field, *n) {
                    *value = Value::String(text);
                }
            }
            Value::Uuid(id) if *id != Uuid::default() => *value = Value::String(self.id(*id)),
            Value::Bytes(bytes) if field == "records" => {
                let mut batches = batch::read(bytes);
                self.hide(api, "batches", &mut batches);
                *value = batches;
            }
            Value::String(text) => *text = self.text(field, text),
            _ => {}
        }
    }

    fn id(&mut self, id: Uuid) -> String {
        match self.topics.get(&id) {
            Some(name) => format!("<id of {name}>"),
            None => self.numbered("id", id.to_string()),
        }
    }

    fn number(&mut self, api: &str, field: &str, n: i64) -> Option<String> {
        match (api, field) {
            (_, "port") if n == i64::from(self.broker.address.port()) => Some("<port>".into()),
            // By the scripts' convention a broker's controller listens on the next port.
            (_, "port") if n == i64::from(self.broker.address.port()) + 1 => Some("<controller port>".into()),
            ("Fetch", "session_id") if n > 0 => Some(self.numbered("session", n.to_string())),
            (_, "producer_id") if n >= 0 => Some(self.numbered("producer", n.to_string())),
            (_, "finalized_features_epoch" | "total_bytes" | "usable_bytes") if n > 0 => Some("<some>".into()),
            (_, "log_append_time_ms" | "last_fetch_timestamp" | "last_caught_up_timestamp") if n > 0 => {
                Some("<time>".into())
            }
            // What clients send is not later than the start of the comparison; this a broker has stamped.
            ("ListOffsets", "timestamp") if n > self.now_ms && n < i64::MAX => Some("<time>".into()),
            ("DescribeQuorum", "high_watermark" | "log_end_offset" | "leader_epoch") if n >= 0 => Some("<some>".into()),
            _ => None,
        }
    }

    fn text(&mut self, field: &str, text: &str) -> String {
        match field {
            "cluster_id" if text == self.broker.cluster => return "<cluster>".into(),
            "log_dir" if !text.is_empty() => return "<dir>".into(),
            "host" if text == self.broker.address.ip().to_string() || text == "localhost" => return "<host>".into(),
            _ => {}
        }
        let mut text = text.replace(&self.broker.address.to_string(), "<host>:<port>");
        if let Some(next) = self.broker.address.port().checked_add(1) {
            text = text.replace(&format!("{}:{next}", self.broker.address.ip()), "<host>:<controller port>");
        }
        for (id, name) in &self.topics {
            text = text.replace(&id.to_string(), &format!("<id of {name}>"));
        }
        if field.ends_with("message") {
            text = without_times(&text);
        }
        // Member ids end in an id of the usual 8-4-4-4-12 hexadecimal digits.
        while let Some(at) = find_id(&text) {
            let id = text[at..at + ID_TEXT_LENGTH].to_owned();
            text.replace_range(at..at + ID_TEXT_LENGTH, &self.numbered("uuid", id));
        }
        text
    }
}

/// Messages with the time of day in them.
fn without_times(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = rest[at..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |length| at + length);
        out.push_str(&rest[..at]);
        out.push_str(if end - at >= TIME_DIGITS { "<time>" } else { &rest[at..end] });
        rest = &rest[end..];
    }
    out + rest
}

/// Configs that say where a broker's own files are.
fn is_path_config(name: &str) -> bool {
    matches!(name, "log.dir" | "log.dirs" | "metadata.log.dir")
}

fn find_id(text: &str) -> Option<usize> {
    let fits = |window: &[u8]| {
        window.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    text.as_bytes().windows(ID_TEXT_LENGTH).position(fits)
}

/// Sorts what has no order, drops what belongs to other runs.
fn arrange(field: &str, value: &mut Value, prefix: &str) {
    match value {
        Value::Struct(fields) => fields.iter_mut().for_each(|(name, value)| arrange(name, value, prefix)),
        Value::Array(items) => {
            items.retain(|item| match label(item) {
                Some(Label::Text(name)) => !name.starts_with(PREFIX) || name.starts_with(prefix),
                _ => true,
            });
            items.iter_mut().for_each(|item| arrange(field, item, prefix));
            if !ORDERED.contains(&field) {
                // Stable: items without a label, or with the same one, stay as they came.
                items.sort_by_key(label);
            }
        }
        _ => {}
    }
}

/// What tells an item of an array from the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Label {
    /// A number: a partition, a node, a key.
    Number(i64),
    /// A name.
    Text(String),
}

/// The label of an item, if it has one.
pub(crate) fn label(item: &Value) -> Option<Label> {
    KEYS.iter().find_map(|key| match member(item, key) {
        Some(Value::Int(n)) => Some(Label::Number(*n)),
        Some(Value::String(text)) if !text.is_empty() => Some(Label::Text(match find_id(text) {
            Some(at) => text[..at].to_owned(), // what is random is no label
            None => text.clone(),
        })),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::follow;

    fn broker() -> Broker {
        let address = "127.0.0.1:9".parse().unwrap();
        Broker { name: "kafka", address, serves: BTreeMap::new(), cluster: "abc".into() }
    }

    fn named(name: &str) -> Value {
        Value::Struct(vec![("name".into(), Value::String(name.into()))])
    }

    fn normalised(value: Value) -> Value {
        let mut steps =
            [Taken { api: "Metadata".into(), version: 0, step: String::new(), outcome: Outcome::Answer(value) }];
        Normaliser::new(&broker(), "cmp1-", 0, &BTreeMap::new()).steps(&mut steps);
        let [Taken { outcome: Outcome::Answer(value), .. }] = steps else { panic!() };
        value
    }

    #[test]
    fn names_are_sorted_and_those_of_other_runs_are_dropped() {
        let all = ["cmp1-b", "cmp2-a", "cmp1-a", "__x"].map(named).to_vec();
        let Value::Array(left) = normalised(Value::Array(all)) else { panic!() };
        assert_eq!(left, ["__x", "cmp1-a", "cmp1-b"].map(named));
    }

    #[test]
    fn the_same_member_id_has_the_same_number() {
        let id = |last: char| format!("c-01234567-89ab-cdef-0123-456789abcde{last}");
        let list = [id('0'), id('1'), id('0')].map(Value::String).to_vec();
        let expected = ["c-<uuid 1>", "c-<uuid 2>", "c-<uuid 1>"].map(|t| Value::String(t.into())).to_vec();
        assert_eq!(normalised(Value::Array(list)), Value::Array(expected));
    }

    #[test]
    fn only_the_own_address_is_hidden() {
        let address = |port| Value::Struct(vec![("port".into(), Value::Int(port))]);
        assert_eq!(follow(&normalised(address(9)), ".port"), Some(&Value::String("<port>".into())));
        assert_eq!(follow(&normalised(address(8)), ".port"), Some(&Value::Int(8)));
    }
}
