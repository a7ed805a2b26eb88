//! Reading what is there again and again, from where the reader stands: `consume`, and the backlog of `catch-up`.

use crate::measure::{Amount, Clock, Recorder, Window};
use crate::reader::{ReadFailure, Reader};

/// A fetch that was answered.
pub(crate) struct Fetched {
    pub(crate) amount: Amount,
    /// How many times everything had been read before.
    pub(crate) pass: u64,
    /// With it all partitions are read to their end.
    pub(crate) ends_pass: bool,
}

/// Reads until the window is over or the connection breaks. When all partitions are read to their end, all begin again.
/// Latency is from a fetch to its answer; keys and values count as `record_bytes` for each record.
pub(crate) async fn again_and_again(
    mut reader: Reader,
    clock: Clock,
    window: Window,
    recorder: &Recorder,
    record_bytes: u64,
    mut fetched: impl FnMut(&Fetched),
) {
    let starts: Vec<i64> = reader.parts().iter().map(|part| part.offset).collect();
    let mut pass = 0;
    while clock.now_ns() < window.end_ns() {
        let asked_ns = clock.now_ns();
        let amount = match reader.fetch(|_, _| ()).await {
            Ok(amount) => Amount { payload_bytes: amount.records * record_bytes, ..amount },
            Err(ReadFailure::Refused(why)) => {
                recorder.error(format!("fetch: {why}"));
                continue;
            }
            Err(ReadFailure::Broken(error)) => return recorder.error(format!("fetch: {error}")),
        };
        let now_ns = clock.now_ns();
        recorder.latency(now_ns, now_ns - asked_ns, 1);
        recorder.done(now_ns, amount);
        let ends_pass = reader.parts().iter().all(|part| part.offset >= part.high_watermark);
        fetched(&Fetched { amount, pass, ends_pass });
        if ends_pass {
            pass += 1;
            for (part, start) in reader.parts().iter_mut().zip(&starts) {
                part.offset = *start;
            }
        }
    }
}
