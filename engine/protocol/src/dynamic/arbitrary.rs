//! Well-formed messages made of random numbers.

use bytes::Bytes;

use super::{Value, default_of, json_name};
use crate::table::{FieldSpec, MessageSpec, Type};
use crate::uuid::Uuid;

/// The longest array, in elements: nested ones multiply.
const MAX_ELEMENTS: u64 = 3;

/// The longest text or bytes; long enough for a length of two varint bytes.
const MAX_BYTES: u64 = 150;

/// What texts are made of: one to four bytes of UTF-8 each.
const LETTERS: [char; 8] = ['a', 'Z', '0', '-', '\u{7f}', 'ø', '輪', '𝄞'];

/// A message, or a struct in it.
pub(super) fn fields(message: &MessageSpec, specs: &[FieldSpec], version: i16, next: &mut dyn FnMut() -> u64) -> Value {
    let present = specs.iter().filter(|field| field.versions.contains(version));
    let values = present.map(|field| {
        // Often the default, for the sake of tagged fields, and null where it can be.
        let value = match next() % 8 {
            0 if field.nullable.contains(version) => Value::Null,
            0 | 1 => default_of(message, field, version),
            _ => value(message, &field.ty, version, next),
        };
        let value = if value == Value::Null && !field.nullable.contains(version) {
            self::value(message, &field.ty, version, next)
        } else {
            value
        };
        (json_name(field), value)
    });
    Value::Struct(values.collect())
}

fn value(message: &MessageSpec, ty: &Type, version: i16, next: &mut dyn FnMut() -> u64) -> Value {
    match ty {
        Type::Bool => Value::Bool(next() % 2 == 1),
        Type::Int8 => Value::Int(signed(next, 8)),
        Type::Int16 => Value::Int(signed(next, 16)),
        Type::Int32 => Value::Int(signed(next, 32)),
        Type::Int64 => Value::Int(signed(next, 64)),
        Type::Uint16 => Value::Int(signed(next, 16) & 0xffff),
        Type::Uint32 => Value::Int(signed(next, 32) & 0xffff_ffff),
        Type::Float64 => Value::Float(f64::from((next() >> 48) as u16) / 8.0),
        Type::Uuid => {
            let bits = u128::from(next()) << 64 | u128::from(next());
            Value::Uuid(Uuid::from_bytes(bits.to_be_bytes()))
        }
        Type::String => {
            let letters = LETTERS.iter().cycle();
            let len = next() % (MAX_BYTES / 4);
            Value::String((0..len).filter_map(|_| letters.clone().nth((next() % 8) as usize)).collect())
        }
        Type::Bytes | Type::Records => {
            let len = next() % MAX_BYTES;
            Value::Bytes((0..len).map(|_| next().to_be_bytes()[0]).collect::<Bytes>())
        }
        Type::Array(element) => {
            let len = next() % (MAX_ELEMENTS + 1);
            Value::Array((0..len).map(|_| value(message, element, version, next)).collect())
        }
        Type::Struct(index) => fields(message, &message.structs[*index].fields, version, next),
    }
}

/// A number of so many bits; small, large and negative ones are equally likely.
fn signed(next: &mut dyn FnMut() -> u64, bits: u32) -> i64 {
    let used = 1 + u32::try_from(next() % u64::from(bits)).unwrap_or(0);
    let value = next().cast_signed();
    value << (64 - used) >> (64 - used)
}
