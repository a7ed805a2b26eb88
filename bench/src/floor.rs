//! `kringle-bench floor`: what a broker of one core cannot go below on this machine.
//!
//! It receives Produce v7, checks the CRC32C, writes the batch to a file for each partition and answers; it answers Fetch v11
//! with a few header bytes and `sendfile`. No index, no validation, no groups, no durability: acks=all is answered like acks=1.
//! Plain epoll and one system call for each thing done, so that a broker which gathers work can go below it. It serves
//! `kringle-bench raw` and ends at the first thing it does not know.

mod connection;
mod partitions;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use connection::{Connection, State};
use partitions::Partitions;

/// Why the floor ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FloorError {
    /// A socket or a file.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// An API or a version that it does not serve, or a frame cut short.
    #[error("api {0}: not served, or not in this version")]
    NotServed(i16),
    /// What arrived is not what was sent.
    #[error("a batch with a wrong CRC")]
    BadCrc,
}

impl From<nix::errno::Errno> for FloorError {
    fn from(errno: nix::errno::Errno) -> FloorError {
        FloorError::Io(errno.into())
    }
}

/// Where the floor listens and writes.
#[derive(Debug, Args)]
pub(crate) struct FloorArgs {
    /// host:port to listen on; port 0 takes a free one, and the first line printed says which
    #[arg(long, default_value = "127.0.0.1:9092")]
    listen: SocketAddr,
    /// An existing directory for its files, which nothing deletes
    #[arg(long)]
    dir: PathBuf,
}

/// The listener's place among the epoll's events; connections follow it.
const LISTENER: u64 = u64::MAX;

/// Serves until it is killed.
pub(crate) fn main(args: FloorArgs) -> ExitCode {
    if !args.dir.is_dir() {
        eprintln!("error: --dir {}: no such directory", args.dir.display());
        return ExitCode::FAILURE;
    }
    let Err(error) = serve(args.listen, Partitions::new(args.dir));
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn serve(listen: SocketAddr, mut partitions: Partitions) -> Result<std::convert::Infallible, FloorError> {
    let listener = TcpListener::bind(listen)?;
    println!("listening on {}", listener.local_addr()?);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    // A place is never given twice: a run has few connections.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            if event.data() == LISTENER {
                let connection = Connection::new(listener.accept()?.0)?;
                let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
                epoll.add(connection.socket.as_fd(), EpollEvent::new(interest, connections.len() as u64))?;
                connections.push(Some(connection));
                continue;
            }
            let slot = usize::try_from(event.data()).ok().and_then(|place| connections.get_mut(place));
            let Some(slot) = slot else { continue };
            if let Some(connection) = slot
                && connection.ready(&mut partitions)? == State::Closed
            {
                *slot = None;
            }
        }
    }
}
