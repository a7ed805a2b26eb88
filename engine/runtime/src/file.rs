//! An open file: the operations that run now, on the calling thread.
//!
//! A `File` is shared (a clone pins the descriptor) and has no cursor. Operations that may wait for the disk on a shard
//! have another way: `Rt::write_at`, `Rt::read_at`, `Rt::datasync`.

use std::io::{self, IoSlice};

use crate::real::file::RealFile;
use crate::sim::disk::SimFile;

/// An open file. Clones share the descriptor, which closes with the last of them.
#[derive(Clone, Debug)]
pub struct File {
    pub(crate) inner: FileInner,
}

#[derive(Clone, Debug)]
pub(crate) enum FileInner {
    Real(RealFile),
    Sim(SimFile),
}

/// Calls the same method on whichever file it is.
macro_rules! either {
    ($self:ident, $file:ident => $call:expr) => {
        match &$self.inner {
            FileInner::Real($file) => $call,
            FileInner::Sim($file) => $call,
        }
    };
}

impl File {
    /// The file, for what runs on this machine.
    pub(crate) fn real(&self) -> &RealFile {
        match &self.inner {
            FileInner::Real(file) => file,
            FileInner::Sim(_) => unreachable!("a file stays within its world"),
        }
    }

    /// The file, for what runs in the simulator.
    pub(crate) fn sim(&self) -> &SimFile {
        match &self.inner {
            FileInner::Sim(file) => file,
            FileInner::Real(_) => unreachable!("a file stays within its world"),
        }
    }

    /// Writes all of `bufs` at `pos`, blocking. The slices are advanced as they are written.
    pub fn write_all_at(&self, bufs: &mut [IoSlice<'_>], pos: u64) -> io::Result<()> {
        let (mut bufs, mut pos) = (bufs, pos);
        IoSlice::advance_slices(&mut bufs, 0);
        while !bufs.is_empty() {
            let written = either!(self, file => file.write_at(bufs, pos))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut bufs, written);
            pos += written as u64;
        }
        Ok(())
    }

    /// Writes what goes into the page cache without waiting (`RWF_NOWAIT`). `WouldBlock` or `Unsupported` (ext4: every
    /// buffered write) say that another path must be taken.
    pub fn try_write_nowait(&self, bufs: &[IoSlice<'_>], pos: u64) -> io::Result<usize> {
        either!(self, file => file.try_write_nowait(bufs, pos))
    }

    /// Fills `buf` from `pos`; `UnexpectedEof` if the file ends before.
    pub fn read_exact_at(&self, buf: &mut [u8], pos: u64) -> io::Result<()> {
        let (mut buf, mut pos) = (buf, pos);
        while !buf.is_empty() {
            let n = self.read_at(buf, pos)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buf = &mut buf[n..];
            pos += n as u64;
        }
        Ok(())
    }

    /// Reads up to `buf.len()` bytes from `pos`, blocking; 0 at the end of the file.
    pub fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        either!(self, file => file.read_at(buf, pos))
    }

    /// Fills `buf` from `pos` with what is in the page cache. `WouldBlock` if some of it would have to come from the disk, which may
    /// be asked for it; `UnexpectedEof` if the file ends before. Waits where the file system cannot tell.
    pub fn read_exact_cached_at(&self, buf: &mut [u8], pos: u64) -> io::Result<()> {
        let (mut buf, mut pos) = (buf, pos);
        while !buf.is_empty() {
            match either!(self, file => file.read_cached_at(buf, pos)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    pos += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Unsupported => return self.read_exact_at(buf, pos),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads past the page cache (`O_DIRECT`), short only at the end of the file. After a failed fsync the page cache may
    /// hold what the disk does not. An error if the file system cannot.
    pub fn read_direct(&self, pos: u64, len: usize) -> io::Result<Vec<u8>> {
        either!(self, file => file.read_direct(pos, len))
    }

    /// Where the disk should be asked for `window` bytes more, so that a reader who has come as far as `reached` need not wait for them:
    /// half a window before the end of what [`Rt::will_need`](crate::Rt::will_need) asked for last. `None` if it asked for nothing
    /// near, and where what follows is in the page cache.
    pub fn read_ahead(&self, reached: u64, window: u64) -> Option<u64> {
        match &self.inner {
            FileInner::Real(file) => file.read_ahead(reached, window),
            FileInner::Sim(_) => None,
        }
    }

    /// How many bytes from `pos` on (at most `len`) can be read from the page cache without waiting for the disk, to the page. `len`
    /// where the kernel cannot say.
    pub fn cached_prefix(&self, pos: u64, len: u64) -> u64 {
        either!(self, file => file.cached_prefix(pos, len))
    }

    /// The file's length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        either!(self, file => file.len())
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or lengthens it with zeros.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        either!(self, file => file.set_len(len))
    }

    /// Cuts the file to nothing. An empty one is left alone: ext4 takes one that was cut to nothing for one that is being replaced, and
    /// brings it to the disk whenever it is closed.
    pub fn clear(&self) -> io::Result<()> {
        if self.is_empty()? { Ok(()) } else { self.set_len(0) }
    }

    /// Reserves disk space without changing the length (`FALLOC_FL_KEEP_SIZE`).
    pub fn allocate_keep_size(&self, pos: u64, len: u64) -> io::Result<()> {
        either!(self, file => file.allocate_keep_size(pos, len))
    }

    /// fdatasync, blocking.
    pub fn sync_data(&self) -> io::Result<()> {
        either!(self, file => file.sync_data())
    }

    /// fsync, blocking.
    pub fn sync_all(&self) -> io::Result<()> {
        either!(self, file => file.sync_all())
    }
}
