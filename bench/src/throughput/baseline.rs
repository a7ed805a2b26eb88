//! The recorded run that others are compared with: `bench/baseline.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::machine::{Machine, Run};
use super::row::Row;
use super::{REGRESSION, Report};

/// A recorded run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// When, where and how.
    pub run: Run,
    /// By [`Row::id`].
    pub rows: BTreeMap<String, Recorded>,
}

/// A recorded row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// MB/s or operations/s.
    pub rate: f64,
    /// Unit of the rate.
    pub unit: String,
    /// CPU-seconds per GB or CPU-microseconds per operation.
    pub cpu: f64,
    /// Commit, date and command of a run that measured only some of the rows, and this one; else they are the baseline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<String>,
}

/// What the baseline says about a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compared {
    /// No baseline, or none of this row.
    NotRecorded,
    /// Recorded on another machine.
    OtherMachine,
    /// The change of the rate as a share: 0.1 is ten percent more.
    Change(f64),
}

impl Compared {
    /// Slower by more than [`REGRESSION`].
    pub fn is_regression(self) -> bool {
        matches!(self, Compared::Change(change) if change < -REGRESSION)
    }

    /// As the table has it.
    pub fn shown(self) -> String {
        match self {
            Compared::NotRecorded | Compared::OtherMachine => "n/a".to_owned(),
            Compared::Change(change) => {
                let mark = if self.is_regression() { " SLOWER" } else { "" };
                format!("{:+.1} %{mark}", change * 100.0)
            }
        }
    }
}

/// Why a baseline cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The file is no baseline. Record it again.
    #[error("{}: not a baseline ({source}). Record it again: KRINGLE_BENCH_BASELINE=record cargo bench", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Baseline {
    /// The recorded run in `path`; `None` if there is none.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn load(path: &Path) -> Result<Option<Baseline>, BaselineError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BaselineError::Io { path: path.to_owned(), source }),
        };
        let parsed = serde_json::from_str(&text);
        parsed.map(Some).map_err(|source| BaselineError::Format { path: path.to_owned(), source })
    }

    /// What a report found, to be recorded. Of a run that was given arguments, which may leave rows out or measure them shortly, only its
    /// own rows are renewed, if `before` is of the same machine.
    pub fn of(report: &Report, before: Option<&Baseline>) -> Baseline {
        let kept = before.filter(|before| report.run.has_arguments() && before.run.machine == report.run.machine);
        let renewed = kept.map(|_| report.run.in_one_line());
        let mut rows = kept.map_or_else(BTreeMap::new, |before| before.rows.clone());
        rows.extend(report.rows.iter().map(|row| {
            let (rate, cpu) = (significant(row.rate()), significant(row.cpu()));
            (row.id(), Recorded { rate, unit: row.rate_unit().to_owned(), cpu, renewed: renewed.clone() })
        }));
        Baseline { run: kept.map_or(&report.run, |before| &before.run).clone(), rows }
    }

    /// When, by which commit and how it was recorded.
    pub(super) fn origin(&self) -> String {
        let mut renewed: BTreeMap<&str, usize> = BTreeMap::new();
        for by in self.rows.values().filter_map(|row| row.renewed.as_deref()) {
            *renewed.entry(by).or_default() += 1;
        }
        let renewed = renewed.iter().map(|(by, count)| format!("; {count} of its {} rows: {by}", self.rows.len()));
        self.run.in_one_line() + &renewed.collect::<String>()
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), BaselineError> {
        let mut text = serde_json::to_string_pretty(self).expect("maps of strings and finite numbers");
        text.push('\n');
        fs::write(path, text).map_err(|source| BaselineError::Io { path: path.to_owned(), source })
    }

    /// What it says about a row measured on `machine`.
    pub fn compare(&self, machine: &Machine, row: &Row) -> Compared {
        let Some(recorded) = self.rows.get(&row.id()).filter(|recorded| recorded.unit == row.rate_unit()) else {
            return Compared::NotRecorded;
        };
        if self.run.machine != *machine {
            return Compared::OtherMachine;
        }
        if recorded.rate > 0.0 { Compared::Change(row.rate() / recorded.rate - 1.0) } else { Compared::NotRecorded }
    }
}

/// Four digits: more would only make the recorded file change.
fn significant(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
