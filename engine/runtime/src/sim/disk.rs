//! The simulated disk.
use crate::fs::{DirEntry, Open};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
#[derive(Clone, Debug)]
pub(crate) struct SimFile;
impl SimFile {
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
#[derive(Clone)]
pub(crate) struct SimFs;
pub(crate) struct SimLock;
impl SimFs {
    pub(crate) fn open(&self, _: &Path, _: Open) -> io::Result<SimFile> {
        unimplemented!()
    }
    pub(crate) fn list(&self, _: &Path) -> io::Result<Vec<DirEntry>> {
        unimplemented!()
    }
    pub(crate) fn exists(&self, _: &Path) -> bool {
        unimplemented!()
    }
    pub(crate) fn is_dir(&self, _: &Path) -> bool {
        unimplemented!()
    }
    pub(crate) fn len(&self, _: &Path) -> io::Result<u64> {
        unimplemented!()
    }
    pub(crate) fn modified_ms(&self, _: &Path) -> io::Result<i64> {
        unimplemented!()
    }
    pub(crate) fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn remove_dir_all(&self, _: &Path) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn remove_file(&self, _: &Path) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn sync_fs(&self, _: &Path) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn lock(&self, _: &Path) -> io::Result<SimLock> {
        unimplemented!()
    }
    pub(crate) fn space(&self, _: &Path) -> io::Result<(u64, u64)> {
        unimplemented!()
    }
    pub(crate) fn kind(&self, _: &Path) -> String {
        unimplemented!()
    }
    pub(crate) fn real_path(&self, _: &Path) -> io::Result<PathBuf> {
        unimplemented!()
    }
    pub(crate) fn wall_ms(&self) -> i64 {
        unimplemented!()
    }
}
