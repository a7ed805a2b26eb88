//! Real files.
use std::io::{self, IoSlice};
#[derive(Clone, Debug)]
pub(crate) struct RealFile;
impl RealFile {
    pub(crate) fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
        unimplemented!()
    }
    pub(crate) fn try_write_nowait(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
        unimplemented!()
    }
    pub(crate) fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        unimplemented!()
    }
    pub(crate) fn read_direct(&self, _: u64, _: usize) -> io::Result<Vec<u8>> {
        unimplemented!()
    }
    pub(crate) fn cached_prefix(&self, _: u64, _: u64) -> u64 {
        unimplemented!()
    }
    pub(crate) fn len(&self) -> io::Result<u64> {
        unimplemented!()
    }
    pub(crate) fn set_len(&self, _: u64) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn allocate_keep_size(&self, _: u64, _: u64) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        unimplemented!()
    }
}
