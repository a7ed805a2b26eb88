//! The real machine: its threads, files and system calls.

mod busy_poll;
pub(crate) mod file;
pub(crate) mod fs;
pub(crate) mod helpers;
pub(crate) mod host;
pub(crate) mod name;
mod page_cache;
pub(crate) mod policy;
pub(crate) mod run;
pub(crate) mod socket;
mod stall;
