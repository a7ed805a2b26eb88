//! Frames off the wire: a length of four bytes, then that many bytes.
//!
//! Owned by one connection's reader task. An idle connection owns no memory: bytes arrive in the shard's shared receive
//! buffers. Small frames are copied out of them, all that arrived whole together into one buffer. A larger one is received
//! straight into a pooled buffer which grows with what has arrived, never with what was announced. That buffer has room for
//! the length of the frame behind it, so that of a stream of large frames no byte is copied twice. From a client that
//! pipelines frames of middling size, several are received together and are slices of one buffer. A bad length closes the
//! connection, as Kafka does.

use std::rc::Rc;

use bytes::{Buf, Bytes};
use kringle_runtime::{Chunk, FrameBuf, Rt, Socket};

use super::budget::{Budget, Permit};

/// First allocation for a frame whose announced length is larger: what arrives decides about the rest.
const GROW_FROM_BYTES: usize = 256 * 1024;

/// Missing bytes of a frame from which on they are received into the frame itself, without the shared buffers.
const DIRECT_RECEIVE_BYTES: usize = 4 * 1024;

/// Pipelined frames of at least [`DIRECT_RECEIVE_BYTES`] and at most this size are received together...
const TOGETHER_UPTO_BYTES: usize = 64 * 1024;

/// ...into a buffer that takes what a producer has in flight: five batches of 16 KiB.
const TOGETHER_BYTES: usize = 128 * 1024;

/// What the end of a full receive buffer cuts through may have more behind it. Up to this size it is received with that which is there...
const MAYBE_TOGETHER_UPTO_BYTES: usize = 2 * DIRECT_RECEIVE_BYTES;

/// ...into a buffer of this size: five small batches.
const MAYBE_TOGETHER_BYTES: usize = 32 * 1024;

/// The length before each frame.
const FIELD_BYTES: usize = 4;

/// Why no further frame comes from a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The announced length is negative or above `socket.request.max.bytes`.
    #[error("a frame announced {0} bytes, the limit is {1}")]
    Length(i32, usize),
    /// The socket failed.
    #[error("receive failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Cuts the byte stream of one socket into frames.
pub(crate) struct FrameReader {
    rt: Rt,
    socket: Rc<Socket>,
    budget: Budget,
    max_bytes: usize,
    /// Received in a shared buffer and not yet consumed: the chunk and how much of it is used.
    received: Option<(Chunk, usize)>,
    /// Received behind a frame and not yet consumed. Never kept across a wait for more.
    ahead: Bytes,
    /// The client does not wait for an answer before it sends more: something had arrived behind the last frame.
    pipelined: bool,
    /// What came of the next frame's length.
    field: [u8; FIELD_BYTES],
    field_len: usize,
}

impl FrameReader {
    pub(crate) fn new(rt: Rt, socket: Rc<Socket>, budget: Budget, max_bytes: usize) -> FrameReader {
        let (received, ahead, field) = (None, Bytes::new(), [0; FIELD_BYTES]);
        FrameReader { rt, socket, budget, max_bytes, received, ahead, pipelined: false, field, field_len: 0 }
    }

    /// The next whole frame without its length field. Dropping the future loses bytes: only drop it with the connection.
    pub(crate) async fn next(&mut self) -> Result<Bytes, FrameError> {
        let (mut field, mut have) = (self.field, std::mem::take(&mut self.field_len));
        while have < FIELD_BYTES {
            have += self.take_received(&mut field[have..]);
            if have < FIELD_BYTES {
                self.receive().await?;
            }
        }
        let announced = i32::from_be_bytes(field);
        match usize::try_from(announced) {
            Ok(length) if length <= self.ahead.len().min(self.max_bytes) => Ok(self.ahead.split_to(length)),
            Ok(length) if length <= self.max_bytes => self.body(length).await,
            _ => Err(FrameError::Length(announced, self.max_bytes)),
        }
    }

    async fn body(&mut self, length: usize) -> Result<Bytes, FrameError> {
        let room = self.arrived_together(length).or_else(|| self.room_together(length));
        let together = room.is_some();
        let room = room.unwrap_or(length + FIELD_BYTES);
        let mut permit = self.budget.permit();
        let mut ahead = std::mem::take(&mut self.ahead);
        if !ahead.is_empty() && !permit.try_grow_to(GROW_FROM_BYTES.min(room)) {
            // Nobody may wait for memory that he holds himself.
            ahead = Bytes::copy_from_slice(&ahead);
        }
        let mut frame = grown(&self.rt, &mut permit, None, room).await;
        frame.extend_from_slice(&ahead);
        drop(ahead);
        loop {
            if let Some((chunk, used)) = &self.received {
                let wanted = if together { frame.remaining() } else { length - frame.len() };
                let n = (chunk.len() - used).min(frame.remaining()).min(wanted);
                frame.extend_from_slice(&chunk[*used..*used + n]);
                self.consume(n);
            }
            if frame.len() >= length {
                break;
            }
            let missing = length - frame.len();
            if frame.remaining() == 0 {
                frame = grown(&self.rt, &mut permit, Some(frame), room).await;
            }
            if self.received.is_some() {
                continue;
            }
            if missing >= DIRECT_RECEIVE_BYTES || together {
                // The capacity never passes the room asked for, so this reaches no further than that.
                let (received, back) = self.socket.recv_into(frame).await;
                frame = back;
                if received? == 0 {
                    return Err(FrameError::Closed);
                }
            } else {
                self.receive().await?;
            }
        }
        let mut all = permit.attach(frame.freeze());
        let frame = all.split_to(length);
        self.pipelined = !all.is_empty();
        if all.len() < FIELD_BYTES {
            // Not worth holding the buffer for.
            self.field[..all.len()].copy_from_slice(&all);
            self.field_len = all.len();
        } else {
            self.ahead = all;
        }
        Ok(frame)
    }

    /// The bytes of a frame of `length` and of those behind it that arrived whole with it, if there are any.
    fn arrived_together(&self, length: usize) -> Option<usize> {
        let (chunk, used) = self.received.as_ref()?;
        debug_assert!(self.ahead.is_empty(), "it came before what is in the chunk");
        let whole = whole_frames(&chunk[*used..], length, self.max_bytes);
        (whole > length).then_some(whole)
    }

    /// How much is received together with a frame of `length`, if more may have arrived behind it.
    fn room_together(&self, length: usize) -> Option<usize> {
        if !(DIRECT_RECEIVE_BYTES..=TOGETHER_UPTO_BYTES).contains(&length) {
            return None;
        }
        let cut = |(chunk, used): &(Chunk, usize)| chunk.is_full() && chunk.len() - used < length;
        if self.pipelined {
            Some(TOGETHER_BYTES)
        } else if length <= MAYBE_TOGETHER_UPTO_BYTES && self.received.as_ref().is_some_and(cut) {
            Some(MAYBE_TOGETHER_BYTES)
        } else {
            None
        }
    }

    /// Moves received bytes into `to`; how many there were.
    fn take_received(&mut self, to: &mut [u8]) -> usize {
        if !self.ahead.is_empty() {
            let n = self.ahead.len().min(to.len());
            self.ahead.copy_to_slice(&mut to[..n]);
            if self.ahead.is_empty() {
                self.ahead = Bytes::new();
            }
            return n;
        }
        let Some((chunk, used)) = &self.received else { return 0 };
        let n = (chunk.len() - used).min(to.len());
        to[..n].copy_from_slice(&chunk[*used..*used + n]);
        self.consume(n);
        n
    }

    fn consume(&mut self, n: usize) {
        if let Some((chunk, used)) = &mut self.received {
            *used += n;
            if *used == chunk.len() {
                // Back to the shard's receive buffers before waiting again.
                self.received = None;
            }
        }
    }

    async fn receive(&mut self) -> Result<(), FrameError> {
        let chunk = self.socket.recv().await?;
        if chunk.is_empty() {
            return Err(FrameError::Closed);
        }
        self.received = Some((chunk, 0));
        Ok(())
    }
}

/// Where the last whole frame ends in `bytes`, which begin with the body of a frame of `length`; 0 if that one is not whole.
fn whole_frames(bytes: &[u8], length: usize, max_bytes: usize) -> usize {
    let (mut end, mut next_end) = (0, length);
    while next_end <= bytes.len() {
        end = next_end;
        let Some(field) = bytes[end..].first_chunk::<FIELD_BYTES>() else { break };
        match usize::try_from(i32::from_be_bytes(*field)) {
            Ok(next) if next <= max_bytes => next_end = end + FIELD_BYTES + next,
            _ => break,
        }
    }
    end
}

/// A buffer with more room than `frame` has, and its content: doubled, up to `room`.
async fn grown(rt: &Rt, permit: &mut Permit, frame: Option<FrameBuf>, room: usize) -> FrameBuf {
    let capacity = frame.as_ref().map_or(GROW_FROM_BYTES, |frame| frame.capacity() * 2).min(room);
    permit.grow_to(capacity).await;
    let mut bigger = rt.frame_buf(capacity);
    if let Some(frame) = frame {
        bigger.extend_from_slice(&frame);
    }
    bigger
}

#[cfg(test)]
mod tests {
    use super::*;

    fn then(bytes: &mut Vec<u8>, announced: i32, body: usize) {
        bytes.extend_from_slice(&announced.to_be_bytes());
        bytes.resize(bytes.len() + body, 0);
    }

    #[test]
    fn whole_frames_end_before_what_is_cut_or_must_be_refused() {
        let mut bytes = vec![0; 10];
        assert_eq!([9, 10, 11].map(|length| whole_frames(&bytes, length, 100)), [9, 10, 0]);
        then(&mut bytes, 20, 20);
        then(&mut bytes, 0, 0);
        assert_eq!(whole_frames(&bytes, 10, 100), 38);
        assert_eq!(whole_frames(&bytes[..36], 10, 100), 34, "a length is cut");
        assert_eq!(whole_frames(&bytes[..33], 10, 100), 10, "a body is cut");
        for refused in [101, -1, i32::MIN] {
            let mut bytes = bytes.clone();
            then(&mut bytes, refused, 200);
            assert_eq!(whole_frames(&bytes, 10, 100), 38, "{refused} is for the reader to refuse");
        }
    }
}
