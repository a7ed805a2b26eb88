//! Types, values and ranges of settings as Kafka's `ConfigDef` has them: how a text becomes a value, how a value becomes
//! the text which clients see, and in which words Kafka refuses one. Pure.

use std::fmt;

/// The type of a setting; the number is that of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
#[expect(missing_docs, reason = "the names are Kafka's")]
pub enum ConfigType {
    Unknown = 0,
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// A parsed value. Int, short and long share one form.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number in the range of its type.
    Integer(i64),
    /// A floating point number.
    Double(f64),
    /// A string, a class name or a password, trimmed.
    Text(String),
    /// A list, its elements trimmed.
    List(Vec<String>),
}

/// What a value must be beyond its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Validator {
    /// Anything of the type.
    Any,
    /// Not below the first; not above the second.
    Range(f64, Option<f64>),
    /// One of these, in that case.
    OneOf(Vec<&'static str>),
    /// One of these, in any case.
    OneOfAnyCase(Vec<&'static str>),
    /// A list without empty elements.
    List {
        /// Whether the list may be empty.
        empty: bool,
        /// The only elements allowed; any, if there are none.
        of: Vec<&'static str>,
    },
    /// -1 or a level of gzip, 1 to 9.
    GzipLevel,
    /// A string with something in it.
    NonEmpty,
    /// `*` or `partition:broker` pairs.
    ThrottledReplicas,
    /// `id@host:port` elements.
    QuorumVoters,
    /// `host:port` elements.
    QuorumBootstrap,
    /// `earliest`, `latest` or `by_duration:` with an ISO 8601 duration.
    ShareOffsetReset,
}

/// A refused value, in the words of Kafka's `ConfigException` (its `Display`) and in those of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    kafka: String,
    /// What the value must be, in few words: `must be at least 1`.
    pub must: String,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kafka)
    }
}

impl BadValue {
    fn invalid(name: &str, value: impl fmt::Display, reason: &str, must: impl Into<String>) -> BadValue {
        let kafka = format!("Invalid value {value} for configuration {name}: {reason}");
        BadValue { kafka, must: must.into() }
    }
}

impl ConfigType {
    /// The type of that name in the tables.
    pub(super) fn named(name: &str) -> Option<ConfigType> {
        Some(match name {
            "boolean" => ConfigType::Boolean,
            "string" => ConfigType::String,
            "int" => ConfigType::Int,
            "short" => ConfigType::Short,
            "long" => ConfigType::Long,
            "double" => ConfigType::Double,
            "list" => ConfigType::List,
            "class" => ConfigType::Class,
            "password" => ConfigType::Password,
            _ => return None,
        })
    }

    /// The number of the type on the wire.
    pub fn id(self) -> i8 {
        self as i8
    }

    /// Parses `raw` as the value of the setting `name`, as `ConfigDef.parseType` does.
    pub fn parse(self, name: &str, raw: &str) -> Result<Value, BadValue> {
        let text = raw.trim_matches(is_java_blank);
        let number = |kind: &str, must: &str| {
            BadValue::invalid(name, raw, &format!("Not a number of type {kind}"), format!("must be {must}"))
        };
        let whole = |kind: &str, min: i64, max: i64| match text.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(Value::Integer(n)),
            _ => Err(number(kind, &format!("a whole number between {min} and {max}"))),
        };
        match self {
            ConfigType::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            ConfigType::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            ConfigType::Boolean => {
                let reason = "Expected value to be either true or false";
                Err(BadValue::invalid(name, raw, reason, "must be true or false"))
            }
            ConfigType::Short => whole("SHORT", i16::MIN.into(), i16::MAX.into()),
            ConfigType::Int => whole("INT", i32::MIN.into(), i32::MAX.into()),
            ConfigType::Long => whole("LONG", i64::MIN, i64::MAX),
            ConfigType::Double => parse_double(text).map(Value::Double).ok_or_else(|| number("DOUBLE", "a number")),
            ConfigType::List if text.is_empty() => Ok(Value::List(Vec::new())),
            ConfigType::List => {
                Ok(Value::List(text.split(',').map(|e| e.trim_matches(is_java_blank).to_owned()).collect()))
            }
            ConfigType::String | ConfigType::Class | ConfigType::Password | ConfigType::Unknown => {
                Ok(Value::Text(text.to_owned()))
            }
        }
    }
}

/// What `String.trim` takes away.
fn is_java_blank(c: char) -> bool {
    c <= ' '
}

/// Java's `Double.parseDouble`: Rust's grammar, a type suffix, and other spellings of the infinite.
fn parse_double(text: &str) -> Option<f64> {
    match text.trim_start_matches(['+', '-']) {
        "NaN" => return Some(f64::NAN),
        "Infinity" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        "Infinity" => return Some(f64::INFINITY),
        _ => {}
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    if !digits.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

impl fmt::Display for Value {
    /// As `ConfigDef.convertToString` renders it for DescribeConfigs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(b) => write!(f, "{b}"),
            Value::Integer(n) => write!(f, "{n}"),
            Value::Double(d) => f.write_str(&java_double(*d)),
            Value::Text(t) => f.write_str(t),
            Value::List(elements) => f.write_str(&elements.join(",")),
        }
    }
}

/// Java's `Double.toString`: always a decimal point, and an exponent below 10^-3 and from 10^7 on.
fn java_double(d: f64) -> String {
    if !d.is_finite() {
        return if d.is_nan() {
            "NaN"
        } else if d > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    if d == 0.0 || (1e-3..1e7).contains(&d.abs()) {
        return format!("{d:?}");
    }
    let text = format!("{d:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

impl Validator {
    /// Reads the column of the tables; `None` if it is not one of the forms they use.
    pub(super) fn read(text: &'static str) -> Option<Validator> {
        let mut words = text.split(' ');
        let kind = words.next()?;
        Some(match kind {
            "-" | "non-null" => Validator::Any,
            "at-least" => Validator::Range(words.next()?.parse().ok()?, None),
            "between" => Validator::Range(words.next()?.parse().ok()?, Some(words.next()?.parse().ok()?)),
            "one-of" => Validator::OneOf(words.collect()),
            "one-of-any-case" => Validator::OneOfAnyCase(words.collect()),
            "list" => Validator::List { empty: words.next()?.starts_with("empty"), of: words.collect() },
            "gzip-level" => Validator::GzipLevel,
            "non-empty" => Validator::NonEmpty,
            "throttled-replicas" => Validator::ThrottledReplicas,
            "quorum-voters" => Validator::QuorumVoters,
            "quorum-bootstrap" => Validator::QuorumBootstrap,
            "share-offset-reset" => Validator::ShareOffsetReset,
            _ => return None,
        })
    }

    /// Refuses a value which the setting `name` may not have.
    pub fn check(&self, name: &str, value: &Value) -> Result<(), BadValue> {
        match (self, value) {
            (Validator::Range(min, max), Value::Integer(_) | Value::Double(_)) => check_range(name, value, *min, *max),
            (Validator::OneOf(allowed), Value::Text(text)) => check_one_of(name, text, allowed),
            (Validator::OneOfAnyCase(allowed), Value::Text(text)) => {
                if allowed.iter().any(|a| a.eq_ignore_ascii_case(text)) {
                    return Ok(());
                }
                let all = allowed.join(", ");
                let reason = format!("String must be one of (case insensitive): {all}");
                Err(BadValue::invalid(name, text, &reason, format!("must be one of {all}")))
            }
            (Validator::List { empty, of }, Value::List(elements)) => check_list(name, elements, *empty, of),
            (Validator::GzipLevel, Value::Integer(level)) => match level {
                -1 | 1..=9 => Ok(()),
                _ => {
                    let reason = "Value must be between 1 and 9 or equal to -1";
                    Err(BadValue::invalid(name, level, reason, "must be between 1 and 9 or equal to -1"))
                }
            },
            (Validator::NonEmpty, Value::Text(text)) if text.is_empty() => {
                Err(BadValue::invalid(name, text, "String must be non-empty", "must not be empty"))
            }
            (Validator::ThrottledReplicas, Value::List(elements)) => check_throttled(name, elements),
            (Validator::QuorumVoters, Value::List(elements)) => {
                elements.iter().try_for_each(|voter| check_voter(name, voter))
            }
            (Validator::QuorumBootstrap, Value::List(elements)) => {
                elements.iter().try_for_each(|server| check_bootstrap(name, server))
            }
            (Validator::ShareOffsetReset, Value::Text(text)) => check_offset_reset(name, text),
            _ => Ok(()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the limits of the tables are far below 2^53")]
fn check_range(name: &str, value: &Value, min: f64, max: Option<f64>) -> Result<(), BadValue> {
    let number = match value {
        Value::Integer(n) => *n as f64,
        Value::Double(d) => *d,
        _ => return Ok(()),
    };
    let must = || match max {
        None => format!("must be at least {min}"),
        Some(max) => format!("must be between {min} and {max}"),
    };
    if number < min {
        return Err(BadValue::invalid(name, value, &format!("Value must be at least {min}"), must()));
    }
    match max {
        Some(max) if number > max => {
            Err(BadValue::invalid(name, value, &format!("Value must be no more than {max}"), must()))
        }
        _ => Ok(()),
    }
}

fn check_one_of(name: &str, text: &str, allowed: &[&str]) -> Result<(), BadValue> {
    if allowed.contains(&text) {
        return Ok(());
    }
    let all = allowed.join(", ");
    let must = format!("must be one of {all}");
    Err(BadValue::invalid(name, text, &format!("String must be one of: {all}"), must))
}

fn check_list(name: &str, elements: &[String], may_be_empty: bool, of: &[&str]) -> Result<(), BadValue> {
    if elements.is_empty() && !may_be_empty {
        let valid = if of.is_empty() { "any non-empty value".to_owned() } else { format!("[{}]", of.join(", ")) };
        let kafka = format!("Configuration '{name}' must not be empty. Valid values include: {valid}");
        return Err(BadValue { kafka, must: "must not be empty".to_owned() });
    }
    if elements.iter().any(String::is_empty) {
        let kafka = format!("Configuration '{name}' values must not be empty.");
        return Err(BadValue { kafka, must: "must not have empty elements".to_owned() });
    }
    if of.is_empty() {
        return Ok(());
    }
    elements.iter().try_for_each(|e| check_one_of(name, e, of))
}

fn check_throttled(name: &str, elements: &[String]) -> Result<(), BadValue> {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let pair = |e: &String| e.split_once(':').is_some_and(|(partition, broker)| digits(partition) && digits(broker));
    if elements == ["*"] || elements.iter().all(pair) {
        return Ok(());
    }
    let form = "the literal '*' or a list of replicas in the following format: \
                [partitionId]:[brokerId],[partitionId]:[brokerId],...";
    let shown = format!("[{}]", elements.join(", "));
    Err(BadValue::invalid(name, shown, &format!("{name} must be {form}"), format!("must be {form}")))
}

/// Splits `host:port`; the host may be a bracketed IPv6 address.
pub(super) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok()?;
    (!host.is_empty() && !host.contains(['[', ']', '/', '@'])).then_some((host, port))
}

fn check_voter(name: &str, voter: &str) -> Result<(), BadValue> {
    let form = "Each entry should be in the form `{id}@{host}:{port}`.";
    let must = "must be a list of id@host:port".to_owned();
    let Some((id, address)) = voter.split_once('@') else {
        return Err(BadValue { kafka: format!("Invalid configuration value for {name}. {form}"), must });
    };
    if id.parse::<i32>().is_err() {
        return Err(BadValue { kafka: format!("Failed to parse voter ID as an integer from {id}"), must });
    }
    if host_and_port(address).is_none() {
        let kafka = format!("Failed to parse host name from entry {voter} for the configuration {name}. {form}");
        return Err(BadValue { kafka, must });
    }
    Ok(())
}

fn check_bootstrap(name: &str, server: &str) -> Result<(), BadValue> {
    if host_and_port(server).is_some() {
        return Ok(());
    }
    let form = "Each entry should be in the form \"{host}:{port}\"";
    let kafka = format!("Failed to parse host name from {server} for the configuration {name}. {form}");
    Err(BadValue { kafka, must: "must be a list of host:port".to_owned() })
}

fn check_offset_reset(name: &str, text: &str) -> Result<(), BadValue> {
    let duration = text.strip_prefix("by_duration:").is_some_and(is_duration);
    if duration || text == "earliest" || text == "latest" {
        return Ok(());
    }
    let form = "The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'.";
    let reason = format!("Invalid value `{text}` for configuration {name}. {form}");
    Err(BadValue::invalid(name, text, &reason, "must be earliest, latest or by_duration:PnDTnHnMn.nS"))
}

/// Whether the text is an ISO 8601 duration of days, hours, minutes and seconds that is not negative.
fn is_duration(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some(rest) = upper.strip_prefix('P') else { return false };
    let (days, time) = rest.split_once('T').map_or((rest, None), |(d, t)| (d, Some(t)));
    let mut parts = 0;
    let mut take = |text: &mut &str, unit: char| {
        let Some((number, rest)) = text.split_once(unit) else { return true };
        let whole = number.strip_prefix('+').unwrap_or(number);
        let legal = |c: char| c.is_ascii_digit() || (unit == 'S' && c == '.');
        let good = whole.starts_with(|c: char| c.is_ascii_digit()) && whole.chars().all(legal);
        *text = rest;
        parts += 1;
        good && whole.matches('.').count() <= 1
    };
    let mut days = days;
    let mut good = take(&mut days, 'D') && days.is_empty();
    if let Some(mut time) = time {
        good &= !time.is_empty() && ['H', 'M', 'S'].into_iter().all(|unit| take(&mut time, unit)) && time.is_empty();
    }
    good && parts > 0
}

#[cfg(test)]
mod tests;
