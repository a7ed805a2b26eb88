//! zstd, with contexts that are used again.
//!
//! To make a context costs more than to decode a batch of 16 KiB: its tables and its window are allocated, and the library asks the
//! processor what it can do (`cpuid`), which on a virtual machine goes to the host. So each thread keeps one of each kind while it is
//! of ordinary size; a frame that asked for a large window, or a high level, takes its context with it. A context that was reset knows
//! nothing of what it did before: what comes out does not depend on who used it, so shards that share a thread may share it.

use std::cell::Cell;
use std::io;

use ::zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use ::zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

/// Frames that ask for a larger window are refused, as zstd's own default does.
const WINDOW_LOG_MAX: u32 = 27;
/// Contexts up to this size are kept: those of the windows (8 MiB) of all but the highest levels.
const KEPT_BYTES: usize = 9 << 20;
/// Room that is made for what comes out next.
const OUT_STEP_BYTES: usize = 16 << 10;

thread_local! {
    static DECODING: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
    static ENCODING: Cell<Option<CCtx<'static>>> = const { Cell::new(None) };
}

/// zstd's error codes are no system's.
fn failed(code: usize) -> io::Error {
    io::Error::other(get_error_name(code))
}

fn no_memory() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "no memory for a zstd context")
}

/// Decodes as it is read; several frames are one stream.
pub(crate) struct FrameReader<'a> {
    /// `None` only while it is dropped.
    context: Option<DCtx<'static>>,
    rest: &'a [u8],
    within_frame: bool,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> io::Result<FrameReader<'a>> {
        let context = match DECODING.take() {
            Some(context) => context,
            None => {
                let mut context = DCtx::try_create().ok_or_else(no_memory)?;
                context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(failed)?;
                context
            }
        };
        Ok(FrameReader { context: Some(context), rest: bytes, within_frame: false })
    }
}

impl io::Read for FrameReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let context = self.context.as_mut().expect("there until it is dropped");
        while !out.is_empty() && (self.within_frame || !self.rest.is_empty()) {
            let (mut input, mut output) = (InBuffer::around(self.rest), OutBuffer::around(&mut *out));
            let wanted = context.decompress_stream(&mut output, &mut input).map_err(failed)?;
            let (taken, given) = (input.pos(), output.pos());
            self.rest = &self.rest[taken..];
            self.within_frame = wanted > 0;
            if given > 0 {
                return Ok(given);
            }
            if taken == 0 && self.within_frame {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "zstd frame is cut"));
            }
        }
        Ok(0)
    }
}

impl Drop for FrameReader<'_> {
    fn drop(&mut self) {
        if let Some(mut context) = self.context.take()
            && context.sizeof() <= KEPT_BYTES
            && context.reset(ResetDirective::SessionOnly).is_ok()
        {
            DECODING.set(Some(context));
        }
    }
}

/// Encodes what is written to it into a vector, as one frame.
pub(crate) struct FrameWriter {
    /// `None` only while it is dropped.
    context: Option<CCtx<'static>>,
    out: Vec<u8>,
}

impl FrameWriter {
    /// Appends to `out`. Levels beyond zstd's own are taken for its lowest or highest.
    pub(crate) fn new(out: Vec<u8>, level: i32) -> io::Result<FrameWriter> {
        let mut context = match ENCODING.take() {
            Some(context) => context,
            None => CCtx::try_create().ok_or_else(no_memory)?,
        };
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
        Ok(FrameWriter { context: Some(context), out })
    }

    pub(crate) fn written(&self) -> usize {
        self.out.len()
    }

    /// Encodes some more.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            self.step(&mut input, ZSTD_EndDirective::ZSTD_e_continue)?;
        }
        Ok(())
    }

    /// All that was written, encoded.
    pub(crate) fn finish(mut self) -> io::Result<Vec<u8>> {
        let mut input = InBuffer::around(&[]);
        while self.step(&mut input, ZSTD_EndDirective::ZSTD_e_end)? > 0 {}
        Ok(std::mem::take(&mut self.out))
    }

    /// Gives how much is still inside, at least.
    fn step(&mut self, input: &mut InBuffer<'_>, end: ZSTD_EndDirective) -> io::Result<usize> {
        let context = self.context.as_mut().expect("there until it is dropped");
        self.out.reserve(OUT_STEP_BYTES);
        let at = self.out.len();
        context.compress_stream2(&mut OutBuffer::around_pos(&mut self.out, at), input, end).map_err(failed)
    }
}

impl Drop for FrameWriter {
    fn drop(&mut self) {
        if let Some(mut context) = self.context.take()
            && context.sizeof() <= KEPT_BYTES
            && context.reset(ResetDirective::SessionAndParameters).is_ok()
        {
            ENCODING.set(Some(context));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::compression::tests::sample;

    fn encoded(data: &[u8], level: i32) -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new(), level).unwrap();
        writer.put(data).unwrap();
        writer.finish().unwrap()
    }

    fn decoded(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        FrameReader::new(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn frames_one_behind_the_other_are_one_stream_and_a_cut_one_is_an_error() {
        let data = sample(70_000);
        let mut two = encoded(&data[..50_000], 3);
        two.extend(encoded(&data[50_000..], 3));
        assert!(decoded(&two).unwrap() == data);
        assert_eq!(decoded(&two[..two.len() - 1]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(decoded(&[]).unwrap(), []);
    }

    #[test]
    fn a_context_that_was_left_in_the_middle_or_failed_decodes_the_next() {
        let data = sample(300_000);
        let bytes = encoded(&data, 3);
        let mut part = [0; 1000];
        FrameReader::new(&bytes).unwrap().read_exact(&mut part).unwrap();
        assert!(decoded(&bytes).unwrap() == data, "after one that was not read to its end");
        let mut changed = bytes.clone();
        changed[0] ^= 1;
        assert!(decoded(&changed).is_err());
        assert!(decoded(&bytes).unwrap() == data, "after one that was not zstd");
    }

    #[test]
    fn an_encoder_that_was_dropped_leaves_nothing_to_the_next() {
        let data = sample(100_000);
        let expected = encoded(&data, 3);
        let mut left = FrameWriter::new(Vec::new(), 9).unwrap();
        left.put(&data[..70_000]).unwrap();
        drop(left);
        assert!(encoded(&data, 3) == expected);
    }

    #[test]
    fn contexts_are_kept_unless_they_are_large() {
        fn kept() -> (Option<usize>, Option<usize>) {
            let (decoding, encoding) = (DECODING.take(), ENCODING.take());
            let sizes = (decoding.as_ref().map(DCtx::sizeof), encoding.as_ref().map(CCtx::sizeof));
            DECODING.set(decoding);
            ENCODING.set(encoding);
            sizes
        }
        let data = sample(16 << 10);
        assert!(decoded(&encoded(&data, 3)).unwrap() == data);
        let (decoding, encoding) = kept();
        assert!(decoding.unwrap() <= KEPT_BYTES && encoding.unwrap() <= KEPT_BYTES);
        // Level 22 of unknown length: a window of 128 MiB.
        assert!(decoded(&encoded(&data, 22)).unwrap() == data);
        assert_eq!(kept(), (None, None));
    }
}
