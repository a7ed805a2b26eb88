//! What of a file is in the page cache, and has come there from the disk.
//!
//! Two system calls can tell. `cachestat(2)` is cheap (0.3 us), but counts pages that the disk has only been asked for;
//! `mincore(2)` knows better, but wants a mapping (2 us for 64 KiB). So cachestat is asked first, and mincore only about regions of the
//! file where pages may be on their way.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::file::offset;

/// Page size of every machine we run on; `cachestat` answers by the page, `O_DIRECT` wants sectors, which divide it.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// Behind a page that is not there the kernel reads on of its own accord, about so far.
pub(crate) const READAHEAD_BYTES: u64 = 1 << 20;

/// Pages of a file, from `first` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl Pages {
    /// Those that hold `len` bytes from `pos` on.
    pub(crate) fn of(pos: u64, len: u64) -> Pages {
        let first = pos / PAGE_BYTES;
        Pages { first, count: pos.saturating_add(len).div_ceil(PAGE_BYTES) - first }
    }

    fn end(self) -> u64 {
        self.first + self.count
    }

    /// How many of them, from the first on and without a gap, can be read without waiting for the disk. All, where the kernel
    /// cannot say.
    pub(crate) fn ready(self, fd: RawFd, no_cachestat: &AtomicBool, arriving: &Arriving) -> u64 {
        let ready = match self.counted(fd, no_cachestat) {
            Some(0) => 0,
            Some(cached) if cached == self.count && arriving.is_there(self) => return self.count,
            Some(cached) => self.complete(fd, arriving).unwrap_or(if cached == self.count { self.count } else { 0 }),
            None => self.complete(fd, arriving).unwrap_or(self.count),
        };
        if ready == self.count {
            arriving.have_come(self);
        } else {
            let missing = self.first + ready;
            arriving.asked_for(Pages::of(missing * PAGE_BYTES, READAHEAD_BYTES));
        }
        ready
    }

    /// How many of them are in the page cache or on their way to it; `None` if the kernel cannot say.
    fn counted(self, fd: RawFd, no_cachestat: &AtomicBool) -> Option<u64> {
        if no_cachestat.load(Ordering::Relaxed) {
            return None;
        }
        const CACHESTAT: libc::c_long = 451;
        #[repr(C)]
        struct Range {
            off: u64,
            len: u64,
        }
        #[repr(C)]
        #[derive(Default)]
        struct Counts {
            cache: u64,
            dirty: u64,
            writeback: u64,
            evicted: u64,
            recently_evicted: u64,
        }
        let range = Range { off: self.first * PAGE_BYTES, len: self.count * PAGE_BYTES };
        let mut counts = Counts::default();
        // SAFETY: both structs have the kernel's layout and live until the call returns; the flags must be 0.
        let result = unsafe { libc::syscall(CACHESTAT, fd, &raw const range, &raw mut counts, 0 as libc::c_uint) };
        match nix::errno::Errno::result(result) {
            Ok(_) => Some(counts.cache),
            Err(nix::Error::ENOSYS | nix::Error::EPERM) => {
                no_cachestat.store(true, Ordering::Relaxed);
                None
            }
            Err(_) => None,
        }
    }

    /// How many of them, from the first on and without a gap, have come; `None` if the kernel cannot say. Looks at what is
    /// behind them too, as most of this look's cost is the mapping.
    fn complete(self, fd: RawFd, arriving: &Arriving) -> Option<u64> {
        let count = self.count.max(READAHEAD_BYTES / PAGE_BYTES);
        let len = usize::try_from(count * PAGE_BYTES).ok()?;
        let mut states = vec![0_u8; usize::try_from(count).ok()?];
        let offset = offset(self.first * PAGE_BYTES).ok()?;
        // SAFETY: a new mapping at an address of the kernel's choice, of a descriptor that is open. Nobody reads through it.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, fd, offset) };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping is `len` bytes long, and there is a byte for each of its pages.
        let told = unsafe { libc::mincore(mapped, len, states.as_mut_ptr()) };
        // SAFETY: mapped above, and known to nobody else.
        unsafe { libc::munmap(mapped, len) };
        (told == 0).then(|| {
            let come = states.iter().take_while(|state| **state & 1 == 1).count() as u64;
            arriving.were_seen(Pages { first: self.first, count: come });
            come.min(self.count)
        })
    }
}

/// The regions of a file where pages may be on their way from the disk: from a page that was missing until a look at the
/// region's end finds all of it there. What was written here is there at once, so most files never have one.
///
/// Shards share it without a lock. A region that it forgets too early costs a wait, one that it keeps too long a mincore a look.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    regions: [AtomicU64; 4],
    /// Where the pages begin and end that were last seen to have come: two page numbers of 32 bits.
    seen: AtomicU64,
}

impl Arriving {
    /// With 256 regions a segment of the default size has each to itself; beyond, they are used again from the first.
    const REGION_PAGES: u64 = 1024;

    /// The word and the bit of each region from that of page `first` up to region `end`, each once.
    fn bits(first: u64, end: u64) -> impl Iterator<Item = (usize, u64)> {
        let first = first / Self::REGION_PAGES;
        let end = end.min(first + 256);
        (first..end).map(|region| (usize::try_from(region / 64 % 4).expect("below 4"), 1 << (region % 64)))
    }

    /// Those of the regions that hold any of `pages`.
    fn touched(pages: Pages) -> impl Iterator<Item = (usize, u64)> {
        Self::bits(pages.first, pages.end().div_ceil(Self::REGION_PAGES))
    }

    /// Pages that have been asked of the disk.
    pub(crate) fn asked_for(&self, pages: Pages) {
        for (word, bit) in Self::touched(pages) {
            self.regions[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// None of them is on its way. Only of pages that are in the page cache, or on their way.
    fn is_there(&self, pages: Pages) -> bool {
        let seen = self.seen.load(Ordering::Relaxed);
        (pages.first >= seen >> 32 && pages.end() <= seen & u64::from(u32::MAX)) || !self.maybe_in(pages)
    }

    fn were_seen(&self, pages: Pages) {
        if pages.end() <= u64::from(u32::MAX) {
            self.seen.store(pages.first << 32 | pages.end(), Ordering::Relaxed);
        }
    }

    fn maybe_in(&self, pages: Pages) -> bool {
        Self::touched(pages).any(|(word, bit)| self.regions[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// All of `pages` were found: the regions that end with or in them are whole.
    fn have_come(&self, pages: Pages) {
        for (word, bit) in Self::bits(pages.first, pages.end() / Self::REGION_PAGES) {
            self.regions[word].fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(first: u64, count: u64) -> Pages {
        Pages { first, count }
    }

    #[test]
    fn a_range_touches_all_the_pages_that_it_begins_or_ends_in() {
        let Pages { first, count } = Pages::of(4095, 2);
        assert_eq!((first, count), (0, 2));
        let Pages { first, count } = Pages::of(8192, 4096);
        assert_eq!((first, count), (2, 1));
    }

    #[test]
    fn pages_are_arriving_only_around_those_that_were_asked_for() {
        let arriving = Arriving::default();
        assert!(!arriving.maybe_in(pages(0, 300_000)));
        arriving.asked_for(pages(2000, 256));
        assert!(arriving.maybe_in(pages(1024, 1)) && arriving.maybe_in(pages(3071, 5)));
        assert!(!arriving.maybe_in(pages(0, 1024)) && !arriving.maybe_in(pages(3072, 250_000)));
        assert!(arriving.maybe_in(pages(0, 1025)));
    }

    #[test]
    fn they_have_come_when_the_end_of_their_region_is_there() {
        let arriving = Arriving::default();
        arriving.asked_for(pages(1000, 100));
        arriving.have_come(pages(100, 900));
        assert!(arriving.maybe_in(pages(0, 1)), "the region ends later");
        arriving.have_come(pages(1000, 24));
        assert!(!arriving.maybe_in(pages(0, 1)) && arriving.maybe_in(pages(1024, 1)));
        arriving.have_come(pages(2047, 2));
        assert!(!arriving.maybe_in(pages(0, 300_000)));
    }

    #[test]
    fn what_was_seen_to_have_come_is_there_though_its_region_is_not_whole() {
        let arriving = Arriving::default();
        arriving.asked_for(pages(1000, 1000));
        arriving.were_seen(pages(1000, 64));
        assert!(arriving.is_there(pages(1000, 64)) && arriving.is_there(pages(1010, 10)));
        assert!(!arriving.is_there(pages(1063, 2)) && !arriving.is_there(pages(999, 2)));
        arriving.were_seen(pages(1 << 32, 64));
        assert!(!arriving.is_there(pages(1064, 1)), "page numbers of more than 32 bits are not kept");
    }

    #[test]
    fn a_range_of_any_length_is_noted() {
        let arriving = Arriving::default();
        arriving.asked_for(pages(5, u64::MAX / 8192));
        assert!(arriving.maybe_in(pages(0, 1)) && arriving.maybe_in(pages(1 << 40, 1)));
    }
}
