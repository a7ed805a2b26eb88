//! How a shard takes in new metadata: it opens, closes and reconfigures its partitions, then works by the new image.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::join_all;
use kringle_log::{LogError, OpenLog, PartitionLog, Purpose, TopicPartition, rename_away};
use kringle_protocol::{ErrorCode, Uuid};

use super::Shard;
use super::partition::Partition;
use super::topics::log_config;
use crate::control::image::{Image, TopicImage};
use crate::names;
use crate::node::RecoveredLog;

/// Logs that are opened side by side, on as many helper threads as there are.
const OPENED_TOGETHER: usize = 64;

impl Shard {
    /// Opens the partitions of the first image. Recovery runs here, on all shards at once, before anybody is served.
    ///
    /// # Errors
    /// The first log that cannot be opened.
    pub(crate) async fn open_partitions(self: &Rc<Self>) -> Result<(), LogError> {
        let image = self.image();
        for topic in image.topics() {
            self.open_topic(topic, true).await?;
        }
        self.sync_names().await
    }

    /// Works by `image` from now on. Returns when all of this shard's partitions are as it says.
    ///
    /// # Errors
    /// The first log that cannot be created.
    pub(crate) async fn publish(self: &Rc<Self>, image: Arc<Image>) -> Result<(), LogError> {
        let before = self.image.replace(image.clone());
        self.topics.forget();
        self.forget_routes();
        let dynamic = self.node.dynamic_configs(&image);
        if dynamic != self.node.dynamic_configs(&before) {
            self.config.replace(Rc::new(self.node.config.with_dynamic(&dynamic)));
        }
        let deleted: Vec<_> = before.topics().filter(|topic| image.topic_by_id(topic.id).is_none()).collect();
        for topic in &deleted {
            self.drop_topic(topic).await;
        }
        if !deleted.is_empty() {
            self.forget_offsets(deleted.iter().map(|topic| (topic.name.clone(), topic.id)).collect());
        }
        for topic in image.topics() {
            let unchanged = before.topic_by_id(topic.id).is_some_and(|old| std::ptr::eq(old, topic) || old == topic);
            if !unchanged {
                self.open_topic(topic, false).await?;
            }
        }
        self.reconfigure(&image);
        Ok(())
    }

    async fn open_topic(self: &Rc<Self>, topic: &TopicImage, at_start: bool) -> Result<(), LogError> {
        let me = self.index();
        let mut missing = Vec::new();
        for (index, state) in (0..).zip(&topic.partitions) {
            // A clean stop leaves partitions without a leader until the next start takes them over again.
            if self.owner_of(topic.id, index) != me || !state.replicas.contains(&self.node.node_id) {
                continue;
            }
            match self.partition(topic.id, index) {
                Some(partition) => partition.lead(state.leader_epoch),
                None => missing.push((index, state.leader_epoch)),
            }
        }
        let mut partitions = Vec::with_capacity(missing.len());
        for some in missing.chunks(OPENED_TOGETHER) {
            let opened = some.iter().map(|(index, _)| self.open_log(topic.id, &topic.name, *index, at_start));
            for ((index, leader_epoch), log) in some.iter().zip(join_all(opened).await) {
                let tp = TopicPartition::new(topic.name.as_str(), *index);
                let partition = Rc::new(Partition::new(tp, log?));
                partition.lead(*leader_epoch);
                partitions.push((*index, partition));
            }
        }
        if !missing.is_empty() && !at_start {
            self.sync_names().await?;
        }
        for (index, partition) in partitions {
            self.node.partitions.insert(topic.id, index, partition.shared.clone());
            self.partitions.borrow_mut().insert((topic.id, index), partition);
        }
        Ok(())
    }

    /// Makes the names of the partitions' directories durable: what is acknowledged in them is lost without.
    async fn sync_names(&self) -> Result<(), LogError> {
        let dir = self.node.log_dir.clone();
        let failed = dir.clone();
        let synced = self.rt.blocking(move |fs| fs.sync_dir(&dir)).await;
        synced.map_err(|source| LogError::Io { path: failed, source })
    }

    async fn open_log(
        self: &Rc<Self>,
        id: Uuid,
        topic: &str,
        partition: i32,
        at_start: bool,
    ) -> Result<PartitionLog, LogError> {
        let tp = TopicPartition::new(topic, partition);
        let dir = self.node.partition_dir(&tp);
        // A topic created later may bear the name of one that is gone: the checkpoints of the start are not about it.
        let recovered = if at_start { self.node.recovered.of(&tp) } else { RecoveredLog::new_log() };
        let how = OpenLog {
            config: log_config(&self.node.topic_config(&self.image(), topic)),
            topic_id: id,
            now_ms: self.rt.wall_ms(),
            producer_expiry_ms: self.config().producer_id_expiration_ms,
            clean: recovered.clean,
            recovery_point: recovered.recovery_point,
            log_start_offset: recovered.log_start_offset,
            // The only replica: what is in the log is committed.
            high_watermark: None,
            partition: tp,
            progress: None,
        };
        self.rt.blocking(move |fs| PartitionLog::open(fs, &dir, how)).await
    }

    async fn drop_topic(self: &Rc<Self>, topic: &TopicImage) {
        for (index, _) in (0..).zip(&topic.partitions) {
            let Some(partition) = self.partitions.borrow_mut().remove(&(topic.id, index)) else { continue };
            self.node.partitions.remove(topic.id, index);
            partition.close(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            if topic.name == names::CONSUMER_OFFSETS {
                self.unload_coordinator(index);
            }
            // A roll still needs the directory by its name.
            drop(self.end_log(&partition).await);
            self.journal.forget(&partition);
            let (dir, tp) = (self.node.log_dir.clone(), partition.tp.clone());
            let unique = u128::from_be_bytes(self.rt.random_bytes());
            let renamed = self.rt.blocking(move |fs| rename_away(fs, &dir, &tp, Purpose::Delete, unique)).await;
            match renamed {
                Ok(to) => self.remove_later(to),
                Err(error) => tracing::error!("{}: cannot be renamed for deletion: {error}", partition.tp),
            }
        }
    }

    /// Removes a renamed directory after `log.segment.delete.delay.ms`; what is left after a stop goes at the next start.
    fn remove_later(self: &Rc<Self>, dir: PathBuf) {
        let shard = self.clone();
        self.rt.spawn(async move {
            shard.rt.sleep(shard.config().log_segment_delete_delay).await;
            let shown = dir.display().to_string();
            if let Err(error) = shard.rt.blocking(move |fs| fs.remove_dir_all(&dir)).await {
                tracing::error!("{shown}: cannot be removed: {error}");
            }
        });
    }

    fn reconfigure(&self, image: &Image) {
        let producer_expiry_ms = self.config().producer_id_expiration_ms;
        for partition in self.partitions.borrow().values() {
            let config = log_config(&self.node.topic_config(image, &partition.tp.topic));
            let mut log = partition.log();
            log.set_config(config);
            log.set_producer_expiry_ms(producer_expiry_ms);
        }
    }
}
