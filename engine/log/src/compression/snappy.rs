//! Snappy as snappy-java frames it ("xerial"): a 16-byte header, then blocks of at most 32 KiB, each after its length.
//!
//! ```text
//! 82 53 4e 41 50 50 59 00 | version i32 = 1 | oldest reader i32 = 1 | { length i32 | raw snappy block } ...
//! ```
//!
//! Without that header the bytes are one raw block: librdkafka writes that, and Kafka reads it. A block's own claim of its
//! decoded size is believed only up to what snappy can make of the bytes that are there.

use std::io;

use super::invalid;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSION: i32 = 1;
/// What snappy-java and Kafka use.
const BLOCK_BYTES: usize = 32 << 10;
/// A copy element of 3 bytes gives at most 64.
const MAX_EXPANSION: usize = 22;

/// Takes the header off, where there is one.
fn after_header(bytes: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some(rest) = bytes.strip_prefix(&MAGIC) else { return Ok(None) };
    let cut = || invalid("snappy header is cut");
    let (version, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let (_oldest_reader, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    if i32::from_be_bytes(*version) < VERSION {
        return Err(invalid("snappy header of an unknown version"));
    }
    Ok(Some(rest))
}

/// Decodes block by block.
pub(crate) struct XerialReader<'a> {
    rest: &'a [u8],
    framed: bool,
    raw: snap::raw::Decoder,
}

impl<'a> XerialReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> io::Result<XerialReader<'a>> {
        let behind = after_header(bytes)?;
        Ok(XerialReader { rest: behind.unwrap_or(bytes), framed: behind.is_some(), raw: snap::raw::Decoder::new() })
    }

    /// The next block, still encoded.
    fn next_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        // Streams put one behind the other repeat the header.
        while self.framed
            && let Some(behind) = after_header(self.rest)?
        {
            self.rest = behind;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        if !self.framed {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or_else(|| invalid("snappy block length is cut"))?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| invalid("snappy block length < 0"))?;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(|| invalid("snappy block is cut"))?;
        self.rest = rest;
        Ok(Some(block))
    }

    /// See [`super::Decoder::next_piece`]: a block is a piece.
    pub(crate) fn next_piece(&mut self, limit: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
        while let Some(block) = self.next_block()? {
            let claimed = snap::raw::decompress_len(block)?;
            if claimed > block.len().saturating_mul(MAX_EXPANSION) + 64 {
                return Err(invalid("snappy block claims more than it can hold"));
            }
            if claimed as u64 > limit {
                return Err(super::too_much());
            }
            super::grow(buffer, claimed);
            let len = self.raw.decompress(block, &mut buffer[..claimed])?;
            if len > 0 {
                return Ok(len);
            }
        }
        Ok(0)
    }
}

pub(crate) struct XerialWriter {
    out: Vec<u8>,
    pending: Vec<u8>,
    raw: snap::raw::Encoder,
}

impl XerialWriter {
    pub(crate) fn new(mut out: Vec<u8>) -> XerialWriter {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&1i32.to_be_bytes());
        out.extend_from_slice(&1i32.to_be_bytes());
        XerialWriter { out, pending: Vec::new(), raw: snap::raw::Encoder::new() }
    }

    pub(crate) fn written(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let len = bytes.len().min(BLOCK_BYTES - self.pending.len());
            self.pending.extend_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            if self.pending.len() == BLOCK_BYTES {
                self.write_block();
            }
        }
    }

    fn write_block(&mut self) {
        let block = self.raw.compress_vec(&self.pending).expect("a block is far below snappy's 4 GiB");
        let length = i32::try_from(block.len()).expect("a block is far below 2 GiB");
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&block);
        self.pending.clear();
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        if !self.pending.is_empty() {
            self.write_block();
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::{Compression, tests::decoded};

    #[test]
    fn a_bare_block_as_librdkafka_writes_it_is_read() {
        let data = vec![7u8; 10_000];
        let bare = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        assert!(decoded(Compression::Snappy, &bare).unwrap() == data);
    }

    #[test]
    fn a_block_that_claims_gigabytes_is_refused_before_anything_is_allocated() {
        let claims_4_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        let mut framed = XerialWriter::new(Vec::new()).finish();
        framed.extend_from_slice(&6i32.to_be_bytes());
        framed.extend_from_slice(&claims_4_gib);
        for bytes in [&claims_4_gib[..], &framed[..]] {
            let mut buffer = Vec::new();
            let error = XerialReader::new(bytes).unwrap().next_piece(u64::MAX, &mut buffer).unwrap_err();
            assert_eq!(error.to_string(), "snappy block claims more than it can hold");
            assert_eq!(buffer.capacity(), 0);
        }
    }

    #[test]
    fn headers_between_blocks_are_skipped() {
        let mut one = XerialWriter::new(Vec::new());
        one.put(b"hello ");
        let mut two = XerialWriter::new(one.finish());
        two.put(b"again");
        let bytes = two.finish();
        assert_eq!(decoded(Compression::Snappy, &bytes).unwrap(), b"hello again");
        let again_at = bytes.len() - 11 - 16;
        for version_at in [MAGIC.len(), again_at + MAGIC.len()] {
            let mut older = bytes.clone();
            assert_eq!(older[version_at..version_at + 4], 1i32.to_be_bytes());
            older[version_at + 3] = 0;
            assert!(decoded(Compression::Snappy, &older).is_err(), "version 0 at {version_at}");
        }
    }
}
