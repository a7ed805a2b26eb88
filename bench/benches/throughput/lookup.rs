//! From an offset or a time to a position in the log, by the indexes.

use kringle_bench::throughput::{Amount, CpuOf};
use kringle_log::{LogConfig, PartitionLog, Upto};

use crate::append::GrowingLog;
use crate::batches::random_batch;
use crate::ground::Ground;
use crate::meter::Meter;

const SEGMENT_BYTES: u32 = 64 << 20;
/// A sealed segment, and half of the one that is written.
const LOG_BYTES: u64 = 96 << 20;
const RECORDS_PER_BATCH: usize = 4;
const RECORD_BYTES: usize = 1000;
const FETCH_BYTES: usize = 1 << 20;
/// A stride through the offsets that visits them as if at random.
const STRIDE: i64 = 7_919;

pub(crate) fn rows(meter: &mut Meter, ground: &Ground) {
    let dir = ground.home().dir.join("lookup");
    let mut made: Option<GrowingLog> = None;
    let cases = [
        ("any offset of a sealed segment of 64 MiB", Where::Sealed),
        ("any offset of the active segment of 32 MiB", Where::Active),
        ("one of the last 64 batches", Where::Tail),
    ];
    for (case, place) in cases {
        let name = ["index look-up, batches of 4 KiB", case, ""];
        meter.row(name, Amount::Operations(1), CpuOf::Process, |iterations, watch| {
            let log = &made.get_or_insert_with(|| fill(ground, &dir)).log;
            let (from, to) = place.offsets(log);
            let mut offset = from;
            watch.time(|| {
                for _ in 0..iterations {
                    offset = from + (offset - from + STRIDE) % (to - from);
                    let slice = log.read(offset, FETCH_BYTES, Upto::HighWatermark, true).expect("inside the log");
                    assert!(slice.base_offset_of_first <= offset && slice.len > 0);
                }
            });
        });
    }
    if let Some(log) = made {
        log.remove();
    }
}

#[derive(Clone, Copy)]
enum Where {
    Sealed,
    Active,
    Tail,
}

impl Where {
    fn offsets(self, log: &PartitionLog) -> (i64, i64) {
        let (active, end) = (log.active_segment_base_offset(), log.log_end_offset());
        match self {
            Where::Sealed => (0, active),
            Where::Active => (active, end),
            Where::Tail => (end - 60 * i64::try_from(RECORDS_PER_BATCH).expect("small"), end),
        }
    }
}

fn fill(ground: &Ground, dir: &std::path::Path) -> GrowingLog {
    let config = LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::default() };
    let mut log = GrowingLog::new(&ground.fs(), dir, config);
    let batch = random_batch(RECORDS_PER_BATCH, RECORD_BYTES);
    while log.log.size_bytes() < LOG_BYTES {
        log.append_inline(&batch);
    }
    assert_eq!(log.log.segments(), 2, "one sealed, one active");
    log
}
