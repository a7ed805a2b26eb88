//! The quorum of one: this node is the only voter, and so the leader, of the metadata log.
//!
//! Owned by the control thread. Opening loads the newest snapshot and the log after it; leading begins a new epoch, which
//! is durable in `quorum-state` before anything is written in it. The image is always that of the durable log: records
//! are applied to a copy first, so that one that does not fit is never written.

use std::path::PathBuf;
use std::sync::Arc;

use kringle_log::{BatchBuilder, Compression};
use kringle_protocol::leader_change_message::Voter;
use kringle_protocol::messages::{
    AbortTransactionRecord, BeginTransactionRecord, EndTransactionRecord, KRaftVersionRecord, LeaderChangeMessage,
    VotersRecord,
};
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::{EncodeError, Uuid};
use kringle_runtime::Fs;

use super::control_records::{ControlRecord, control_batch};
use super::image::{Image, ImageDelta};
use super::load::{LoadError, Loader};
use super::metadata_log::{DIRECTORY, MetadataLog, MetadataLogError};
use super::quorum_state::{self, QuorumState};
use super::snapshot_file::{self, SnapshotError, SnapshotFrame, SnapshotId};
use super::versions;

/// How many records go into one batch; more make a metadata transaction of several batches.
const RECORDS_PER_BATCH: usize = 5_000;
/// How many bytes go into one batch; Kafka reads at most 8 MiB.
const BYTES_PER_BATCH: usize = 4 << 20;

/// How many snapshots stay: the newest is read, the one before it is there if somebody needs it.
const SNAPSHOTS_KEPT: usize = 2;

/// Who this voter is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `node.id`
    pub node_id: i32,
    /// The id of the directory with the metadata log.
    pub directory_id: Uuid,
    /// That directory.
    pub log_dir: PathBuf,
}

/// Why the metadata cannot be had or changed. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    /// Another node votes too.
    #[error(
        "{where_from} names the voters {voters:?}: Kringle can only be the single voter {own} of its own quorum. Run it \
         from a directory of a single combined node"
    )]
    OtherVoters {
        /// Where the voters are named.
        where_from: &'static str,
        /// All of them.
        voters: Vec<i32>,
        /// This node.
        own: i32,
    },
    /// The voter in the metadata log is another directory of this node.
    #[error(
        "the metadata names directory {recorded} as voter, but {log_dir} is {own}. Restore the directory it was copied from"
    )]
    OtherDirectory {
        /// The voter's directory.
        recorded: Uuid,
        /// The one that was opened.
        own: Uuid,
        /// Where it is.
        log_dir: PathBuf,
    },
    /// The file of the epoch is broken.
    #[error("{path}: {reason}. Without it the epoch is unknown; restore it from a backup")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A snapshot cannot be used.
    #[error("{path}: {source}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SnapshotError,
    },
    /// Snapshot and log do not join.
    #[error(
        "the metadata log has the records {start} to {end}, but its newest snapshot ends at {snapshot}: records are missing"
    )]
    Gap {
        /// The first offset of the log.
        start: i64,
        /// The next offset of the log.
        end: i64,
        /// The end of the snapshot; 0 without one.
        snapshot: i64,
    },
    /// The log fails.
    #[error("metadata log: {0}")]
    Log(#[from] MetadataLogError),
    /// Records do not fit: a mistake of this program.
    #[error("metadata: {0}")]
    Load(#[from] LoadError),
    /// Records cannot be written: a mistake of this program, or a string of a client that no check refused.
    #[error("metadata: {0}")]
    Encode(#[from] EncodeError),
}

/// The open quorum.
pub struct Quorum {
    fs: Fs,
    identity: Identity,
    log: MetadataLog,
    image: Arc<Image>,
    epoch: i32,
    voters: Option<VotersRecord>,
    /// Whether the voters were met elsewhere than in the snapshot that `format --standalone` writes.
    voters_in_log: bool,
    open_transaction: bool,
    has_records: bool,
    newest_snapshot: Option<SnapshotId>,
    bytes_since_snapshot: i64,
}

impl QuorumError {
    /// Whether the change was refused for want of room, and nothing else has happened.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, QuorumError::Log(error) if error.is_disk_full())
    }
}

impl Quorum {
    /// Loads what is there.
    ///
    /// # Errors
    /// See [`QuorumError`].
    pub fn open(fs: &Fs, identity: Identity, now_ms: i64) -> Result<Quorum, QuorumError> {
        let log = MetadataLog::open(fs, &identity.log_dir, now_ms)?;
        let dir = identity.log_dir.join(DIRECTORY);
        let listed = snapshot_file::list(fs, &dir).map_err(|source| QuorumError::Io { path: dir.clone(), source })?;
        let newest_snapshot = listed.last().copied();
        let mut loader = match newest_snapshot {
            Some(id) => load_snapshot(fs, &dir, id)?,
            None => Loader::new(),
        };
        let snapshot_end = newest_snapshot.map_or(0, |id| id.end_offset);
        let (start, end) = (log.start_offset(), log.end_offset());
        if start > snapshot_end || end < snapshot_end {
            return Err(QuorumError::Gap { start, end, snapshot: snapshot_end });
        }
        let from_snapshot = loader.voters.take();
        let mut bytes_since_snapshot = 0;
        log.for_each_batch(snapshot_end, |batch| {
            bytes_since_snapshot += length(batch.bytes());
            loader.log_batch(batch)
        })?;
        let voters_in_log = loader.voters.is_some() || snapshot_end > 0 && from_snapshot.is_some();
        let voters = loader.voters.take().or(from_snapshot);
        check_recorded_voters(&identity, voters.as_ref())?;
        Ok(Quorum {
            fs: fs.clone(),
            log,
            epoch: 0,
            voters,
            voters_in_log,
            open_transaction: loader.in_transaction(),
            has_records: loader.any_record,
            image: Arc::new(loader.image),
            newest_snapshot,
            bytes_since_snapshot,
            identity,
        })
    }

    /// The metadata of the durable log.
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// The epoch in which this node leads; 0 before it does.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The offset of the next record.
    pub fn end_offset(&self) -> i64 {
        self.log.end_offset()
    }

    /// Whether there is any metadata yet, or only a formatted directory.
    pub fn has_records(&self) -> bool {
        self.has_records
    }

    /// The voters that stand in the log.
    pub fn voters(&self) -> Option<&VotersRecord> {
        self.voters.as_ref()
    }

    /// How much the next load reads beside the snapshot.
    pub fn bytes_since_snapshot(&self) -> i64 {
        self.bytes_since_snapshot
    }

    /// Begins the next epoch as its leader.
    ///
    /// # Errors
    /// See [`QuorumError`]; the quorum is of no use then.
    pub fn lead(&mut self, now_ms: i64) -> Result<(), QuorumError> {
        let known = QuorumState::read(&self.fs, &self.identity.log_dir)?;
        if let Some(state) = &known {
            check_voters(&self.identity, quorum_state::FILE_NAME, state.voters())?;
        }
        let known = known.map_or(0, |state| state.leader_epoch);
        self.epoch = known.max(self.log.latest_epoch().unwrap_or(0)).max(self.image.epoch()) + 1;
        let state = QuorumState::leading(self.identity.node_id, self.epoch, self.image.kraft_version());
        let path = quorum_state::path(&self.identity.log_dir);
        let written = self.fs.write_atomic(&path, state.to_text().as_bytes());
        written.map_err(|source| QuorumError::Io { path, source })?;
        self.log.start_epoch(self.epoch);
        let voter = Voter { voter_id: self.identity.node_id, ..Default::default() };
        let mut records = vec![ControlRecord::LeaderChange(LeaderChangeMessage {
            version: 0,
            leader_id: self.identity.node_id,
            voters: vec![voter.clone()],
            granting_voters: vec![voter],
        })];
        if let (Some(voters), false) = (&self.voters, self.voters_in_log) {
            records.push(ControlRecord::KRaftVersion(KRaftVersionRecord { version: 0, kraft_version: 1 }));
            records.push(ControlRecord::Voters(voters.clone()));
        }
        let count = i64::try_from(records.len()).expect("at most three");
        let batch = control_batch(&records, self.end_offset(), self.epoch, now_ms)?;
        self.log.append(&batch, self.epoch, now_ms)?;
        self.voters_in_log = self.voters.is_some();
        let image = Arc::make_mut(&mut self.image);
        (image.offset, image.epoch, image.timestamp_ms) = (image.offset + count, self.epoch, now_ms);
        self.abort_open_transaction(self.image.metadata_version(), now_ms)
    }

    /// Appends records, all or none, makes them durable and applies them. `transaction` names a metadata transaction that
    /// they shall stand in; without one they do when they do not fit into one batch.
    ///
    /// # Errors
    /// See [`QuorumError`]; the quorum is of no use then.
    pub fn append(
        &mut self,
        mut records: Vec<MetadataRecord>,
        transaction: Option<&str>,
        now_ms: i64,
    ) -> Result<ImageDelta, QuorumError> {
        if records.is_empty() {
            return Ok(ImageDelta::default());
        }
        let mut image = Image::clone(&self.image);
        let mut delta = ImageDelta::default();
        for (offset, record) in (self.end_offset()..).zip(&records) {
            image.apply(record, &mut delta).map_err(|source| LoadError::Contradiction { offset, source })?;
        }
        // By the version after the records, so that the first ones can finalize it.
        let metadata_version = image.metadata_version();
        let in_transaction = transaction.is_some() || records.len() > RECORDS_PER_BATCH;
        if in_transaction && versions::has_transactions(metadata_version) {
            let name = transaction.map(str::to_owned);
            records.insert(0, MetadataRecord::BeginTransactionRecord(BeginTransactionRecord { name }));
            records.push(MetadataRecord::EndTransactionRecord(EndTransactionRecord::default()));
        }
        self.abort_open_transaction(metadata_version, now_ms)?;
        let first = self.end_offset();
        if let Err(error) = self.write_batches(&records, metadata_version, now_ms) {
            self.open_transaction = self.end_offset() > first;
            return Err(error);
        }
        (image.offset, image.epoch, image.timestamp_ms) = (self.end_offset() - 1, self.epoch, now_ms);
        self.image = Arc::new(image);
        self.has_records = true;
        Ok(delta)
    }

    /// A controller that died within a transaction, or had no room for its end, left it open.
    fn abort_open_transaction(&mut self, metadata_version: i16, now_ms: i64) -> Result<(), QuorumError> {
        if self.open_transaction {
            let reason = Some("its records were not complete".to_owned());
            let abort = MetadataRecord::AbortTransactionRecord(AbortTransactionRecord { reason });
            self.write_batches(&[abort], metadata_version, now_ms)?;
            self.open_transaction = false;
        }
        Ok(())
    }

    fn write_batches(
        &mut self,
        records: &[MetadataRecord],
        metadata_version: i16,
        now_ms: i64,
    ) -> Result<(), QuorumError> {
        let mut batch = BatchBuilder::new(Compression::None);
        for (index, record) in records.iter().enumerate() {
            let value = record.encode_framed(versions::record_version(record, metadata_version))?;
            batch.append(now_ms, None, Some(&value), &[]);
            let is_full = batch.size_bytes() > BYTES_PER_BATCH || (index + 1) % RECORDS_PER_BATCH == 0;
            if is_full || index + 1 == records.len() {
                let full = std::mem::replace(&mut batch, BatchBuilder::new(Compression::None));
                let bytes = full.build(self.end_offset(), self.epoch);
                self.log.append(&bytes, self.epoch, now_ms)?;
                self.bytes_since_snapshot += length(&bytes);
            }
        }
        Ok(())
    }

    /// Writes the image as a snapshot. The next load begins with it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_snapshot(&mut self, now_ms: i64) -> Result<(), QuorumError> {
        let id = SnapshotId { end_offset: self.image.offset() + 1, epoch: self.image.epoch() };
        if self.newest_snapshot.is_some_and(|newest| newest >= id) {
            return Ok(());
        }
        let frame = SnapshotFrame {
            epoch: id.epoch,
            last_timestamp_ms: self.image.timestamp_ms,
            now_ms,
            voters: self.voters.as_ref(),
            metadata_version: self.image.metadata_version(),
        };
        let bytes = snapshot_file::encode(&frame, self.image.to_records())?;
        let path = self.identity.log_dir.join(DIRECTORY).join(id.file_name());
        self.fs.write_atomic(&path, &bytes).map_err(|source| QuorumError::Io { path, source })?;
        self.newest_snapshot = Some(id);
        self.bytes_since_snapshot = 0;
        self.remove_old_snapshots()
    }

    /// Keeps the newest snapshots only; with the log they have everything.
    fn remove_old_snapshots(&self) -> Result<(), QuorumError> {
        let dir = self.identity.log_dir.join(DIRECTORY);
        let io = |source| QuorumError::Io { path: dir.clone(), source };
        let listed = snapshot_file::list(&self.fs, &dir).map_err(io)?;
        for old in listed.iter().rev().skip(SNAPSHOTS_KEPT) {
            self.fs.remove_file(dir.join(old.file_name())).map_err(io)?;
        }
        Ok(())
    }

    /// Leaves the directory as after a clean stop.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn close(&mut self) -> Result<(), QuorumError> {
        let path = self.identity.log_dir.join(DIRECTORY);
        self.log.close().map_err(|source| QuorumError::Io { path, source })
    }
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).expect("a batch is limited")
}

fn load_snapshot(fs: &Fs, dir: &std::path::Path, id: SnapshotId) -> Result<Loader, QuorumError> {
    let path = dir.join(id.file_name());
    let mut loader =
        snapshot_file::read(fs, &path).map_err(|source| QuorumError::Snapshot { path: path.clone(), source })?;
    loader.image.offset = id.end_offset - 1;
    loader.image.epoch = id.epoch;
    loader.image.timestamp_ms = loader.snapshot_timestamp_ms.unwrap_or(0);
    Ok(loader)
}

fn check_voters(
    identity: &Identity,
    where_from: &'static str,
    voters: impl Iterator<Item = i32>,
) -> Result<(), QuorumError> {
    let voters: Vec<_> = voters.collect();
    if voters.iter().all(|voter| *voter == identity.node_id) {
        return Ok(());
    }
    Err(QuorumError::OtherVoters { where_from, voters, own: identity.node_id })
}

fn check_recorded_voters(identity: &Identity, recorded: Option<&VotersRecord>) -> Result<(), QuorumError> {
    let voters = recorded.map_or(&[][..], |recorded| &recorded.voters);
    check_voters(identity, "the metadata log", voters.iter().map(|voter| voter.voter_id))?;
    match voters.iter().find(|voter| voter.voter_directory_id != identity.directory_id) {
        Some(other) => Err(QuorumError::OtherDirectory {
            recorded: other.voter_directory_id,
            own: identity.directory_id,
            log_dir: identity.log_dir.clone(),
        }),
        None => Ok(()),
    }
}
