//! [`Value`]s to bytes.

use super::{DynamicError, Value, default_of, json_name};
use crate::codec::{Codec, Ctx};
use crate::reader::Width;
use crate::table::{FieldSpec, MessageSpec, Type};
use crate::writer::{EncodeError, Writer};

/// A message, or a struct in it; `what` names it in errors.
pub(super) fn fields(
    message: &'static MessageSpec,
    specs: &'static [FieldSpec],
    what: &'static str,
    value: &Value,
    w: &mut Writer,
    c: Ctx,
) -> Result<(), DynamicError> {
    let Value::Struct(given) = value else { return Err(misfit(what, value)) };
    let unknown = given.iter().find(|(name, _)| !specs.iter().any(|field| json_name(field) == *name));
    if let Some((name, _)) = unknown {
        return Err(DynamicError::UnknownField(name.clone()));
    }
    let mut tagged = Vec::new();
    for field in specs {
        let default = default_of(message, field, c.version);
        let given = value.get(&json_name(field));
        let said = given.unwrap_or(&default);
        if !field.versions.contains(c.version) {
            if *said != default && !field.ignorable {
                return Err(EncodeError::NotInVersion { field: &field.name, version: c.version }.into());
            }
        } else if let Some(tag) = field.tag {
            tagged.extend(given.filter(|given| **given != default).map(|given| (tag, field, given)));
        } else {
            self::field(message, field, said, w, c)?;
        }
    }
    if c.flexible {
        tagged.sort_by_key(|(tag, ..)| *tag);
        w.uvarint(u32::try_from(tagged.len()).map_err(|_| EncodeError::TooLong)?);
        for (tag, field, said) in tagged {
            w.uvarint(tag);
            let start = w.len();
            self::field(message, field, said, w, c)?;
            w.insert_length(start)?;
        }
    }
    Ok(())
}

fn field(
    message: &'static MessageSpec,
    field: &'static FieldSpec,
    said: &Value,
    w: &mut Writer,
    c: Ctx,
) -> Result<(), DynamicError> {
    let nullable = field.nullable.contains(c.version);
    if *said == Value::Null && !nullable {
        return Err(EncodeError::Null { field: &field.name }.into());
    }
    let c = if field.rigid { c.rigid() } else { c };
    if matches!(field.ty, Type::Struct(_)) && nullable {
        let there = *said != Value::Null;
        match field.tag {
            // Only here Kafka says this by a varint.
            Some(_) => w.uvarint(there.into()),
            None => w.i8(if there { 1 } else { -1 }),
        }
        if !there {
            return Ok(());
        }
    }
    value(message, &field.ty, &field.name, said, w, c)
}

fn value(
    message: &'static MessageSpec,
    ty: &'static Type,
    name: &'static str,
    said: &Value,
    w: &mut Writer,
    c: Ctx,
) -> Result<(), DynamicError> {
    match (ty, said) {
        (Type::Bool, Value::Bool(value)) => value.write(w, c)?,
        (Type::Int8, Value::Int(value)) => w.i8(fit(name, *value)?),
        (Type::Int16, Value::Int(value)) => w.i16(fit(name, *value)?),
        (Type::Uint16, Value::Int(value)) => w.u16(fit(name, *value)?),
        (Type::Int32, Value::Int(value)) => w.i32(fit(name, *value)?),
        (Type::Uint32, Value::Int(value)) => w.u32(fit(name, *value)?),
        (Type::Int64, Value::Int(value)) => w.i64(*value),
        (Type::Float64, Value::Float(value)) => w.f64(*value),
        (Type::Uuid, Value::Uuid(value)) => value.write(w, c)?,
        (Type::String, Value::String(value)) => w.nullable_string(Some(value), c)?,
        (Type::String, Value::Null) => w.nullable_string(None, c)?,
        (Type::Bytes | Type::Records, Value::Bytes(value)) => w.nullable_bytes(Some(value), c)?,
        (Type::Bytes | Type::Records, Value::Null) => w.nullable_bytes(None, c)?,
        (Type::Array(_), Value::Null) => w.length(None, c, Width::Four)?,
        (Type::Array(element), Value::Array(values)) => {
            w.length(Some(values.len()), c, Width::Four)?;
            for said in values {
                value(message, element, name, said, w, c)?;
            }
        }
        (Type::Struct(index), Value::Struct(_)) => {
            fields(message, &message.structs[*index].fields, name, said, w, c)?;
        }
        _ => return Err(misfit(name, said)),
    }
    Ok(())
}

fn fit<T: TryFrom<i64>>(field: &'static str, value: i64) -> Result<T, DynamicError> {
    T::try_from(value).map_err(|_| misfit(field, &Value::Int(value)))
}

fn misfit(field: &'static str, value: &Value) -> DynamicError {
    DynamicError::Misfit { field, value: value.to_string().chars().take(80).collect() }
}
