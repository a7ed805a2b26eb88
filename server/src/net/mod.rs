//! Sockets: who may connect, frames in, answers out. Everything here runs on the shard that owns the connection.

pub(crate) mod accept;
pub(crate) mod budget;
pub(crate) mod connection;
pub(crate) mod frame;
pub(crate) mod response;
mod send;
