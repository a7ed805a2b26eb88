//! gzip in one step, which is how producers' batches are taken apart.
//!
//! A member says at its end how long it is, so one of ordinary size can be decoded by one call into a buffer that has been used before,
//! with a state that is kept: no window is copied from, nothing is allocated. It is zlib-rs in either case, which refuses what zlib, and so
//! Java, refuses. Whatever is not just one plain member, or turns out to be wrong, is left to the stream: that gives the error, too.

use std::cell::RefCell;
use std::io;

use flate2::bufread::GzDecoder;
use flate2::{Crc, Decompress, FlushDecompress, Status};

/// More than this is decoded as a stream. Threads keep a buffer of this size, if they ever needed it.
const AT_ONCE_BYTES: usize = 4 << 20;
/// How a member begins; 8 is deflate, the one method there is, and no flag is set: neither name nor comment follows.
const PLAIN: [u8; 4] = [0x1f, 0x8b, 8, 0];
/// Method included.
const MAGIC_BYTES: usize = 3;
/// Magic, method, flags, time, extra flags, system.
const HEADER_BYTES: usize = 10;
/// CRC-32, and the length modulo 2^32.
const TRAILER_BYTES: usize = 8;
/// A decoder is fast while it has room for the longest match, 258 B, and for writing a little too much. So there is room behind the end.
const ROOM_BYTES: usize = 512;

thread_local! {
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// A plain member in its parts.
struct Member<'a> {
    /// Deflated; if only one member is there.
    body: &'a [u8],
    crc: u32,
    length: usize,
}

impl<'a> Member<'a> {
    /// `None`: something else.
    fn of(bytes: &'a [u8]) -> Option<Member<'a>> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (body, [crc @ .., l0, l1, l2, l3]) = rest.split_last_chunk::<TRAILER_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes([*l0, *l1, *l2, *l3])).ok()?;
        header.starts_with(&PLAIN).then_some(Member { body, crc: u32::from_le_bytes(*crc), length })
    }
}

/// Decodes in one step or as a stream; members one behind the other are one stream.
pub(crate) enum MembersReader<'a> {
    Untried(&'a [u8]),
    Stream(Box<GzDecoder<&'a [u8]>>),
    Ended,
}

impl MembersReader<'_> {
    /// See [`super::Decoder::next_piece`]; all of an ordinary batch is one piece. More than `limit` never is.
    pub(crate) fn next_piece(&mut self, limit: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if let MembersReader::Untried(bytes) = *self {
            if let Some(len) = decode_at_once(bytes, limit, buffer) {
                *self = MembersReader::Ended;
                return Ok(len);
            }
            *self = MembersReader::Stream(Box::new(GzDecoder::new(bytes)));
        }
        while let MembersReader::Stream(decoder) = self {
            let len = super::read_piece(decoder, buffer)?;
            if len > 0 {
                return Ok(len);
            }
            // As in Java, what is behind a member is another one if it begins like one, and else is not looked at. Here it must be one,
            // then; Java looks at some of its header first, and not if too little is left.
            let behind = *decoder.get_ref();
            if behind.starts_with(&PLAIN[..MAGIC_BYTES]) {
                decoder.reset(behind);
            } else {
                *self = MembersReader::Ended;
            }
        }
        Ok(0)
    }
}

/// Decodes `bytes` into the start of `out`, which grows to what it needs, and gives how much came out. `None`: left to the stream.
fn decode_at_once(bytes: &[u8], limit: u64, out: &mut Vec<u8>) -> Option<usize> {
    let Member { body, crc, length } = Member::of(bytes)?;
    if length > AT_ONCE_BYTES || length as u64 > limit {
        return None;
    }
    super::grow(out, length + ROOM_BYTES);
    DECOMPRESS.with_borrow_mut(|decompress| {
        decompress.reset(false);
        let status = decompress.decompress(body, &mut out[..length + ROOM_BYTES], FlushDecompress::Finish).ok()?;
        let all = status == Status::StreamEnd
            && decompress.total_in() == body.len() as u64
            && decompress.total_out() == length as u64;
        if !all {
            return None;
        }
        let mut sum = Crc::new();
        sum.update(&out[..length]);
        (sum.sum() == crc).then_some(length)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::{Compression, GzBuilder, bufread::MultiGzDecoder, write::GzEncoder};

    use super::*;
    use crate::compression::tests::{decoded, sample};

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
        assert_eq!(out.len(), AT_ONCE_BYTES + ROOM_BYTES);
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
    fn several_members_and_what_follows_one_are_left_to_the_stream() {
        let one = member(&sample(5_000), 6);
        assert!(at_once(&one).is_some());
        // The trailer of two equal members is that of the first.
        assert_eq!(at_once(&[one.clone(), one.clone()].concat()), None);
        // Here what follows ends with the length of what came before.
        assert_eq!(at_once(&[&one[..], b"junk", &one[one.len() - TRAILER_BYTES..]].concat()), None);
        assert!(at_once(&member(&PLAIN, 0)).is_some(), "a member whose bytes look like another one's beginning");
        let named = GzBuilder::new().filename("name").write(Vec::new(), Compression::new(6));
        assert_eq!(at_once(&named.finish().unwrap()), None);
    }

    #[test]
    fn what_follows_a_member_is_another_one_or_is_not_looked_at() {
        let (one, two) = (member(&sample(5_000), 6), member(&sample(70_000), 6));
        let both = [sample(5_000), sample(70_000)].concat();
        let read = |parts: &[&[u8]]| decoded(super::super::Compression::Gzip, &parts.concat());
        assert!(read(&[&one, &two]).unwrap() == both);
        for junk in [&b"j"[..], &[0; 100], &[&PLAIN[..2], &[7; 100]].concat()] {
            assert!(read(&[&one, &two, junk]).unwrap() == both, "{junk:?}");
        }
        let reserved_flag = [&PLAIN[..MAGIC_BYTES], &[0x20], &[7; 100]].concat();
        for no_member in [&PLAIN[..], &reserved_flag] {
            assert!(read(&[&one, &two, no_member]).is_err(), "{no_member:?}");
        }
        assert!(read(&[&one, &two[..two.len() - 1]]).is_err(), "a second member that is cut");
        assert!(read(&[b"j", &one]).is_err());
    }

    /// Decoders that are made for speed alone take these, and a consumer in Java does not.
    #[test]
    fn codes_that_deflate_does_not_have_are_refused_as_zlib_refuses_them() {
        /// Bits in the order in which deflate reads them; Huffman codes come with their highest bit first.
        fn fixed_block(codes: &[(u32, u32)]) -> Vec<u8> {
            let bits =
                codes.iter().flat_map(|(code, len)| (0..*len).rev().map(move |bit| u8::from(code >> bit & 1 == 1)));
            let bits: Vec<u8> = [1, 1, 0].into_iter().chain(bits).collect();
            bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |all, bit| all << 1 | bit)).collect()
        }
        let gzip = |body: &[u8], data: &[u8]| {
            let mut crc = Crc::new();
            crc.update(data);
            let trailer = [crc.sum().to_le_bytes(), u32::try_from(data.len()).unwrap().to_le_bytes()].concat();
            [&PLAIN[..], &[0; 6], body, &trailer].concat()
        };
        const LITERAL_A: (u32, u32) = (0x30 + b'A' as u32, 8);
        const END: (u32, u32) = (0, 7);
        let length_code = |symbol: u32| (0b1100_0000 + symbol - 280, 8);
        let repeated = [b'A'; 259];
        let with = |length: u32, distance: u32| fixed_block(&[LITERAL_A, length_code(length), (distance, 5), END]);
        assert_eq!(at_once(&gzip(&with(285, 0), &repeated)).as_deref(), Some(&repeated[..]));
        for (length, distance) in [(286, 0), (287, 0), (285, 30), (285, 31)] {
            let bytes = gzip(&with(length, distance), &repeated);
            assert_eq!(at_once(&bytes), None, "length code {length}, distance code {distance}");
            assert!(MultiGzDecoder::new(&bytes[..]).read_to_end(&mut Vec::new()).is_err());
        }
    }

    #[test]
    fn a_changed_or_cut_member_gives_what_the_stream_gives() {
        let bytes = member(&sample(3_000), 6);
        for at in 0..bytes.len() {
            assert_eq!(at_once(&bytes[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let mut streamed = Vec::new();
                let result = MultiGzDecoder::new(&changed[..]).read_to_end(&mut streamed);
                match at_once(&changed) {
                    Some(decoded) => assert!(result.is_ok() && decoded == streamed, "bit {bit} of byte {at}"),
                    // A flag of the header may say what is still a member.
                    None => assert!(result.is_err() || at == PLAIN.len() - 1, "bit {bit} of byte {at}"),
                }
            }
        }
    }
}
