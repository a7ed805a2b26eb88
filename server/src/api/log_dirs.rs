//! DescribeLogDirs (key 35): how much each log occupies, and the space under it.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join_all;
use kringle_protocol::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kringle_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::Context;
use crate::shard::partition::Partition;

/// Asks every shard for its logs.
pub(crate) async fn handle(context: Context, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let shard = &context.shard;
    let asked = (0..shard.node.shards().len()).map(|owner| {
        shard.on(owner, |owner| async move {
            let partitions = owner.partitions.borrow();
            let size = |partition: &Rc<Partition>| partition.log().size_bytes();
            let sizes = partitions.values().map(|one| (one.tp.topic.to_string(), one.tp.partition, size(one)));
            sizes.collect::<Vec<_>>()
        })
    });
    let sizes = join_all(asked).await.into_iter().flatten().flatten();
    let wanted = |topic: &str, partition: i32| match &request.topics {
        None => true,
        Some(topics) => topics.iter().any(|asked| asked.topic == topic && asked.partitions.contains(&partition)),
    };
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for (topic, partition_index, size) in sizes.filter(|(topic, partition, _)| wanted(topic, *partition)) {
        topics.entry(topic).or_default().push(DescribeLogDirsPartition {
            partition_index,
            partition_size: i64::try_from(size).unwrap_or(i64::MAX),
            ..DescribeLogDirsPartition::default()
        });
    }
    let dir = shard.node.log_dir.clone();
    let (total, usable) = shard.rt.blocking(move |fs| fs.space(&dir)).await.map_or((-1, -1), |(total, usable)| {
        (i64::try_from(total).unwrap_or(i64::MAX), i64::try_from(usable).unwrap_or(i64::MAX))
    });
    let topics = topics.into_iter().map(|(name, mut partitions)| {
        partitions.sort_by_key(|partition| partition.partition_index);
        DescribeLogDirsTopic { name, partitions }
    });
    let result = DescribeLogDirsResult {
        log_dir: shard.node.log_dir.display().to_string(),
        topics: topics.collect(),
        total_bytes: total,
        usable_bytes: usable,
        ..DescribeLogDirsResult::default()
    };
    DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }
}
