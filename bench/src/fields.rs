//! Reads big-endian fields out of a frame without decoding it whole.
//!
//! For the thin ends only ([`crate::raw`], [`crate::floor`]), which must cost next to nothing beside the broker. Past the end of
//! the bytes every read is `None`: a frame that is cut short is seen, not guessed at.

/// Bytes, and how far they were read.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Reads from the first byte.
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, at: 0 }
    }

    /// How many bytes were read or skipped.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    /// Passes over `count` bytes.
    pub(crate) fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A signed 16-bit number.
    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    /// A signed 32-bit number.
    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// An unsigned 32-bit number: a checksum.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A signed 64-bit number.
    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A length of four bytes; null counts as empty.
    pub(crate) fn length(&mut self) -> Option<usize> {
        self.i32().map(|length| usize::try_from(length).unwrap_or(0))
    }

    /// A string with a length of two bytes; null counts as empty.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        self.take(length)
    }

    /// Passes over a number of variable length.
    pub(crate) fn skip_varint(&mut self) -> Option<()> {
        while self.take(1)?.first()? & 0x80 != 0 {}
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_is_none_and_nothing_is_passed_over() {
        let mut fields = Fields::new(&[0, 3, b'a', b'b']);
        assert_eq!(fields.string(), None);
        assert_eq!(fields.position(), 2);
        assert_eq!(fields.i16(), Some(0x6162));
        assert_eq!(fields.i16(), None);
    }

    #[test]
    fn a_varint_is_passed_over_whole() {
        let mut fields = Fields::new(&[0x80, 0x80, 1, 7]);
        fields.skip_varint().expect("it ends");
        assert_eq!(fields.take(1), Some(&[7][..]));
    }
}
