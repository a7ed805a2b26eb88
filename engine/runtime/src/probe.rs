//! What the kernel must offer, looked at once before anything starts.

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// Why this machine cannot run the ring, and how to mend it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unsupported {
    /// The kernel is too old.
    #[error(
        "kernel {found} is too old for io_uring as it is used here. Run Linux 6.1 or newer (6.5 or newer is recommended)"
    )]
    OldKernel {
        /// What `uname -r` says.
        found: String,
    },
    /// `kernel.io_uring_disabled` forbids it.
    #[error("io_uring is switched off by kernel.io_uring_disabled={value}. Run: sysctl kernel.io_uring_disabled=0")]
    SwitchedOff {
        /// 1: only for some groups, 2: for all.
        value: u32,
    },
    /// A seccomp filter or another security module forbids it.
    #[error(
        "io_uring is forbidden for this process (EPERM), most likely by the container's seccomp filter. Run the container with \
         --security-opt seccomp=unconfined, or with a profile that allows io_uring_setup, io_uring_enter and io_uring_register"
    )]
    Forbidden,
    /// The kernel was built without it, or a filter hides it.
    #[error(
        "this kernel has no io_uring (ENOSYS). Use a kernel built with CONFIG_IO_URING=y; gVisor and WSL1 have none"
    )]
    Missing,
    /// Locked memory is limited too tightly.
    #[error(
        "no memory for an io_uring (ENOMEM): RLIMIT_MEMLOCK is {limit}. Run: ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)"
    )]
    LockedMemory {
        /// The limit in bytes, or `unlimited`.
        limit: String,
    },
    /// An operation is not there.
    #[error("io_uring of kernel {kernel} lacks the operation {operation}. Run Linux 6.1 or newer")]
    Operation {
        /// What `uname -r` says.
        kernel: String,
        /// The operation's name.
        operation: &'static str,
    },
    /// Something else went wrong.
    #[error("io_uring does not start: {0}")]
    Other(String),
}

/// The operations the ring driver uses.
const OPERATIONS: &[(u8, &str)] = &[
    (opcode::Readv::CODE, "READV"),
    (opcode::Writev::CODE, "WRITEV"),
    (opcode::Read::CODE, "READ"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::SyncFileRange::CODE, "SYNC_FILE_RANGE"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
];

/// The oldest kernel with every flag and registration the driver uses (DEFER_TASKRUN).
const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// What `uname -r` says.
pub(crate) fn kernel_release() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".to_owned(), |name| name.release().to_string_lossy().into_owned())
}

/// Whether the kernel of this release offers what the ring driver needs.
pub(crate) fn probe(entries: u32, release: &str) -> Result<(), Unsupported> {
    if parse_release(release).is_some_and(|version| version < OLDEST_KERNEL) {
        return Err(Unsupported::OldKernel { found: release.to_owned() });
    }
    let mut ring = crate::ring::setup(entries).map_err(|e| explain(&e, release))?;
    check_operations(&ring, release)?;
    // A filter may allow the set-up and forbid the use.
    // SAFETY: the operation does nothing and names nothing.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }.expect("an empty queue has room");
    ring.submit_and_wait(1).map_err(|e| explain(&e, release))?;
    Ok(())
}

fn check_operations(ring: &IoUring, kernel: &str) -> Result<(), Unsupported> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|e| explain(&e, kernel))?;
    match OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, operation)) => Err(Unsupported::Operation { kernel: kernel.to_owned(), operation }),
        None => Ok(()),
    }
}

/// The cause behind an error of `io_uring_setup`.
pub(crate) fn explain(error: &io::Error, release: &str) -> Unsupported {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            forbidden(std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok().as_deref())
        }
        Some(libc::ENOSYS) => Unsupported::Missing,
        Some(libc::ENOMEM) => Unsupported::LockedMemory { limit: locked_memory_limit() },
        Some(libc::EINVAL) => Unsupported::OldKernel { found: release.to_owned() },
        _ => Unsupported::Other(error.to_string()),
    }
}

/// Who forbids it, by the text of `kernel.io_uring_disabled`; kernels before 6.6 have no such switch.
fn forbidden(switch: Option<&str>) -> Unsupported {
    match switch.and_then(|value| value.trim().parse().ok()) {
        Some(value @ 1..) => Unsupported::SwitchedOff { value },
        _ => Unsupported::Forbidden,
    }
}

fn locked_memory_limit() -> String {
    match nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK) {
        Ok((libc::RLIM_INFINITY, _)) => "unlimited".to_owned(),
        Ok((bytes, _)) => format!("{bytes} bytes"),
        Err(_) => "unknown".to_owned(),
    }
}

/// Major and minor version of `6.18.44-fc`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(parse_release("6.18.44-cloud-amd64"), Some((6, 18)));
        assert!(parse_release("6.8.0-1015-aws") > Some(OLDEST_KERNEL));
        assert!(parse_release("5.15.0") < Some(OLDEST_KERNEL));
        assert_eq!(parse_release("strange"), None);
    }

    #[test]
    fn each_cause_says_how_to_mend_it() {
        let line = |errno| explain(&io::Error::from_raw_os_error(errno), "6.18.0").to_string();
        assert!(line(libc::ENOMEM).contains("ulimit -l"));
        assert!(line(libc::ENOSYS).contains("CONFIG_IO_URING"));
        assert!(line(libc::EPERM).contains("seccomp") || line(libc::EPERM).contains("sysctl"));
        assert!([libc::ENOMEM, libc::ENOSYS, libc::EPERM, libc::EINVAL].iter().all(|e| !line(*e).contains('\n')));
    }

    #[test]
    fn the_switch_of_the_kernel_is_told_from_a_filter() {
        for value in [1, 2] {
            let off = forbidden(Some(&format!("{value}\n")));
            assert_eq!(off, Unsupported::SwitchedOff { value });
            assert!(off.to_string().contains("sysctl kernel.io_uring_disabled=0"));
        }
        assert_eq!(forbidden(Some("0\n")), Unsupported::Forbidden);
        assert_eq!(forbidden(None), Unsupported::Forbidden);
    }

    #[test]
    fn this_machine_has_what_the_ring_needs() {
        let release = kernel_release();
        assert!(parse_release(&release).is_some());
        probe(8, &release).unwrap();
    }
}
