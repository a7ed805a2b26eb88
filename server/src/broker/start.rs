//! The start: see the module above for the order.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kringle_log::{Checkpoint, DirError, LogDir, Purpose, journal};
use kringle_runtime::{Fs, Host, Listener, Receiver, Reply, Rt, Sender, Time, channel, oneshot};
use nix::errno::Errno;

use super::control::{ControlMessage, ControlThread, publish};
use super::{StartError, Started};
use crate::config::{BrokerConfig, Listener as Configured};
use crate::control::ControlPlane;
use crate::control::controller::registration::{Endpoint, Registration};
use crate::control::image::Image;
use crate::control::plane::Command;
use crate::control::quorum_state::QuorumState;
use crate::net::accept;
use crate::node::{Identity, ListenerId, Node, Recovered};
use crate::shard::{Message, Shard, ShardHandle};

/// Messages that may wait for a shard; who sends more waits.
const SHARD_QUEUE: usize = 4096;

/// How long a port that is in use is waited for.
const PORT_PATIENCE: Duration = Duration::from_secs(1);
const PORT_RETRY_EVERY: Duration = Duration::from_millis(5);

/// PLAINTEXT in Kafka's numbers.
const PLAINTEXT: i16 = 0;

/// Starts everything; returns when connections are accepted.
pub(super) async fn start(
    rt: &Rt,
    host: &Host,
    mut config: BrokerConfig,
    control: Sender<ControlMessage>,
) -> Result<(ControlThread, Started), StartError> {
    let began = rt.now();
    let listeners = listen(rt, &mut config).await?;
    let log_dir = config.log_dirs[0].clone();
    let (dir, recovered) = open_directory(rt.fs(), &log_dir)?;
    let log_dir = rt.fs().real_path(&log_dir).unwrap_or(log_dir);
    let random = {
        let rt = rt.clone();
        Box::new(move || rt.random_bytes())
    };
    let own = registration(&config);
    let dirs = std::slice::from_ref(&dir);
    let mut plane = ControlPlane::open(rt.fs(), dirs, config.clone(), own, None, random, rt.wall_ms())?;
    let identity = Identity { cluster_id: plane.cluster_id().to_owned(), log_dir: log_dir.clone(), recovered, config };
    let node = Arc::new(Node::new(identity, control));
    remove_deleted(rt, &dir, plane.image());
    start_shards(host, &node, plane.image()).await?;
    let unfenced = plane.execute(Command::Unfence, rt.wall_ms())?;
    node.reconfigure(&unfenced.image);
    publish(&node, &unfenced.image).await.map_err(StartError::Shard)?;
    dir.remove_clean_shutdown().map_err(|error| directory_error(&log_dir, &error))?;
    let bound = listeners.iter().map(|bound| (bound.name.clone(), bound.listener.local_addr())).collect();
    accept(rt, &node, listeners);
    let admin = match node.config.admin_listener {
        None => None,
        Some(address) => Some(
            crate::admin::start(address, node.clone())
                .map_err(|error| StartError::Listen { listener: format!("kringle.admin.listener={address}"), error })?,
        ),
    };
    let started = Started {
        listeners: bound,
        cluster_id: node.cluster_id.clone(),
        node_id: node.node_id,
        filesystem: rt.fs().kind(&log_dir),
        log_dir,
        shards: node.shards().len(),
        partitions: plane.image().topics().map(|topic| topic.partitions.len()).sum(),
        admin,
        took: since(rt, began),
    };
    Ok((ControlThread { rt: rt.clone(), node, plane, dir, checkpointed: BTreeMap::new() }, started))
}

fn since(rt: &Rt, began: Time) -> Duration {
    rt.now().since(began)
}

/// A listener that is open but not yet accepted from.
struct Bound {
    name: String,
    id: ListenerId,
    listener: Listener,
}

/// Takes the ports first: a second broker on the same machine fails before it touches anything.
async fn listen(rt: &Rt, config: &mut BrokerConfig) -> Result<Vec<Bound>, StartError> {
    let brokers = config.listeners.iter_mut().enumerate().map(|(index, it)| (ListenerId::Broker(index), it));
    let controllers = config.controller_listeners.iter_mut().enumerate();
    let controllers = controllers.map(|(index, it)| (ListenerId::Controller(index), it));
    let mut bound = Vec::new();
    for (id, configured) in brokers.chain(controllers) {
        let listener = take_port(rt, configured).await?;
        if configured.advertised_port == 0 {
            configured.advertised_port = listener.local_addr().port();
        }
        bound.push(Bound { name: configured.name.clone(), id, listener });
    }
    Ok(bound)
}

/// The kernel takes a killed process's rings apart after the process is gone, and a listening socket with them: whoever
/// starts it again at once may find the port still taken.
async fn take_port(rt: &Rt, configured: &Configured) -> Result<Listener, StartError> {
    let mut address = resolve(configured)?;
    let deadline = rt.now() + PORT_PATIENCE;
    loop {
        match rt.listen(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && rt.now() < deadline => {
                rt.sleep(PORT_RETRY_EVERY).await;
            }
            // A machine without IPv6: all addresses are those of IPv4.
            Err(error) if is_without_ipv6(&error) && address.ip() == Ipv6Addr::UNSPECIFIED => {
                address.set_ip(Ipv4Addr::UNSPECIFIED.into());
            }
            taken => {
                return taken.map_err(|error| StartError::Listen { listener: shown(configured), error });
            }
        }
    }
}

fn is_without_ipv6(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

fn shown(listener: &Configured) -> String {
    format!("listeners={}://{}:{}", listener.name, listener.host.as_deref().unwrap_or_default(), listener.port)
}

fn resolve(listener: &Configured) -> Result<SocketAddr, StartError> {
    let Some(host) = &listener.host else {
        return Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), listener.port));
    };
    let mut addresses = (host.as_str(), listener.port)
        .to_socket_addrs()
        .map_err(|error| StartError::Listen { listener: shown(listener), error })?;
    addresses.next().ok_or_else(|| StartError::Listen {
        listener: shown(listener),
        error: std::io::Error::other("the host has no address"),
    })
}

fn open_directory(fs: &Fs, path: &PathBuf) -> Result<(LogDir, Recovered), StartError> {
    let failed = |why: String| StartError::Directory { dir: path.display().to_string(), why };
    let dir = LogDir::open(fs, path).map_err(|error| failed(unusable(path, &error)))?;
    let recovered = Recovered {
        clean: dir.clean_shutdown().map_err(|error| failed(error.to_string()))?.is_some(),
        recovery_points: dir.read_checkpoint(Checkpoint::RecoveryPoint).map_err(|error| failed(error.to_string()))?,
        log_starts: dir.read_checkpoint(Checkpoint::LogStart).map_err(|error| failed(error.to_string()))?,
    };
    if !recovered.clean {
        redo_journals(fs, path).map_err(|error| failed(format!("the commit journal: {error}")))?;
        // What the last process wrote may sit in the page cache only: recovery must not read what the disk may lose.
        fs.sync_fs(path).map_err(|error| failed(error.to_string()))?;
    }
    journal::remove(fs, path).map_err(|error| failed(error.to_string()))?;
    Ok((dir, recovered))
}

/// Brings what the last process made durable in its journals to the logs, unless another broker ran since.
fn redo_journals(fs: &Fs, log_dir: &Path) -> Result<(), String> {
    let state = QuorumState::read(fs, log_dir).map_err(|error| error.to_string())?;
    let epoch = state.map(|state| state.leader_epoch);
    let redone = journal::redo(fs, log_dir, epoch).map_err(|error| error.to_string())?;
    if redone.records > 0 {
        tracing::info!("{} bytes of {} commits were taken from the journal", redone.bytes, redone.records);
    }
    Ok(())
}

/// What is wrong with the directory, and how to mend it.
fn unusable(path: &Path, error: &DirError) -> String {
    use std::io::ErrorKind;
    let DirError::Io { source, .. } = error else { return error.to_string() };
    let user = nix::unistd::geteuid();
    match source.kind() {
        ErrorKind::PermissionDenied => {
            format!("not writable by uid {user} ({source}). Run: install -d -o {user} {}", path.display())
        }
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            format!("not a directory ({source}). Name one, or a path where one can be made")
        }
        ErrorKind::ReadOnlyFilesystem => format!("cannot be written ({source}). Name one on a writable filesystem"),
        _ => format!("cannot be used: {source}"),
    }
}

fn directory_error(dir: &Path, error: &std::io::Error) -> StartError {
    StartError::Directory { dir: dir.display().to_string(), why: error.to_string() }
}

fn registration(config: &BrokerConfig) -> Registration {
    let endpoint = |listener: &Configured| Endpoint {
        name: listener.name.clone(),
        host: listener.advertised_host.clone(),
        port: listener.advertised_port,
        security_protocol: PLAINTEXT,
    };
    Registration {
        node_id: config.node_id,
        broker_endpoints: config.listeners.iter().filter(|listener| listener.advertised).map(endpoint).collect(),
        controller_endpoints: config.controller_listeners.iter().map(endpoint).collect(),
        rack: config.rack.clone(),
        log_dirs: Vec::new(),
    }
}

/// Removes what was renamed for deletion before the last stop; logs that no topic claims are set aside as Kafka does.
fn remove_deleted(rt: &Rt, dir: &LogDir, image: &Image) {
    let listing = match dir.list() {
        Ok(listing) => listing,
        Err(error) => return tracing::warn!("{}: cannot be listed: {error}", dir.path().display()),
    };
    for entry in listing.partitions {
        let known = image.topic(&entry.partition.topic).is_some();
        let removed = match entry.purpose {
            Purpose::Delete => dir.remove(&entry.path),
            Purpose::Log if !known && !is_metadata(&entry.partition.topic) => {
                tracing::warn!("{}: no topic claims it; it is renamed to -stray", entry.path.display());
                let unique = u128::from_be_bytes(rt.random_bytes());
                dir.rename_away(&entry.partition, Purpose::Stray, unique).map(drop)
            }
            _ => Ok(()),
        };
        if let Err(error) = removed {
            tracing::warn!("{}: {error}", entry.path.display());
        }
    }
}

fn is_metadata(topic: &str) -> bool {
    topic == "__cluster_metadata"
}

/// All cores but one: the kernel's part of the work (interrupts, flushes, writeback), the control thread and the machine's other
/// processes need one too, and shards that have to share theirs do less together (docs/decisions/how-many-shards.md).
fn shards_for(cores: usize) -> usize {
    cores.saturating_sub(1).max(1)
}

/// Starts one thread per shard and waits until each has opened its partitions.
async fn start_shards(host: &Host, node: &Arc<Node>, image: &Arc<Image>) -> Result<(), StartError> {
    let count = node.config.shards.unwrap_or_else(|| shards_for(host.cores()));
    let (handles, inboxes): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let (sender, receiver) = channel(SHARD_QUEUE);
            (ShardHandle::new(sender), receiver)
        })
        .unzip();
    node.set_shards(handles);
    let mut opening = Vec::with_capacity(count);
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let (reply, ready) = oneshot();
        let (node, image) = (node.clone(), image.clone());
        let cpu = (count > 1).then(|| index % host.cores());
        host.start(&format!("shard-{index}"), index, cpu, move |rt| Box::pin(run_shard(rt, node, image, inbox, reply)))
            .map_err(StartError::Thread)?;
        opening.push(ready);
    }
    for ready in opening {
        ready.await.unwrap_or_else(|| Err("a shard ended while it started".to_owned())).map_err(StartError::Shard)?;
    }
    Ok(())
}

async fn run_shard(
    rt: Rt,
    node: Arc<Node>,
    image: Arc<Image>,
    inbox: Receiver<Message>,
    ready: Reply<Result<(), String>>,
) {
    let shard = Shard::new(rt, node, image);
    match shard.open_partitions().await {
        Ok(()) => ready.send(Ok(())),
        Err(error) => return ready.send(Err(error.to_string())),
    }
    shard.serve(inbox).await;
}

/// From here on clients are served.
fn accept(rt: &Rt, node: &Arc<Node>, listeners: Vec<Bound>) {
    for Bound { id, listener, .. } in listeners {
        rt.spawn(accept::accept(rt.clone(), node.clone(), listener, id));
    }
}
