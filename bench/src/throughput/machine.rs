//! Where, when and how a run was made.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What decides whether figures may be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Memory in GiB, rounded.
    pub memory_gib: u64,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Where.
    pub machine: Machine,
    /// The kernel's release.
    pub kernel: String,
    /// What the files lie on.
    pub filesystem: String,
    /// The commit that was measured, with `+` if the tree had changes.
    pub commit: String,
    /// The command line.
    pub command: String,
    /// UTC.
    pub date: String,
}

const UNKNOWN: &str = "unknown";
const ARGUMENTS_FOLLOW: &str = " -- ";

impl Machine {
    /// This machine. What it does not tell is "unknown".
    pub fn here() -> Machine {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name))?.split_once(':')?.1.trim().to_owned();
            Some(line)
        };
        let kib = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Machine {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib.unwrap_or(0) + (1 << 19)) >> 20,
        }
    }
}

impl Run {
    /// This run, with its files on `filesystem` and the source in `source`.
    pub fn here(filesystem: String, source: &Path) -> Run {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
        let git = |arguments: &[&str]| said(Command::new("git").arg("-C").arg(source).args(arguments));
        let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
        let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| UNKNOWN.to_owned());
        // The path of the binary says nothing; what follows it does.
        let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
        let separator = if arguments.is_empty() { "" } else { ARGUMENTS_FOLLOW };
        Run {
            machine: Machine::here(),
            kernel: kernel.map_or_else(|_| UNKNOWN.to_owned(), |text| text.trim().to_owned()),
            filesystem,
            commit: if changed { commit + "+" } else { commit },
            command: format!("cargo bench -p kringle-bench{separator}{}", arguments.join(" ")),
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])).unwrap_or_else(|| UNKNOWN.to_owned()),
        }
    }

    /// Its commit, date, kernel and command.
    pub(super) fn in_one_line(&self) -> String {
        format!("{} at {} (kernel {}: {})", self.commit, self.date, self.kernel, self.command)
    }

    /// Whether it was more than the plain command.
    pub(super) fn has_arguments(&self) -> bool {
        self.command.contains(ARGUMENTS_FOLLOW)
    }
}

/// What a command prints, if it succeeds.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
