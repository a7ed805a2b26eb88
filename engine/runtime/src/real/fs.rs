//! The real file system.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::statfs::statfs;
use nix::sys::statvfs::statvfs;

use crate::fs::{DirEntry, Open};
use crate::real::file::{RealFile, uninterrupted};

/// What the process knows about its files.
#[derive(Clone, Default)]
pub(crate) struct RealFs {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    no_cachestat: Arc<AtomicBool>,
    /// Device and inode of the locked files: a record lock does not exclude the process that holds it.
    locked: Mutex<HashSet<(u64, u64)>>,
}

fn unix_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// A constant of `fcntl` in the width that its struct has.
fn small(constant: libc::c_int) -> libc::c_short {
    libc::c_short::try_from(constant).expect("constants of fcntl are small")
}

impl RealFs {
    pub(crate) fn open(&self, path: &Path, how: Open) -> io::Result<RealFile> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => &mut options,
            Open::ReadWrite => options.write(true),
            Open::Create => options.write(true).create(true),
            Open::CreateNew => options.write(true).create_new(true),
        };
        Ok(RealFile::new(options.open(path)?, Arc::clone(&self.shared.no_cachestat)))
    }

    pub(crate) fn open_direct(&self, path: &Path) -> io::Result<RealFile> {
        let open = |flags| fs::OpenOptions::new().write(true).create(true).custom_flags(flags).open(path);
        let file = match open(libc::O_DIRECT) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => open(0)?,
            file => file?,
        };
        Ok(RealFile::new(file, Arc::clone(&self.shared.no_cachestat)))
    }

    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let metadata = match fs::metadata(entry.path()) {
                // Removed since, or a link to nowhere.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            let modified_ms = unix_ms(metadata.modified()?);
            entries.push(DirEntry { name, is_dir: metadata.is_dir(), len: metadata.len(), modified_ms });
        }
        Ok(entries)
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    pub(crate) fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    pub(crate) fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        Ok(unix_ms(fs::metadata(path)?.modified()?))
    }

    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    pub(crate) fn sync_fs(&self, path: &Path) -> io::Result<()> {
        let directory = fs::File::open(path)?;
        uninterrupted(|| nix::unistd::syncfs(&directory))
    }

    pub(crate) fn lock(&self, path: &Path) -> io::Result<RealLock> {
        let mut locked = self.shared.locked.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked before the file is opened: closing it again would let go of the lock, as any close by the process does.
        if fs::metadata(path).is_ok_and(|known| locked.contains(&(known.dev(), known.ino()))) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let metadata = file.metadata()?;
        let id = (metadata.dev(), metadata.ino());
        let whole_file = libc::flock {
            l_type: small(libc::F_WRLCK),
            l_whence: small(libc::SEEK_SET),
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match uninterrupted(|| fcntl(&file, FcntlArg::F_SETLK(&whole_file))) {
            Ok(_) => {}
            // POSIX allows either for a lock that another process holds.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EAGAIN)) => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Err(e) => return Err(e),
        }
        locked.insert(id);
        drop(locked);
        Ok(RealLock { fs: self.clone(), id, _file: file })
    }

    pub(crate) fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let stat = uninterrupted(|| statvfs(path))?;
        Ok((stat.blocks() * stat.fragment_size(), stat.blocks_available() * stat.fragment_size()))
    }

    pub(crate) fn kind(&self, path: &Path) -> String {
        let Ok(stat) = uninterrupted(|| statfs(path)) else { return "unknown".to_owned() };
        match stat.filesystem_type().0 {
            libc::EXT4_SUPER_MAGIC => "ext4".to_owned(),
            libc::XFS_SUPER_MAGIC => "xfs".to_owned(),
            libc::BTRFS_SUPER_MAGIC => "btrfs".to_owned(),
            libc::TMPFS_MAGIC => "tmpfs".to_owned(),
            libc::OVERLAYFS_SUPER_MAGIC => "overlayfs".to_owned(),
            libc::NFS_SUPER_MAGIC => "nfs".to_owned(),
            libc::F2FS_SUPER_MAGIC => "f2fs".to_owned(),
            0x2fc1_2fc1 => "zfs".to_owned(),
            other => format!("unknown (0x{other:x})"),
        }
    }

    pub(crate) fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        unix_ms(SystemTime::now())
    }
}

/// A record lock; the kernel lets go of it when the file closes.
pub(crate) struct RealLock {
    fs: RealFs,
    id: (u64, u64),
    _file: fs::File,
}

impl Drop for RealLock {
    fn drop(&mut self) {
        self.fs.shared.locked.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
