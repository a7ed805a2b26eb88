//! The broker or brokers under load: who leads what, which versions they speak, and the topics of a run.
//!
//! Asked once before the load begins. A leader that moves while the load runs is an error of the run, not followed: a load
//! generator that mends what it measures measures something else.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use kringle_client::{Connection, Versions};
use kringle_protocol::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kringle_protocol::delete_topics_request::DeleteTopicState;
use kringle_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kringle_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse,
};
use kringle_protocol::metadata_request::MetadataRequestTopic;
use kringle_protocol::{ErrorCode, Uuid};
use kringle_runtime::Rt;

use crate::cli::Target;
use crate::error::{BenchError, check};

/// How brokers know us.
pub(crate) const CLIENT_ID: &str = "kringle-bench";
/// Longest wait for a broker that is not ready yet: for topics to be created or deleted, for leaders, for coordinators.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries meanwhile.
pub(crate) const RETRY: Duration = Duration::from_millis(50);

/// What is known of the brokers.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// The one that was named on the command line.
    pub(crate) bootstrap: SocketAddr,
    pub(crate) versions: Versions,
    pub(crate) cluster_id: String,
    pub(crate) brokers: BTreeMap<i32, SocketAddr>,
    pub(crate) topics: Vec<Topic>,
}

/// A topic of the run.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// Zero where the broker knows no ids.
    pub(crate) id: Uuid,
    /// The leader of each partition.
    pub(crate) leaders: Vec<i32>,
}

/// A partition of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Index in [`Cluster::topics`].
    pub(crate) topic: usize,
    pub(crate) partition: i32,
    pub(crate) leader: i32,
}

impl Cluster {
    /// Connects to the broker, creates what is missing and waits until every partition has a leader.
    pub(crate) async fn prepare(rt: &Rt, target: &Target) -> Result<Cluster, BenchError> {
        let connection = connect(rt, &target.broker).await?;
        let bootstrap = connection.peer_addr();
        let versions = Versions::ask(&connection).await?;
        let names = topic_names(target);
        let admin = Admin { rt, connection: &connection, versions: &versions };
        if target.fresh {
            admin.delete(&names).await?;
        }
        admin.create(target, &names).await?;
        let metadata = admin.with_leaders(&names).await?;
        let brokers = broker_addresses(&metadata, bootstrap);
        let topics = metadata
            .topics
            .into_iter()
            .map(|topic| {
                let mut partitions = topic.partitions;
                partitions.sort_by_key(|partition| partition.partition_index);
                let leaders = partitions.iter().map(|partition| partition.leader_id).collect();
                Topic { name: topic.name.unwrap_or_default(), id: topic.topic_id, leaders }
            })
            .collect();
        let cluster_id = metadata.cluster_id.unwrap_or_default();
        Ok(Cluster { bootstrap, versions, cluster_id, brokers, topics })
    }

    /// Every partition of the run, topics taking turns.
    pub(crate) fn places(&self) -> Vec<Place> {
        let most = self.topics.iter().map(|topic| topic.leaders.len()).max().unwrap_or(0);
        let mut places = Vec::new();
        for partition in 0..most {
            for (topic, known) in self.topics.iter().enumerate() {
                if let Some(leader) = known.leaders.get(partition) {
                    let partition = i32::try_from(partition).expect("partitions are counted in 32 bits");
                    places.push(Place { topic, partition, leader: *leader });
                }
            }
        }
        places
    }

    /// The share of one of `lanes` connections: every so-many-th partition, or one that several share where lanes are more.
    pub(crate) fn share(&self, lane: usize, lanes: usize) -> Vec<Place> {
        let all = self.places();
        if lanes > all.len() {
            return vec![all[lane % all.len()]];
        }
        all.into_iter().skip(lane).step_by(lanes).collect()
    }

    /// The thread of a lane. Lanes that share a partition are on one thread, and so are those who read it.
    pub(crate) fn thread_of(&self, lane: usize, lanes: usize, threads: usize) -> usize {
        let partitions: usize = self.topics.iter().map(|topic| topic.leaders.len()).sum();
        lane % lanes.min(partitions).max(1) % threads
    }

    pub(crate) fn address_of(&self, broker: i32) -> SocketAddr {
        self.brokers.get(&broker).copied().unwrap_or(self.bootstrap)
    }

    /// The offset of each place at `timestamp`: -2 is the first, -1 the one after the last.
    pub(crate) async fn offsets(&self, rt: &Rt, places: &[Place], timestamp: i64) -> Result<Vec<i64>, BenchError> {
        let mut found = BTreeMap::new();
        let mut leaders: Vec<i32> = places.iter().map(|place| place.leader).collect();
        leaders.sort_unstable();
        leaders.dedup();
        for leader in leaders {
            let connection = Connection::open(rt, self.address_of(leader), CLIENT_ID).await?;
            let mut topics: Vec<ListOffsetsTopic> = Vec::new();
            for (index, topic) in self.topics.iter().enumerate() {
                let here = places.iter().filter(|place| place.topic == index && place.leader == leader);
                let partitions: Vec<_> = here
                    .map(|place| ListOffsetsPartition {
                        partition_index: place.partition,
                        timestamp,
                        ..Default::default()
                    })
                    .collect();
                topics.push(ListOffsetsTopic { name: topic.name.clone(), partitions });
            }
            topics.retain(|topic| !topic.partitions.is_empty());
            let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
            let answer = connection.call(self.versions.best::<ListOffsetsRequest>()?, &request).await?;
            for topic in answer.topics {
                for partition in topic.partitions {
                    check(format!("offsets of {}-{}", topic.name, partition.partition_index), partition.error_code)?;
                    found.insert((topic.name.clone(), partition.partition_index), partition.offset);
                }
            }
        }
        let offset_of = |place: &Place| found.get(&(self.topics[place.topic].name.clone(), place.partition)).copied();
        Ok(places.iter().map(|place| offset_of(place).unwrap_or(0)).collect())
    }

    /// Deletes the topics of the run.
    pub(crate) async fn delete_topics(&self, rt: &Rt) -> Result<(), BenchError> {
        let connection = Connection::open(rt, self.bootstrap, CLIENT_ID).await?;
        let names: Vec<String> = self.topics.iter().map(|topic| topic.name.clone()).collect();
        Admin { rt, connection: &connection, versions: &self.versions }.delete(&names).await
    }
}

/// Connects to the first of a name's addresses where somebody answers: `localhost` may be `::1` first and the broker elsewhere.
async fn connect(rt: &Rt, broker: &str) -> Result<Connection, BenchError> {
    let failed = |source| BenchError::Resolve { broker: broker.to_owned(), source };
    let mut refused = None;
    for address in broker.to_socket_addrs().map_err(failed)? {
        match Connection::open(rt, address, CLIENT_ID).await {
            Ok(connection) => return Ok(connection),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.map_or_else(|| failed(std::io::Error::other("the name has no address")), BenchError::from))
}

fn topic_names(target: &Target) -> Vec<String> {
    let further = (1..target.topics.max(1)).map(|index| format!("{}-{index}", target.topic));
    std::iter::once(target.topic.clone()).chain(further).collect()
}

/// Where the brokers say they are. One whose name leads nowhere from here is reached as the bootstrap broker is; of several
/// addresses the one is taken that is of the bootstrap broker's kind.
fn broker_addresses(metadata: &MetadataResponse, bootstrap: SocketAddr) -> BTreeMap<i32, SocketAddr> {
    if let [only] = metadata.brokers.as_slice() {
        return BTreeMap::from([(only.node_id, bootstrap)]);
    }
    let address = |host: &str, port: i32| {
        let known: Vec<SocketAddr> = format!("{host}:{port}").to_socket_addrs().into_iter().flatten().collect();
        let alike = known.iter().find(|address| address.is_ipv4() == bootstrap.is_ipv4());
        alike.or(known.first()).copied().unwrap_or(bootstrap)
    };
    metadata.brokers.iter().map(|broker| (broker.node_id, address(&broker.host, broker.port))).collect()
}

/// Requests about topics.
struct Admin<'a> {
    rt: &'a Rt,
    connection: &'a Connection,
    versions: &'a Versions,
}

impl Admin<'_> {
    async fn metadata(&self, names: &[String]) -> Result<MetadataResponse, BenchError> {
        let topics =
            names.iter().map(|name| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() }).collect();
        let request = MetadataRequest { topics: Some(topics), allow_auto_topic_creation: false, ..Default::default() };
        Ok(self.connection.call(self.versions.best::<MetadataRequest>()?, &request).await?)
    }

    async fn delete(&self, names: &[String]) -> Result<(), BenchError> {
        let version = self.versions.best::<DeleteTopicsRequest>()?;
        let mut request = DeleteTopicsRequest { timeout_ms: 30_000, ..Default::default() };
        if version >= 6 {
            let state = |name: &String| DeleteTopicState { name: Some(name.clone()), ..Default::default() };
            request.topics = names.iter().map(state).collect();
        } else {
            request.topic_names = names.to_vec();
        }
        let answer = self.connection.call(version, &request).await?;
        for topic in answer.responses {
            if topic.error_code != i16::from(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
                check(format!("deleting topic {}", topic.name.unwrap_or_default()), topic.error_code)?;
            }
        }
        // Deleted is what the broker's view of the cluster does not show any more.
        let deadline = self.rt.now() + PATIENCE;
        while self.rt.now() < deadline && self.metadata(names).await?.topics.iter().any(|topic| topic.error_code == 0) {
            self.rt.sleep(RETRY).await;
        }
        Ok(())
    }

    /// Creates those that do not exist. A name that was just deleted may be taken for a moment.
    async fn create(&self, target: &Target, names: &[String]) -> Result<(), BenchError> {
        let deadline = self.rt.now() + PATIENCE;
        let configs: Vec<_> = target
            .topic_configs
            .iter()
            .map(|setting| {
                let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
                CreatableTopicConfig { name: name.to_owned(), value: Some(value.to_owned()) }
            })
            .collect();
        loop {
            let known = self.metadata(names).await?;
            let missing = known.topics.iter().filter(|topic| topic.error_code != 0);
            let topics: Vec<_> = missing
                .map(|topic| CreatableTopic {
                    name: topic.name.clone().unwrap_or_default(),
                    num_partitions: target.partitions,
                    replication_factor: target.replication,
                    configs: configs.clone(),
                    ..Default::default()
                })
                .collect();
            if topics.is_empty() {
                return Ok(());
            }
            let request = CreateTopicsRequest { topics, timeout_ms: 30_000, ..Default::default() };
            let answer = self.connection.call(self.versions.best::<CreateTopicsRequest>()?, &request).await?;
            let exists = |code| code == i16::from(ErrorCode::TOPIC_ALREADY_EXISTS);
            let refused = answer.topics.iter().find(|topic| topic.error_code != 0 && !exists(topic.error_code));
            if let Some(topic) = refused {
                check(format!("creating topic {}", topic.name), topic.error_code)?;
            }
            if answer.topics.iter().all(|topic| topic.error_code == 0) {
                return Ok(());
            }
            if self.rt.now() > deadline {
                let topic = names.first().cloned().unwrap_or_default();
                return Err(BenchError::NoLeader { topic, seconds: PATIENCE.as_secs() });
            }
            self.rt.sleep(RETRY).await;
        }
    }

    async fn with_leaders(&self, names: &[String]) -> Result<MetadataResponse, BenchError> {
        let deadline = self.rt.now() + PATIENCE;
        loop {
            let answer = self.metadata(names).await?;
            let waits = answer.topics.iter().find(|topic| {
                let led = |code, leader| code == 0 && leader >= 0;
                topic.error_code != 0
                    || topic.partitions.is_empty()
                    || topic.partitions.iter().any(|partition| !led(partition.error_code, partition.leader_id))
            });
            let Some(topic) = waits else { return Ok(answer) };
            if self.rt.now() > deadline {
                let topic = topic.name.clone().unwrap_or_default();
                return Err(BenchError::NoLeader { topic, seconds: PATIENCE.as_secs() });
            }
            self.rt.sleep(RETRY).await;
        }
    }
}
