//! One measured figure.

use std::time::Duration;

/// What one iteration of a bench does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Moves so many bytes: the rate is MB/s, the cost CPU-seconds per GB.
    Bytes(u64),
    /// Does so many operations: the rate is operations per second, the cost microseconds of CPU each.
    Operations(u64),
}

/// Whose CPU time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuOf {
    /// The whole process.
    Process,
    /// All but the thread that calls: it plays the client.
    Server,
}

/// One call of a bench: so many iterations took so long and cost so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Iterations.
    pub iterations: u64,
    /// Time on the clock.
    pub wall: Duration,
    /// CPU time.
    pub cpu: Duration,
}

/// One measured figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it belongs to, for example `log append, ext4`.
    pub group: String,
    /// What is done, with units.
    pub case: String,
    /// In which way; empty where there is only one.
    pub way: String,
    /// What one iteration does.
    pub amount: Amount,
    /// Median over the samples.
    pub ns_per_iteration: f64,
    /// Over all samples: single ones are shorter than the kernel's clock is exact.
    pub cpu_ns_per_iteration: f64,
}

impl Row {
    /// A row from its samples; `None` if there are none with an iteration.
    pub fn from_samples(group: &str, case: &str, way: &str, amount: Amount, samples: &[Sample]) -> Option<Row> {
        let used: Vec<&Sample> = samples.iter().filter(|sample| sample.iterations > 0).collect();
        let iterations: u64 = used.iter().map(|sample| sample.iterations).sum();
        let cpu: Duration = used.iter().map(|sample| sample.cpu).sum();
        let mut each: Vec<f64> = used.iter().map(|sample| nanos(sample.wall) / sample.iterations as f64).collect();
        each.sort_by(f64::total_cmp);
        let middle = each.len() / 2;
        let median = match each.len() {
            0 => return None,
            len if len % 2 == 0 => f64::midpoint(each[middle - 1], each[middle]),
            _ => each[middle],
        };
        Some(Row {
            group: group.to_owned(),
            case: case.to_owned(),
            way: way.to_owned(),
            amount,
            ns_per_iteration: median,
            cpu_ns_per_iteration: nanos(cpu) / iterations as f64,
        })
    }

    /// What it is known by in the baseline.
    pub fn id(&self) -> String {
        let mut id = format!("{}/{}", self.group, self.case);
        if !self.way.is_empty() {
            id.push('/');
            id.push_str(&self.way);
        }
        id
    }

    /// MB/s or operations/s.
    pub fn rate(&self) -> f64 {
        match self.amount {
            Amount::Bytes(bytes) => bytes as f64 * 1e3 / self.ns_per_iteration,
            Amount::Operations(count) => count as f64 * 1e9 / self.ns_per_iteration,
        }
    }

    /// CPU-seconds per GB, or CPU-microseconds per operation.
    pub fn cpu(&self) -> f64 {
        match self.amount {
            // Nanoseconds per byte are seconds per GB.
            Amount::Bytes(bytes) => self.cpu_ns_per_iteration / bytes as f64,
            Amount::Operations(count) => self.cpu_ns_per_iteration / count as f64 / 1e3,
        }
    }

    /// The unit of the rate.
    pub fn rate_unit(&self) -> &'static str {
        match self.amount {
            Amount::Bytes(_) => "MB/s",
            Amount::Operations(_) => "ops/s",
        }
    }

    /// The unit of the CPU cost.
    pub fn cpu_unit(&self) -> &'static str {
        match self.amount {
            Amount::Bytes(_) => "CPU-s/GB",
            Amount::Operations(_) => "CPU-us/op",
        }
    }

    /// The rate as people read it.
    pub fn shown_rate(&self) -> String {
        format!("{} {}", three_digits(self.rate()), self.rate_unit())
    }

    /// The cost as people read it.
    pub fn shown_cpu(&self) -> String {
        format!("{} {}", three_digits(self.cpu()), self.cpu_unit())
    }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// About three digits that mean something, thousands apart: `0.0421`, `3.14`, `812`, `1,234,567`.
pub(super) fn three_digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => thousands(value),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        v if v >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
