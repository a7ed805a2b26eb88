//! The throughput report: what `cargo bench` measured, as rows, beside the last recorded baseline.
//!
//! Pure but for [`Machine::here`] and the two functions of [`Baseline`] that touch its file. The benches make [`Row`]s out of
//! samples; [`Report`] puts them beside a [`Baseline`] and writes the table for the terminal, Markdown and HTML.
//!
//! A row without a counterpart, or with one from another machine, is shown without a comparison: figures of two machines say
//! nothing about the code.

mod baseline;
mod html;
mod machine;
mod markdown;
mod row;

pub use baseline::{Baseline, BaselineError, Compared, Recorded};
pub use machine::{Machine, Run};
pub use row::{Amount, CpuOf, Row, Sample};

/// Slower than the baseline by more than this share counts as a regression. Two runs of the same code on a quiet machine of two
/// cores differ by less for most rows.
pub const REGRESSION: f64 = 0.10;

/// Everything a run has found.
#[derive(Clone, Debug)]
pub struct Report {
    /// When, where and how.
    pub run: Run,
    /// In the order of measurement.
    pub rows: Vec<Row>,
    /// What could not be measured, and why; what makes figures doubtful.
    pub notes: Vec<String>,
    /// What the rows are compared with, if anything was ever recorded.
    pub baseline: Option<Baseline>,
}

/// The ways of doing the same, side by side: one line of "what does io_uring buy".
#[derive(Debug, PartialEq)]
pub struct SideBySide<'a> {
    /// What is done.
    pub case: String,
    /// Each way, first the one that the others are measured against.
    pub ways: Vec<&'a Row>,
}

impl Report {
    /// What the baseline says about a row.
    pub fn compared(&self, row: &Row) -> Compared {
        match &self.baseline {
            Some(baseline) => baseline.compare(&self.run.machine, row),
            None => Compared::NotRecorded,
        }
    }

    /// Rows that are slower than the baseline by more than [`REGRESSION`].
    pub fn regressions(&self) -> Vec<&Row> {
        self.rows.iter().filter(|row| self.compared(row).is_regression()).collect()
    }

    /// The cases that were measured in several ways, if `base` is one of them; `base` comes first.
    pub fn side_by_side(&self, base: &str) -> Vec<SideBySide<'_>> {
        let of_case = |row: &&Row, first: &Row| row.group == first.group && row.case == first.case;
        self.rows
            .iter()
            .filter(|row| row.way == base)
            .map(|first| {
                let others = self.rows.iter().filter(|row| of_case(row, first) && row.way != base);
                SideBySide {
                    case: format!("{}: {}", first.group, first.case),
                    ways: std::iter::once(first).chain(others).collect(),
                }
            })
            .filter(|lines| lines.ways.len() > 1)
            .collect()
    }

    /// The whole report as Markdown, aligned so that it reads well in a terminal too.
    pub fn markdown(&self) -> String {
        markdown::document(self)
    }

    /// What the terminal shows at the end: the tables, without the explanations.
    pub fn terminal(&self) -> String {
        markdown::tables(self)
    }

    /// One page without anything from outside.
    pub fn html(&self) -> String {
        html::document(self)
    }
}

/// How to read the figures; the same words in every form of the report.
fn how_to_read() -> [&'static str; 6] {
    [
        "A rate is the median of criterion's samples; MB is a million bytes, GB a billion. Bytes are those of whole record \
         batches, or of what is sent or stored; never of what they decompress to.",
        "CPU is what the process used while it measured, user and system, kernel workers of io_uring included (getrusage). For \
         rows with a client it is the server's side alone: the client's thread is taken off.",
        "\"vs baseline\" compares the rate with the recorded run. Slower by more than 10 % is marked; n/a: no baseline of this \
         row on a machine like this one.",
        "\"What io_uring buys\" sets the same loop side by side on the engine's ring, on plain system calls written by hand \
         (epoll for sockets), on the engine with its driver of system calls, and on tokio-uring. The client of the echo loops is the same for all, one blocking thread. Read \
         such columns against each other, not against another day.",
        "On a virtual machine the first touch of memory is a fault in the host, which can cost ten times the work that is \
         measured. So buffers are kept and reused, files are cut and written again so that their page cache is memory that \
         was touched before, and each row is warmed up before it counts. \"cold\" rows read from the disk as the machine has \
         it; the host may still have it cached.",
        "Closed loop: these are top speeds of the parts, not latencies under a given load.",
    ]
}

#[cfg(test)]
mod tests;
