//! `kringle-bench sparse-log`: a long log on a small disk, to see what its length costs a broker.
//!
//! A batch of 1020 KiB with one value of zeros, of which the file keeps only the header, and a batch of 4 KiB take turns; so 100 GB take
//! 0.8 GB of disk and are a whole Kafka log: offsets without gaps, checksums that are right, both indexes by the rule of
//! `index.interval.bytes`, a timestamp a millisecond after the one before. It is laid into the directory of a partition of a broker that was
//! stopped cleanly and takes the place of what was there. Nothing is synced: it is no data of anyone's.
//!
//! A reader that wants to see look-ups rather than bytes asks for an odd offset: those are the batches of 4 KiB.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use kringle_log::{BatchBuilder, BatchHeader, Compression, HEADER_BYTES, TopicPartition, read_offsets, write_offsets};
use kringle_runtime::Fs;

use crate::machine::unix_ms;
use crate::units::parse_size;

/// The two batches that take turns. Multiples of a block, so that each header touches one.
const BATCH_BYTES: [usize; 2] = [1020 << 10, 4 << 10];
/// `index.interval.bytes`, where nobody has set it.
const INDEX_INTERVAL_BYTES: usize = 4096;
/// What the checksum covers begins here.
const CRC_FROM: usize = 21;

#[derive(Debug, Args)]
pub(crate) struct SparseLogArgs {
    /// Directory of a partition, `<log dir>/<topic>-<partition>`, of a broker that was stopped cleanly
    dir: PathBuf,
    /// How long the log is to look
    #[arg(long, value_parser = parse_size)]
    bytes: usize,
    /// How long a segment is
    #[arg(long, value_parser = parse_size, default_value = "1GiB")]
    segment_bytes: usize,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
enum SparseError {
    #[error("the last stop of its broker was not clean, or it runs: stop it first")]
    NotStopped,
    #[error("not the directory of a partition in a log directory")]
    NotAPartition,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Checkpoint(#[from] kringle_log::CheckpointError),
}

/// Lays the log, prints how many records, bytes and segments it has.
pub(crate) fn main(args: &SparseLogArgs) -> ExitCode {
    match lay(args) {
        Ok(laid) => {
            println!(
                "{{\"records\": {}, \"bytes\": {}, \"segments\": {}}}",
                laid.next_offset, laid.bytes, laid.segments
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}: {error}", args.dir.display());
            ExitCode::FAILURE
        }
    }
}

/// How far the log has come.
#[derive(Default)]
struct Laid {
    next_offset: i64,
    bytes: usize,
    segments: usize,
}

fn lay(args: &SparseLogArgs) -> Result<Laid, SparseError> {
    let home = args.dir.parent().ok_or(SparseError::NotAPartition)?;
    let partition = args.dir.file_name().and_then(|name| TopicPartition::from_dir_name(name.to_str()?));
    let partition = partition.ok_or(SparseError::NotAPartition)?;
    if !home.join(".kafka_cleanshutdown").exists() {
        return Err(SparseError::NotStopped);
    }
    for entry in std::fs::read_dir(&args.dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| ["log", "index", "timeindex", "snapshot"].iter().any(|one| kind == *one))
        {
            std::fs::remove_file(path)?;
        }
    }
    let pair_bytes: usize = BATCH_BYTES.iter().sum();
    let pairs = (args.bytes / pair_bytes).max(1);
    let per_segment = (args.segment_bytes / pair_bytes).max(1);
    let batches = i64::try_from(2 * pairs).expect("64 bits");
    let first_ms = i64::try_from(unix_ms()).expect("before the year 292 million") - batches;
    let templates = BATCH_BYTES.map(Template::new);
    let mut laid = Laid::default();
    while laid.bytes < pairs * pair_bytes {
        let left = pairs - laid.bytes / pair_bytes;
        segment(&args.dir, left.min(per_segment), first_ms, &templates, &mut laid)?;
    }
    std::fs::write(args.dir.join("leader-epoch-checkpoint"), "0\n1\n0 0\n")?;
    let fs = Fs::real();
    for name in ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"] {
        let mut offsets = read_offsets(&fs, &home.join(name))?;
        offsets.insert(partition.clone(), laid.next_offset);
        write_offsets(&fs, &home.join(name), &offsets)?;
    }
    Ok(laid)
}

/// A batch but for its place and time.
struct Template {
    header: BatchHeader,
    /// What of the records is not zero: the fields before the value.
    records_head: Vec<u8>,
    /// Of all of them.
    records_crc: u32,
    records_bytes: usize,
}

impl Template {
    /// One record whose value is zeros, so that the batch has this many bytes.
    fn new(bytes: usize) -> Template {
        let build = |value_bytes: usize| {
            let mut batch = BatchBuilder::new(Compression::None);
            batch.append(0, None, Some(&vec![0; value_bytes]), &[]);
            batch.build(0, 0)
        };
        // Lengths have variable lengths: what the first try has too much is what the second must have less.
        let too_long = build(bytes - HEADER_BYTES).len() - bytes;
        let batch = build(bytes - HEADER_BYTES - too_long);
        assert_eq!(batch.len(), bytes, "the length fields are as long as before");
        let (header, records) = batch.split_at(HEADER_BYTES);
        let header = BatchHeader::parse(header.try_into().expect("split there")).expect("as it was built");
        let head = records.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Template {
            header,
            records_head: records[..head].to_vec(),
            records_crc: crc32c::crc32c(records),
            records_bytes: records.len(),
        }
    }

    /// The bytes that are not zero, for a batch at this place.
    fn at(&self, offset: i64, timestamp_ms: i64) -> Vec<u8> {
        let placed = BatchHeader {
            base_offset: offset,
            base_timestamp: timestamp_ms,
            max_timestamp: timestamp_ms,
            ..self.header
        };
        let crc = crc32c::crc32c(&placed.encode()[CRC_FROM..]);
        let crc = crc32c::crc32c_combine(crc, self.records_crc, self.records_bytes);
        [&BatchHeader { crc, ..placed }.encode()[..], &self.records_head].concat()
    }

    fn bytes(&self) -> usize {
        HEADER_BYTES + self.records_bytes
    }
}

/// The next segment, with its indexes.
fn segment(dir: &Path, pairs: usize, first_ms: i64, templates: &[Template; 2], laid: &mut Laid) -> std::io::Result<()> {
    let base_offset = laid.next_offset;
    let create = |kind: &str| File::create(dir.join(format!("{base_offset:020}.{kind}")));
    let log = create("log")?;
    let (mut index, mut times) = (Vec::new(), Vec::new());
    let (mut position, mut since_entry, mut time_entry) = (0, 0, None);
    for template in templates.iter().cycle().take(2 * pairs) {
        let timestamp_ms = first_ms + laid.next_offset;
        log.write_all_at(&template.at(laid.next_offset, timestamp_ms), position as u64)?;
        let relative = i32::try_from(laid.next_offset - base_offset).expect("a segment has few batches");
        let newest = [&timestamp_ms.to_be_bytes()[..], &relative.to_be_bytes()].concat();
        if since_entry > INDEX_INTERVAL_BYTES {
            let at = i32::try_from(position).expect("a segment has less than 2 GiB");
            index.extend([relative.to_be_bytes(), at.to_be_bytes()].concat());
            times.extend(&newest);
            (since_entry, time_entry) = (0, None);
        } else {
            time_entry = Some(newest);
        }
        position += template.bytes();
        since_entry += template.bytes();
        laid.next_offset += 1;
    }
    // The end of the file may be zeros that were never written.
    log.set_len(position as u64)?;
    times.extend(time_entry.into_iter().flatten());
    create("index")?.write_all(&index)?;
    create("timeindex")?.write_all(&times)?;
    laid.bytes += position;
    laid.segments += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kringle_log::{LogConfig, OpenLog, PartitionLog};
    use kringle_protocol::Uuid;

    use super::*;

    /// The files of these kinds, by name.
    fn files(dir: &Path, kinds: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
        let wanted = entries.filter(|path| path.extension().is_some_and(|kind| kinds.iter().any(|one| kind == *one)));
        wanted.map(|path| (path.display().to_string(), std::fs::read(&path).expect("read"))).collect()
    }

    #[test]
    fn a_recovery_finds_every_batch_whole_and_every_index_as_it_would_write_it() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join("long-0");
        std::fs::create_dir(&dir).expect("made");
        let args = SparseLogArgs { dir: dir.clone(), bytes: 5 << 20, segment_bytes: 2 << 20 };
        assert!(matches!(lay(&args), Err(SparseError::NotStopped)));
        std::fs::write(home.path().join(".kafka_cleanshutdown"), "").expect("written");
        let laid = lay(&args).expect("laid");
        assert_eq!((laid.next_offset, laid.bytes, laid.segments), (10, 5 << 20, 3));
        let kinds = ["log", "index", "timeindex"];
        let before = files(&dir, &kinds);
        assert_eq!(before.len(), 9);
        let now_ms = i64::try_from(unix_ms()).expect("today");
        let how = OpenLog::new(TopicPartition::new("long", 0), Uuid::METADATA_TOPIC_ID, LogConfig::default(), now_ms);
        let log = PartitionLog::open(&Fs::real(), &dir, OpenLog { clean: false, ..how }).expect("opened");
        assert_eq!(log.log_end_offset(), 10);
        assert_eq!(files(&dir, &kinds), before, "nothing was cut, no entry was missing or too much");
        let checkpoint = read_offsets(&Fs::real(), &home.path().join("recovery-point-offset-checkpoint"));
        assert_eq!(checkpoint.expect("written").get(&TopicPartition::new("long", 0)), Some(&10));
    }
}
