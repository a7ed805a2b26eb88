//! The control plane: Kafka's metadata log as a quorum of one.
//!
//! A change is: *controller* decides on records, *quorum* appends and syncs them, the *image* takes them in, and only
//! then the request is answered. Everything a broker knows about topics, configs and brokers it knows from records, so
//! that a directory can go from Kafka to Kringle and back, and so that the records may one day come from another node.
//!
//! All of it runs on the control thread, which may block; shards only read the published image.

pub mod controller;
pub mod features;
pub mod image;
pub mod replay;
pub mod snapshot;
pub mod topic_names;
pub mod versions;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
