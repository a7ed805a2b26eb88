//! The real file system.
use crate::fs::{DirEntry, Open};
use crate::real::file::RealFile;
use std::io;
use std::path::{Path, PathBuf};
#[derive(Clone)]
pub(crate) struct RealFs;
pub(crate) struct RealLock;
impl RealFs {
    pub(crate) fn open(&self, _: &Path, _: Open) -> io::Result<RealFile> {
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
    pub(crate) fn lock(&self, _: &Path) -> io::Result<RealLock> {
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
