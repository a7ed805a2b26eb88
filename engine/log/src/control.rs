//! Control records of transactions: the marker that ends one on a partition.

use bytes::Bytes;

use crate::batch::BatchView;
use crate::builder::BatchBuilder;
use crate::compression::Compression;
use crate::records::{DECODED_LIMIT_BYTES, RecordsError, try_for_each_record};

const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// The end of a producer's transaction on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// Committed, or aborted.
    pub commit: bool,
    /// Epoch of the transaction coordinator that wrote it; older ones are fenced.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// The marker in a control batch; `None` if it holds another control record.
    pub fn of(batch: &BatchView<'_>) -> Result<Option<(EndTxnMarker, i64)>, RecordsError> {
        let mut found = None;
        try_for_each_record(batch, DECODED_LIMIT_BYTES, |record| {
            let kind = record.key.and_then(|key| key.get(2..4)).map(|kind| i16::from_be_bytes([kind[0], kind[1]]));
            let epoch = record.value.and_then(|value| value.get(2..6));
            if let (Some(kind @ (ABORT | COMMIT)), Some(epoch)) = (kind, epoch) {
                let coordinator_epoch = i32::from_be_bytes([epoch[0], epoch[1], epoch[2], epoch[3]]);
                found = Some((EndTxnMarker { commit: kind == COMMIT, coordinator_epoch }, record.timestamp));
            }
            std::ops::ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// A control batch with this marker.
    pub fn batch(self, producer_id: i64, producer_epoch: i16, now_ms: i64) -> Bytes {
        let mut key = [0; 4];
        key[2..].copy_from_slice(&(if self.commit { COMMIT } else { ABORT }).to_be_bytes());
        let mut value = [0; 6];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        let mut batch =
            BatchBuilder::new(Compression::None).producer(producer_id, producer_epoch, -1).transactional().control();
        batch.append(now_ms, Some(&key), Some(&value), &[]);
        batch.build(0, -1)
    }
}
