//! The parts of the broker `kringle`; `main.rs` puts them together.

#![forbid(unsafe_code)]

mod admin;
mod api;
pub mod broker;
pub mod cli;
pub mod config;
pub mod control;
mod coordinator;
pub mod group;
mod names;
mod net;
mod node;
mod shard;
