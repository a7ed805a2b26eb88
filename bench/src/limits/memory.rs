//! Memory and CRC32C: what no core does faster.

use std::convert::Infallible;
use std::hint::black_box;

use super::{Moved, moved};

/// Fits into a core's own cache.
const SMALL_BYTES: usize = 64 << 10;
/// Fits into no cache.
const LARGE_BYTES: usize = 256 << 20;

pub(super) fn measure(secs: f64) -> Vec<Moved> {
    let source = vec![1_u8; LARGE_BYTES];
    let mut target = vec![2_u8; LARGE_BYTES];
    let mut rows = Vec::new();
    for (name, len) in [("copy, in cache", SMALL_BYTES), ("copy, in memory", LARGE_BYTES)] {
        rows.push(quick(name, len, secs, || black_box(&mut target[..len]).copy_from_slice(black_box(&source[..len]))));
    }
    for (name, len) in [("CRC32C, in cache", SMALL_BYTES), ("CRC32C, in memory", LARGE_BYTES)] {
        rows.push(quick(name, len, secs, || {
            black_box(crc32c::crc32c(black_box(&source[..len])));
        }));
    }
    rows
}

/// As [`moved`], with enough work between two looks at the clock.
fn quick(name: &'static str, len: usize, secs: f64, mut once: impl FnMut()) -> Moved {
    let times = (LARGE_BYTES / len).clamp(1, 64);
    let Ok(row) = moved(name, (len * times) as u64, secs, || {
        (0..times).for_each(|_| once());
        Ok::<(), Infallible>(())
    });
    row
}
