//! The settings the broker acts on, typed. Built once from the file and the command line (`load`), and again with what was
//! set while it runs ([`BrokerConfig::with_dynamic`]). Immutable; any thread may read it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use kringle_runtime::IoDriver;

use super::error::ConfigError;
use super::listeners::{Given, Listener};
use super::resolve::{Configs, DynamicConfigs, Effective};
use super::value::{Value, host_and_port};

/// A broker's settings. Times are durations or in milliseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    /// `node.id`
    pub node_id: i32,
    /// `broker.rack`
    pub rack: Option<String>,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Where other nodes would reach the controller; often none.
    pub controller_listeners: Vec<Listener>,
    /// `log.dirs` or `log.dir`; exactly one so far, which holds the metadata log too.
    pub log_dirs: Vec<PathBuf>,
    /// `num.partitions` of a topic that is created without a count.
    pub num_partitions: i32,
    /// `default.replication.factor` of a topic that is created without one.
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`
    pub auto_create_topics_enable: bool,
    /// `delete.topic.enable`
    pub delete_topic_enable: bool,

    /// `log.retention.check.interval.ms`
    pub log_retention_check_interval: Duration,
    /// `log.initial.task.delay.ms`
    pub log_initial_task_delay: Duration,
    /// `log.flush.scheduler.interval.ms`
    pub log_flush_scheduler_interval: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`
    pub log_flush_offset_checkpoint_interval: Duration,
    /// `log.flush.start.offset.checkpoint.interval.ms`
    pub log_flush_start_offset_checkpoint_interval: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`
    pub high_watermark_checkpoint_interval: Duration,
    /// `log.segment.delete.delay.ms`
    pub log_segment_delete_delay: Duration,

    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
    /// `producer.id.expiration.check.interval.ms`
    pub producer_id_expiration_check_interval: Duration,
    /// `fetch.max.bytes`: the most that one answer to a fetch carries.
    pub fetch_max_bytes: usize,
    /// `max.incremental.fetch.session.cache.slots`
    pub max_incremental_fetch_session_cache_slots: usize,
    /// `max.request.partition.size.limit`: partitions in an answer to DescribeTopicPartitions.
    pub max_request_partition_size_limit: usize,

    /// `offsets.topic.num.partitions`
    pub offsets_topic_num_partitions: i32,
    /// `offsets.topic.replication.factor`
    pub offsets_topic_replication_factor: i16,
    /// `offsets.topic.segment.bytes`
    pub offsets_topic_segment_bytes: i32,
    /// `offsets.topic.compression.codec`: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub offsets_topic_compression_codec: u8,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval: Duration,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// `group.initial.rebalance.delay.ms`
    pub group_initial_rebalance_delay_ms: i32,
    /// `group.min.session.timeout.ms`
    pub group_min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub group_max_session_timeout_ms: i32,
    /// `group.max.size`
    pub group_max_size: usize,

    /// `max.connections`
    pub max_connections: usize,
    /// `max.connections.per.ip`
    pub max_connections_per_ip: usize,
    /// `max.connections.per.ip.overrides`
    pub max_connections_per_ip_overrides: BTreeMap<IpAddr, usize>,
    /// `connections.max.idle.ms`; [`Duration::MAX`] where it is negative: never.
    pub connections_max_idle: Duration,
    /// `socket.request.max.bytes`: the largest frame that is read.
    pub socket_request_max_bytes: usize,

    /// `kringle.shards`; none for one per core but one.
    pub shards: Option<usize>,
    /// `kringle.admin.listener`: where `/metrics` and `/health` are served.
    pub admin_listener: Option<SocketAddr>,
    /// `kringle.durable.acks`: acks=all waits for stable storage.
    pub durable_acks: bool,
    /// `kringle.io.driver`: how the shards reach the kernel.
    pub io_driver: IoDriver,
    /// `kringle.busy.poll.us`: how long a shard looks for work before it sleeps.
    pub busy_poll: Duration,
    /// `kringle.journal.bytes`: the commit journal of each shard.
    pub journal_bytes: u64,
    /// `kringle.memory.budget.bytes`: memory for requests in flight.
    pub memory_budget_bytes: usize,

    /// All settings as they were given, by name: what DescribeConfigs calls static.
    pub(super) given: Configs,
}

impl BrokerConfig {
    /// The settings after `dynamic`, which was checked when it was stored, is laid over them. Identity, listeners and
    /// directories stay: they are bound once.
    pub fn with_dynamic(&self, dynamic: &DynamicConfigs) -> BrokerConfig {
        let mut dynamic = dynamic.clone();
        for layer in [&mut dynamic.broker, &mut dynamic.cluster] {
            layer.retain(|name, _| name != "listeners" && name != "listener.security.protocol.map");
        }
        match BrokerConfig::read(&Effective::new(&self.given, &dynamic), self.given.clone()) {
            Ok(changed) => BrokerConfig {
                node_id: self.node_id,
                listeners: self.listeners.clone(),
                controller_listeners: self.controller_listeners.clone(),
                log_dirs: self.log_dirs.clone(),
                ..changed
            },
            // What each setting alone allows but all together do not is left as it was at start.
            Err(_) => self.clone(),
        }
    }

    /// Tells clients of listeners without a host to connect to this machine by `hostname`, which is asked only if there are
    /// any.
    pub fn set_hostname(&mut self, hostname: impl FnOnce() -> String) {
        let all = self.listeners.iter_mut().chain(&mut self.controller_listeners);
        let mut nameless = all.filter(|listener| listener.advertises_own_name).peekable();
        if nameless.peek().is_some() {
            let hostname = hostname();
            nameless.for_each(|listener| hostname.clone_into(&mut listener.advertised_host));
        }
    }

    /// The settings as they were given, by name.
    pub fn given(&self) -> &Configs {
        &self.given
    }

    pub(super) fn build(given: Configs) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::read(&Effective::new(&given, &DynamicConfigs::default()), given)
    }

    fn read(effective: &Effective, given: Configs) -> Result<BrokerConfig, ConfigError> {
        let settings = Settings(effective);
        let listeners = listeners(&settings).parse()?;
        Ok(BrokerConfig {
            node_id: settings.int32("node.id"),
            listeners: listeners.broker,
            controller_listeners: listeners.controller,
            log_dirs: log_dirs(&settings),
            rack: settings.text("broker.rack"),
            num_partitions: settings.int32("num.partitions"),
            default_replication_factor: settings.int16("default.replication.factor"),
            auto_create_topics_enable: settings.boolean("auto.create.topics.enable"),
            delete_topic_enable: settings.boolean("delete.topic.enable"),
            log_retention_check_interval: settings.ms("log.retention.check.interval.ms"),
            log_initial_task_delay: settings.ms("log.initial.task.delay.ms"),
            log_flush_scheduler_interval: settings.ms("log.flush.scheduler.interval.ms"),
            log_flush_offset_checkpoint_interval: settings.ms("log.flush.offset.checkpoint.interval.ms"),
            log_flush_start_offset_checkpoint_interval: settings.ms("log.flush.start.offset.checkpoint.interval.ms"),
            high_watermark_checkpoint_interval: settings.ms("replica.high.watermark.checkpoint.interval.ms"),
            log_segment_delete_delay: settings.ms("log.segment.delete.delay.ms"),
            producer_id_expiration_ms: settings.long("producer.id.expiration.ms"),
            producer_id_expiration_check_interval: settings.ms("producer.id.expiration.check.interval.ms"),
            fetch_max_bytes: settings.count("fetch.max.bytes"),
            max_incremental_fetch_session_cache_slots: settings.count("max.incremental.fetch.session.cache.slots"),
            max_request_partition_size_limit: settings.count("max.request.partition.size.limit"),
            offsets_topic_num_partitions: settings.int32("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: settings.int16("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: settings.int32("offsets.topic.segment.bytes"),
            offsets_topic_compression_codec: codec(&settings)?,
            offsets_retention_ms: settings.long("offsets.retention.minutes") * 60_000,
            offsets_retention_check_interval: settings.ms("offsets.retention.check.interval.ms"),
            offset_metadata_max_bytes: settings.count("offset.metadata.max.bytes"),
            group_initial_rebalance_delay_ms: settings.int32("group.initial.rebalance.delay.ms"),
            group_min_session_timeout_ms: settings.int32("group.min.session.timeout.ms"),
            group_max_session_timeout_ms: settings.int32("group.max.session.timeout.ms"),
            group_max_size: settings.count("group.max.size"),
            max_connections: settings.count("max.connections"),
            max_connections_per_ip: settings.count("max.connections.per.ip"),
            max_connections_per_ip_overrides: per_ip_overrides(&settings)?,
            connections_max_idle: settings.ms("connections.max.idle.ms"),
            socket_request_max_bytes: settings.count("socket.request.max.bytes"),
            shards: Some(settings.count("kringle.shards")).filter(|&n| n > 0),
            admin_listener: admin_listener(&settings)?,
            durable_acks: settings.boolean("kringle.durable.acks"),
            io_driver: match settings.text("kringle.io.driver").as_deref() {
                Some("ring") => IoDriver::Ring,
                Some("syscall") => IoDriver::Syscall,
                _ => IoDriver::Auto,
            },
            busy_poll: settings.us("kringle.busy.poll.us"),
            journal_bytes: u64::try_from(settings.long("kringle.journal.bytes")).unwrap_or(0),
            memory_budget_bytes: settings.count("kringle.memory.budget.bytes"),
            given,
        })
    }
}

fn listeners(settings: &Settings<'_>) -> Given {
    Given {
        listeners: settings.list("listeners"),
        advertised: settings.0.value("advertised.listeners").map(|_| settings.list("advertised.listeners")),
        protocol_map: (
            settings.text("listener.security.protocol.map").unwrap_or_default(),
            settings.0.raw("listener.security.protocol.map").is_some(),
        ),
        controller_names: settings.list("controller.listener.names"),
        inter_broker_name: settings.text("inter.broker.listener.name"),
        inter_broker_protocol: settings
            .0
            .raw("security.inter.broker.protocol")
            .and_then(|_| settings.text("security.inter.broker.protocol")),
    }
}

fn log_dirs(settings: &Settings<'_>) -> Vec<PathBuf> {
    let dirs = match settings.list("log.dirs") {
        dirs if dirs.is_empty() => settings.list("log.dir"),
        dirs => dirs,
    };
    dirs.into_iter().map(PathBuf::from).collect()
}

fn codec(settings: &Settings<'_>) -> Result<u8, ConfigError> {
    let name = "offsets.topic.compression.codec";
    let codec = settings.long(name);
    u8::try_from(codec).ok().filter(|codec| *codec <= 4).ok_or_else(|| {
        ConfigError::value(name, codec.to_string(), "must be 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) or 4 (zstd)")
    })
}

fn per_ip_overrides(settings: &Settings<'_>) -> Result<BTreeMap<IpAddr, usize>, ConfigError> {
    let name = "max.connections.per.ip.overrides";
    let text = settings.text(name).unwrap_or_default();
    let parse = |entry: &str| {
        let (ip, limit) = entry.rsplit_once(':')?;
        let ip = ip.trim().trim_matches(['[', ']']);
        Some((ip.parse().ok()?, limit.trim().parse().ok()?))
    };
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let parsed = entries.map(|entry| {
        parse(entry).ok_or_else(|| {
            let must = format!("{entry} must be of the form address:count, with an IP address and not a name");
            ConfigError::value(name, &text, must)
        })
    });
    parsed.collect()
}

fn admin_listener(settings: &Settings<'_>) -> Result<Option<SocketAddr>, ConfigError> {
    let name = "kringle.admin.listener";
    let Some(text) = settings.text(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let address = host_and_port(&text).and_then(|(host, port)| {
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        Some(SocketAddr::new(host.parse().ok()?, port))
    });
    let must = "must be of the form address:port, with an IP address or localhost";
    address.map(Some).ok_or_else(|| ConfigError::value(name, text, must))
}

/// The tables, asked by name. A name that is not in them or has another type is a mistake in this file, which its tests
/// would find: they read every field.
struct Settings<'a>(&'a Effective);

impl Settings<'_> {
    fn long(&self, name: &str) -> i64 {
        self.0.integer(name).unwrap_or_else(|| unreachable!("{name} is a number with a default or required"))
    }

    fn int32(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).expect("its type is int")
    }

    fn int16(&self, name: &str) -> i16 {
        // `default.replication.factor` is an int in the table and a short on the wire.
        i16::try_from(self.long(name)).unwrap_or(i16::MAX)
    }

    /// Numbers below 0, where Kafka allows them, count as 0.
    fn count(&self, name: &str) -> usize {
        usize::try_from(self.long(name).max(0)).expect("not negative, and usize has 64 bits")
    }

    /// Negative times mean never.
    fn ms(&self, name: &str) -> Duration {
        u64::try_from(self.long(name)).map_or(Duration::MAX, Duration::from_millis)
    }

    /// For settings that begin at 0.
    fn us(&self, name: &str) -> Duration {
        Duration::from_micros(self.long(name).unsigned_abs())
    }

    fn boolean(&self, name: &str) -> bool {
        self.0.value(name) == Some(Value::Boolean(true))
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.0.value(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Null is empty.
    fn list(&self, name: &str) -> Vec<String> {
        match self.0.value(name) {
            Some(Value::List(elements)) => elements,
            _ => Vec::new(),
        }
    }
}
