//! File operations that may wait for the disk, on the shard's threads.
//!
//! Reads are tried inline first, as far as the page cache goes (`RWF_NOWAIT`). Whatever comes here was meant not to hold up
//! the shard, so the task gives way to the others once even if all was cached.

use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::executor::yield_now;
use crate::file::File;
use crate::frames::FrameBuf;
use crate::real::file::RealFile;
use crate::syscall::Syscall;

/// Reads until the buffer is full or the file ends; gives the bytes read before any error.
fn fill(file: &RealFile, pos: u64, buf: &mut FrameBuf, nowait: bool) -> (usize, io::Result<()>) {
    let mut total = 0;
    while buf.remaining() > 0 {
        match file.read_into(buf, pos + total as u64, nowait) {
            Ok(0) => break,
            Ok(n) => total += n,
            Err(e) => return (total, Err(e)),
        }
    }
    (total, Ok(()))
}

impl Syscall {
    pub(crate) async fn write_at(&self, file: &File, bufs: Vec<Bytes>, pos: u64) -> io::Result<()> {
        let file = file.clone();
        let write = move || {
            let mut slices: Vec<IoSlice<'_>> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
            file.write_all_at(&mut slices, pos)
        };
        self.on_thread(write).await
    }

    pub(crate) async fn read_at(&self, file: &File, pos: u64, buf: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        let file = file.real().clone();
        let mut buf = buf;
        let (cached, all) = fill(&file, pos, &mut buf, true);
        if all.is_ok() {
            yield_now().await;
            return (Ok(cached), buf);
        }
        let read = move || {
            let (total, result) = fill(&file, pos + cached as u64, &mut buf, false);
            (result.map(|()| cached + total), buf)
        };
        self.on_thread(read).await
    }
}
