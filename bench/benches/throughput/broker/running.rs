//! A broker in this process, started when the first row needs it.

use std::net::SocketAddr;
use std::path::PathBuf;

use kringle::broker::{self, Broker};
use kringle::config::BrokerConfig;
use kringle_runtime::{Host, block_on};

use super::client::create_topic;
use crate::ground::Ground;

/// Settings that keep little: deleted segments give their page cache to the next ones.
const OVERRIDES: [(&str, &str); 6] = [
    ("listeners", "PLAINTEXT://127.0.0.1:0"),
    ("log.segment.bytes", "33554432"),
    ("log.retention.bytes", "33554432"),
    ("log.retention.check.interval.ms", "100"),
    ("log.segment.delete.delay.ms", "0"),
    ("auto.create.topics.enable", "false"),
];

/// A broker that may never be needed.
pub(super) struct Lazy {
    host: Host,
    dir: PathBuf,
    shards: usize,
    running: Option<Running>,
}

impl Lazy {
    pub(super) fn new(ground: &Ground, shards: usize) -> Lazy {
        let dir = ground.home().dir.join(format!("broker-{shards}"));
        Lazy { host: ground.host.clone(), dir, shards, running: None }
    }

    pub(super) fn running(&mut self) -> &mut Running {
        self.running.get_or_insert_with(|| Running::start(&self.host, &self.dir, self.shards))
    }
}

/// A running broker; stops in order when dropped.
pub(super) struct Running {
    broker: Broker,
    topics: Vec<&'static str>,
    pub(super) address: SocketAddr,
}

impl Running {
    fn start(host: &Host, dir: &std::path::Path, shards: usize) -> Running {
        let own = [("log.dirs", dir.display().to_string()), ("kringle.shards", shards.to_string())];
        let fixed = OVERRIDES.map(|(key, value)| (key, value.to_owned()));
        let overrides: Vec<_> = fixed.into_iter().chain(own).map(|(key, value)| (key.to_owned(), value)).collect();
        let config = BrokerConfig::load(None, &overrides).expect("valid settings").config;
        let mut broker = broker::start(host, config).expect("a control thread");
        let started = block_on(broker.started()).unwrap_or_else(|error| panic!("the broker does not start: {error}"));
        let (_, address) = started.listeners[0];
        Running { broker, topics: Vec::new(), address }
    }

    /// Creates a topic; false if it is there.
    pub(super) fn ensure_topic(&mut self, name: &'static str, partitions: i32) -> bool {
        if self.topics.contains(&name) {
            return false;
        }
        create_topic(self.address, name, partitions);
        self.topics.push(name);
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.broker.stopper().stop();
        if let Err(error) = block_on(self.broker.ended()) {
            eprintln!("the broker ended badly: {error}");
        }
    }
}
