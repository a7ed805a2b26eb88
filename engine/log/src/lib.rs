//! Kafka's log on disk, to the byte, as a library: record batches, segments, indexes, recovery, retention.
//!
//! # Brief overview
//!
//! A [`LogDir`] is a locked directory with Kafka's small files. In it each partition has a directory of its own, opened as a
//! [`PartitionLog`]: the state machine that decides what is appended, written, rolled, read and deleted, and hands out *jobs*
//! that do the I/O. Bytes become a [`ValidBatch`] by [`validate()`], which takes what Kafka takes and refuses the rest in Kafka's
//! words. [`BatchBuilder`] makes batches, [`batches`] and [`for_each_record`] take them apart.
//!
//! ```text
//! bytes ─ validate ─> ValidBatch ─ append ─> staged ─ WriteJob ─> page cache ─ SyncJob ─> disk
//!                                                                     └─ read ─> Slice (file, position, length)
//! ```
//!
//! # Invariants
//!
//! - One owner: nothing here locks or is shared. What other threads need is a value: [`Slice`], [`LogReader`].
//! - log start <= last stable <= high watermark <= log end <= staged end; see `partition`.
//! - No allocation is sized by a number from a client or the disk that was not checked against the bytes that are there.
//! - What this crate writes, Kafka 4.3 reads, and the reverse: `docs/format.md` has the pictures.
//!
//! Deliberately absent: compaction, tiered storage, record formats before 2.
#![forbid(unsafe_code)]

mod batch;
mod builder;
mod checkpoint;
mod compression;
mod config;
mod control;
mod dir;
mod epochs;
mod error;
mod index;
pub mod journal;
mod partition;
mod producers;
mod reader;
mod records;
mod scan;
mod segment;
mod topic_partition;
mod txn_index;
mod validate;
mod varint;

pub use batch::{
    BatchError, BatchHeader, BatchView, HEADER_BYTES, LOG_OVERHEAD, MAGIC, NO_TIMESTAMP, TimestampType, batches,
};
pub use builder::BatchBuilder;
pub use checkpoint::{
    CheckpointError, OffsetCheckpoint, read_offsets, read_partition_metadata, write_offsets, write_partition_metadata,
};
pub use compression::Compression;
pub use config::{LogConfig, TopicCompression};
pub use control::EndTxnMarker;
pub use dir::{Checkpoint, DirError, Listing, LogDir, MetaProperties, PartitionDir, Purpose, rename_away};
pub use epochs::EpochEntry;
pub use error::{AppendError, LogError, ReadError};
pub use partition::{
    Acks, Appended, CloseJob, DeleteJob, OpenLog, PartitionLog, Progress, Progressed, ReserveJob, RollDone, RollJob,
    Slice, Step, SyncJob, Unflushed, Upto, WriteJob, ZerosJob,
};
pub use producers::ProducerSummary;
pub use reader::{FoundByTime, LogReader};
pub use records::{
    DECODED_LIMIT_BYTES, RecordHeader, RecordHeaders, RecordView, RecordsError, for_each_record, try_for_each_record,
};
pub use topic_partition::TopicPartition;
pub use validate::{DEFAULT_DECODED_LIMIT_BYTES, Origin, Refused, Rules, ValidBatch, first_batch, validate};
