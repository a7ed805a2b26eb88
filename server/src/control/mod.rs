//! The control plane: Kafka's metadata log as a quorum of one.
//!
//! A change is: *controller* decides on records, *quorum* appends and syncs them, the *image* takes them in, and only
//! then the request is answered. Everything a broker knows about topics, configs and brokers it knows from records, so
//! that a directory can go from Kafka to Kringle and back, and so that the records may one day come from another node.
//!
//! All of it runs on the control thread, which may block; shards only read the published image.

pub mod control_records;
pub mod controller;
pub mod features;
pub mod format;
pub mod image;
pub mod load;
pub mod metadata_log;
pub mod plane;
pub mod quorum;
pub mod quorum_state;
pub mod replay;
pub mod snapshot;
pub mod snapshot_file;
pub mod topic_names;
pub mod versions;

pub use plane::{ControlError, ControlPlane};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
