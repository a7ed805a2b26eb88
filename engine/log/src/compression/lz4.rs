//! lz4 in its frame format, read as Kafka reads it.
//!
//! ```text
//! magic u32 | flags u8 | block size u8 | [content size u64] | header checksum u8
//!           | { length u32, top bit: stored | block | [checksum u32] } ... | 0 u32 | [content checksum u32]
//! ```
//! One frame of independent blocks. Blocks that lean on those before them, dictionaries and the legacy format are refused: the format has
//! them, Kafka's consumers do not. What follows the frame is not looked at, nor is the content's checksum: a batch has its own.

use std::io::{self, Write};

use lz4::liblz4::BlockChecksum;
use lz4_flex::block::decompress_into;
use lz4_flex::frame::{FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::invalid;

const MAGIC: u32 = 0x184D_2204;
const STORED: u32 = 1 << 31;
/// Kafka's default is no level of the high compression, but the fast one.
const FAST_LEVEL: i32 = 9;
/// The library takes lower ones for the fast one, Kafka does not.
const LOWEST_HIGH_LEVEL: i32 = 2;

/// Bits of the flags.
mod flag {
    pub(super) const VERSION: u8 = 0b1100_0000;
    pub(super) const VERSION_1: u8 = 0b0100_0000;
    pub(super) const INDEPENDENT: u8 = 1 << 5;
    pub(super) const BLOCK_CHECKSUM: u8 = 1 << 4;
    pub(super) const CONTENT_SIZE: u8 = 1 << 3;
    pub(super) const CONTENT_CHECKSUM: u8 = 1 << 2;
    /// The last of them says that a dictionary is used.
    pub(super) const RESERVED: u8 = 0b11;
}

/// Takes a number off the front.
fn take_u32(rest: &mut &[u8]) -> io::Result<u32> {
    let (number, after) = rest.split_first_chunk().ok_or_else(|| invalid("lz4 frame is cut"))?;
    *rest = after;
    Ok(u32::from_le_bytes(*number))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> io::Result<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len).ok_or_else(|| invalid("lz4 frame is cut"))?;
    *rest = after;
    Ok(taken)
}

/// Decodes a frame block by block.
pub(crate) struct FrameReader<'a> {
    rest: &'a [u8],
    max_block_bytes: usize,
    block_checksums: bool,
    content_checksum: bool,
    ended: bool,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> io::Result<FrameReader<'a>> {
        let mut rest = bytes;
        if take_u32(&mut rest)? != MAGIC {
            return Err(invalid("not an lz4 frame"));
        }
        let described = rest;
        let &[flags, block_size] = take(&mut rest, 2)? else { unreachable!("two were taken") };
        if flags & flag::VERSION != flag::VERSION_1 || flags & flag::RESERVED != 0 || block_size & !0b111_0000 != 0 {
            return Err(invalid("lz4 frame of another version"));
        }
        if flags & flag::INDEPENDENT == 0 {
            return Err(invalid("lz4 blocks are not independent"));
        }
        let max_block_bytes = match block_size >> 4 {
            size @ 4..=7 => 1 << (2 * size + 8),
            _ => return Err(invalid("lz4 block size is unknown")),
        };
        if flags & flag::CONTENT_SIZE != 0 {
            take(&mut rest, 8)?;
        }
        let described = &described[..described.len() - rest.len()];
        let [_, checksum, ..] = XxHash32::oneshot(0, described).to_le_bytes();
        if take(&mut rest, 1)? != [checksum] {
            return Err(invalid("lz4 frame header is corrupt"));
        }
        let block_checksums = flags & flag::BLOCK_CHECKSUM != 0;
        let content_checksum = flags & flag::CONTENT_CHECKSUM != 0;
        Ok(FrameReader { rest, max_block_bytes, block_checksums, content_checksum, ended: false })
    }

    /// See [`super::Decoder::next_piece`]: a block is a piece.
    pub(crate) fn next_piece(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let length = take_u32(&mut self.rest)?;
        let is_stored = length & STORED != 0;
        let length = usize::try_from(length & !STORED).unwrap_or(usize::MAX);
        if length == 0 {
            if self.content_checksum {
                take(&mut self.rest, 4)?;
            }
            self.ended = true;
            return Ok(0);
        }
        if length > self.max_block_bytes {
            return Err(invalid("lz4 block is too long"));
        }
        let block = take(&mut self.rest, length)?;
        if self.block_checksums && take_u32(&mut self.rest)? != XxHash32::oneshot(0, block) {
            return Err(invalid("lz4 block is corrupt"));
        }
        let decoded = if is_stored {
            super::grow(buffer, length);
            buffer[..length].copy_from_slice(block);
            length
        } else {
            super::grow(buffer, self.max_block_bytes);
            let decoded = decompress_into(block, &mut buffer[..self.max_block_bytes]).map_err(io::Error::other)?;
            if !keeps_the_end_rules(block, self.max_block_bytes) {
                return Err(invalid("lz4 block ends against the rules"));
            }
            decoded
        };
        // Kafka's reader takes it for the end.
        if decoded == 0 { Err(invalid("lz4 block is empty")) } else { Ok(decoded) }
    }
}

/// Whether a block that lz4_flex has decoded into `capacity` bytes is one for liblz4, and so for Java, too: they demand that it ends with
/// literals, and that so much of it and of the room for it is left behind everything else.
fn keeps_the_end_rules(block: &[u8], capacity: usize) -> bool {
    /// An offset, a token and the last five literals.
    const INPUT_BEHIND_LITERALS: usize = 8;
    const INPUT_BEHIND_MATCH: usize = 4;
    const ROOM_BEHIND_LITERALS: usize = 12;
    const ROOM_BEHIND_MATCH: usize = 5;
    const OFFSET_BYTES: usize = 2;
    const SHORTEST_MATCH: usize = 4;

    let (mut rest, mut out) = (block, 0);
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let Some(behind) = run_length(token >> 4, &mut rest).and_then(|literals| {
            out += literals;
            rest.get(literals..)
        }) else {
            return false;
        };
        if behind.is_empty() {
            return out <= capacity;
        }
        if behind.len() < INPUT_BEHIND_LITERALS || out + ROOM_BEHIND_LITERALS > capacity {
            return false;
        }
        rest = &behind[OFFSET_BYTES..];
        let Some(length) = run_length(token & 0xf, &mut rest) else { return false };
        out += length + SHORTEST_MATCH;
        if rest.len() < INPUT_BEHIND_MATCH || out + ROOM_BEHIND_MATCH > capacity {
            return false;
        }
    }
    false
}

/// A length that begins in half a token and goes on in the bytes behind it if that is full.
#[inline]
fn run_length(half: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(half);
    if half == 0xf {
        loop {
            let (more, after) = rest.split_first()?;
            *rest = after;
            length += usize::from(*more);
            if *more < u8::MAX {
                break;
            }
        }
    }
    Some(length)
}

/// Encodes into a vector, as one frame of independent blocks of 64 KiB without checksums, as Kafka does.
pub(crate) enum FrameWriter {
    Fast(Box<FrameEncoder<Vec<u8>>>),
    High(lz4::Encoder<Vec<u8>>),
}

impl FrameWriter {
    /// Appends to `out`. Levels beyond the library's own are taken for its highest.
    pub(crate) fn new(out: Vec<u8>, level: Option<i32>) -> io::Result<FrameWriter> {
        let Some(level) = level.filter(|level| *level != FAST_LEVEL) else {
            let frame = FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            return Ok(FrameWriter::Fast(Box::new(FrameEncoder::with_frame_info(frame, out))));
        };
        let encoder = lz4::EncoderBuilder::new()
            .level(level.max(LOWEST_HIGH_LEVEL).unsigned_abs())
            .block_size(lz4::BlockSize::Max64KB)
            .block_mode(lz4::BlockMode::Independent)
            .block_checksum(BlockChecksum::NoBlockChecksum)
            .checksum(lz4::ContentChecksum::NoChecksum)
            .build(out)?;
        Ok(FrameWriter::High(encoder))
    }

    pub(crate) fn written(&self) -> usize {
        match self {
            FrameWriter::Fast(encoder) => encoder.get_ref().len(),
            FrameWriter::High(encoder) => encoder.writer().len(),
        }
    }

    /// Encodes some more.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            FrameWriter::Fast(encoder) => encoder.write_all(bytes),
            FrameWriter::High(encoder) => encoder.write_all(bytes),
        }
    }

    /// All that was written, encoded.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            FrameWriter::Fast(encoder) => encoder.finish().map_err(io::Error::from),
            FrameWriter::High(encoder) => {
                let (out, done) = encoder.finish();
                done.map(|()| out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder};

    use super::*;
    use crate::compression::{
        Compression,
        tests::{decoded, sample},
    };

    /// Without a content size.
    const HEADER_BYTES: usize = 7;

    fn frame(info: FrameInfo, data: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn independent() -> FrameInfo {
        FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB)
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        decoded(Compression::Lz4, bytes).map_err(|e| e.to_string())
    }

    fn why_not(bytes: &[u8]) -> String {
        read(bytes).map(|data| data.len()).expect_err("lz4 that is refused")
    }

    #[test]
    fn frames_of_independent_blocks_are_read_whatever_else_they_say() {
        let data = [sample(150_000), (0..90_000u32).flat_map(|i| i.wrapping_mul(0x9E37_79B1).to_be_bytes()).collect()]
            .concat();
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checksums in [false, true] {
                let info = independent().block_size(size).block_checksums(checksums).content_checksum(checksums);
                let info = info.content_size(checksums.then_some(data.len() as u64));
                assert!(read(&frame(info, &data)).unwrap() == data, "{size:?}, checksums {checksums}");
            }
        }
        assert_eq!(read(&frame(independent(), &[])).unwrap(), []);
    }

    fn block_by_c(block: &[u8], capacity: usize) -> Option<Vec<u8>> {
        let mut out = vec![0; capacity];
        let size = i32::try_from(capacity).unwrap();
        let len = lz4::block::decompress_to_buffer(block, Some(size), &mut out).ok()?;
        out.truncate(len);
        Some(out)
    }

    /// liblz4 is what consumers in Java have. It takes offsets of 0, which are none.
    #[test]
    fn no_block_is_taken_that_liblz4_refuses() {
        let ours = |block: &[u8], capacity: usize| {
            let mut out = vec![0; capacity];
            let len = decompress_into(block, &mut out).ok().filter(|_| keeps_the_end_rules(block, capacity))?;
            out.truncate(len);
            Some(out)
        };
        let ends_in_a_match = [0x10, b'A', 1, 0, 0];
        assert!(decompress_into(&ends_in_a_match, &mut [0; 100]).is_ok());
        assert_eq!((ours(&ends_in_a_match, 100), block_by_c(&ends_in_a_match, 100)), (None, None));
        let (mut taken, mut refused) = (0, 0);
        for data in [sample(40), sample(700), b"abcdefgh".repeat(100), (0..=255).collect()] {
            let block = lz4_flex::block::compress(&data);
            for capacity in [data.len(), data.len() + 4, data.len() + 11, 64 << 10] {
                assert_eq!(ours(&block, capacity).as_ref(), Some(&data));
                for at in 0..block.len() {
                    let changed = (0..8).map(|bit| {
                        let mut block = block.clone();
                        block[at] ^= 1 << bit;
                        block
                    });
                    for block in changed.chain([block[..at].to_vec()]) {
                        match ours(&block, capacity) {
                            Some(out) => {
                                assert_eq!(Some(out), block_by_c(&block, capacity));
                                taken += 1;
                            }
                            None => refused += usize::from(block_by_c(&block, capacity).is_none()),
                        }
                    }
                }
            }
        }
        assert!(taken > 1000 && refused > 1000, "{taken} {refused}");
    }

    #[test]
    fn every_bit_of_the_header_and_of_the_bytes_under_a_blocks_checksum_is_checked() {
        let bytes = frame(independent().block_checksums(true), &sample(100));
        // The last bit of the block's length says that it is stored; then it is, and has the same checksum.
        let stored_at = HEADER_BYTES + 3;
        for at in (0..bytes.len() - 4).filter(|at| *at != stored_at) {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(read(&changed).is_err(), "bit {bit} of byte {at}");
            }
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_kafkas_consumers_do_not_read_is_refused() {
        let data = sample(100_000);
        let bytes = frame(independent(), &data);
        let linked = frame(FrameInfo::new().block_mode(BlockMode::Linked), &data);
        assert_eq!(why_not(&linked), "lz4 blocks are not independent");
        assert_eq!(
            why_not(&[&[0x02, 0x21, 0x4c, 0x18], &bytes[HEADER_BYTES..]].concat()),
            "not an lz4 frame",
            "legacy"
        );
        assert_eq!(why_not(&bytes[..bytes.len() - 4]), "lz4 frame is cut", "no end mark");
        let summed = frame(independent().content_checksum(true), &data);
        assert_eq!(why_not(&summed[..summed.len() - 1]), "lz4 frame is cut", "a part of the content's checksum");
        // What follows is as good as not there.
        assert!(read(&[&bytes[..], &bytes].concat()).unwrap() == data);
        let empty_block =
            [&frame(independent(), &[])[..HEADER_BYTES], &1u32.to_le_bytes(), &[0], &0u32.to_le_bytes()].concat();
        assert_eq!(why_not(&empty_block), "lz4 block is empty");
    }

    #[test]
    fn a_higher_level_gives_fewer_bytes_in_the_same_kind_of_frame() {
        let data: Vec<u8> =
            (0..20_000u32).flat_map(|i| format!("{{\"id\":{},", i * 7919 % 1000).into_bytes()).collect();
        let encoded = |level| {
            let mut writer = FrameWriter::new(Vec::new(), level).unwrap();
            data.chunks(999).for_each(|part| writer.put(part).unwrap());
            let bytes = writer.finish().unwrap();
            assert!(read(&bytes).unwrap() == data, "{level:?}");
            let mut others = Vec::new();
            FrameDecoder::new(&bytes[..]).read_to_end(&mut others).unwrap();
            assert!(others == data, "{level:?}");
            bytes
        };
        let fast = encoded(None);
        assert!(encoded(Some(FAST_LEVEL)) == fast);
        let (low, high) = (encoded(Some(1)), encoded(Some(17)));
        assert!(fast.len() > low.len() && low.len() > high.len(), "{} {} {}", fast.len(), low.len(), high.len());
        assert_eq!(fast[..HEADER_BYTES], high[..HEADER_BYTES]);
    }
}
