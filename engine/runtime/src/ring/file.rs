//! Reads and writes of files, on the ring. What else waits for the disk threads do ([`Ring::on_disk_thread`]).

use std::io;

use bytes::Bytes;
use io_uring::opcode;
use io_uring::types::Fd;

use crate::file::File;
use crate::frames::FrameBuf;
use crate::real::file::advance;
use crate::ring::Ring;
use crate::ring::op::{Held, Op};

/// A length as the kernel takes it; longer operations go in several.
fn clamp(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(1 << 30).min(1 << 30)
}

impl Ring {
    pub(crate) async fn write_at(&self, file: &File, bufs: Vec<Bytes>, pos: u64) -> io::Result<()> {
        self.write_with(file, bufs, pos, 0).await
    }

    /// Past the page cache the kernel needs no worker for it: the disk's interrupts carry it on.
    pub(crate) async fn write_durably(&self, file: &File, bytes: Bytes, pos: u64) -> io::Result<()> {
        self.write_with(file, vec![bytes], pos, libc::RWF_DSYNC).await
    }

    async fn write_with(&self, file: &File, bufs: Vec<Bytes>, pos: u64, flags: libc::c_int) -> io::Result<()> {
        let (mut bufs, mut pos) = (bufs, pos);
        let file = file.real();
        advance(&mut bufs, 0);
        while !bufs.is_empty() {
            let held = Held::Write { bufs, vectors: self.take_vectors(), _file: file.clone() };
            let entry = |held: &mut Held| {
                let Held::Write { bufs, vectors, .. } = held else { unreachable!("made above") };
                vectors.point_at(bufs);
                opcode::Writev::new(Fd(file.raw_fd()), vectors.slices.as_ptr(), clamp(vectors.slices.len()))
                    .offset(pos)
                    .rw_flags(flags)
                    .build()
            };
            // SAFETY: file, bytes and the boxed slices that point at them are held; none of them moves with `Held`.
            let done = unsafe { Op::submit(self, held, entry) }.await;
            let Held::Write { bufs: rest, vectors, .. } = done.held else { unreachable!("submitted above") };
            self.give_vectors(vectors);
            bufs = rest;
            match done.result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    advance(&mut bufs, n);
                    pos += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(crate) async fn read_at(&self, file: &File, pos: u64, buf: FrameBuf) -> (io::Result<usize>, FrameBuf) {
        let mut buf = buf;
        let file = file.real();
        let mut total = 0;
        while buf.remaining() > 0 {
            let held = Held::Read { buf, _file: file.clone() };
            let entry = |held: &mut Held| {
                let Held::Read { buf, .. } = held else { unreachable!("made above") };
                opcode::Read::new(Fd(file.raw_fd()), buf.tail_mut(), clamp(buf.remaining()))
                    .offset(pos + total as u64)
                    .build()
            };
            // SAFETY: file and buffer are held; the buffer's memory is on the heap.
            let done = unsafe { Op::submit(self, held, entry) }.await;
            let Held::Read { buf: back, .. } = done.held else { unreachable!("submitted above") };
            buf = back;
            match done.result {
                Ok(0) => break,
                Ok(n) => {
                    // SAFETY: the kernel wrote `n` bytes from the tail on, within what remained.
                    unsafe { buf.filled(n) };
                    total += n;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return (Err(e), buf),
            }
        }
        (Ok(total), buf)
    }
}
