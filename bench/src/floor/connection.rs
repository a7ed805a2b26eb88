//! One connection of the floor: frames in, answers out, one at a time.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::sendfile::sendfile64;
use nix::sys::socket::{MsgFlags, send};

use super::FloorError;
use super::partitions::Partitions;
use crate::fields::Fields;

/// A frame must fit; untouched parts cost no memory.
const INPUT_BYTES: usize = 4 << 20;
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const CREATE_TOPICS: i16 = 19;

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for the socket.
    Waiting,
    /// The peer is gone.
    Closed,
}

/// Bytes of a file that follow an answer.
struct Tail {
    file: Rc<File>,
    position: i64,
    left: usize,
}

pub(super) struct Connection {
    pub(super) socket: TcpStream,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
    sent: usize,
    tail: Option<Tail>,
}

impl Connection {
    pub(super) fn new(socket: TcpStream) -> Result<Connection, FloorError> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Connection { socket, input: vec![0; INPUT_BYTES], filled: 0, output: Vec::new(), sent: 0, tail: None })
    }

    /// The socket has changed: send what is left, serve what has come.
    pub(super) fn ready(&mut self, partitions: &mut Partitions) -> Result<State, FloorError> {
        match self.work(partitions) {
            Ok(()) => Ok(State::Closed),
            Err(FloorError::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(State::Waiting),
            Err(FloorError::Io(error))
                if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
            {
                Ok(State::Closed)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends when the peer is gone (`Ok`), or would block.
    fn work(&mut self, partitions: &mut Partitions) -> Result<(), FloorError> {
        self.flush()?;
        self.serve_whole_frames(partitions)?;
        loop {
            match self.socket.read(&mut self.input[self.filled..])? {
                0 => return Ok(()),
                got => self.filled += got,
            }
            self.serve_whole_frames(partitions)?;
        }
    }

    fn serve_whole_frames(&mut self, partitions: &mut Partitions) -> Result<(), FloorError> {
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        let mut served = Ok(());
        while let Some(length) = Fields::new(&input[at..self.filled]).length() {
            if self.filled - at - 4 < length {
                break;
            }
            let frame = &mut input[at + 4..at + 4 + length];
            at += 4 + length;
            served = self.serve(frame, partitions).and_then(|()| self.flush());
            if served.is_err() {
                break;
            }
        }
        input.copy_within(at..self.filled, 0);
        self.filled -= at;
        self.input = input;
        served
    }

    /// Sends what is left; `WouldBlock` when the socket takes no more.
    fn flush(&mut self) -> Result<(), FloorError> {
        while self.sent < self.output.len() {
            let more = if self.tail.is_some() { MsgFlags::from_bits_retain(libc::MSG_MORE) } else { MsgFlags::empty() };
            let flags = more | MsgFlags::MSG_NOSIGNAL;
            self.sent += send(self.socket.as_raw_fd(), &self.output[self.sent..], flags)?;
        }
        while let Some(tail) = &mut self.tail {
            match sendfile64(self.socket.as_fd(), tail.file.as_fd(), Some(&mut tail.position), tail.left)? {
                0 => return Err(Errno::EPIPE.into()), // the file was cut: nothing here does that
                sent => tail.left -= sent,
            }
            if tail.left == 0 {
                self.tail = None;
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }

    fn serve(&mut self, frame: &mut [u8], partitions: &mut Partitions) -> Result<(), FloorError> {
        let mut fields = Fields::new(frame);
        let api = fields.i16().unwrap_or(-1);
        let not_served = FloorError::NotServed(api);
        let served = match api {
            CREATE_TOPICS => self.create_topics(frame),
            PRODUCE => self.produce(frame, partitions)?,
            FETCH => self.fetch(frame, partitions)?,
            _ => None,
        };
        served.ok_or(not_served)?;
        let tail_bytes = self.tail.as_ref().map_or(0, |tail| tail.left);
        let length = i32::try_from(self.output.len() - 4 + tail_bytes).expect("an answer is smaller than 2 GiB");
        self.output[..4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Begins an answer: room for the length, and the correlation id. The fields of the body follow.
    fn answer<'a>(&mut self, frame: &'a [u8]) -> Option<Fields<'a>> {
        let mut fields = Fields::new(frame);
        fields.skip(4)?; // api, version
        self.output.extend_from_slice(&[0; 4]);
        self.output.extend_from_slice(fields.take(4)?);
        fields.string()?; // client id
        Some(fields)
    }

    fn put_i16(&mut self, value: i16) {
        self.output.extend_from_slice(&value.to_be_bytes());
    }

    fn put_i32(&mut self, value: i32) {
        self.output.extend_from_slice(&value.to_be_bytes());
    }

    fn put_i64(&mut self, value: i64) {
        self.output.extend_from_slice(&value.to_be_bytes());
    }

    fn put_string(&mut self, value: &[u8]) {
        self.put_i16(i16::try_from(value.len()).expect("it was read from a frame"));
        self.output.extend_from_slice(value);
    }

    fn create_topics(&mut self, frame: &[u8]) -> Option<()> {
        let mut fields = self.answer(frame)?;
        fields.skip(4)?;
        let topic = fields.string()?;
        self.put_i32(0); // throttle time
        self.put_i32(1);
        self.put_string(topic);
        self.put_i16(0);
        self.put_i16(-1); // no message
        Some(())
    }

    fn produce(&mut self, frame: &mut [u8], partitions: &mut Partitions) -> Result<Option<()>, FloorError> {
        let Some((topic_at, number, batch_at)) = self.answer(frame).and_then(|fields| produce_places(fields)) else {
            return Ok(None);
        };
        let (head, batch) = frame.split_at_mut(batch_at);
        let topic = &head[topic_at];
        let base_offset = partitions.open(topic, number)?.append(batch)?;
        self.put_i32(1);
        self.put_string(topic);
        self.put_i32(1);
        self.put_i32(number);
        self.put_i16(0);
        self.put_i64(base_offset);
        self.put_i64(-1); // log append time
        self.put_i64(0); // log start
        self.put_i32(0); // throttle time
        Ok(Some(()))
    }

    fn fetch(&mut self, frame: &[u8], partitions: &mut Partitions) -> Result<Option<()>, FloorError> {
        let Some((topic, number, offset, max_bytes)) = self.answer(frame).and_then(fetch_fields) else {
            return Ok(None);
        };
        let partition = partitions.open(topic, number)?;
        let (position, take) = partition.slice(offset, max_bytes);
        self.put_i32(0); // throttle time
        self.put_i16(0);
        self.put_i32(0); // no session
        self.put_i32(1);
        self.put_string(topic);
        self.put_i32(1);
        self.put_i32(number);
        self.put_i16(0);
        self.put_i64(partition.next_offset); // high watermark
        self.put_i64(partition.next_offset); // last stable offset
        self.put_i64(0); // log start
        self.put_i32(0); // aborted transactions
        self.put_i32(-1); // preferred replica
        self.put_i32(i32::try_from(take).expect("no more than the request allows, or one batch"));
        if take > 0 {
            let position = i64::try_from(position).expect("a file is smaller than 2^63 bytes");
            let left = usize::try_from(take).expect("64 bits");
            self.tail = Some(Tail { file: Rc::clone(&partition.file), position, left });
        }
        Ok(Some(()))
    }
}

/// Of a Produce request with one batch: where its topic is, which partition, and where the batch begins.
fn produce_places(mut fields: Fields<'_>) -> Option<(std::ops::Range<usize>, i32, usize)> {
    fields.string()?; // transactional id
    fields.skip(2 + 4 + 4)?; // acks, timeout, how many topics
    let topic = fields.string()?.len();
    let topic_end = fields.position();
    fields.skip(4)?; // how many partitions
    let number = fields.i32()?;
    fields.length()?;
    Some((topic_end - topic..topic_end, number, fields.position()))
}

/// Of a Fetch request for one partition: topic, partition, offset, and most bytes.
fn fetch_fields(mut fields: Fields<'_>) -> Option<(&[u8], i32, i64, u64)> {
    fields.skip(4 + 4 + 4 + 4 + 1 + 4 + 4 + 4)?; // replica, wait, min, max, isolation, session, epoch, how many topics
    let topic = fields.string()?;
    fields.skip(4)?; // how many partitions
    let number = fields.i32()?;
    fields.skip(4)?; // leader epoch
    let offset = fields.i64()?;
    fields.skip(8)?; // log start
    Some((topic, number, offset, u64::try_from(fields.i32()?).unwrap_or(0)))
}
