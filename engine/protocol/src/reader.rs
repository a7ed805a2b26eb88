//! [`Reader`]: a position in received bytes, and the reads that everything else is made of.
//!
//! Invariant: nothing is allocated or looped over because of a number that was read, unless the bytes for it are there.
//! Every failure is a [`DecodeError`]; after one the reader's position is of no use.

use std::borrow::Cow;

use bytes::Bytes;

use crate::codec::{Codec, Ctx};
use crate::records::Records;
use crate::uuid::Uuid;

/// The longest string Kafka's protocol allows, in bytes.
pub const MAX_STRING_BYTES: usize = 0x7fff;

/// Elements for which an array makes room before the first is read; more room is made as they really come.
const FIRST_CAPACITY: usize = 1024;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside the message: a cut frame, or another message than announced.
    #[error("the message ends after {position} bytes, {missing} too early")]
    Truncated {
        /// Where the read began.
        position: usize,
        /// How many bytes it lacked.
        missing: usize,
    },
    /// A length or count is above what the bytes can hold or Kafka allows.
    #[error("a length of {length} at byte {position} cannot be")]
    Length {
        /// Where the length ended.
        position: usize,
        /// The length as read.
        length: i64,
    },
    /// A variable-length number does not end.
    #[error("a varint before byte {position} is too long")]
    Varint {
        /// Where reading stopped.
        position: usize,
    },
    /// Null where the version does not allow it.
    #[error("null before byte {position}, where a value must be")]
    Null {
        /// Where reading stopped.
        position: usize,
    },
    /// A tagged field is longer or shorter than it said.
    #[error("the tagged field {tag} before byte {position} does not have the length it says")]
    TagLength {
        /// The field's tag.
        tag: u32,
        /// Where reading stopped.
        position: usize,
    },
    /// The message would take more memory than [`Reader::with_memory_limit`] grants.
    #[error("the message takes more than the {limit} bytes of memory it may")]
    Memory {
        /// The limit.
        limit: usize,
    },
    /// This version of the message does not exist.
    #[error("{message} has no version {version}")]
    Version {
        /// Kafka's name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A framed record of a kind that is not known.
    #[error("no record type {0}")]
    RecordType(i64),
    /// A framed record in a frame that is not known.
    #[error("no record frame {0}")]
    Frame(u32),
}

/// A position in received bytes. `bytes` and `records` fields are slices of the same buffer, never copies.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
    memory_left: usize,
    memory_limit: usize,
}

/// Bytes as text. As in Java, what is not UTF-8 is replaced; whether anything must be is found out faster than what.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

impl Reader {
    /// Reads from the first byte on.
    #[must_use]
    pub fn new(bytes: Bytes) -> Reader {
        Reader::with_memory_limit(bytes, usize::MAX)
    }

    /// As [`Reader::new`]; the arrays and strings of what is decoded may take `limit` bytes of memory in all. A hostile
    /// frame can otherwise become some thirty times as large in memory as it was on the wire.
    #[must_use]
    pub fn with_memory_limit(bytes: Bytes, limit: usize) -> Reader {
        Reader { bytes, position: 0, memory_left: limit, memory_limit: limit }
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Reads `len` bytes as a slice of the same buffer.
    ///
    /// # Errors
    /// They are not all there.
    pub fn slice(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        let start = self.position;
        self.take(len)?;
        Ok(self.bytes.slice(start..self.position))
    }

    /// Passes over `len` bytes.
    ///
    /// # Errors
    /// They are not all there.
    pub fn skip(&mut self, len: usize) -> Result<(), DecodeError> {
        self.take(len).map(|_| ())
    }

    fn take(&mut self, len: usize) -> Result<&[u8], DecodeError> {
        let position = self.position;
        let missing = len.saturating_sub(self.remaining());
        if missing > 0 {
            return Err(DecodeError::Truncated { position, missing });
        }
        self.position += len;
        Ok(&self.bytes[position..position + len])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// A uuid.
    ///
    /// # Errors
    /// The bytes end before it does.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// An unsigned varint of at most five bytes.
    ///
    /// # Errors
    /// It does not end within the bytes, or within five of them.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = u32::from(self.array::<1>()?[0]);
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint { position: self.position })
    }

    /// A value of any type of the protocol, in the form of `c`.
    pub(crate) fn get<T: Codec>(&mut self, c: Ctx) -> Result<T, DecodeError> {
        T::read(self, c)
    }

    /// The length of a string, bytes or array; `None` for null, which, as to Kafka, is every negative one. In the compact
    /// form the number is taken for a Java `int`, so that one beyond is negative as well.
    pub(crate) fn length(&mut self, c: Ctx, rigid: Width) -> Result<Option<usize>, DecodeError> {
        let length = match (c.flexible, rigid) {
            (true, _) => self.uvarint()?.wrapping_sub(1).cast_signed(),
            (false, Width::Two) => i32::from(self.i16()?),
            (false, Width::Four) => self.i32()?,
        };
        Ok(usize::try_from(length).ok())
    }

    pub(crate) fn nullable_string(&mut self, c: Ctx) -> Result<Option<String>, DecodeError> {
        let Some(length) = self.length(c, Width::Two)? else { return Ok(None) };
        if length > MAX_STRING_BYTES {
            return Err(self.bad_length(length));
        }
        let start = self.position;
        self.take(length)?;
        self.charge(length)?;
        Ok(Some(text(&self.bytes[start..self.position]).into_owned()))
    }

    pub(crate) fn nullable_bytes(&mut self, c: Ctx) -> Result<Option<Bytes>, DecodeError> {
        match self.length(c, Width::Four)? {
            Some(length) => Ok(Some(self.slice(length)?)),
            None => Ok(None),
        }
    }

    /// Records that must not be null.
    pub(crate) fn records(&mut self, c: Ctx) -> Result<Records, DecodeError> {
        self.get(c).map(Records::Inline)
    }

    pub(crate) fn nullable_vec<T: Codec>(&mut self, c: Ctx) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(length) = self.array_length(c, T::min_len(c))? else { return Ok(None) };
        self.charge(length.saturating_mul(size_of::<T>()))?;
        let mut elements = Vec::with_capacity(length.min(FIRST_CAPACITY));
        for _ in 0..length {
            elements.push(T::read(self, c)?);
        }
        Ok(Some(elements))
    }

    /// The count of an array, which is proven to fit into the remaining bytes.
    pub(crate) fn array_length(&mut self, c: Ctx, min_element: usize) -> Result<Option<usize>, DecodeError> {
        let Some(length) = self.length(c, Width::Four)? else { return Ok(None) };
        if length > self.remaining() / min_element.max(1) {
            return Err(self.bad_length(length));
        }
        Ok(Some(length))
    }

    fn bad_length(&self, length: usize) -> DecodeError {
        DecodeError::Length { position: self.position, length: i64::try_from(length).unwrap_or(i64::MAX) }
    }

    /// Takes memory from what the message may use.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let left = self.memory_left.checked_sub(bytes);
        self.memory_left = left.ok_or(DecodeError::Memory { limit: self.memory_limit })?;
        Ok(())
    }

    pub(crate) fn null(&self) -> DecodeError {
        DecodeError::Null { position: self.position }
    }

    /// The head of a tagged field: its tag, and where it ends.
    pub(crate) fn tag(&mut self) -> Result<(u32, usize), DecodeError> {
        let tag = self.uvarint()?;
        let length = self.uvarint()? as usize;
        let missing = length.saturating_sub(self.remaining());
        if missing > 0 {
            return Err(DecodeError::Truncated { position: self.position, missing });
        }
        Ok((tag, self.position + length))
    }

    /// Whether a nullable struct in a tagged field is there. Only there Kafka says this by a varint.
    pub(crate) fn tagged_struct_is_there(&mut self) -> Result<bool, DecodeError> {
        Ok(self.uvarint()? != 0)
    }

    /// A nullable struct in a tagged field.
    pub(crate) fn tagged_struct<T: Codec>(&mut self, c: Ctx) -> Result<Option<T>, DecodeError> {
        if self.tagged_struct_is_there()? { T::read(self, c).map(Some) } else { Ok(None) }
    }

    /// Checks that a known tagged field has the length it said.
    pub(crate) fn tag_ended(&self, tag: u32, end: usize) -> Result<(), DecodeError> {
        if self.position == end { Ok(()) } else { Err(DecodeError::TagLength { tag, position: self.position }) }
    }

    /// Passes over an unknown tagged field; `end` comes from [`Reader::tag`].
    pub(crate) fn skip_to(&mut self, end: usize) {
        debug_assert!(self.position <= end && end <= self.bytes.len());
        self.position = end;
    }

    /// Passes over the tagged fields of a struct that has none.
    pub(crate) fn skip_tags(&mut self, c: Ctx) -> Result<(), DecodeError> {
        if c.flexible {
            for _ in 0..self.uvarint()? {
                let (_, end) = self.tag()?;
                self.skip_to(end);
            }
        }
        Ok(())
    }
}

/// Bytes of a length in the non-compact form.
#[derive(Clone, Copy)]
pub(crate) enum Width {
    Two,
    Four,
}

macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {
        impl Reader {
            $(
                #[doc = concat!("A big-endian `", stringify!($type), "`.\n\n# Errors\nThe bytes end before it does.")]
                pub fn $name(&mut self) -> Result<$type, DecodeError> {
                    Ok(<$type>::from_be_bytes(self.array()?))
                }
            )*
        }
    };
}

numbers!(i8: i8, u8: u8, i16: i16, u16: u16, i32: i32, u32: u32, i64: i64, f64: f64);
