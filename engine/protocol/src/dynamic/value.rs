//! [`Value`]: a message as a tree.

use std::fmt::{self, Write};

use bytes::Bytes;

use crate::uuid::Uuid;

/// A value of any type of the protocol. Displayed as JSON on one line; bytes are hexadecimal text there.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Null, of whatever type.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any of the whole numbers.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    String(String),
    /// Bytes or records.
    Bytes(Bytes),
    /// A uuid.
    Uuid(Uuid),
    /// Values of one type.
    Array(Vec<Value>),
    /// Fields, in the order of the table.
    Struct(Vec<(String, Value)>),
}

impl Value {
    /// The field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Struct(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// As [`Value::get`], to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        match self {
            Value::Struct(fields) => fields.iter_mut().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => value.fmt(f),
            Value::Int(value) => value.fmt(f),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::String(text) => quoted(f, text),
            Value::Bytes(bytes) => {
                f.write_char('"')?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_char('"')
            }
            Value::Uuid(id) => write!(f, "\"{id}\""),
            Value::Array(values) => {
                f.write_char('[')?;
                for (i, value) in values.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{value}")?;
                }
                f.write_char(']')
            }
            Value::Struct(fields) => {
                f.write_char('{')?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}\"{name}\": {value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
