//! Sizes, durations and rates as people write them on a command line and read them in a report.
//!
//! Pure. One convention everywhere: kB, MB and GB are powers of ten, KiB, MiB and GiB powers of two; a bare number is bytes,
//! seconds or records per second.

use std::fmt;
use std::time::Duration;

/// Why a value is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    /// There is no number at the start.
    #[error("`{0}` does not begin with a number")]
    NoNumber(String),
    /// The number is followed by something else than a unit.
    #[error("`{text}` has an unknown unit; known are {known}")]
    UnknownUnit {
        /// What was given.
        text: String,
        /// What would do.
        known: &'static str,
    },
    /// Zero, negative, or beyond what can be counted.
    #[error("`{0}` is out of range")]
    OutOfRange(String),
}

const SIZES: &str = "B, kB, MB, GB (powers of ten), KiB, MiB, GiB (powers of two)";

/// The number at the start, and the unit behind it in lower case.
fn split(text: &str) -> Result<(f64, String), UnitError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.replace('_', "").parse().map_err(|_| UnitError::NoNumber(text.to_owned()))?;
    Ok((number, unit.trim().to_ascii_lowercase()))
}

fn bytes_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    })
}

/// The number as a count of whole things; more than 2^53 is not a size that anyone means.
fn whole(value: f64, text: &str) -> Result<u64, UnitError> {
    if !(0.0..=9_007_199_254_740_992.0).contains(&value) {
        return Err(UnitError::OutOfRange(text.to_owned()));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within 0..=2^53")]
    Ok(value.round() as u64)
}

/// `1KiB`, `64kB`, `1_000_000`: bytes.
pub(crate) fn parse_size(text: &str) -> Result<usize, UnitError> {
    let (number, unit) = split(text)?;
    let factor = bytes_of(&unit).ok_or_else(|| UnitError::UnknownUnit { text: text.to_owned(), known: SIZES })?;
    usize::try_from(whole(number * factor, text)?).map_err(|_| UnitError::OutOfRange(text.to_owned()))
}

/// `500us`, `5ms`, `10s`, `2m`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text)?;
    let seconds = match unit.as_str() {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(UnitError::UnknownUnit { text: text.to_owned(), known: "ns, us, ms, s, m, h" }),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| UnitError::OutOfRange(text.to_owned()))
}

/// How fast an open loop sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// Keys and values before compression, bytes per second.
    Bytes(f64),
    /// Records per second.
    Records(f64),
}

/// `300MB/s`, `64KiB/s`; `50000/s`, `50k/s`, `50k records/s`; a bare number is records per second.
pub(crate) fn parse_rate(text: &str) -> Result<Rate, UnitError> {
    const KNOWN: &str = "MB/s and the like, records/s, k/s, M/s";
    let (number, unit) = split(text)?;
    if number <= 0.0 {
        return Err(UnitError::OutOfRange(text.to_owned()));
    }
    let per_second = unit.strip_suffix("/s").unwrap_or(&unit).trim();
    let counted = ["records", "record", "rec", "r"].iter().find_map(|word| per_second.strip_suffix(word));
    let count_factor = match counted.unwrap_or(per_second).trim() {
        "" => Some(1.0),
        "k" => Some(1e3),
        "m" => Some(1e6),
        _ => None,
    };
    match (count_factor, bytes_of(per_second)) {
        (Some(factor), _) => Ok(Rate::Records(number * factor)),
        (None, Some(factor)) => Ok(Rate::Bytes(number * factor)),
        (None, None) => Err(UnitError::UnknownUnit { text: text.to_owned(), known: KNOWN }),
    }
}

impl Rate {
    /// Records per second, where each record has so many bytes of key and value.
    pub(crate) fn records_per_second(self, record_bytes: usize) -> f64 {
        match self {
            Rate::Records(rate) => rate,
            Rate::Bytes(rate) => rate / to_f64(record_bytes.max(1)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Bytes(rate) => write!(f, "{} MB/s", significant(rate / 1e6)),
            Rate::Records(rate) => write!(f, "{} records/s", grouped(*rate)),
        }
    }
}

/// For arithmetic of figures; what is beyond 2^53 loses its last digits.
#[allow(clippy::cast_precision_loss, reason = "figures are for people")]
pub(crate) fn to_f64(count: usize) -> f64 {
    count as f64
}

/// As [`to_f64`].
#[allow(clippy::cast_precision_loss, reason = "figures are for people")]
pub(crate) fn u64_to_f64(count: u64) -> f64 {
    count as f64
}

/// Three significant digits below 1000, whole numbers above.
pub(crate) fn significant(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.001 => format!("{value:.2e}"),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => grouped(value),
    }
}

/// So many of something, in the plural where there is not one.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(u64_to_f64(count)), if count == 1 { "" } else { "s" })
}

/// A whole number with its thousands apart.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    if value < 0.0 {
        out.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Nanoseconds with a unit that fits: `87 us`, `4.21 ms`, `1.50 s`.
pub(crate) fn latency(ns: u64) -> String {
    let ns = u64_to_f64(ns);
    match ns {
        _ if ns < 1e6 => format!("{} us", significant(ns / 1e3)),
        _ if ns < 1e9 => format!("{} ms", significant(ns / 1e6)),
        _ => format!("{} s", significant(ns / 1e9)),
    }
}

/// Bytes with a unit that fits, powers of ten.
pub(crate) fn bytes(count: u64) -> String {
    let count = u64_to_f64(count);
    match count {
        _ if count < 1e3 => format!("{count:.0} B"),
        _ if count < 1e6 => format!("{} kB", significant(count / 1e3)),
        _ if count < 1e9 => format!("{} MB", significant(count / 1e6)),
        _ => format!("{} GB", significant(count / 1e9)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_ten_and_of_two_are_told_apart() {
        assert_eq!(parse_size("1KiB"), Ok(1024));
        assert_eq!(parse_size("1kB"), Ok(1000));
        assert_eq!(parse_size("1.5 MB"), Ok(1_500_000));
        assert_eq!(parse_size("1_000"), Ok(1000));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert!(parse_size("KiB").is_err());
        assert!(parse_size("5 lightyears").is_err());
    }

    #[test]
    fn durations_have_units_and_a_bare_number_is_seconds() {
        assert_eq!(parse_duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(parse_duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_duration("2 fortnights").is_err());
    }

    #[test]
    fn a_rate_is_bytes_or_records() {
        assert_eq!(parse_rate("300MB/s"), Ok(Rate::Bytes(3e8)));
        assert_eq!(parse_rate("64KiB/s"), Ok(Rate::Bytes(65_536.0)));
        assert_eq!(parse_rate("50k/s"), Ok(Rate::Records(5e4)));
        assert_eq!(parse_rate("1000 records/s"), Ok(Rate::Records(1e3)));
        assert_eq!(parse_rate("1000"), Ok(Rate::Records(1e3)));
        assert!(parse_rate("0/s").is_err());
        assert!(parse_rate("3 furlongs/s").is_err());
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(latency(87_000), "87.0 us");
        assert_eq!(latency(4_212_000), "4.21 ms");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(significant(0.0421), "0.042");
    }
}
