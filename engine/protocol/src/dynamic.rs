//! Messages without their Rust types: read to, and written from, trees of [`Value`]s by the table itself.
//!
//! For those who treat all messages alike: the comparer, dumps, tests. Same bounds as the typed decoders, which the tests
//! hold against this second reading of the table. Field names are Kafka's JSON names (`throttleTimeMs`).

mod arbitrary;
mod decode;
mod encode;
mod value;

use std::ops::RangeInclusive;
use std::sync::OnceLock;

use bytes::BytesMut;

pub use value::Value;

use crate::codec::Ctx;
use crate::generated::SOURCES;
use crate::reader::{DecodeError, Reader};
use crate::table::{FieldSpec, Kind, MessageSpec, Table, Type};
use crate::writer::{EncodeError, Writer};

/// Why a message could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DynamicError {
    /// There is no message of this name.
    #[error("no message {0:?}")]
    UnknownMessage(String),
    /// A struct has no field of this name.
    #[error("no field {0:?}")]
    UnknownField(String),
    /// A value does not have the type of its field, or not its range.
    #[error("field {field}: {value} does not fit")]
    Misfit {
        /// The field's name.
        field: &'static str,
        /// The value, as text.
        value: String,
    },
    /// As for typed messages.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// As for typed messages.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Facts about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageInfo {
    /// Kafka's name of it.
    pub name: &'static str,
    /// API key of a request or response, record type of a record.
    pub api: Option<i16>,
    /// Whether this is a request.
    pub is_request: bool,
    /// Whether this is a response.
    pub is_response: bool,
    /// The versions there are, an unstable one included.
    pub versions: RangeInclusive<i16>,
    /// The first flexible version; `i16::MAX` where none is.
    pub flexible_from: i16,
}

/// All messages.
pub fn messages() -> impl Iterator<Item = MessageInfo> {
    table().messages.iter().map(|message| MessageInfo {
        name: &message.name,
        api: message.api,
        is_request: message.kind == Kind::Request,
        is_response: message.kind == Kind::Response,
        versions: message.versions.iter(),
        flexible_from: message.flexible_from(),
    })
}

/// Reads a message.
///
/// # Errors
/// The message or the version does not exist, or the bytes are not this message.
pub fn decode(message: &str, version: i16, r: &mut Reader) -> Result<Value, DynamicError> {
    let message = find(message)?;
    if !message.versions.contains(version) {
        return Err(DecodeError::Version { message: &message.name, version }.into());
    }
    Ok(decode::fields(message, &message.fields, r, form(message, version))?)
}

/// Writes a message. Fields that `value` does not mention have their defaults.
///
/// # Errors
/// The message or the version does not exist, or `value` cannot be written as that.
pub fn encode(message: &str, version: i16, value: &Value) -> Result<BytesMut, DynamicError> {
    let message = find(message)?;
    if !message.versions.contains(version) {
        return Err(EncodeError::Version { message: &message.name, version }.into());
    }
    let mut w = Writer::default();
    encode::fields(message, &message.fields, &message.name, value, &mut w, form(message, version))?;
    Ok(w.finish().0)
}

/// A well-formed message, made of the numbers that `next` gives; every field of the version is mentioned.
///
/// # Errors
/// The message or the version does not exist.
pub fn arbitrary(message: &str, version: i16, next: &mut dyn FnMut() -> u64) -> Result<Value, DynamicError> {
    let message = find(message)?;
    if !message.versions.contains(version) {
        return Err(DecodeError::Version { message: &message.name, version }.into());
    }
    Ok(arbitrary::fields(message, &message.fields, version, next))
}

/// The message that holds nothing but defaults.
///
/// # Errors
/// The message or the version does not exist.
pub fn default(message: &str, version: i16) -> Result<Value, DynamicError> {
    let message = find(message)?;
    if !message.versions.contains(version) {
        return Err(DecodeError::Version { message: &message.name, version }.into());
    }
    Ok(defaults(message, &message.fields, version))
}

fn find(name: &str) -> Result<&'static MessageSpec, DynamicError> {
    let found = table().messages.iter().find(|message| message.name == name);
    found.ok_or_else(|| DynamicError::UnknownMessage(name.to_owned()))
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table::default();
        for source in SOURCES {
            table.parse(source).expect("the build has parsed the same text");
        }
        table
    })
}

fn form(message: &MessageSpec, version: i16) -> Ctx {
    Ctx::new(version, message.flexible_from())
}

/// Kafka's JSON name of a field.
fn json_name(field: &FieldSpec) -> String {
    let mut name = field.name.clone();
    name[..1].make_ascii_lowercase();
    name
}

/// A struct of defaults.
fn defaults(message: &MessageSpec, fields: &[FieldSpec], version: i16) -> Value {
    let present = fields.iter().filter(|field| field.versions.contains(version));
    Value::Struct(present.map(|field| (json_name(field), default_of(message, field, version))).collect())
}

fn default_of(message: &MessageSpec, field: &FieldSpec, version: i16) -> Value {
    let text = field.default.as_deref();
    if text == Some("null") {
        return Value::Null;
    }
    match &field.ty {
        Type::Bool => Value::Bool(text == Some("true")),
        Type::Float64 => Value::Float(text.and_then(|text| text.parse().ok()).unwrap_or(0.0)),
        Type::Uuid => Value::Uuid(crate::Uuid::ZERO),
        Type::String => Value::String(text.unwrap_or_default().to_owned()),
        Type::Bytes => Value::Bytes(bytes::Bytes::new()),
        Type::Records => Value::Null,
        Type::Array(_) => Value::Array(Vec::new()),
        Type::Struct(index) => defaults(message, &message.structs[*index].fields, version),
        _ => Value::Int(text.map_or(0, number)),
    }
}

fn number(text: &str) -> i64 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.expect("the generated code has this number too, and was compiled")
}
