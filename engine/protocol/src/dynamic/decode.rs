//! Bytes to [`Value`]s.

use super::{Value, default_of, json_name};
use crate::codec::{Codec, Ctx};
use crate::reader::{DecodeError, Reader};
use crate::records::Records;
use crate::table::{FieldSpec, MessageSpec, Type};
use crate::uuid::Uuid;

/// A message, or a struct in it.
pub(super) fn fields(message: &MessageSpec, specs: &[FieldSpec], r: &mut Reader, c: Ctx) -> Result<Value, DecodeError> {
    let mut values = Vec::new();
    let present: Vec<_> = specs.iter().filter(|field| field.versions.contains(c.version)).collect();
    for field in &present {
        let value = if field.tag.is_some() {
            default_of(message, field, c.version)
        } else {
            self::field(message, field, r, c)?
        };
        values.push((json_name(field), value));
    }
    if c.flexible {
        for _ in 0..r.uvarint()? {
            let (tag, end) = r.tag()?;
            match present.iter().position(|field| field.tag == Some(tag)) {
                Some(at) => values[at].1 = self::field(message, present[at], r, c)?,
                None => r.skip_to(end),
            }
            r.tag_ended(tag, end)?;
        }
    }
    Ok(Value::Struct(values))
}

fn field(message: &MessageSpec, field: &FieldSpec, r: &mut Reader, c: Ctx) -> Result<Value, DecodeError> {
    if let (Some(_), Type::Struct(index), true) = (field.tag, &field.ty, field.nullable.contains(c.version)) {
        let there = r.tagged_struct_is_there()?;
        return if there { fields(message, &message.structs[*index].fields, r, c) } else { Ok(Value::Null) };
    }
    let c = if field.rigid { c.rigid() } else { c };
    value(message, &field.ty, field.nullable.contains(c.version), r, c)
}

fn value(message: &MessageSpec, ty: &Type, nullable: bool, r: &mut Reader, c: Ctx) -> Result<Value, DecodeError> {
    let read = match ty {
        Type::Bool => bool::read(r, c).map(Value::Bool)?,
        Type::Int8 => Value::Int(r.i8()?.into()),
        Type::Int16 => Value::Int(r.i16()?.into()),
        Type::Uint16 => Value::Int(r.u16()?.into()),
        Type::Int32 => Value::Int(r.i32()?.into()),
        Type::Uint32 => Value::Int(r.u32()?.into()),
        Type::Int64 => Value::Int(r.i64()?),
        Type::Float64 => Value::Float(r.f64()?),
        Type::Uuid => Uuid::read(r, c).map(Value::Uuid)?,
        Type::String => r.nullable_string(c)?.map_or(Value::Null, Value::String),
        Type::Bytes => r.nullable_bytes(c)?.map_or(Value::Null, Value::Bytes),
        Type::Records => match Records::read(r, c)? {
            Records::Inline(bytes) => Value::Bytes(bytes),
            Records::Null | Records::External { .. } => Value::Null,
        },
        Type::Array(element) => match r.array_length(c, message.min_len_of_type(element, c.flexible, c.version))? {
            None => Value::Null,
            Some(length) => {
                r.charge(length.saturating_mul(size_of::<Value>()))?;
                let elements = (0..length).map(|_| value(message, element, false, r, c));
                Value::Array(elements.collect::<Result<_, _>>()?)
            }
        },
        Type::Struct(_) if nullable && r.i8()? < 0 => Value::Null,
        Type::Struct(index) => fields(message, &message.structs[*index].fields, r, c)?,
    };
    if read == Value::Null && !nullable { Err(r.null()) } else { Ok(read) }
}
