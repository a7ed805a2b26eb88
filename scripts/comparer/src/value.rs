//! Reading values: members, items, paths.

use kringle_protocol::dynamic::Value;

/// The member of a struct with that name.
pub(crate) fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Struct(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
        _ => None,
    }
}

/// The items of an array; of anything else, none.
pub(crate) fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

/// The number, if it is one.
pub(crate) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => None,
    }
}

/// The text, if it is one.
pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A struct.
pub(crate) fn fields<const N: usize>(list: [(&str, Value); N]) -> Value {
    Value::Struct(list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Follows a path such as `.topics[0].name`; `[name=x]` picks the item whose member is `x`.
pub(crate) fn follow<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut here = value;
    for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
        here = match part.strip_suffix(']') {
            None => member(here, part)?,
            Some(index) => match index.split_once('=') {
                None => items(here).get(index.parse::<usize>().ok()?)?,
                Some((name, wanted)) => items(here).iter().find(|item| {
                    member(item, name)
                        .is_some_and(|value| text(value).map_or(value.to_string(), str::to_owned) == wanted)
                })?,
            },
        };
    }
    Some(here)
}

/// Whether a member called `error_code` anywhere inside is one of `codes`.
pub(crate) fn has_error(value: &Value, codes: &[i64]) -> bool {
    match value {
        Value::Struct(fields) => fields.iter().any(|(name, value)| {
            (name.ends_with("error_code") && int(value).is_some_and(|code| codes.contains(&code)))
                || has_error(value, codes)
        }),
        Value::Array(items) => items.iter().any(|item| has_error(item, codes)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        let topic = |name: &str, code: i64| {
            Value::Struct(vec![("name".into(), Value::String(name.into())), ("error_code".into(), Value::Int(code))])
        };
        Value::Struct(vec![("topics".into(), Value::Array(vec![topic("a", 0), topic("b", 3)]))])
    }

    #[test]
    fn paths_follow_members_indexes_and_names() {
        let value = sample();
        assert_eq!(follow(&value, ".topics[1].error_code"), Some(&Value::Int(3)));
        assert_eq!(follow(&value, ".topics[name=b].error_code"), Some(&Value::Int(3)));
        assert_eq!(follow(&value, ".topics[2].error_code"), None);
    }

    #[test]
    fn errors_are_found_at_any_depth() {
        assert!(has_error(&sample(), &[3]));
        assert!(!has_error(&sample(), &[15]));
    }
}
