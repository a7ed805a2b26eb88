//! gzip in one step, which is how producers' batches are taken apart.
//!
//! A member says at its end how long it is, so one of ordinary size can be decoded into a buffer that has been used before: by libdeflate,
//! which is made for that and takes two thirds to a third of the time that a stream takes. Whatever is not just one plain member, and whatever
//! libdeflate refuses, is left to the stream: that gives the error, too.

use std::cell::RefCell;

use libdeflater::Decompressor;
use memchr::memmem;

/// More than this is decoded as a stream. Threads keep a buffer of this size, if they ever needed it.
const AT_ONCE_BYTES: usize = 4 << 20;
/// How a member begins; 8 is deflate, the one method there is.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Magic, flags, time, extra flags, system.
const HEADER_BYTES: usize = 10;
/// CRC-32, and the length modulo 2^32.
const TRAILER_BYTES: usize = 8;

thread_local! {
    static DECOMPRESSOR: RefCell<Decompressor> = RefCell::new(Decompressor::new());
}

/// How many bytes one plain member says to hold; `None`: `bytes` are something else, or may be.
fn length_of_the_only_member(bytes: &[u8]) -> Option<usize> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (body, trailer) = rest.split_last_chunk::<TRAILER_BYTES>()?;
    let [magic @ .., _, _, _, _, _, _, _] = header;
    let flags = header[MAGIC.len()];
    // libdeflate stops where a member ends and does not say where that was. So another one must not begin anywhere.
    if *magic != MAGIC || flags != 0 || memmem::find(body, &MAGIC).is_some() {
        return None;
    }
    let [_, _, _, _, length @ ..] = trailer;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

/// See [`super::decode_at_once`].
pub(super) fn decode_at_once(bytes: &[u8], limit: u64, out: &mut Vec<u8>) -> Option<usize> {
    let length = length_of_the_only_member(bytes)?;
    if length > AT_ONCE_BYTES || length as u64 > limit {
        return None;
    }
    if out.len() < length {
        out.resize(length, 0);
    }
    let decoded = DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.gzip_decompress(bytes, &mut out[..length]));
    decoded.ok().filter(|decoded| *decoded == length)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::{Compression, GzBuilder, bufread::MultiGzDecoder, write::GzEncoder};

    use super::*;
    use crate::compression::tests::sample;

    fn member(data: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn at_once(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![7; 100];
        let length = decode_at_once(bytes, u64::MAX, &mut out)?;
        Some(out[..length].to_vec())
    }

    #[test]
    fn a_plain_member_is_decoded_into_a_buffer_that_only_grows() {
        let mut out = Vec::new();
        for level in [0, 1, 6, 9] {
            for length in [200_000, 0, 1, 16 << 10, AT_ONCE_BYTES] {
                let data = sample(length);
                assert_eq!(decode_at_once(&member(&data, level), length as u64, &mut out), Some(length));
                assert!(out[..length] == data, "level {level}, {length} B");
            }
        }
        assert_eq!(out.len(), AT_ONCE_BYTES);
    }

    #[test]
    fn what_is_longer_than_allowed_is_left_to_the_stream_and_takes_no_memory() {
        let mut out = Vec::new();
        assert_eq!(decode_at_once(&member(&sample(101), 6), 100, &mut out), None);
        assert_eq!(decode_at_once(&member(&sample(AT_ONCE_BYTES + 1), 6), u64::MAX, &mut out), None);
        let mut claims = member(b"little", 6);
        let at = claims.len() - 4;
        claims[at..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode_at_once(&claims, u64::MAX, &mut out), None);
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn several_members_and_what_may_be_several_are_left_to_the_stream() {
        let one = member(&sample(5_000), 6);
        assert!(at_once(&one).is_some());
        // The trailer of two equal members is that of the first.
        assert_eq!(at_once(&[one.clone(), one.clone()].concat()), None);
        assert_eq!(at_once(&member(&MAGIC, 0)), None, "stored as they are");
        let named = GzBuilder::new().filename("name").write(Vec::new(), Compression::new(6));
        assert_eq!(at_once(&named.finish().unwrap()), None);
    }

    #[test]
    fn a_changed_or_cut_member_gives_what_the_stream_gives_or_nothing() {
        let bytes = member(&sample(3_000), 6);
        for at in 0..bytes.len() {
            assert_eq!(at_once(&bytes[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let mut streamed = Vec::new();
                let result = MultiGzDecoder::new(&changed[..]).read_to_end(&mut streamed);
                if let Some(decoded) = at_once(&changed) {
                    assert!(result.is_ok() && decoded == streamed, "bit {bit} of byte {at}");
                }
            }
        }
    }
}
