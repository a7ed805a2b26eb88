//! What goes back to a client: bytes from memory, interleaved with slices of log files.

use bytes::BytesMut;
use kringle_protocol::{ApiKey, EncodeError, Message, Writer, response_header_version};
use kringle_runtime::File;
use smallvec::SmallVec;

/// Room that most answers find enough.
const ANSWER_BYTES: usize = 256;

/// The length before each answer.
const FIELD_BYTES: usize = 4;

/// Record bytes that stay in their segment file until the socket takes them.
#[derive(Clone)]
pub(crate) struct FileSlice {
    pub(crate) file: File,
    pub(crate) position: u64,
    pub(crate) len: usize,
}

/// The file slices of one answer, mostly those of one partition.
pub(crate) type FileSlices = SmallVec<[FileSlice; 1]>;

/// A whole answer with its length field, ready for the socket; or several that leave together.
#[derive(Default)]
pub(crate) struct Response {
    pub(crate) memory: BytesMut,
    /// Each goes out before the byte of `memory` at this place; they ascend.
    pub(crate) files: SmallVec<[(usize, FileSlice); 1]>,
}

impl Response {
    /// Frames `body` in `room`, which is empty. `slices` fill, in order, the places where the body said `Records::External`.
    ///
    /// # Errors
    /// When the body holds a value that `version` cannot carry: a defect of the handler.
    pub(crate) fn encode<M: Message>(
        room: BytesMut,
        key: ApiKey,
        version: i16,
        correlation_id: i32,
        body: &M,
        slices: FileSlices,
    ) -> Result<Response, EncodeError> {
        debug_assert!(room.is_empty(), "nothing else is in it");
        let mut response = Response { memory: room, files: SmallVec::new() };
        response.add(key, version, correlation_id, slices, |writer| body.encode(writer, version))?;
        Ok(response)
    }

    /// Nothing is in it yet: makes `room` the place where it is put together.
    pub(crate) fn begin(&mut self, room: impl FnOnce() -> BytesMut) {
        if self.memory.is_empty() {
            self.memory = room();
        }
    }

    /// Adds an answer whose body `write` writes, with `slices` in the places that it leaves for them.
    ///
    /// # Errors
    /// Of `write`; or the answer is too long.
    pub(crate) fn add(
        &mut self,
        key: ApiKey,
        version: i16,
        correlation_id: i32,
        slices: FileSlices,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.memory.reserve(ANSWER_BYTES);
        let start = self.memory.len();
        let mut writer = Writer::new(std::mem::take(&mut self.memory));
        writer.i32(0);
        writer.i32(correlation_id);
        if response_header_version(key, version) >= 1 {
            writer.empty_tags();
        }
        let written = write(&mut writer);
        let (memory, cuts) = writer.finish();
        self.memory = memory;
        let external: usize = slices.iter().map(|slice| slice.len).sum();
        let length = self.memory.len() - start - FIELD_BYTES + external;
        match written.and_then(|()| i32::try_from(length).map_err(|_| EncodeError::TooLong)) {
            Ok(length) => self.memory[start..start + FIELD_BYTES].copy_from_slice(&length.to_be_bytes()),
            Err(error) => {
                // What was there before still goes out.
                self.memory.truncate(start);
                return Err(error);
            }
        }
        assert_eq!(cuts.len(), slices.len(), "every external place has its file slice");
        for (cut, slice) in cuts.into_iter().zip(slices) {
            debug_assert_eq!(cut.len as usize, slice.len);
            self.files.push((cut.position, slice));
        }
        Ok(())
    }
}
