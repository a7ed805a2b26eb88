//! Where the benches' files lie: a directory under `target/`, and XFS on a loop device where that can be had.
//!
//! Everything is removed when the ground is dropped. A run that was killed leaves its directory; the next run removes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kringle_runtime::{Fs, Host, IoDriver, RealOptions};

/// Room for what the benches keep at a time; the image is sparse.
const XFS_IMAGE_BYTES: u64 = 2 << 30;

/// This machine by one driver and no other: a row must measure what it says.
pub(crate) fn host_on(driver: IoDriver) -> Host {
    Host::real(RealOptions { driver, ..RealOptions::default() }).unwrap_or_else(|error| panic!("{error}"))
}

/// A directory on some filesystem.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `ext4`, `xfs (loop device)` ...
    pub(crate) filesystem: String,
    pub(crate) dir: PathBuf,
}

/// The benches' directories.
pub(crate) struct Ground {
    pub(crate) host: Host,
    root: PathBuf,
    filesystem: String,
    xfs: Option<Result<Place, String>>,
}

impl Ground {
    pub(crate) fn new(target: &Path) -> Ground {
        let all = target.join("bench-tmp");
        remove_leftovers(&all);
        let root = all.join(std::process::id().to_string());
        fs::create_dir_all(&root).expect("the target directory is writable");
        let host = host_on(IoDriver::Ring);
        let filesystem = host.fs().kind(&root);
        Ground { host, root, filesystem, xfs: None }
    }

    pub(crate) fn fs(&self) -> Fs {
        self.host.fs()
    }

    /// What the files lie on, for the report.
    pub(crate) fn describe(&self) -> String {
        match &self.xfs {
            Some(Ok(place)) => format!("{}, {}", self.filesystem, place.filesystem),
            _ => self.filesystem.clone(),
        }
    }

    /// The disk that `target/` lies on.
    pub(crate) fn home(&self) -> Place {
        Place { filesystem: self.filesystem.clone(), dir: self.root.clone() }
    }

    /// The same, and XFS beside it if that is another and can be made.
    pub(crate) fn places(&mut self) -> Vec<Place> {
        let mut places = vec![self.home()];
        if self.filesystem != "xfs" {
            let made = self.xfs.get_or_insert_with(|| mount_xfs(&self.root));
            places.extend(made.clone().ok());
        }
        places
    }

    /// What could not be had.
    pub(crate) fn notes(&self) -> Vec<String> {
        match &self.xfs {
            Some(Err(why)) => vec![format!("rows on XFS skipped: {why}")],
            _ => Vec::new(),
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        remove(&self.root);
    }
}

fn mount_xfs(root: &Path) -> Result<Place, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("a loop device needs root".to_owned());
    }
    let image = root.join("xfs.img");
    let file = fs::File::create(&image).map_err(|e| e.to_string())?;
    file.set_len(XFS_IMAGE_BYTES).map_err(|e| e.to_string())?;
    let dir = root.join("xfs");
    fs::create_dir(&dir).map_err(|e| e.to_string())?;
    run(Command::new("mkfs.xfs").arg("-q").arg(&image))?;
    // Past the page cache of the disk below: what is synced or written with O_DIRECT here is on that disk.
    let device = run(Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(&image))?;
    let mounted = run(Command::new("mount").arg(&device).arg(&dir));
    // While it is mounted this only says that the device goes with the mount.
    run(Command::new("losetup").args(["--detach", &device]))?;
    mounted?;
    Ok(Place { filesystem: "xfs (loop device)".to_owned(), dir })
}

/// What a command prints.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(format!("no {name} here (Debian: xfsprogs, mount)")),
        Err(e) => Err(format!("{name}: {e}")),
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Removes a run's directory; a filesystem mounted in it first.
fn remove(root: &Path) {
    let xfs = root.join("xfs");
    if xfs.exists() {
        // Fails where nothing is mounted.
        drop(Command::new("umount").arg(&xfs).output());
    }
    if let Err(error) = fs::remove_dir_all(root) {
        eprintln!("{}: cannot be removed: {error}", root.display());
    }
}

/// Directories are named by the process that made them.
fn remove_leftovers(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            remove(&entry.path());
        }
    }
}
