//! A whole broker: how it starts, lives and stops. The same code runs on real threads and in the simulator.
//!
//! Start, in order: take the listening ports, lock the log directory, load the metadata log, start the shards (each
//! recovers its own partitions), register and unfence, accept. Stop, in order: accept no more, close the connections,
//! flush and close every log, write the checkpoints, and the clean-shutdown mark last.

pub(crate) mod control;
mod start;
mod stop;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kringle_runtime::{Answer, Host, Sender, channel, oneshot};

use crate::config::BrokerConfig;
use control::ControlMessage;

/// Commands that may wait for the control plane; more wait at their shard.
const CONTROL_QUEUE: usize = 256;

/// Why a broker does not start. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be taken.
    #[error("{listener}: cannot listen there ({error}). {}", mend_listener(.error))]
    Listen {
        /// The setting and its value.
        listener: String,
        /// The system's word.
        error: std::io::Error,
    },
    /// The log directory cannot be used.
    #[error("log.dirs={dir}: {why}")]
    Directory {
        /// The directory.
        dir: String,
        /// What is wrong, and how to mend it.
        why: String,
    },
    /// A shard cannot open its partitions.
    #[error("{0}")]
    Shard(String),
    /// The metadata log cannot be opened or belongs to somebody else.
    #[error("{0}")]
    Control(#[from] crate::control::ControlError),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
}

fn mend_listener(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "Stop the other program, or name another port",
        std::io::ErrorKind::AddrNotAvailable => "Name an address of this machine, or none for all",
        std::io::ErrorKind::PermissionDenied => "Ports below 1024 need CAP_NET_BIND_SERVICE; name a higher one",
        _ => "Name a host and a port of this machine",
    }
}

/// What a started broker says of itself.
#[derive(Clone, Debug)]
pub struct Started {
    /// Where it listens: listener name and address.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The cluster's id.
    pub cluster_id: String,
    /// Its own id.
    pub node_id: i32,
    /// Its log directory and the file system under it.
    pub log_dir: PathBuf,
    /// `ext4`, `xfs` ...
    pub filesystem: String,
    /// Number of shards.
    pub shards: usize,
    /// Partitions it leads.
    pub partitions: usize,
    /// Where `/metrics` and `/health` are, if anywhere.
    pub admin: Option<SocketAddr>,
    /// From the call of [`start`] to the first connection it would accept.
    pub took: Duration,
}

/// A running broker. Dropping it does not stop it; [`Broker::stopper`] does.
pub struct Broker {
    control: Sender<ControlMessage>,
    started: Option<Answer<Result<Started, StartError>>>,
    ended: Option<Answer<Result<(), String>>>,
}

/// Stops a broker from any thread.
#[derive(Clone)]
pub struct Stopper(Sender<ControlMessage>);

impl Stopper {
    /// Asks the broker to stop in order; once is enough.
    pub fn stop(&self) {
        if self.0.try_send(ControlMessage::Stop).is_err() {
            tracing::debug!("stop: the control plane is stopping already");
        }
    }
}

/// Starts a broker on `host`. Returns at once; [`Broker::started`] waits for it to accept connections.
///
/// # Errors
/// When not even its control thread can be started.
pub fn start(host: &Host, config: BrokerConfig) -> Result<Broker, StartError> {
    let (control, inbox) = channel(CONTROL_QUEUE);
    let (started_reply, started) = oneshot();
    let (ended_reply, ended) = oneshot();
    let shards = config.shards.unwrap_or_else(|| host.cores());
    let (own_host, own_control) = (host.clone(), control.clone());
    host.start("control", shards, None, move |rt| {
        Box::pin(control::run(rt, own_host, config, own_control, inbox, started_reply, ended_reply))
    })
    .map_err(StartError::Thread)?;
    Ok(Broker { control, started: Some(started), ended: Some(ended) })
}

impl Broker {
    /// Waits until the broker accepts connections.
    ///
    /// # Errors
    /// Why it does not start. Nothing of it runs any more then.
    pub async fn started(&mut self) -> Result<Started, StartError> {
        let started = self.started.take().expect("asked once");
        started.await.unwrap_or_else(|| Err(StartError::Thread(std::io::Error::other("the control thread ended"))))
    }

    /// What another thread may stop it by.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.control.clone())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why it ended without being asked to, or could not end in order.
    pub async fn ended(&mut self) -> Result<(), String> {
        let ended = self.ended.take().expect("asked once");
        ended.await.unwrap_or_else(|| Err("the control thread ended".to_owned()))
    }
}
