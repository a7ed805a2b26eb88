//! Reading batches from a segment file without their records: for look-ups near an index entry, and for recovery.
//!
//! Blocking, unless told to go no further than the page cache ([`Reach`]). A window of the file is held at a time; batches larger than it are read whole only where the checksum is wanted,
//! and never by a length that the file does not have.

use std::io;

use kringle_runtime::File;

use crate::batch::{BatchHeader, BatchView, HEADER_BYTES};

/// Window for a look-up: about what lies between two index entries.
pub(crate) const LOOKUP_BYTES: usize = 4 << 10;
/// Window for reading a segment through.
pub(crate) const SCAN_BYTES: usize = 1 << 20;

/// How far a look-up goes for the bytes it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To the page cache: `WouldBlock` where they are not there.
    Cache,
    /// To the disk.
    Disk,
}

impl Reach {
    /// Fills `buf` from `position` on.
    pub(crate) fn read_exact_at(self, file: &File, buf: &mut [u8], position: u64) -> io::Result<()> {
        match self {
            Reach::Cache => file.read_exact_cached_at(buf, position),
            Reach::Disk => file.read_exact_at(buf, position),
        }
    }
}

/// A moving window over the batches of a file.
pub(crate) struct Window<'f> {
    file: &'f File,
    /// Nothing is read past this.
    end: u64,
    bytes: Vec<u8>,
    at: u64,
    chunk: usize,
    reach: Reach,
}

impl<'f> Window<'f> {
    pub(crate) fn new(file: &'f File, end: u64, chunk: usize) -> Window<'f> {
        Window { file, end, bytes: Vec::new(), at: 0, chunk, reach: Reach::Disk }
    }

    pub(crate) fn reaching(self, reach: Reach) -> Window<'f> {
        Window { reach, ..self }
    }

    /// `len` bytes at `position`; `None` if the file ends before.
    fn bytes(&mut self, position: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let left = self.end.saturating_sub(position);
        if left < len as u64 {
            return Ok(None);
        }
        let inside = position >= self.at && position + len as u64 <= self.at + self.bytes.len() as u64;
        if !inside {
            // Behind a batch that is larger than the window the next one is no smaller: its header is enough.
            let skipped = !self.bytes.is_empty() && position > self.at + self.chunk as u64;
            let wanted = if skipped { len } else { self.chunk.max(len) };
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
            self.bytes.resize(take, 0);
            self.at = position;
            if let Err(e) = self.reach.read_exact_at(self.file, &mut self.bytes, position) {
                self.bytes.clear();
                return if e.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(e) };
            }
        }
        let from = usize::try_from(position - self.at).expect("inside the window");
        Ok(Some(&self.bytes[from..from + len]))
    }

    /// The header at `position`; `None` where no batch begins that ends within the file.
    pub(crate) fn header(&mut self, position: u64) -> io::Result<Option<BatchHeader>> {
        let end = self.end;
        let Some(bytes) = self.bytes(position, HEADER_BYTES)? else { return Ok(None) };
        let header = bytes.first_chunk().and_then(|bytes| BatchHeader::parse(bytes).ok());
        Ok(header.filter(|header| header.size_bytes() as u64 <= end - position))
    }

    /// The whole batch at `position`.
    pub(crate) fn batch(&mut self, position: u64) -> io::Result<Option<BatchView<'_>>> {
        let Some(header) = self.header(position)? else { return Ok(None) };
        let bytes = self.bytes(position, header.size_bytes())?;
        Ok(bytes.and_then(|bytes| BatchView::parse(bytes).ok()))
    }

    /// From `position` on, the first batch for which `wanted` holds.
    pub(crate) fn find(
        &mut self,
        mut position: u64,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> io::Result<Option<(u64, BatchHeader)>> {
        while let Some(header) = self.header(position)? {
            if wanted(&header) {
                return Ok(Some((position, header)));
            }
            position += header.size_bytes() as u64;
        }
        Ok(None)
    }
}
