//! What a load is made of, once the command line is understood.
//!
//! Pure values: every workload works from a [`Load`], and comparisons make a variant of it for each step.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use kringle_log::Compression;

use crate::cli;
use crate::units::Rate;

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

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Payload::Random => "random",
            Payload::Json => "json",
            Payload::Repeated => "repeated",
        })
    }
}

/// A codec and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codec {
    /// The codec.
    pub(crate) compression: Compression,
    /// `None`: the codec's default.
    pub(crate) level: Option<i32>,
}

impl Codec {
    /// No compression.
    pub(crate) const NONE: Codec = Codec { compression: Compression::None, level: None };
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
            Compression::Lz4 => 1..=17,
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

/// What the records are and when a batch is full.
#[derive(Clone, Debug)]
pub(crate) struct RecordPlan {
    pub(crate) value_bytes: usize,
    /// 0: records have no key.
    pub(crate) key_bytes: usize,
    pub(crate) keys: usize,
    pub(crate) payload: Payload,
    /// Before compression. Without either limit the batch has one record.
    pub(crate) batch_bytes: Option<usize>,
    pub(crate) batch_records: Option<usize>,
    pub(crate) codec: Codec,
    pub(crate) seed: u64,
}

impl RecordPlan {
    /// What the command line says; 16 KiB, as Kafka's producers have it, where it limits batches in no way.
    pub(crate) fn from_cli(records: &cli::Records) -> RecordPlan {
        let default = records.batch_records.is_none().then_some(16 << 10);
        RecordPlan {
            value_bytes: records.size,
            key_bytes: records.key_size,
            keys: records.keys,
            payload: records.payload,
            batch_bytes: records.batch_bytes.or(default),
            batch_records: records.batch_records,
            codec: records.compression,
            seed: records.seed,
        }
    }

    /// Bytes of a record's key and value.
    pub(crate) fn record_bytes(&self) -> usize {
        self.value_bytes + self.key_bytes
    }
}

/// A load of produced records.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) records: RecordPlan,
    pub(crate) linger: Duration,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) acks: i16,
    pub(crate) idempotent: bool,
    /// `None`: a closed loop.
    pub(crate) rate: Option<Rate>,
}

impl Load {
    pub(crate) fn from_cli(records: &cli::Records, sending: &cli::Sending) -> Load {
        Load {
            records: RecordPlan::from_cli(records),
            linger: records.linger,
            connections: sending.connections,
            in_flight: sending.in_flight,
            acks: sending.acks,
            idempotent: sending.idempotent,
            rate: sending.rate,
        }
    }

    /// As fast as the broker takes them, to have something to read.
    pub(crate) fn filling(records: RecordPlan) -> Load {
        let linger = Duration::ZERO;
        Load { records, linger, connections: 2, in_flight: 5, acks: 1, idempotent: false, rate: None }
    }

    /// Records per second of all connections, in an open loop.
    pub(crate) fn records_per_second(&self) -> Option<f64> {
        self.rate.map(|rate| rate.records_per_second(self.records.record_bytes()))
    }
}

/// How records are read.
#[derive(Clone, Debug)]
pub(crate) struct ReadPlan {
    pub(crate) max_bytes: i32,
    pub(crate) partition_bytes: i32,
    pub(crate) min_bytes: i32,
    pub(crate) max_wait_ms: i32,
    /// Checks every CRC and decodes every record.
    pub(crate) verify: bool,
}

impl ReadPlan {
    pub(crate) fn from_cli(reading: &cli::Reading) -> ReadPlan {
        let int = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
        ReadPlan {
            max_bytes: int(reading.fetch_max_bytes),
            partition_bytes: int(reading.fetch_partition_bytes),
            min_bytes: int(reading.fetch_min_bytes),
            max_wait_ms: i32::try_from(reading.fetch_max_wait.as_millis()).unwrap_or(i32::MAX),
            verify: reading.verify,
        }
    }
}

/// How long a load runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

impl Timing {
    pub(crate) fn from_cli(run: &cli::Run) -> Timing {
        Timing { warmup: run.warmup, duration: run.duration }
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
        for wrong in ["lzma", "gzip:0", "gzip:10", "lz4:18", "snappy:1", "zstd:x"] {
            assert!(wrong.parse::<Codec>().is_err(), "{wrong}");
        }
    }
}
