//! The control thread: the one place where metadata changes.
//!
//! It owns the metadata log and works off commands one after the other: append and fsync, apply, publish the new image to
//! all shards, and only then answer, so that whoever asked reads its own write on any shard. It may block: no
//! connection lives here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kringle_log::{Checkpoint, TopicPartition};
use kringle_protocol::ErrorCode;
use kringle_runtime::{Host, Receiver, Reply, Rt, Sender};

use super::{StartError, Started, start, stop};
use crate::config::BrokerConfig;
use crate::control::ControlPlane;
use crate::control::image::ResourceType;
use crate::control::plane::{Command, CommandResponse, QuorumState};
use crate::node::Node;
use crate::shard::checkpoint::Offsets;

/// What the control thread is asked.
pub(crate) enum ControlMessage {
    /// Change metadata.
    Execute(Command, Reply<CommandResponse>),
    /// A block of producer ids.
    AllocateProducerIds(Reply<Result<Range<i64>, ErrorCode>>),
    /// The state of the quorum of one.
    DescribeQuorum(Reply<QuorumState>),
    /// Write the checkpoints now.
    Checkpoint(Reply<()>),
    /// Stop in order.
    Stop,
    /// Stop at once, without the clean-shutdown mark.
    StorageFailed(String),
}

/// The control thread's whole life.
pub(super) async fn run(
    rt: Rt,
    host: Host,
    config: BrokerConfig,
    control: Sender<ControlMessage>,
    inbox: Receiver<ControlMessage>,
    started: Reply<Result<Started, StartError>>,
    ended: Reply<Result<(), String>>,
) {
    rt.allow_blocking();
    let mut thread = match start::start(&rt, &host, config, control).await {
        Ok((thread, said)) => {
            started.send(Ok(said));
            thread
        }
        Err(error) => return started.send(Err(error)),
    };
    ended.send(thread.serve(inbox).await);
}

/// What the control thread owns.
pub(super) struct ControlThread {
    pub(super) rt: Rt,
    pub(super) node: Arc<Node>,
    pub(super) plane: ControlPlane,
    pub(super) dir: kringle_log::LogDir,
    /// What the checkpoint files say.
    pub(super) checkpointed: BTreeMap<TopicPartition, Offsets>,
}

impl ControlThread {
    async fn serve(&mut self, mut inbox: Receiver<ControlMessage>) -> Result<(), String> {
        let checkpoint_every = checkpoint_interval(&self.node.config);
        let mut next_checkpoint = self.rt.now() + checkpoint_every;
        loop {
            let left = next_checkpoint.since(self.rt.now());
            let Some(message) = self.rt.timeout(left, inbox.recv()).await else {
                self.checkpoint().await;
                next_checkpoint = self.rt.now() + checkpoint_every;
                continue;
            };
            match message {
                None | Some(ControlMessage::Stop) => return stop::stop(self).await,
                Some(ControlMessage::StorageFailed(why)) => return Err(why),
                Some(ControlMessage::Execute(command, reply)) => {
                    if let Some(response) = self.execute(command).await? {
                        reply.send(response);
                    }
                }
                Some(ControlMessage::AllocateProducerIds(reply)) => {
                    let block = self.plane.allocate_producer_ids(self.rt.wall_ms());
                    reply.send(block.map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE));
                }
                Some(ControlMessage::DescribeQuorum(reply)) => {
                    reply.send(self.plane.describe_quorum(self.rt.wall_ms()))
                }
                Some(ControlMessage::Checkpoint(reply)) => {
                    self.checkpoint().await;
                    reply.send(());
                }
            }
        }
    }

    /// Asks all shards for the offsets of their logs and writes down what moved since the last time.
    async fn checkpoint(&mut self) {
        let asked = self.node.shards().iter().map(|shard| shard.run(|shard, reply| reply.send(shard.offsets())));
        let offsets: BTreeMap<_, _> = join_all(asked).await.into_iter().flatten().flatten().collect();
        if offsets == self.checkpointed {
            return;
        }
        match self.write_checkpoints(&offsets) {
            Ok(()) => self.checkpointed = offsets,
            Err(error) => tracing::error!("the checkpoints cannot be written: {error}"),
        }
    }

    /// Writes the three checkpoint files, durably.
    pub(super) fn write_checkpoints(&self, offsets: &BTreeMap<TopicPartition, Offsets>) -> std::io::Result<()> {
        let of = |pick: fn(&Offsets) -> i64| offsets.iter().map(|(tp, offsets)| (tp.clone(), pick(offsets))).collect();
        self.dir.write_checkpoint(Checkpoint::RecoveryPoint, &of(|offsets| offsets.recovery_point))?;
        self.dir.write_checkpoint(Checkpoint::Replication, &of(|offsets| offsets.high_watermark))?;
        let raised = offsets.iter().filter(|(_, offsets)| offsets.log_start > 0);
        let raised = raised.map(|(tp, offsets)| (tp.clone(), offsets.log_start)).collect();
        self.dir.write_checkpoint(Checkpoint::LogStart, &raised)
    }

    /// Executes a command; an error means that the metadata log failed, and the broker must stop.
    async fn execute(&mut self, command: Command) -> Result<Option<CommandResponse>, String> {
        let executed = match self.plane.execute(command, self.rt.wall_ms()) {
            Ok(executed) => executed,
            // Nothing was changed; whoever asked learns it from the missing answer.
            Err(error) if error.is_disk_full() => {
                tracing::error!("metadata cannot be changed: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        };
        if executed.delta.configs.iter().any(|resource| resource.kind == ResourceType::Broker) {
            self.node.reconfigure(&executed.image);
        }
        if executed.changed {
            publish(&self.node, &executed.image).await?;
        }
        Ok(Some(executed.response))
    }
}

/// How often the checkpoint files are written while offsets move: all three as often as the most urgent one asks for.
fn checkpoint_interval(config: &BrokerConfig) -> Duration {
    let least = config.high_watermark_checkpoint_interval.min(config.log_flush_offset_checkpoint_interval);
    least.min(config.log_flush_start_offset_checkpoint_interval).max(Duration::from_millis(1))
}

/// Hands a new image to all shards and waits until each works by it.
pub(super) async fn publish(node: &Arc<Node>, image: &Arc<crate::control::image::Image>) -> Result<(), String> {
    let mut waiting = Vec::new();
    for shard in node.shards() {
        let image = image.clone();
        waiting.push(shard.run(move |shard, reply| {
            let shard_task = shard.clone();
            shard.rt.spawn(async move {
                reply.send(shard_task.publish(image).await.map_err(|error| error.to_string()));
            });
        }));
    }
    for published in join_all(waiting).await {
        published.unwrap_or_else(|| Err("a shard stopped".to_owned()))?;
    }
    Ok(())
}
