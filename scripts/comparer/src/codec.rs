//! The four codecs of a record batch, written apart from the broker's own so that a mistake there shows here.

use std::io::{Read, Write};

const XERIAL_MAGIC: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];

/// The number in the attributes of a batch.
pub(crate) fn id(name: &str) -> Option<i16> {
    Some(match name {
        "none" => 0,
        "gzip" => 1,
        "snappy" => 2,
        "lz4" => 3,
        "zstd" => 4,
        _ => return None,
    })
}

/// Compresses the records of a batch in a way that is unusual or wrong.
pub(crate) fn compress_oddly(id: i16, how: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
    use lz4_flex::frame::{BlockMode, FrameInfo};

    let mut packed = compress(id, plain)?;
    match (id, how) {
        (_, "in two") => {
            let (first, second) = plain.split_at(plain.len() / 2);
            return Ok([compress(id, first)?, compress(id, second)?].concat());
        }
        (_, "with junk behind") => packed.extend_from_slice(b"and more"),
        (_, "cut") => packed.truncate(packed.len().saturating_sub(4)),
        (_, "as it is") => return Ok(plain.to_vec()),
        (1, "with a second header behind") => packed.extend_from_slice(&[&[0x1f, 0x8b, 8][..], &[0; 40]].concat()),
        (1, "wrong checksum") => {
            let at = packed.len() - 8;
            packed[at] ^= 1;
        }
        (2, "bare") => return snap::raw::Encoder::new().compress_vec(plain).map_err(|e| e.to_string()),
        (3, "linked") => return lz4(FrameInfo::new().block_mode(BlockMode::Linked), plain),
        (3, "with checksums") => {
            let all = FrameInfo::new().block_checksums(true).content_checksum(true);
            return lz4(all.content_size(Some(plain.len() as u64)), plain);
        }
        (3, "wrong content checksum") => {
            packed = lz4(FrameInfo::new().content_checksum(true), plain)?;
            let at = packed.len() - 1;
            packed[at] ^= 1;
        }
        (3, "without content checksum") => {
            packed = lz4(FrameInfo::new().content_checksum(true), plain)?;
            packed.truncate(packed.len() - 4);
        }
        (3, "wrong block checksum") => {
            packed = lz4(FrameInfo::new().block_checksums(true), plain)?;
            let at = packed.len() - 5;
            packed[at] ^= 1;
        }
        (3, "wrong header checksum") => packed[6] ^= 1,
        _ => return Err(format!("codec {id} is not packed `{how}`")),
    }
    Ok(packed)
}

fn lz4(frame: lz4_flex::frame::FrameInfo, plain: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    encoder.write_all(plain).map_err(|e| e.to_string())?;
    encoder.finish().map_err(|e| e.to_string())
}

/// Compresses the records of a batch.
pub(crate) fn compress(id: i16, plain: &[u8]) -> Result<Vec<u8>, String> {
    match id {
        0 => Ok(plain.to_vec()),
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(plain).and_then(|()| encoder.finish()).map_err(|e| e.to_string())
        }
        2 => {
            let block = snap::raw::Encoder::new().compress_vec(plain).map_err(|e| e.to_string())?;
            let mut out = XERIAL_MAGIC.to_vec();
            out.extend_from_slice(&u32::try_from(block.len()).map_err(|e| e.to_string())?.to_be_bytes());
            out.extend_from_slice(&block);
            Ok(out)
        }
        3 => lz4(lz4_flex::frame::FrameInfo::new(), plain),
        4 => zstd::encode_all(plain, 3).map_err(|e| e.to_string()),
        _ => Err(format!("no codec {id}")),
    }
}

/// What `compress` was given.
pub(crate) fn decompress(id: i16, packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    match id {
        0 => plain.extend_from_slice(packed),
        1 => {
            flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut plain).map_err(|e| e.to_string())?;
        }
        2 => return unsnappy(packed),
        3 => {
            lz4_flex::frame::FrameDecoder::new(packed).read_to_end(&mut plain).map_err(|e| e.to_string())?;
        }
        4 => return zstd::decode_all(packed).map_err(|e| e.to_string()),
        _ => return Err(format!("no codec {id}")),
    }
    Ok(plain)
}

fn unsnappy(packed: &[u8]) -> Result<Vec<u8>, String> {
    let Some(mut blocks) = packed.strip_prefix(&XERIAL_MAGIC[..8]).and_then(|rest| rest.get(8..)) else {
        return snap::raw::Decoder::new().decompress_vec(packed).map_err(|e| e.to_string());
    };
    let mut plain = Vec::new();
    while let Some((size, rest)) = blocks.split_first_chunk::<4>() {
        let size = usize::try_from(u32::from_be_bytes(*size)).map_err(|e| e.to_string())?;
        let block = rest.get(..size).ok_or("a snappy block longer than the batch")?;
        plain.extend(snap::raw::Decoder::new().decompress_vec(block).map_err(|e| e.to_string())?);
        blocks = &rest[size..];
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let plain = b"the same bytes, the same bytes, the same bytes".repeat(30);
        for name in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let id = id(name).unwrap();
            assert_eq!(decompress(id, &compress(id, &plain).unwrap()).unwrap(), plain, "{name}");
        }
    }
}
