//! The four codecs of record batches, as streams.
//!
//! Pure and hostile-proof: a decoder hands out bytes piece by piece and allocates by the codec's block size (lz4: 64 KiB to
//! 4 MiB; zstd: its window, at most 128 MiB of address space that is touched only as it fills). A size that the data claim is believed up
//! to 4 MiB, by gzip, which decodes that much at once, and by snappy up to what its bytes can hold. How much may come out in all is
//! the caller's limit (see [`crate::records`]).
//!
//! Kafka's framings: gzip members; snappy in xerial frames, or one bare block as librdkafka writes it; a frame of lz4 with
//! independent blocks, written with 64 KiB; zstd frames.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::io::{self, Read, Write};

use flate2::write::GzEncoder;

use snappy::XerialWriter;

/// Of a stream.
const PIECE_BYTES: usize = 16 << 10;

/// How a batch's records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Compression {
    /// As they are.
    #[default]
    None = 0,
    /// gzip
    Gzip = 1,
    /// snappy
    Snappy = 2,
    /// lz4
    Lz4 = 3,
    /// zstd
    Zstd = 4,
}

impl Compression {
    /// The codec with this id in a batch's attributes.
    pub fn from_id(id: u8) -> Option<Compression> {
        Some(match id {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            _ => return None,
        })
    }

    /// The codec's name in configs (`compression.type`): `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Decodes piece by piece into a buffer of the caller's.
pub(crate) enum Decoder<'a> {
    Gzip(gzip::MembersReader<'a>),
    Snappy(snappy::XerialReader<'a>),
    Lz4(lz4::FrameReader<'a>),
    Zstd(zstd::FrameReader<'a>),
}

impl<'a> Decoder<'a> {
    /// `codec` must not be `None`: those bytes are read in place.
    pub(crate) fn new(codec: Compression, bytes: &'a [u8]) -> io::Result<Decoder<'a>> {
        Ok(match codec {
            Compression::None => return Err(io::Error::other("not compressed")),
            Compression::Gzip => Decoder::Gzip(gzip::MembersReader::Untried(bytes)),
            Compression::Snappy => Decoder::Snappy(snappy::XerialReader::new(bytes)?),
            Compression::Lz4 => Decoder::Lz4(lz4::FrameReader::new(bytes)?),
            Compression::Zstd => Decoder::Zstd(zstd::FrameReader::new(bytes)?),
        })
    }

    /// Puts what comes next at the start of `buffer`, which grows to what that needs and may hold anything behind it, and gives how much it
    /// is: 0 at the end. Where a codec says beforehand that a piece is more than `limit`, gzip breaks it up and snappy ends with
    /// [`is_too_much`].
    pub(crate) fn next_piece(&mut self, limit: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Decoder::Gzip(decoder) => decoder.next_piece(limit, buffer),
            Decoder::Snappy(decoder) => decoder.next_piece(limit, buffer),
            Decoder::Lz4(decoder) => decoder.next_piece(buffer),
            Decoder::Zstd(decoder) => read_piece(decoder, buffer),
        }
    }
}

/// What [`Decoder::next_piece`] says of a piece that is more than its limit.
fn too_much() -> io::Error {
    io::ErrorKind::FileTooLarge.into()
}

/// Whether it said that.
pub(crate) fn is_too_much(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::FileTooLarge
}

/// What is not as its codec has it.
fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A piece of what has none of its own.
fn read_piece(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<usize> {
    grow(buffer, PIECE_BYTES);
    stream.read(&mut buffer[..PIECE_BYTES])
}

/// Makes `buffer` at least `len` long, and no longer than asked for.
fn grow(buffer: &mut Vec<u8>, len: usize) {
    buffer.reserve_exact(len.saturating_sub(buffer.len()));
    buffer.resize(buffer.len().max(len), 0);
}

/// Encodes what is written to it into a vector.
pub(crate) enum Encoder {
    None(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Snappy(Box<XerialWriter>),
    Lz4(lz4::FrameWriter),
    Zstd(zstd::FrameWriter),
}

impl Encoder {
    /// Appends to `out`. `level` of `None` is the codec's default; levels are those of Kafka's topic configs `compression.*.level`.
    /// Snappy has none.
    pub(crate) fn new(codec: Compression, level: Option<i32>, out: Vec<u8>) -> Encoder {
        match codec {
            Compression::None => Encoder::None(out),
            Compression::Gzip => {
                let level = level.and_then(|level| u32::try_from(level).ok()).filter(|level| (1..=9).contains(level));
                let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
                Encoder::Gzip(Box::new(GzEncoder::new(out, level)))
            }
            Compression::Snappy => Encoder::Snappy(Box::new(XerialWriter::new(out))),
            Compression::Lz4 => {
                let encoder = lz4::FrameWriter::new(out, level);
                Encoder::Lz4(encoder.expect("lz4 takes any level and has memory for its context"))
            }
            Compression::Zstd => {
                let level = level.unwrap_or(::zstd::DEFAULT_COMPRESSION_LEVEL);
                let encoder = zstd::FrameWriter::new(out, level);
                Encoder::Zstd(encoder.expect("zstd takes any level and has memory for its context"))
            }
        }
    }

    /// Bytes that have come out so far; some may still be inside.
    pub(crate) fn written(&self) -> usize {
        match self {
            Encoder::None(out) => out.len(),
            Encoder::Gzip(encoder) => encoder.get_ref().len(),
            Encoder::Snappy(encoder) => encoder.written(),
            Encoder::Lz4(encoder) => encoder.written(),
            Encoder::Zstd(encoder) => encoder.written(),
        }
    }

    /// All that was written, encoded.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Encoder::None(out) => out,
            Encoder::Gzip(encoder) => encoder.finish().expect("a vector takes every write"),
            Encoder::Snappy(encoder) => encoder.finish(),
            Encoder::Lz4(encoder) => encoder.finish().expect("a vector takes every write"),
            Encoder::Zstd(encoder) => encoder.finish().expect("a vector takes every write"),
        }
    }

    /// Encodes some more.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match self {
            Encoder::None(out) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Encoder::Gzip(encoder) => encoder.write_all(bytes),
            Encoder::Snappy(encoder) => {
                encoder.put(bytes);
                Ok(())
            }
            Encoder::Lz4(encoder) => encoder.put(bytes),
            Encoder::Zstd(encoder) => encoder.put(bytes),
        }
        .expect("a vector takes every write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    pub(super) fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i * i / 7 % 251).unwrap()).collect()
    }

    /// The first mebibyte or more.
    pub(super) fn decoded(codec: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (mut decoder, mut buffer, mut out) = (Decoder::new(codec, bytes)?, Vec::new(), Vec::new());
        while out.len() < 1 << 20 {
            match decoder.next_piece(u64::MAX, &mut buffer)? {
                0 => break,
                len => out.extend_from_slice(&buffer[..len]),
            }
        }
        Ok(out)
    }

    #[test]
    fn every_codec_gives_back_what_was_put_in() {
        for codec in CODECS {
            for len in [0, 1, 100, 32 << 10, (64 << 10) + 1, 300_000] {
                let data = sample(len);
                let mut encoder = Encoder::new(codec, None, b"head".to_vec());
                for part in data.chunks(7_919) {
                    encoder.put(part);
                }
                let encoded = encoder.finish();
                assert_eq!(&encoded[..4], b"head");
                let out = decoded(codec, &encoded[4..]).unwrap();
                assert!(out == data, "{codec:?} {len}");
            }
        }
    }

    #[test]
    fn cut_or_changed_bytes_never_panic() {
        for codec in CODECS {
            let mut encoder = Encoder::new(codec, None, Vec::new());
            encoder.put(&sample(5_000));
            let encoded = encoder.finish();
            for at in 0..encoded.len() {
                let read = |bytes: &[u8]| drop(decoded(codec, bytes));
                read(&encoded[..at]);
                let mut changed = encoded.clone();
                changed[at] ^= 0x55;
                read(&changed);
            }
        }
    }
}
