//! What can go wrong with a log: by cause, so that a full disk, a broken disk, a bad request and a bad directory are told apart.

use std::io;
use std::path::PathBuf;

use kringle_protocol::{ErrorCode, Uuid};

use crate::checkpoint::CheckpointError;
use crate::validate::code_tells_log_start;

/// A log cannot be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system failed while opening or recovering.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// One of the small files is damaged.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The directory belongs to another topic of this name, deleted since. Kafka would rename it to `-stray`.
    #[error("{path} is of topic id {found}, not {expected}")]
    OtherTopic {
        /// The directory.
        path: PathBuf,
        /// What its `partition.metadata` says.
        found: Uuid,
        /// What the metadata log says.
        expected: Uuid,
    },
    /// The disk is full (or a quota reached). Everything from `from` on that was staged is dropped and its waiters must be failed;
    /// the log itself is whole and may be appended to again.
    #[error("no space left: appends from offset {from} on are refused")]
    DiskFull {
        /// First offset that was not written.
        from: i64,
    },
    /// A write or sync failed: what is on disk is unknown, so the log refuses everything until it is opened anew, and with it the
    /// whole log directory (Kafka's failure domain). Restart after the disk is mended.
    #[error("log is offline after a failed {what}: {source}")]
    Offline {
        /// What failed.
        what: &'static str,
        /// How.
        source: io::Error,
    },
}

impl LogError {
    /// Whether the log directory must go offline.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, LogError::DiskFull { .. })
    }

    /// For those who wait for an append.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::KAFKA_STORAGE_ERROR
    }
}

/// A batch is not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The sequence does not follow the producer's last, and the batch is none of its last five.
    #[error("{0}")]
    OutOfOrderSequence(String),
    /// A newer epoch of this producer has written: the old one is fenced.
    #[error("{0}")]
    InvalidProducerEpoch(String),
    /// A plain batch within the producer's transaction.
    #[error("{0}")]
    InvalidTxnState(String),
    /// A marker of an older coordinator.
    #[error("{0}")]
    CoordinatorFenced(String),
    /// Larger than `segment.bytes`, which has been lowered since the batch was validated.
    #[error(
        "Message batch size is {size} bytes, which exceeds the maximum configured segment size of {segment_bytes}."
    )]
    TooLargeForSegment {
        /// Of the batch.
        size: usize,
        /// The setting.
        segment_bytes: u32,
    },
    /// A control batch whose record cannot be read.
    #[error("{0}")]
    BadControlBatch(String),
    /// The log was closed, or is offline after a failed write or sync.
    #[error("the log is offline")]
    Offline,
}

impl AppendError {
    /// Whether Kafka's produce response says where the log starts.
    pub fn tells_log_start(&self) -> bool {
        code_tells_log_start(self.code())
    }

    /// For the produce response.
    pub fn code(&self) -> ErrorCode {
        match self {
            AppendError::OutOfOrderSequence(_) => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            AppendError::InvalidProducerEpoch(_) => ErrorCode::INVALID_PRODUCER_EPOCH,
            AppendError::InvalidTxnState(_) => ErrorCode::INVALID_TXN_STATE,
            AppendError::CoordinatorFenced(_) => ErrorCode::TRANSACTION_COORDINATOR_FENCED,
            AppendError::TooLargeForSegment { .. } => ErrorCode::RECORD_LIST_TOO_LARGE,
            AppendError::BadControlBatch(_) => ErrorCode::INVALID_RECORD,
            AppendError::Offline => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }
}

/// A read or look-up has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Before the log start or after the log end.
    #[error("offset {offset} is not within {start}..={end}")]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// Log start.
        start: i64,
        /// Log end, or for DeleteRecords the high watermark.
        end: i64,
    },
    /// The disk failed, or a file does not hold what it should.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The look-up of this offset needs the disk, and was not to wait for it.
    #[error("what leads to offset {offset} is not in memory")]
    Cold {
        /// To be brought in: [`crate::LogReader::warm`].
        offset: i64,
    },
    /// The log was closed, or is offline after a failed write or sync.
    #[error("the log is offline")]
    Offline,
}

impl ReadError {
    /// For the response.
    pub fn code(&self) -> ErrorCode {
        match self {
            ReadError::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
            ReadError::Io { .. } | ReadError::Cold { .. } | ReadError::Offline => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }
}

/// Whether the disk, or a quota on it, is full: no failure of the disk.
pub(crate) fn is_disk_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
