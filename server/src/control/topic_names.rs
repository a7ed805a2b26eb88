//! Names of topics: which are legal, and which are too alike because metrics write `.` as `_`.

/// The longest legal name, in UTF-16 units as Java counts them.
const MAX_CHARS: usize = 249;

/// Why a name is none for a topic, in Kafka's words; `None` when it is legal.
pub fn illegal(name: &str) -> Option<String> {
    let reason = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." {
        "'.' is not allowed".to_owned()
    } else if name == ".." {
        "'..' is not allowed".to_owned()
    } else if name.encode_utf16().count() > MAX_CHARS {
        format!("the length of '{name}' is longer than the max allowed length {MAX_CHARS}")
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return None;
    };
    Some(format!("Topic name is invalid: {reason}"))
}

/// Whether two names would be the same metric.
pub(super) fn collide(one: &str, other: &str) -> bool {
    let unified = |byte: u8| if byte == b'.' { b'_' } else { byte };
    one.len() == other.len() && one.bytes().map(unified).eq(other.bytes().map(unified))
}

/// Whether the name has characters through which it could collide.
pub(super) fn can_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_ascii_names_are_legal() {
        assert_eq!(illegal("a.B_c-9"), None);
        assert_eq!(illegal(&"x".repeat(249)), None);
        for name in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(illegal(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_dot_collides_with_an_underscore_at_the_same_place_only() {
        assert!(collide("a.b_c", "a_b.c"));
        assert!(!collide("a.b", "a-b"));
        assert!(!collide("a.b", "ab."));
    }
}
