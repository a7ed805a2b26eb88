//! The file `quorum-state`: the highest epoch this voter knows, and who leads it. It must be durable before anything is
//! done in that epoch: a leader that forgets its epoch could write two histories under one number.

use std::io;
use std::path::{Path, PathBuf};

use kringle_runtime::Fs;
use serde::{Deserialize, Serialize};

use super::metadata_log;
use super::quorum::QuorumError;

/// Its name, in the directory of the metadata partition.
pub const FILE_NAME: &str = "quorum-state";

/// Where it is.
pub fn path(log_dir: &Path) -> PathBuf {
    log_dir.join(metadata_log::DIRECTORY).join(FILE_NAME)
}

/// As Kafka writes it: fields in this order, `data_version` last. Which fields there are depends on `data_version`:
/// 0 with voters from the configuration (kraft.version 0), 1 with voters from the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuorumState {
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    leader_id: i32,
    /// The epoch.
    pub leader_epoch: i32,
    voted_id: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    voted_directory_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied_offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_voters: Option<Vec<Voter>>,
    #[serde(rename = "data_version")]
    data_version: i16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Voter {
    voter_id: i32,
}

impl QuorumState {
    /// The node leads this epoch.
    pub fn leading(node_id: i32, epoch: i32, kraft_version: i16) -> QuorumState {
        let in_log = kraft_version > 0;
        QuorumState {
            cluster_id: (!in_log).then(String::new),
            leader_id: node_id,
            leader_epoch: epoch,
            voted_id: -1,
            voted_directory_id: in_log.then(|| "AAAAAAAAAAAAAAAAAAAAAA".to_owned()),
            applied_offset: (!in_log).then_some(0),
            current_voters: (!in_log).then(|| vec![Voter { voter_id: node_id }]),
            data_version: i16::from(in_log),
        }
    }

    /// The voters, where the file names them.
    pub fn voters(&self) -> impl Iterator<Item = i32> {
        self.current_voters.iter().flatten().map(|voter| voter.voter_id)
    }

    /// Reads the file; `None` if no epoch has begun yet. Blocking.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense.
    pub fn read(fs: &Fs, log_dir: &Path) -> Result<Option<QuorumState>, QuorumError> {
        let path = path(log_dir);
        match fs.read_to_string(&path) {
            Ok(text) => QuorumState::parse(&text).map(Some).map_err(|reason| QuorumError::State { path, reason }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(QuorumError::Io { path, source }),
        }
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// It is not such a file, or a later Kafka wrote it.
    fn parse(text: &str) -> Result<QuorumState, String> {
        let state: QuorumState = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !(0..=1).contains(&state.data_version) {
            return Err(format!("data_version is {}, not 0 or 1", state.data_version));
        }
        Ok(state)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain fields always have a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATIC_VOTERS: &str = r#"{"clusterId":"","leaderId":1,"leaderEpoch":4,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;
    const VOTERS_IN_LOG: &str =
        r#"{"leaderId":1,"leaderEpoch":4,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;

    #[test]
    fn the_text_is_what_kafka_writes() {
        assert_eq!(QuorumState::leading(1, 4, 0).to_text(), STATIC_VOTERS);
        assert_eq!(QuorumState::leading(1, 4, 1).to_text(), VOTERS_IN_LOG);
    }

    #[test]
    fn what_kafka_writes_is_read() {
        let state = QuorumState::parse(STATIC_VOTERS).expect("Kafka's");
        assert_eq!((state.leader_epoch, state.voters().collect::<Vec<_>>()), (4, vec![1]));
        let state = QuorumState::parse(VOTERS_IN_LOG).expect("Kafka's");
        assert_eq!((state.leader_epoch, state.voters().count()), (4, 0));
    }

    #[test]
    fn a_later_form_or_a_torn_file_is_refused() {
        assert!(QuorumState::parse(&VOTERS_IN_LOG.replace("\"data_version\":1", "\"data_version\":2")).is_err());
        assert!(QuorumState::parse(&STATIC_VOTERS[..40]).is_err());
    }
}
