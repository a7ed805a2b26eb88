//! Filling up: zeros behind the log end that make the page cache cheap.
//!
//! The kernel keeps what one write brings for an aligned block as one piece (a large folio). Batches have odd sizes, so of a log
//! that is written batch by batch it keeps pieces of a page or two, and making those costs more than copying the bytes
//! (docs/decisions/filled-blocks.md has the figures). So a write that reaches into a new block brings zeros for the rest of it,
//! and the batches that follow overwrite them.
//!
//! Data: zeros up to `runway_end` of the active segment; to all others they are a short [`super::runway`]: cut off when the segment is
//! sealed or the log closed, and by recovery after a crash. Cost: no system call, a copy of at most [`BLOCK_BYTES`] a block.
//! They are not worth it where batches wait for the log's file to be on the disk, which would have to take the zeros first; a journal takes
//! none.

use super::PartitionLog;
use super::runway::ZEROS;

/// The largest block that is filled up. Larger ones were no better.
const BLOCK_BYTES: u64 = 64 << 10;
/// Less is no piece of its own.
const SMALLEST_BLOCK_BYTES: u64 = 4 << 10;
/// A segment has at least so many times the bytes of the zeros behind it: small logs stay small.
const TIMES_AS_LONG: u64 = 16;

/// The block that a segment of `size` bytes is filled up to: a power of two, as the kernel's pieces are.
fn block(size: u64) -> Option<u64> {
    let allowed = (size / TIMES_AS_LONG).min(BLOCK_BYTES);
    (allowed >= SMALLEST_BLOCK_BYTES).then(|| 1 << allowed.ilog2())
}

impl PartitionLog {
    /// The zeros that a write which ends at `end` brings along.
    pub(super) fn fill_up(&self, end: u64) -> &'static [u8] {
        let zeros_for = |block: u64| {
            let filled = end.next_multiple_of(block);
            let wanted = end > self.active.runway_end && filled <= u64::from(self.config.segment_bytes);
            wanted.then(|| usize::try_from(filled - end).expect("less than a block"))
        };
        match block(self.active.size)
            .filter(|_| self.unsynced.is_journaled() || !self.unsynced.awaits_disk())
            .and_then(zeros_for)
        {
            Some(zeros) => &ZEROS[..zeros],
            None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_grow_with_the_segment_up_to_their_largest() {
        assert_eq!([0, 65_535, 65_536, 131_071, 131_072].map(block), [None, None, Some(4096), Some(4096), Some(8192)]);
        assert_eq!([1 << 20, 1 << 30].map(block), [Some(BLOCK_BYTES); 2]);
    }
}
