//! One connection of the thin load: what is half sent, what is half received.
//!
//! Owned by the load's one thread. An answer's head is kept, the rest is read and thrown away; a connection that fails ends
//! the run, for a broker that closes connections under load has failed it.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::RawError;

/// Enough of an answer for every error code, and for the header of the first batch of a fetch.
const HEAD_BYTES: usize = 256;
/// What is thrown away is read in pieces of this size.
pub(super) const SINK_BYTES: usize = 4 << 20;

pub(super) struct Connection {
    pub(super) socket: TcpStream,
    /// How much of the request being sent has left.
    sent_bytes: usize,
    /// Whether a request is being sent.
    pub(super) sending: bool,
    /// When each request without an answer was begun, the oldest first.
    pub(super) waiting: VecDeque<Instant>,
    answer: Answer,
}

impl Connection {
    /// Connects, and from then on never blocks. Keeps `head_bytes` of each answer.
    pub(super) fn open(addr: SocketAddr, head_bytes: Option<usize>) -> Result<Connection, RawError> {
        let socket = TcpStream::connect(addr).map_err(|source| RawError::Connect { addr, source })?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let answer = Answer::new(head_bytes.unwrap_or(HEAD_BYTES));
        Ok(Connection { socket, sent_bytes: 0, sending: false, waiting: VecDeque::new(), answer })
    }

    /// Notes that a request is begun.
    pub(super) fn begin(&mut self, now: Instant) {
        self.waiting.push_back(now);
        self.sending = true;
        self.sent_bytes = 0;
    }

    /// Whether nothing of the request being sent has left.
    pub(super) fn at_start(&self) -> bool {
        self.sent_bytes == 0
    }

    /// Sends as much as the socket takes of a request that lies in two pieces; whether that was all.
    pub(super) fn send(&mut self, [head, rest]: [&[u8]; 2]) -> Result<bool, RawError> {
        let written = if let Some(head) = head.get(self.sent_bytes..).filter(|head| !head.is_empty()) {
            if rest.is_empty() {
                (&self.socket).write(head)
            } else {
                (&self.socket).write_vectored(&[IoSlice::new(head), IoSlice::new(rest)])
            }
        } else {
            (&self.socket).write(&rest[self.sent_bytes - head.len()..])
        };
        match written {
            Ok(written) => self.sent_bytes += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let whole = self.sent_bytes == head.len() + rest.len();
        self.sending = !whole;
        Ok(whole)
    }

    /// The next answer's head, once all of the answer has arrived.
    pub(super) fn receive(&mut self, sink: &mut [u8]) -> Result<Option<&[u8]>, RawError> {
        match self.answer.receive(&self.socket, sink) {
            Ok(()) => Ok(Some(self.answer.head())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(RawError::Closed),
            Err(error) => Err(error.into()),
        }
    }
}

/// An answer on its way in.
struct Answer {
    length: [u8; 4],
    length_bytes: usize,
    /// Bytes of this answer that have not arrived.
    left: usize,
    head: Vec<u8>,
    head_bytes: usize,
}

impl Answer {
    fn new(head_bytes: usize) -> Answer {
        Answer { length: [0; 4], length_bytes: 0, left: 0, head: vec![0; head_bytes], head_bytes: 0 }
    }

    fn head(&self) -> &[u8] {
        &self.head[..self.head_bytes]
    }

    /// Reads on; `Ok` when an answer is complete, `WouldBlock` when more must arrive first.
    fn receive(&mut self, mut socket: &TcpStream, sink: &mut [u8]) -> std::io::Result<()> {
        let mut read = |into: &mut [u8]| match socket.read(into) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        loop {
            if self.left == 0 {
                self.length_bytes += read(&mut self.length[self.length_bytes..])?;
                if self.length_bytes == 4 {
                    (self.left, self.length_bytes, self.head_bytes) = (u32::from_be_bytes(self.length) as usize, 0, 0);
                }
                continue;
            }
            let got = if self.head_bytes < self.head.len() {
                let upto = self.head.len().min(self.head_bytes + self.left);
                let got = read(&mut self.head[self.head_bytes..upto])?;
                self.head_bytes += got;
                got
            } else {
                let upto = sink.len().min(self.left);
                read(&mut sink[..upto])?
            };
            self.left -= got;
            if self.left == 0 {
                return Ok(());
            }
        }
    }
}
