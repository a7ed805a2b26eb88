//! How each type of the protocol is read and written; the generated code is made of these.
//!
//! Two forms exist: the old one, with lengths of fixed width, and the compact one of "flexible" versions (KIP-482).
//! [`Ctx`] says which, and is the same for a message and all structs in it.

use bytes::Bytes;

use crate::reader::{DecodeError, Reader};
use crate::records::Records;
use crate::uuid::Uuid;
use crate::writer::{EncodeError, Writer};

/// The form of a message: its version, and whether that is a flexible one.
#[derive(Debug, Clone, Copy)]
pub struct Ctx {
    pub(crate) version: i16,
    pub(crate) flexible: bool,
}

impl Ctx {
    pub(crate) fn new(version: i16, flexible_from: i16) -> Ctx {
        Ctx { version, flexible: version >= flexible_from }
    }

    /// The old form, whatever the version.
    pub(crate) fn rigid(self) -> Ctx {
        Ctx { flexible: false, ..self }
    }
}

/// A type of the protocol. Callers use [`Message`], which adds the versions.
///
/// [`Message`]: crate::Message
pub trait Codec: Sized {
    /// The fewest bytes a value can take.
    fn min_len(c: Ctx) -> usize;

    /// Reads one value.
    ///
    /// # Errors
    /// The bytes are not such a value.
    fn read(r: &mut Reader, c: Ctx) -> Result<Self, DecodeError>;

    /// Writes the value.
    ///
    /// # Errors
    /// The version cannot carry the value.
    fn write(&self, w: &mut Writer, c: Ctx) -> Result<(), EncodeError>;
}

/// What can also be null. A struct says so by a byte before it; the others by a length of their own.
pub trait Nullable: Codec {
    /// The fewest bytes a nullable value can take.
    #[must_use]
    fn min_len_nullable(_: Ctx) -> usize {
        1
    }

    /// Reads a value or null.
    ///
    /// # Errors
    /// The bytes are neither.
    fn read_nullable(r: &mut Reader, c: Ctx) -> Result<Option<Self>, DecodeError> {
        if r.i8()? < 0 { Ok(None) } else { Self::read(r, c).map(Some) }
    }

    /// Writes a value or null.
    ///
    /// # Errors
    /// The version cannot carry the value.
    fn write_nullable(value: Option<&Self>, w: &mut Writer, c: Ctx) -> Result<(), EncodeError> {
        w.i8(if value.is_some() { 1 } else { -1 });
        value.map_or(Ok(()), |value| value.write(w, c))
    }
}

impl<T: Nullable> Codec for Option<T> {
    fn min_len(c: Ctx) -> usize {
        T::min_len_nullable(c)
    }

    fn read(r: &mut Reader, c: Ctx) -> Result<Self, DecodeError> {
        T::read_nullable(r, c)
    }

    fn write(&self, w: &mut Writer, c: Ctx) -> Result<(), EncodeError> {
        T::write_nullable(self.as_ref(), w, c)
    }
}

impl Codec for bool {
    fn min_len(_: Ctx) -> usize {
        1
    }

    fn read(r: &mut Reader, _: Ctx) -> Result<Self, DecodeError> {
        Ok(r.u8()? != 0)
    }

    fn write(&self, w: &mut Writer, _: Ctx) -> Result<(), EncodeError> {
        w.u8(u8::from(*self));
        Ok(())
    }
}

macro_rules! numbers {
    ($($type:ident)*) => {$(
        impl Codec for $type {
            fn min_len(_: Ctx) -> usize {
                size_of::<$type>()
            }

            fn read(r: &mut Reader, _: Ctx) -> Result<Self, DecodeError> {
                r.$type()
            }

            fn write(&self, w: &mut Writer, _: Ctx) -> Result<(), EncodeError> {
                w.$type(*self);
                Ok(())
            }
        }
    )*};
}

numbers!(i8 i16 u16 i32 u32 i64 f64);

impl Codec for Uuid {
    fn min_len(_: Ctx) -> usize {
        16
    }

    fn read(r: &mut Reader, _: Ctx) -> Result<Self, DecodeError> {
        r.uuid()
    }

    fn write(&self, w: &mut Writer, _: Ctx) -> Result<(), EncodeError> {
        w.raw(self.as_bytes());
        Ok(())
    }
}

/// The types whose length says null: one set of functions reads and writes them, nullable or not.
macro_rules! lengthy {
    ($([$($param:tt)*] $type:ty, $width:expr, $read:ident, $write:ident, $borrow:expr;)*) => {$(
        impl $($param)* Codec for $type {
            fn min_len(c: Ctx) -> usize {
                if c.flexible { 1 } else { $width }
            }

            fn read(r: &mut Reader, c: Ctx) -> Result<Self, DecodeError> {
                r.$read(c)?.ok_or_else(|| r.null())
            }

            fn write(&self, w: &mut Writer, c: Ctx) -> Result<(), EncodeError> {
                w.$write(Some($borrow(self)), c)
            }
        }

        impl $($param)* Nullable for $type {
            fn min_len_nullable(c: Ctx) -> usize {
                Self::min_len(c)
            }

            fn read_nullable(r: &mut Reader, c: Ctx) -> Result<Option<Self>, DecodeError> {
                r.$read(c)
            }

            fn write_nullable(value: Option<&Self>, w: &mut Writer, c: Ctx) -> Result<(), EncodeError> {
                w.$write(value.map($borrow), c)
            }
        }
    )*};
}

lengthy! {
    [] String, 2, nullable_string, nullable_string, String::as_str;
    [] Bytes, 4, nullable_bytes, nullable_bytes, std::convert::identity;
    [<T: Codec>] Vec<T>, 4, nullable_vec, nullable_slice, Vec::as_slice;
}

impl Codec for Records {
    fn min_len(c: Ctx) -> usize {
        Bytes::min_len(c)
    }

    fn read(r: &mut Reader, c: Ctx) -> Result<Self, DecodeError> {
        Ok(r.nullable_bytes(c)?.map_or(Records::Null, Records::Inline))
    }

    fn write(&self, w: &mut Writer, c: Ctx) -> Result<(), EncodeError> {
        match self {
            Records::Null => w.nullable_bytes(None, c),
            Records::Inline(bytes) => w.nullable_bytes(Some(bytes), c),
            Records::External { len } => w.external(*len, c),
        }
    }
}
