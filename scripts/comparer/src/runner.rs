//! Runs one scenario, in one version, on one broker, and keeps what was answered.
//!
//! A run owns its names (the prefix) and its connections. A step that cannot be sent (because an earlier answer lacked
//! what it needs) is kept as such: on both brokers it is a mistake in the scenario, on one it is a difference.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kringle_protocol::Uuid;
use kringle_protocol::dynamic::Value;

use crate::broker::{Broker, CLIENT, Encoded, read_answer, read_raw_answer};
use crate::evaluate::Scope;
use crate::literal::Expr;
use crate::scenario::{Ask, Edit, Expect, Scenario, Statement};
use crate::value::{fields, follow, has_error, items, member};
use crate::wire::{Connection, Reply};

/// How long setup, `retry` and `until` go on.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// The coordinator is being made or loaded.
const COORDINATOR_NOT_READY: [i64; 3] = [14, 15, 16];

/// What a step led to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// An answer.
    Answer(Value),
    /// The broker closed the connection.
    Closed,
    /// Nothing came, and nothing was to come.
    Nothing,
    /// Nothing came in time.
    Silent,
    /// An answer came that cannot be read.
    Unreadable(String),
    /// The request could not be made.
    Unsent(String),
}

/// One step with its outcome.
pub(crate) struct Taken {
    /// API name.
    pub(crate) api: String,
    /// Version asked.
    pub(crate) version: i16,
    /// Name of the step, as `scenario: step`.
    pub(crate) step: String,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// The body of a request that was answered; the fuzzer cuts it.
pub(crate) struct Sample {
    /// API name.
    pub(crate) api: String,
    /// Version.
    pub(crate) version: i16,
    /// The encoded body.
    pub(crate) body: bytes::Bytes,
}

/// Both brokers serve these: API name to versions.
pub(crate) type Common = BTreeMap<String, (i16, i16)>;

/// A run of a scenario on one broker.
pub(crate) struct Run<'a> {
    broker: &'a Broker,
    common: &'a Common,
    scenario: &'a Scenario,
    version: i16,
    scope: Scope,
    connections: BTreeMap<String, Connection>,
    pending: Vec<(String, &'a Ask, i16, i32)>,
    changes: i64,
    /// Compared steps, in order.
    pub(crate) taken: Vec<Taken>,
    /// Bodies that were answered.
    pub(crate) samples: Vec<Sample>,
}

impl<'a> Run<'a> {
    /// A run that has not begun.
    pub(crate) fn new(
        broker: &'a Broker,
        common: &'a Common,
        scenario: &'a Scenario,
        version: i16,
        scope: Scope,
    ) -> Self {
        let (connections, taken, samples) = Default::default();
        Self { broker, common, scenario, version, scope, connections, pending: Vec::new(), changes: 0, taken, samples }
    }

    /// Goes through all statements.
    pub(crate) fn all(&mut self) {
        for statement in &self.scenario.statements {
            if let Err(reason) = self.statement(statement) {
                let api = self.scenario.subjects.first().cloned().unwrap_or_default();
                self.keep(&api, self.version, "setup", Outcome::Unsent(reason));
            }
        }
    }

    /// What was taken, the samples, and the topics made.
    pub(crate) fn take(self) -> (Vec<Taken>, Vec<Sample>, BTreeMap<String, Uuid>) {
        (self.taken, self.samples, self.scope.topics)
    }

    fn statement(&mut self, statement: &'a Statement) -> Result<(), String> {
        match statement {
            Statement::Topic { name, partitions, configs } => self.topic(name, *partitions, configs),
            Statement::Coordinator(group) => self.coordinator(group),
            Statement::Settle => self.settle(),
            Statement::Let(name, expr) => {
                let value = self.scope.value(expr)?;
                self.scope.saved.insert(name.clone(), value);
                Ok(())
            }
            Statement::Raw { name, bytes } => self.raw(name, bytes),
            Statement::Receive(connection) => self.receive(connection),
            Statement::Ask(ask) => match self.version_of(ask) {
                Some(version) => self.ask(ask, version),
                None => Ok(()),
            },
        }
    }

    /// The version in which this run asks, or none if the step is not for this run.
    fn version_of(&self, ask: &Ask) -> Option<i16> {
        let (min, max) = *self.common.get(&ask.api)?;
        let within = |version: i16, (from, to): (i16, i16)| (from..=to).contains(&version);
        if ask.runs.is_some_and(|runs| !within(self.version, runs)) {
            return None;
        }
        let version = match ask.at {
            Some(at) => at,
            None if self.scenario.subjects.contains(&ask.api) => self.version.clamp(min, max),
            None => max,
        };
        let wanted = ask.versions.is_none_or(|versions| within(version, versions));
        (wanted && within(version, (min, max))).then_some(version)
    }

    fn keep(&mut self, api: &str, version: i16, step: &str, outcome: Outcome) {
        let step = format!("{}: {step}", self.scenario.name);
        self.taken.push(Taken { api: api.to_owned(), version, step, outcome });
    }

    fn ask(&mut self, ask: &'a Ask, version: i16) -> Result<(), String> {
        let until = ask.until.as_ref().map(|(path, expr)| Ok::<_, String>((path, self.scope.value(expr)?))).transpose();
        let deadline = Instant::now() + PATIENCE;
        let outcome = loop {
            let outcome = match &until {
                Err(reason) => Outcome::Unsent(reason.clone()),
                Ok(_) => match self.exchange(ask, version) {
                    Ok(Some(outcome)) => outcome,
                    Ok(None) => return Ok(()),
                    Err(reason) => Outcome::Unsent(reason),
                },
            };
            let again = match (&outcome, &until) {
                (Outcome::Answer(value), Ok(until)) => {
                    has_error(value, &ask.retry)
                        || until.as_ref().is_some_and(|(path, wanted)| follow(value, path) != Some(wanted))
                }
                _ => false,
            };
            if !again || Instant::now() > deadline {
                break outcome;
            }
            std::thread::sleep(PAUSE);
        };
        self.conclude(ask, version, outcome);
        Ok(())
    }

    fn conclude(&mut self, ask: &Ask, version: i16, outcome: Outcome) {
        if let Outcome::Answer(value) = &outcome {
            for (name, path) in &ask.saves {
                if let Some(value) = follow(value, path) {
                    self.scope.saved.insert(name.clone(), value.clone());
                }
            }
        }
        if !ask.unseen {
            self.keep(&ask.api, version, &ask.name, outcome);
        }
    }

    /// Sends once and reads what comes; nothing if the answer is for later.
    fn exchange(&mut self, ask: &'a Ask, version: i16) -> Result<Option<Outcome>, String> {
        let mut encoded = Encoded::of(&ask.api, version, &self.scope.value(&ask.body)?)?;
        self.edit(&mut encoded, &ask.edits)?;
        let body = encoded.body.clone();
        let connection = self.connection(&ask.connection)?;
        let correlation = encoded.send(connection, Some(ask.client.as_deref().unwrap_or(CLIENT)));
        match ask.expect {
            Expect::Later => {
                self.pending.push((ask.connection.clone(), ask, version, correlation));
                Ok(None)
            }
            Expect::Nothing => self.probe(&ask.connection).map(Some),
            Expect::Silence => {
                let reply = connection.overhear();
                let outcome = self.read(&ask.connection, &ask.api, version, correlation, reply);
                Ok(Some(if outcome == Outcome::Silent { Outcome::Nothing } else { outcome }))
            }
            Expect::Answer => {
                let reply = connection.receive();
                let outcome = self.read(&ask.connection, &ask.api, ask.read.unwrap_or(version), correlation, reply);
                if matches!(outcome, Outcome::Answer(_)) && ask.edits.is_empty() {
                    self.samples.push(Sample { api: ask.api.clone(), version, body });
                }
                Ok(Some(outcome))
            }
        }
    }

    fn edit(&self, encoded: &mut Encoded, edits: &[Edit]) -> Result<(), String> {
        let short = |n: i64| i16::try_from(n).map_err(|e| e.to_string());
        for edit in edits {
            match edit {
                Edit::Key(key) => encoded.key = short(*key)?,
                Edit::Version(version) => encoded.version = short(*version)?,
                Edit::Cut(size) => {
                    let left = encoded.body.len().saturating_sub(*size);
                    encoded.body.truncate(left);
                }
                Edit::Append(expr) => match self.scope.value(expr)? {
                    Value::Bytes(more) => encoded.body = [&encoded.body[..], &more[..]].concat().into(),
                    other => return Err(format!("{other} are no bytes")),
                },
            }
        }
        Ok(())
    }

    fn read(&mut self, connection: &str, api: &str, version: i16, correlation: i32, reply: Reply) -> Outcome {
        let outcome = match reply {
            Reply::Frame(frame) => match read_answer(api, version, correlation, &frame) {
                Ok(value) => Outcome::Answer(value),
                Err(reason) => Outcome::Unreadable(reason),
            },
            Reply::Closed => Outcome::Closed,
            Reply::Silent => Outcome::Silent,
        };
        if !matches!(outcome, Outcome::Answer(_)) {
            self.connections.remove(connection);
        }
        outcome
    }

    /// Whether the connection still answers, and answers nothing before that.
    fn probe(&mut self, name: &str) -> Result<Outcome, String> {
        let probe = Encoded::of("ApiVersions", 0, &Value::Struct(Vec::new()))?;
        let connection = self.connection(name)?;
        let correlation = probe.send(connection, Some(CLIENT));
        let reply = connection.receive();
        Ok(match self.read(name, "ApiVersions", 0, correlation, reply) {
            Outcome::Answer(_) => Outcome::Nothing,
            other => other,
        })
    }

    fn receive(&mut self, connection: &str) -> Result<(), String> {
        let Some(at) = self.pending.iter().position(|(name, ..)| name == connection) else {
            return Ok(()); // what would have been sent was not for this run
        };
        let (name, ask, version, correlation) = self.pending.remove(at);
        let reply = self.connection(&name)?.receive();
        let outcome = self.read(&name, &ask.api, version, correlation, reply);
        self.conclude(ask, version, outcome);
        Ok(())
    }

    fn raw(&mut self, name: &str, bytes: &Expr) -> Result<(), String> {
        let Value::Bytes(bytes) = self.scope.value(bytes)? else { return Err("raw wants bytes".into()) };
        let mut connection = Connection::open(self.broker.address)?;
        connection.send(&bytes);
        let outcome = match connection.receive() {
            Reply::Frame(frame) => Outcome::Answer(read_raw_answer(&bytes, &frame)),
            Reply::Closed => Outcome::Closed,
            Reply::Silent => Outcome::Silent,
        };
        self.keep("frames", 0, name, outcome);
        Ok(())
    }

    fn connection(&mut self, name: &str) -> Result<&mut Connection, String> {
        if !self.connections.contains_key(name) {
            self.connections.insert(name.to_owned(), Connection::open(self.broker.address)?);
        }
        Ok(self.connections.get_mut(name).expect("it was put there"))
    }

    /// Asks in the newest common version, uncompared, until `done` says so.
    fn poll(&mut self, api: &str, body: &Value, mut done: impl FnMut(&Value) -> bool) -> Result<Value, String> {
        let version = self.common.get(api).ok_or(format!("{api} is not served by both"))?.1;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let encoded = Encoded::of(api, version, body)?;
            let connection = self.connection("setup")?;
            let correlation = encoded.send(connection, Some(CLIENT));
            let reply = connection.receive();
            match self.read("setup", api, version, correlation, reply) {
                Outcome::Answer(value) if done(&value) => return Ok(value),
                Outcome::Answer(value) if Instant::now() > deadline => {
                    return Err(format!("{api} v{version}: {value}"));
                }
                Outcome::Answer(_) => std::thread::sleep(PAUSE),
                other => return Err(format!("{api} v{version}: {other:?}")),
            }
        }
    }

    fn topic(&mut self, name: &Expr, partitions: i64, configs: &Expr) -> Result<(), String> {
        let name = self.scope.value(name)?;
        let Value::Struct(configs) = self.scope.value(configs)? else { return Err("configs are {name: text}".into()) };
        let configs =
            configs.into_iter().map(|(name, value)| fields([("name", Value::String(name)), ("value", value)]));
        let topic = fields([
            ("name", name.clone()),
            ("num_partitions", Value::Int(partitions)),
            ("replication_factor", Value::Int(1)),
            ("configs", Value::Array(configs.collect())),
        ]);
        let create = fields([("topics", Value::Array(vec![topic])), ("timeout_ms", Value::Int(10_000))]);
        self.poll("CreateTopics", &create, |answer| follow(answer, ".topics[0].error_code") == Some(&Value::Int(0)))?;

        let wanted = fields([("topics", Value::Array(vec![fields([("name", name.clone())])]))]);
        let metadata = self.poll("Metadata", &wanted, |answer| {
            let listed = follow(answer, ".topics[0].partitions").map_or(&[][..], items);
            i64::try_from(listed.len()) == Ok(partitions)
                && !listed.iter().any(|p| member(p, "error_code") != Some(&Value::Int(0)))
        })?;
        if let (Some(Value::Uuid(id)), Value::String(name)) = (follow(&metadata, ".topics[0].topic_id"), &name) {
            self.scope.topics.insert(name.clone(), *id);
        }
        // Known is not yet led: wait until the log itself answers.
        let each = (0..partitions).map(|p| fields([("partition_index", Value::Int(p)), ("timestamp", Value::Int(-1))]));
        let offsets = fields([("name", name), ("partitions", Value::Array(each.collect()))]);
        let list = fields([("replica_id", Value::Int(-1)), ("topics", Value::Array(vec![offsets]))]);
        self.poll("ListOffsets", &list, |answer| {
            let listed = follow(answer, ".topics[0].partitions").map_or(&[][..], items);
            listed.iter().all(|partition| member(partition, "error_code") == Some(&Value::Int(0)))
        })?;
        Ok(())
    }

    fn coordinator(&mut self, group: &Expr) -> Result<(), String> {
        let group = self.scope.value(group)?;
        let find = fields([("key_type", Value::Int(0)), ("coordinator_keys", Value::Array(vec![group.clone()]))]);
        self.poll("FindCoordinator", &find, |answer| !has_error(answer, &COORDINATOR_NOT_READY))?;
        // A heartbeat would not do: one that comes while groups are loaded is answered as if all were well.
        let describe = fields([("groups", Value::Array(vec![group]))]);
        self.poll("DescribeGroups", &describe, |answer| !has_error(answer, &COORDINATOR_NOT_READY))?;
        Ok(())
    }

    /// Metadata changes are seen in the order in which they were made: make one more and wait for it.
    fn settle(&mut self) -> Result<(), String> {
        let marker = Value::String(format!("{}settle", self.scope.prefix));
        if self.changes == 0 {
            self.topic(&Expr::Text("@settle".into()), 1, &Expr::Fields(Vec::new()))?;
        }
        self.changes += 1;
        let wanted = Value::String((1_000_000 + self.changes).to_string());
        let resource = |configs: (&'static str, Value)| {
            let topic = fields([("resource_type", Value::Int(2)), ("resource_name", marker.clone()), configs]);
            fields([("resources", Value::Array(vec![topic]))])
        };
        let set = fields([
            ("name", Value::String("retention.ms".into())),
            ("config_operation", Value::Int(0)),
            ("value", wanted.clone()),
        ]);
        self.poll("IncrementalAlterConfigs", &resource(("configs", Value::Array(vec![set]))), |_| true)?;
        let keys = Value::Array(vec![Value::String("retention.ms".into())]);
        self.poll("DescribeConfigs", &resource(("configuration_keys", keys)), |answer| {
            follow(answer, ".results[0].configs[0].value") == Some(&wanted)
        })?;
        Ok(())
    }
}

/// The versions in which a scenario runs: from the oldest to the newest of any of its subjects.
pub(crate) fn versions(scenario: &Scenario, common: &Common) -> Option<(i16, i16)> {
    if scenario.subjects.is_empty() {
        return Some((0, 0)); // about no API: once
    }
    let all = scenario.subjects.iter().filter_map(|api| common.get(api));
    all.copied().reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
}
