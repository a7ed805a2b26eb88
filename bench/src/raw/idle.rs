//! Connections that have been used once and then say nothing: what a broker pays for being known by many.

use std::io::Read;
use std::net::SocketAddr;

use clap::Args;
use kringle_protocol::messages::ApiVersionsRequest;

use super::{RawError, call};
use crate::frames;

#[derive(Debug, Args)]
pub(super) struct IdleArgs {
    /// host:port of the broker
    #[arg(long, default_value = "127.0.0.1:9092")]
    broker: SocketAddr,
    /// How many; below this process's limit of descriptors
    #[arg(long, default_value_t = 1000)]
    conns: usize,
}

/// Opens them, prints `open` and waits.
pub(super) fn run(args: &IdleArgs) -> Result<(), RawError> {
    let request = frames::repeated(0, &ApiVersionsRequest::default());
    let held = (0..args.conns).map(|_| call(args.broker, &request)).collect::<Result<Vec<_>, _>>()?;
    println!("open {}", held.len());
    let mut until_closed = [0; 1];
    while std::io::stdin().read(&mut until_closed)? > 0 {}
    Ok(())
}
