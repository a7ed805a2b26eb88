//! Zigzag variable-length numbers, as record fields use them.
//!
//! Pure. Decoding never reads past the slice and refuses what Java's `ByteUtils` refuses: more than 5 bytes for an `int`, 10
//! for a `long`.

/// Longest encoding of a 64-bit number.
pub(crate) const MAX_LONG_BYTES: u32 = 10;

/// Appends a number.
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

/// A number put together byte by byte.
#[derive(Default)]
pub(crate) struct Decoder {
    bits: u64,
    shift: u32,
}

/// What one more byte made of the number.
pub(crate) enum Step {
    /// More bytes follow.
    More,
    /// The number is complete.
    Done(i64),
    /// Longer than any number of its kind.
    TooLong,
}

impl Decoder {
    /// Takes the next byte; `max_bytes` is 5 or [`MAX_LONG_BYTES`].
    pub(crate) fn push(&mut self, byte: u8, max_bytes: u32) -> Step {
        self.bits |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        if byte & 0x80 == 0 {
            return Step::Done((self.bits >> 1).cast_signed() ^ -(self.bits & 1).cast_signed());
        }
        if self.shift >= 7 * max_bytes { Step::TooLong } else { Step::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], max: u32) -> Option<(i64, usize)> {
        let mut number = Decoder::default();
        for (i, byte) in bytes.iter().enumerate() {
            match number.push(*byte, max) {
                Step::More => {}
                Step::Done(value) => return Some((value, i + 1)),
                Step::TooLong => return None,
            }
        }
        None
    }

    #[test]
    fn what_is_written_is_read_back() {
        for value in [0, -1, 1, 63, -64, 64, 300, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            assert_eq!(decode(&bytes, 10), Some((value, bytes.len())));
        }
    }

    #[test]
    fn a_number_that_never_ends_is_refused() {
        assert_eq!(decode(&[0x80; 20], 5), None);
        assert_eq!(decode(&[0xff; 20], 10), None);
    }
}
