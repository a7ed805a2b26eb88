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

    /// What a report found, to be recorded. Rows that were not measured this time stay as `before` has them if they are of the same
    /// machine: a filtered run renews only its own.
    pub fn of(report: &Report, before: Option<&Baseline>) -> Baseline {
        let mut rows = match before {
            Some(before) if before.run.machine == report.run.machine => before.rows.clone(),
            _ => BTreeMap::new(),
        };
        rows.extend(report.rows.iter().map(|row| {
            let recorded = Recorded {
                rate: significant(row.rate()),
                unit: row.rate_unit().to_owned(),
                cpu: significant(row.cpu()),
            };
            (row.id(), recorded)
        }));
        Baseline { run: report.run.clone(), rows }
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
