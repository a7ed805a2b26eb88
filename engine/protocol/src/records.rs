//! [`Records`]: the record batches inside Produce, Fetch and their kin.

use bytes::Bytes;

/// A field of record batches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Records {
    /// Null.
    #[default]
    Null,
    /// Batches in memory; after decoding, a slice of the frame.
    Inline(Bytes),
    /// `len` bytes which the caller sends from elsewhere: only their length is written, and a cut remembers the place.
    External {
        /// How many bytes.
        len: u32,
    },
}

impl Records {
    /// The bytes in memory; empty for null and for what lies elsewhere.
    #[must_use]
    pub fn inline(&self) -> &[u8] {
        match self {
            Records::Inline(bytes) => bytes,
            Records::Null | Records::External { .. } => &[],
        }
    }

    /// How many bytes, wherever they are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Records::Null => 0,
            Records::Inline(bytes) => bytes.len(),
            Records::External { len } => *len as usize,
        }
    }

    /// Whether there is not one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Records::Null
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records::Inline(bytes)
    }
}
