//! A connection that can be told to misbehave: frames out, frames in, nothing else.
//!
//! Blocking, with a timeout on every read: this is a tool, it waits for one answer at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than anything a broker may take for what is asked here.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// As long as it takes to believe that no answer comes.
const SILENCE: Duration = Duration::from_secs(2);
/// No answer of a test is larger.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A frame, without its size.
    Frame(Vec<u8>),
    /// The broker closed the connection.
    Closed,
    /// Nothing came in time.
    Silent,
}

/// One connection to one broker.
pub(crate) struct Connection {
    stream: TcpStream,
    correlation: i32,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|e| format!("cannot connect to {address}: {e}"))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self { stream, correlation: 0 })
    }

    /// The id of the next request.
    pub(crate) fn next_correlation(&mut self) -> i32 {
        self.correlation += 1;
        self.correlation
    }

    /// Sends bytes as they are. A broker that has closed shows in the next `receive`.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    /// Reads one frame, or finds that none comes for a while.
    pub(crate) fn overhear(&mut self) -> Reply {
        let _kept = self.stream.set_read_timeout(Some(SILENCE));
        let reply = self.receive();
        let _kept = self.stream.set_read_timeout(Some(ANSWER_TIMEOUT));
        reply
    }

    /// Reads one frame.
    pub(crate) fn receive(&mut self) -> Reply {
        let mut size = [0; 4];
        if let Err(reply) = self.fill(&mut size) {
            return reply;
        }
        let Some(size) = usize::try_from(i32::from_be_bytes(size)).ok().filter(|size| *size <= ANSWER_BYTES_MAX) else {
            return Reply::Closed;
        };
        let mut frame = vec![0; size];
        match self.fill(&mut frame) {
            Ok(()) => Reply::Frame(frame),
            Err(reply) => reply,
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Reply> {
        self.stream.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Reply::Silent,
            _ => Reply::Closed,
        })
    }
}

/// A request frame: size, header (versions 1 and 2 of it), body.
pub(crate) fn frame(
    key: i16,
    version: i16,
    header: i16,
    correlation: i32,
    client: Option<&str>,
    body: &[u8],
) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(key.to_be_bytes());
    out.extend(version.to_be_bytes());
    out.extend(correlation.to_be_bytes());
    match client {
        None => out.extend((-1i16).to_be_bytes()),
        Some(id) => {
            out.extend(i16::try_from(id.len()).unwrap_or(i16::MAX).to_be_bytes());
            out.extend(id.as_bytes());
        }
    }
    if header >= 2 {
        out.push(0);
    }
    out.extend(body);
    let size = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&size.to_be_bytes());
    out
}
