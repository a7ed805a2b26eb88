//! What goes back to a client: bytes from memory, interleaved with slices of log files.

use bytes::{Bytes, BytesMut};
use kringle_protocol::{ApiKey, Cut, EncodeError, Message, Writer, response_header_version};
use kringle_runtime::File;
use smallvec::SmallVec;

/// Room that most answers find enough.
const ANSWER_BYTES: usize = 256;

/// Record bytes that stay in their segment file until the socket takes them.
#[derive(Clone)]
pub(crate) struct FileSlice {
    pub(crate) file: File,
    pub(crate) position: u64,
    pub(crate) len: usize,
}

/// One part of a response.
pub(crate) enum Piece {
    Memory(Bytes),
    File(FileSlice),
}

/// A whole response with its length field, ready for the socket.
pub(crate) struct Response {
    pub(crate) pieces: SmallVec<[Piece; 1]>,
}

impl Response {
    /// Frames `body`. `slices` fill, in order, the places where the body said `Records::External`.
    ///
    /// # Errors
    /// When the body holds a value that `version` cannot carry: a defect of the handler.
    pub(crate) fn encode<M: Message>(
        key: ApiKey,
        version: i16,
        correlation_id: i32,
        body: &M,
        slices: Vec<FileSlice>,
    ) -> Result<Response, EncodeError> {
        let external = slices.iter().map(|slice| slice.len).sum();
        let write = |writer: &mut Writer| body.encode(writer, version);
        let (memory, cuts) =
            frame(BytesMut::with_capacity(ANSWER_BYTES), key, version, correlation_id, write, external)?;
        assert_eq!(cuts.len(), slices.len(), "every external place has its file slice");
        let mut memory = memory.freeze();
        let mut pieces = SmallVec::new();
        let mut done = 0;
        for (cut, slice) in cuts.into_iter().zip(slices) {
            debug_assert_eq!(cut.len as usize, slice.len);
            pieces.push(Piece::Memory(memory.split_to(cut.position - done)));
            done = cut.position;
            pieces.push(Piece::File(slice));
        }
        if !memory.is_empty() {
            pieces.push(Piece::Memory(memory));
        }
        Ok(Response { pieces })
    }
}

/// Writes a frame behind what `memory` holds; its body is what `write` writes. `external` bytes come from elsewhere, at the cuts.
fn frame(
    memory: BytesMut,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    external: usize,
) -> Result<(BytesMut, Vec<Cut>), EncodeError> {
    let start = memory.len();
    let mut writer = Writer::new(memory);
    writer.i32(0);
    writer.i32(correlation_id);
    if response_header_version(key, version) >= 1 {
        writer.empty_tags();
    }
    write(&mut writer)?;
    let (mut memory, cuts) = writer.finish();
    let length = i32::try_from(memory.len() - start - 4 + external).map_err(|_| EncodeError::TooLong)?;
    memory[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok((memory, cuts))
}

/// Answers of one connection that leave together.
pub(crate) struct Outgoing {
    pieces: Vec<Piece>,
    /// Small answers, one behind the other: they cost one buffer and one slice of the send.
    memory: BytesMut,
}

/// Whole answers as they go out.
pub(crate) enum Leaving {
    /// All of it is here.
    Memory(BytesMut),
    /// In this order.
    Pieces(Vec<Piece>),
}

impl Outgoing {
    /// Answers that are put together in `room`.
    pub(crate) fn new(room: BytesMut) -> Outgoing {
        debug_assert!(room.is_empty());
        Outgoing { pieces: Vec::new(), memory: room }
    }

    /// Adds an answer whose body `write` writes.
    ///
    /// # Errors
    /// Of `write`; or the answer is too long.
    pub(crate) fn encode_with(
        &mut self,
        key: ApiKey,
        version: i16,
        correlation_id: i32,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.memory.reserve(ANSWER_BYTES);
        let (memory, cuts) = frame(std::mem::take(&mut self.memory), key, version, correlation_id, write, 0)?;
        assert!(cuts.is_empty(), "nothing comes from elsewhere");
        self.memory = memory;
        Ok(())
    }

    pub(crate) fn push(&mut self, response: Response) {
        self.end_memory();
        self.pieces.extend(response.pieces);
    }

    pub(crate) fn leave(mut self) -> Leaving {
        if self.pieces.is_empty() {
            return Leaving::Memory(self.memory);
        }
        self.end_memory();
        Leaving::Pieces(self.pieces)
    }

    fn end_memory(&mut self) {
        if !self.memory.is_empty() {
            self.pieces.push(Piece::Memory(std::mem::take(&mut self.memory).freeze()));
        }
    }
}
