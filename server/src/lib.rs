//! The parts of the broker `kringle`; `main.rs` puts them together.

#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod group;
