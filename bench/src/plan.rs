//! What a load is made of, once the command line is understood.
//!
//! Pure values: every workload works from a [`Load`], and comparisons make a variant of it for each step.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use kringle_log::Compression;

/// What values look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payload {
    /// Random bytes: nothing compresses them.
    Random,
    /// Events as JSON: names repeat, values differ.
    Json,
    /// The same text again and again: everything compresses it.
    Repeated,
}

/// A codec and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codec {
    /// The codec.
    pub(crate) compression: Compression,
    /// `None`: the codec's default.
    pub(crate) level: Option<i32>,
}

impl FromStr for Codec {
    type Err = String;

    fn from_str(text: &str) -> Result<Codec, String> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse::<i32>().map_err(|_| format!("`{level}` is no level"))?)),
            None => (text, None),
        };
        let all = (0..=4).filter_map(Compression::from_id);
        let compression = all
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(|| format!("`{name}` is no codec; there are none, gzip, snappy, lz4, zstd"))?;
        let levels = match compression {
            Compression::Gzip => 1..=9,
            Compression::Zstd => -7..=22,
            _ => 0..=0,
        };
        match level {
            Some(_) if levels == (0..=0) => Err(format!("{name} has no levels here")),
            Some(level) if !levels.contains(&level) => {
                Err(format!("{name} has levels {} to {}", levels.start(), levels.end()))
            }
            level => Ok(Codec { compression, level }),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "{}:{level}", self.compression.name()),
            None => f.write_str(self.compression.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_have_names_and_levels() {
        let zstd = "zstd:6".parse::<Codec>().unwrap();
        assert_eq!((zstd.compression, zstd.level), (Compression::Zstd, Some(6)));
        assert_eq!(zstd.to_string(), "zstd:6");
        assert_eq!("none".parse::<Codec>().unwrap().to_string(), "none");
        for wrong in ["lzma", "gzip:0", "gzip:10", "lz4:3", "zstd:x"] {
            assert!(wrong.parse::<Codec>().is_err(), "{wrong}");
        }
    }
}
