//! [`Writer`]: bytes to be sent, with places left open for records that stay in their files.
//!
//! Invariant: cuts lie in ascending positions, and only at the end of what was written when they were made.

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use crate::codec::{Codec, Ctx};
use crate::reader::{MAX_STRING_BYTES, Width};

/// Why a value cannot be sent. Each is a defect of the caller, never of a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A string is longer than Kafka allows, or bytes or an array longer than their length field can say.
    #[error("a value is too long to be sent")]
    TooLong,
    /// A field has a value that this version cannot carry and a peer must not miss.
    #[error("version {version} cannot carry {field}")]
    NotInVersion {
        /// The field, in snake case.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Null where this version does not allow it.
    #[error("{field} must not be null")]
    Null {
        /// The field, in snake case.
        field: &'static str,
    },
    /// This version of the message does not exist.
    #[error("{message} has no version {version}")]
    Version {
        /// Kafka's name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// A place where `len` bytes from elsewhere belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Position in the writer's bytes before which they go.
    pub position: usize,
    /// How many bytes.
    pub len: u32,
}

/// Where the records of an answer belong in it: mostly those of one partition.
pub type Cuts = SmallVec<[Cut; 1]>;

/// Bytes to be sent.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: BytesMut,
    cuts: Cuts,
}

impl Writer {
    /// Writes behind what `bytes` holds already.
    #[must_use]
    pub fn new(bytes: BytesMut) -> Writer {
        Writer { bytes, cuts: Cuts::new() }
    }

    /// What was written, and where records from files belong in it.
    #[must_use]
    pub fn finish(self) -> (BytesMut, Cuts) {
        (self.bytes, self.cuts)
    }

    /// Bytes written so far, without what belongs into cuts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// An unsigned varint.
    pub fn uvarint(&mut self, value: u32) {
        let (bytes, len) = uvarint(value);
        self.raw(&bytes[..len]);
    }

    /// The end of a flexible struct or header without tagged fields.
    pub fn empty_tags(&mut self) {
        self.u8(0);
    }

    /// A value of any type of the protocol, in the form of `c`.
    pub(crate) fn put<T: Codec>(&mut self, value: &T, c: Ctx) -> Result<(), EncodeError> {
        value.write(self, c)
    }

    /// A value that this version does not allow to be null.
    pub(crate) fn put_some<T: Codec>(&mut self, v: &Option<T>, c: Ctx, field: &'static str) -> Result<(), EncodeError> {
        v.as_ref().ok_or(EncodeError::Null { field })?.write(self, c)
    }

    pub(crate) fn length(&mut self, len: Option<usize>, c: Ctx, width: Width) -> Result<(), EncodeError> {
        let long = |_| EncodeError::TooLong;
        match (c.flexible, width) {
            (true, _) => self
                .uvarint(len.map_or(Ok(0), |len| i32::try_from(len).map(|len| len.unsigned_abs() + 1)).map_err(long)?),
            (false, Width::Two) => self.i16(len.map_or(Ok(-1), i16::try_from).map_err(long)?),
            (false, Width::Four) => self.i32(len.map_or(Ok(-1), i32::try_from).map_err(long)?),
        }
        Ok(())
    }

    pub(crate) fn nullable_string(&mut self, text: Option<&str>, c: Ctx) -> Result<(), EncodeError> {
        let text = text.map(str::as_bytes);
        if text.is_some_and(|text| text.len() > MAX_STRING_BYTES) {
            return Err(EncodeError::TooLong);
        }
        self.length(text.map(<[u8]>::len), c, Width::Two)?;
        self.raw(text.unwrap_or_default());
        Ok(())
    }

    pub(crate) fn nullable_bytes(&mut self, bytes: Option<&Bytes>, c: Ctx) -> Result<(), EncodeError> {
        self.length(bytes.map(Bytes::len), c, Width::Four)?;
        if let Some(bytes) = bytes {
            self.raw(bytes);
        }
        Ok(())
    }

    pub(crate) fn nullable_slice<T: Codec>(&mut self, of: Option<&[T]>, c: Ctx) -> Result<(), EncodeError> {
        self.length(of.map(<[T]>::len), c, Width::Four)?;
        for element in of.unwrap_or_default() {
            element.write(self, c)?;
        }
        Ok(())
    }

    /// Leaves a place for `len` bytes that are not in memory, even if it is an empty one.
    pub(crate) fn external(&mut self, len: u32, c: Ctx) -> Result<(), EncodeError> {
        self.length(Some(len as usize), c, Width::Four)?;
        self.cuts.push(Cut { position: self.bytes.len(), len });
        Ok(())
    }

    /// A tagged field.
    pub(crate) fn tag<T: Codec>(&mut self, tag: u32, value: &T, c: Ctx) -> Result<(), EncodeError> {
        self.uvarint(tag);
        let start = self.bytes.len();
        value.write(self, c)?;
        self.insert_length(start)
    }

    /// A tagged field that is a nullable struct; only there Kafka says null by a varint.
    pub(crate) fn tag_struct<T: Codec>(&mut self, tag: u32, value: &Option<T>, c: Ctx) -> Result<(), EncodeError> {
        self.uvarint(tag);
        let start = self.bytes.len();
        self.uvarint(u32::from(value.is_some()));
        value.as_ref().map_or(Ok(()), |value| value.write(self, c))?;
        self.insert_length(start)
    }

    /// Puts the length of what was written since `start` before it.
    pub(crate) fn insert_length(&mut self, start: usize) -> Result<(), EncodeError> {
        let end = self.bytes.len();
        debug_assert!(self.cuts.last().is_none_or(|cut| cut.position <= start), "no records in tagged fields");
        let (prefix, len) = uvarint(u32::try_from(end - start).map_err(|_| EncodeError::TooLong)?);
        self.raw(&prefix[..len]);
        self.bytes.copy_within(start..end, start + len);
        self.bytes[start..start + len].copy_from_slice(&prefix[..len]);
        Ok(())
    }
}

/// The bytes of an unsigned varint, and how many they are.
fn uvarint(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut len = 0;
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        bytes[len] = if value == 0 { low } else { low | 0x80 };
        len += 1;
        if value == 0 {
            return (bytes, len);
        }
    }
}

macro_rules! numbers {
    ($($name:ident: $type:ty => $put:ident),*) => {
        impl Writer {
            $(
                #[doc = concat!("A big-endian `", stringify!($type), "`.")]
                pub fn $name(&mut self, value: $type) {
                    self.bytes.$put(value);
                }
            )*
        }
    };
}

numbers!(i8: i8 => put_i8, u8: u8 => put_u8, i16: i16 => put_i16, u16: u16 => put_u16, i32: i32 => put_i32,
    u32: u32 => put_u32, i64: i64 => put_i64, f64: f64 => put_f64);
