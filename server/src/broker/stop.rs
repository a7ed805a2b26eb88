//! The ordered stop. The clean-shutdown mark comes last: whatever fails before it makes the next start scan the logs.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use kringle_log::{TopicPartition, journal};

use super::control::ControlThread;
use crate::shard::checkpoint::Offsets;

/// How long the requests under way may take to be answered before the logs are closed.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Stops everything in order.
pub(super) async fn stop(thread: &mut ControlThread) -> Result<(), String> {
    let node = thread.node.clone();
    let asked = node.shards().iter().map(|shard| {
        shard.run(|shard, reply| {
            shard.close_connections();
            reply.send(());
        })
    });
    join_all(asked).await;
    drain(thread).await;
    let closing = node.shards().iter().map(|shard| {
        shard.run(|shard, reply| {
            let task = shard.clone();
            shard.rt.spawn(async move { reply.send(task.close_logs().await) });
        })
    });
    let mut closed = BTreeMap::<TopicPartition, Offsets>::new();
    for shard in join_all(closing).await {
        closed.extend(shard.ok_or("a shard ended before its logs were closed")??);
    }
    thread.write_checkpoints(&closed).map_err(|error| format!("the checkpoints cannot be written: {error}"))?;
    thread.plane.close(thread.rt.wall_ms()).map_err(|error| error.to_string())?;
    journal::remove(thread.rt.fs(), &node.log_dir).map_err(|error| format!("the commit journal: {error}"))?;
    let epoch = thread.plane.broker_epoch();
    thread.dir.write_clean_shutdown(epoch).map_err(|error| format!("the clean-shutdown mark: {error}"))?;
    for shard in node.shards() {
        shard
            .run(|shard, reply: kringle_runtime::Reply<()>| {
                shard.stop();
                reply.send(());
            })
            .await;
    }
    Ok(())
}

/// Waits until the connections have ended, which they do once their last answer is sent.
async fn drain(thread: &ControlThread) {
    let deadline = thread.rt.now() + DRAIN_TIME;
    while thread.node.connections.total() > 0 && thread.rt.now() < deadline {
        thread.rt.sleep(Duration::from_millis(5)).await;
    }
}
