//! The protocol's table as the comparer uses it: APIs by name, requests and answers as values.
//!
//! Two conveniences over `kringle_protocol::dynamic`: fields are called as they are in Rust and in the reports
//! (`error_code`), and a request may mention fields that only other versions have, so that one literal serves them all.

use bytes::Bytes;
use kringle_protocol::dynamic::{self, Value};
use kringle_protocol::{ApiKey, Reader, api_table, request_header_version, response_header_version};

/// The API of that key, as `Metadata`.
pub(crate) fn name(key: i16) -> Option<&'static str> {
    ApiKey::from_i16(key).map(ApiKey::name)
}

/// The key of the API of that name.
pub(crate) fn key(name: &str) -> Option<ApiKey> {
    api_table().iter().find(|info| info.name == name).map(|info| info.key)
}

/// The lowest version in which a request can be made; Produce is offered from 0 and served from 3.
pub(crate) fn oldest(name: &str) -> i16 {
    key(name).map_or(0, |key| key.info().min_decodable)
}

/// Version of the request header.
pub(crate) fn request_header(name: &str, version: i16) -> i16 {
    key(name).map_or(1, |key| request_header_version(key, version))
}

/// Version of the response header.
pub(crate) fn response_header(name: &str, version: i16) -> i16 {
    key(name).map_or(0, |key| response_header_version(key, version))
}

/// Encodes the body of a request.
pub(crate) fn encode_request(api: &str, version: i16, body: &Value) -> Result<Bytes, String> {
    let message = format!("{api}Request");
    let wrong = |reason: dynamic::DynamicError| format!("{api} v{version}: {reason}");
    let fitted = fitted(body, &shape(&message, version).map_err(wrong)?);
    dynamic::encode(&message, version, &fitted).map(bytes::BytesMut::freeze).map_err(wrong)
}

/// Reads the body of an answer; also how many bytes are left after it.
pub(crate) fn decode_response(api: &str, version: i16, body: Bytes) -> Result<(Value, usize), String> {
    let mut reader = Reader::new(body);
    let value = dynamic::decode(&format!("{api}Response"), version, &mut reader).map_err(|e| e.to_string())?;
    Ok((renamed(value), reader.remaining()))
}

/// A message with every field of its version, and two elements in each array.
fn shape(message: &str, version: i16) -> Result<Value, dynamic::DynamicError> {
    dynamic::arbitrary(message, version, &mut || 2)
}

/// What of `given` the version has, under the names that the codec wants.
fn fitted(given: &Value, shape: &Value) -> Value {
    match (given, shape) {
        (Value::Struct(given), Value::Struct(shape)) => {
            let kept = shape.iter().filter_map(|(name, shape)| {
                let rust = snake_case(name);
                let (_, value) = given.iter().find(|(field, _)| *field == rust)?;
                Some((name.clone(), fitted(value, shape)))
            });
            Value::Struct(kept.collect())
        }
        (Value::Array(given), Value::Array(shape)) => match shape.first() {
            Some(shape) => Value::Array(given.iter().map(|item| fitted(item, shape)).collect()),
            None => Value::Array(given.clone()),
        },
        (other, _) => other.clone(),
    }
}

fn renamed(value: Value) -> Value {
    match value {
        Value::Struct(fields) => {
            Value::Struct(fields.into_iter().map(|(name, value)| (snake_case(&name), renamed(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(renamed).collect()),
        other => other,
    }
}

/// `errorCode` is `error_code`.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Names in a literal that no version of the request has: typing mistakes.
#[cfg(test)]
pub(crate) fn unknown_fields(api: &str, names: &[String]) -> Vec<String> {
    fn collect(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Struct(fields) => fields.iter().for_each(|(name, value)| {
                into.push(snake_case(name));
                collect(value, into);
            }),
            Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
            _ => {}
        }
    }
    let mut known = Vec::new();
    let message = format!("{api}Request");
    for version in 0..40 {
        if let Ok(shape) = shape(&message, version) {
            collect(&shape, &mut known);
        }
    }
    names.iter().filter(|name| !known.contains(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{fields, follow};

    #[test]
    fn fields_of_other_versions_are_left_out() {
        let body = fields([
            ("key", Value::String("g".into())),
            ("key_type", Value::Int(0)),
            ("coordinator_keys", Value::Array(vec![Value::String("g".into())])),
        ]);
        assert_eq!(encode_request("FindCoordinator", 0, &body).unwrap()[..], *b"\0\x01g");
        assert_eq!(encode_request("FindCoordinator", 4, &body).unwrap()[..], *b"\0\x02\x02g\0");
    }

    #[test]
    fn answers_are_read_with_the_names_of_rust() {
        let (answer, left) = decode_response("Heartbeat", 0, Bytes::from_static(b"\0\x1b!")).unwrap();
        assert_eq!(follow(&answer, ".error_code"), Some(&Value::Int(27)));
        assert_eq!(left, 1);
    }
}
