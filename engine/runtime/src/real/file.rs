//! Real files: inline system calls on a shared descriptor.

use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use bytes::Bytes;
use nix::fcntl::FallocateFlags;

use super::page_cache::{Arriving, PAGE_BYTES, Pages, READAHEAD_BYTES};
use crate::frames::FrameBuf;

/// Slices the kernel takes in one vectored call.
pub(crate) const IOV_MAX: usize = 1024;

/// Bytes that are asked of the disk in one call, about 100 us: a kernel that does not preempt its own work lets nobody else have the core
/// meanwhile, not even the shard.
const ASKED_AT_ONCE: u64 = 512 << 10;

/// An open file and what is known about its kernel.
#[derive(Clone, Debug)]
pub(crate) struct RealFile {
    opened: Arc<Opened>,
}

#[derive(Debug)]
struct Opened {
    file: std::fs::File,
    /// Set once the kernel said that it has no cachestat(2).
    no_cachestat: Arc<AtomicBool>,
    arriving: Arriving,
    /// The end of what `will_need` last asked for; 0 when nobody reads there any more.
    asked_upto: AtomicU64,
    /// Held by who syncs through `file`.
    syncing: Mutex<()>,
}

/// Repeats a call that a signal interrupted.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(nix::Error::EINTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// Drops the first `n` bytes of `bufs`, and empty slices.
pub(crate) fn advance(bufs: &mut Vec<Bytes>, mut n: usize) {
    let mut gone = 0;
    for buf in bufs.iter_mut() {
        if buf.len() > n {
            bytes::Buf::advance(buf, n);
            n = 0;
            break;
        }
        n -= buf.len();
        gone += 1;
    }
    assert_eq!(n, 0, "the kernel took more bytes than it was given");
    bufs.drain(..gone);
}

/// A file position as the kernel takes it.
pub(crate) fn offset(pos: u64) -> io::Result<i64> {
    i64::try_from(pos).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn sync_range(file: &std::fs::File, pos: u64, len: u64, flags: libc::c_uint) -> io::Result<()> {
    let (pos, len) = (offset(pos)?, offset(len)?);
    uninterrupted(|| {
        // SAFETY: the call takes plain numbers and a descriptor that is open.
        let synced = unsafe { libc::sync_file_range(file.as_raw_fd(), pos, len, flags) };
        nix::errno::Errno::result(synced).map(drop)
    })
}

impl RealFile {
    pub(crate) fn new(file: std::fs::File, no_cachestat: Arc<AtomicBool>) -> RealFile {
        RealFile {
            opened: Arc::new(Opened {
                file,
                no_cachestat,
                arriving: Arriving::default(),
                asked_upto: AtomicU64::new(0),
                syncing: Mutex::default(),
            }),
        }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.opened.file.as_raw_fd()
    }

    /// For calls that take a borrowed descriptor.
    pub(crate) fn std(&self) -> &std::fs::File {
        &self.opened.file
    }

    pub(crate) fn write_at(&self, bufs: &[IoSlice<'_>], pos: u64) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(IOV_MAX)];
        let pos = offset(pos)?;
        uninterrupted(|| nix::sys::uio::pwritev(self.std(), bufs, pos))
    }

    pub(crate) fn try_write_nowait(&self, bufs: &[IoSlice<'_>], pos: u64) -> io::Result<usize> {
        self.write_with(bufs, pos, libc::RWF_NOWAIT)
    }

    fn write_with(&self, bufs: &[IoSlice<'_>], pos: u64, flags: libc::c_int) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(IOV_MAX)];
        let pos = offset(pos)?;
        let count = libc::c_int::try_from(bufs.len()).expect("at most IOV_MAX slices");
        uninterrupted(|| {
            // SAFETY: IoSlice has the layout of iovec; the slices are borrowed for the length of the call, which only reads them.
            let written = unsafe { libc::pwritev2(self.raw_fd(), bufs.as_ptr().cast(), count, pos, flags) };
            nix::errno::Errno::result(written)
        })
        .map(|written| usize::try_from(written).expect("a count of bytes written is not negative"))
    }

    /// Writes all of `bytes`, which is stable when this returns.
    pub(crate) fn write_durably(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        let (mut bytes, mut pos) = (bytes, pos);
        while !bytes.is_empty() {
            match self.write_with(&[IoSlice::new(bytes)], pos, libc::RWF_DSYNC)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    bytes = &bytes[written..];
                    pos += written as u64;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn read_cached_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        // SAFETY: the room is that of the slice, which is borrowed for the call.
        let read = unsafe { self.read_to(buf.as_mut_ptr(), buf.len(), pos, libc::RWF_NOWAIT) };
        if read.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
            self.is_asked_for(pos, READAHEAD_BYTES.max(buf.len() as u64));
        }
        read
    }

    /// Reads up to `len` bytes at `pos` to where `room` points.
    ///
    /// # Safety
    /// There must be room for `len` bytes, which nobody else uses during the call.
    unsafe fn read_to(&self, room: *mut u8, len: usize, pos: u64, flags: libc::c_int) -> io::Result<usize> {
        let pos = offset(pos)?;
        let n = uninterrupted(|| {
            let room = libc::iovec { iov_base: room.cast(), iov_len: len };
            // SAFETY: the kernel writes at most `len` bytes to where `room` points; the caller says that it may.
            let n = unsafe { libc::preadv2(self.raw_fd(), &raw const room, 1, pos, flags) };
            nix::errno::Errno::result(n)
        })?;
        Ok(usize::try_from(n).expect("a count of bytes read is not negative"))
    }

    /// The kernel has begun, or is about, to read this range from the disk.
    fn is_asked_for(&self, pos: u64, len: u64) {
        self.opened.arriving.asked_for(Pages::of(pos, len));
    }

    /// See [`read_ahead`](crate::File::read_ahead) of files.
    pub(crate) fn read_ahead(&self, reached: u64, window: u64) -> Option<u64> {
        let asked = self.opened.asked_upto.load(Ordering::Relaxed);
        if asked <= reached || asked - reached > window / 2 {
            return None;
        }
        // What is there already, or not written yet, ends it: the reader is back where records are in memory.
        let wanted = self.cached_prefix(asked, 1) == 0 && self.len().is_ok_and(|len| asked < len);
        self.opened.asked_upto.store(if wanted { asked + window } else { 0 }, Ordering::Relaxed);
        wanted.then_some(asked)
    }

    /// Starts reading a range into the page cache. May block when the disk's queue is full.
    pub(crate) fn will_need(&self, pos: u64, len: u64) -> io::Result<()> {
        self.is_asked_for(pos, len);
        // To the end of its last page: what is asked for next begins with a page of its own.
        let end = pos.saturating_add(len).checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX);
        self.opened.asked_upto.store(end, Ordering::Relaxed);
        // A range that no file can have is refused before anything is asked for.
        offset(end)?;
        let mut at = pos;
        while at < end {
            let piece = ASKED_AT_ONCE.min(end - at);
            let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_WILLNEED;
            nix::fcntl::posix_fadvise(self.std(), offset(at)?, offset(piece)?, advice)?;
            at += piece;
            std::thread::yield_now();
        }
        Ok(())
    }

    pub(crate) fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        loop {
            match self.opened.file.read_at(buf, pos) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Appends to `buf` from `pos` on, up to its capacity; 0 at the end of the file. With `nowait` only what is cached: an
    /// error (`WouldBlock`, or `Unsupported` on some file systems) says that another path must be taken.
    pub(crate) fn read_into(&self, buf: &mut FrameBuf, pos: u64, nowait: bool) -> io::Result<usize> {
        let flags = if nowait { libc::RWF_NOWAIT } else { 0 };
        // SAFETY: the buffer has room for `remaining()` bytes from its tail on, and is borrowed for the call.
        let n = unsafe { self.read_to(buf.tail_mut().cast(), buf.remaining(), pos, flags) }?;
        // SAFETY: the kernel wrote `n` bytes from the tail on, within what remained.
        unsafe { buf.filled(n) };
        Ok(n)
    }

    /// Starts writing a range of dirty pages to the disk. May block when its queue is full.
    pub(crate) fn start_writeback(&self, pos: u64, len: u64) -> io::Result<()> {
        sync_range(&self.opened.file, pos, len, libc::SYNC_FILE_RANGE_WRITE)
    }

    /// Writes a range of dirty pages to the disk and waits for it, but neither for its metadata nor for the disk's own cache. An error tells
    /// of any write of the file that failed.
    pub(crate) fn write_out(&self, pos: u64, len: u64) -> io::Result<()> {
        let flags = libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        self.sync_alone(|file| sync_range(file, pos, len, flags))
    }

    /// Runs a sync on an open file that no other sync uses meanwhile.
    ///
    /// The kernel tells of a failed write once for each time a file was opened: of two syncs at once through one descriptor that waited for the
    /// same page, one is told and the other hears that all is well.
    fn sync_alone(&self, sync: impl FnOnce(&std::fs::File) -> io::Result<()>) -> io::Result<()> {
        let Opened { file, syncing, .. } = &*self.opened;
        let _alone = match syncing.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
            Err(TryLockError::WouldBlock) => match OpenOptions::new().read(true).open(self.proc_path()) {
                Ok(again) => return sync(&again),
                // No more descriptors, or no /proc: one after the other.
                Err(_) => syncing.lock().unwrap_or_else(PoisonError::into_inner),
            },
        };
        sync(file)
    }

    /// Where the file can be opened again, whatever happened to its name.
    fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.raw_fd())
    }

    pub(crate) fn read_direct(&self, pos: u64, len: usize) -> io::Result<Vec<u8>> {
        // A new open file description: the flag must not leak to those who use this one.
        let direct =
            OpenOptions::new().read(true).custom_flags(libc::O_DIRECT | libc::O_CLOEXEC).open(self.proc_path())?;
        let page = usize::try_from(PAGE_BYTES).expect("a page fits into memory");
        let start = pos / PAGE_BYTES * PAGE_BYTES;
        let skip = usize::try_from(pos - start).expect("less than a page");
        let wanted = (skip + len).next_multiple_of(page);
        // Aligned memory: a page too much, used from its first page boundary on.
        let mut memory = vec![0u8; wanted + page];
        let shift = memory.as_ptr().align_offset(page);
        let aligned = &mut memory[shift..shift + wanted];
        let mut filled = 0;
        while filled < wanted {
            let n = match direct.read_at(&mut aligned[filled..], start + filled as u64) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            filled += n;
            // A read that ends within a sector ends the file.
            if n == 0 || !filled.is_multiple_of(page) {
                break;
            }
        }
        let end = filled.min(skip + len);
        Ok(aligned.get(skip..end).unwrap_or_default().to_vec())
    }

    pub(crate) fn cached_prefix(&self, pos: u64, len: u64) -> u64 {
        if len == 0 {
            return len;
        }
        let pages = Pages::of(pos, len);
        let ready = pages.ready(self.raw_fd(), &self.opened.no_cachestat, &self.opened.arriving);
        ((pages.first + ready) * PAGE_BYTES).saturating_sub(pos).min(len)
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.opened.file.metadata()?.len())
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        self.opened.file.set_len(len)
    }

    pub(crate) fn allocate_keep_size(&self, pos: u64, len: u64) -> io::Result<()> {
        let (pos, len) = (offset(pos)?, offset(len)?);
        uninterrupted(|| nix::fcntl::fallocate(self.std(), FallocateFlags::FALLOC_FL_KEEP_SIZE, pos, len))
    }

    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.sync_alone(std::fs::File::sync_data)
    }

    pub(crate) fn sync_all(&self) -> io::Result<()> {
        self.sync_alone(std::fs::File::sync_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_at_once_have_an_open_file_each() {
        let file = RealFile::new(tempfile::tempfile().unwrap(), Arc::default());
        let mut used = Vec::new();
        file.sync_alone(|first| {
            used.push(first.as_raw_fd());
            file.sync_alone(|second| {
                used.push(second.as_raw_fd());
                second.sync_data()
            })
        })
        .unwrap();
        assert!(used[0] == file.raw_fd() && used[1] != used[0], "{used:?}");
        file.sync_data().unwrap();
    }

    #[test]
    fn advancing_drops_whole_slices_and_the_start_of_the_next() {
        let mut bufs = vec![Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"defg")];
        advance(&mut bufs, 4);
        assert_eq!(bufs, [Bytes::from_static(b"efg")]);
        advance(&mut bufs, 3);
        assert!(bufs.is_empty());
    }
}
