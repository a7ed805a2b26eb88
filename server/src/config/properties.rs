//! The text format of `server.properties`: Java's `java.util.Properties`.
//!
//! Pure. A key given twice keeps its last value, as in Java. The only error is a malformed `\u` escape; everything else
//! has a meaning, be it a strange one (`a b` is key `a` with value `b`).

use std::fmt;

/// A `\u` that is not followed by four hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadEscape {
    /// The number of the natural line, from 1.
    pub line: usize,
}

impl fmt::Display for BadEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: \\u must be followed by four hexadecimal digits", self.line)
    }
}

/// The pairs of a properties text, in the order in which they stand.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, BadEscape> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut lines = text.split(['\n', '\r']).enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let mut logical = line.trim_start_matches(is_blank).to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_in_continuation(&logical) {
            logical.pop();
            // `\r\n` splits into a line and an empty one; the empty one is no continuation of its own.
            let next = match lines.next() {
                Some((at, "")) if is_crlf(text, at) => lines.next(),
                other => other,
            };
            let Some((_, more)) = next else { break };
            logical.push_str(more.trim_start_matches(is_blank));
        }
        let (key, value) = split(&logical);
        let at = BadEscape { line: natural_line(text, index) };
        let key = unescape(key).ok_or_else(|| at.clone())?;
        let value = unescape(value).ok_or(at)?;
        match pairs.iter_mut().find(|(k, _)| *k == key) {
            Some(pair) => pair.1 = value,
            None => pairs.push((key, value)),
        }
    }
    Ok(pairs)
}

/// The blanks of the format; others, such as a no-break space, belong to the text.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1
}

/// Whether piece `at` of the text, split at `\n` and `\r`, is the nothing between a `\r` and its `\n`.
fn is_crlf(text: &str, at: usize) -> bool {
    let Some(end) = text.match_indices(['\n', '\r']).nth(at).map(|(i, _)| i) else { return false };
    text[..=end].ends_with("\r\n")
}

fn natural_line(text: &str, piece: usize) -> usize {
    let before: usize = text.split(['\n', '\r']).take(piece).map(|p| p.len() + 1).sum();
    let before = &text[..before.min(text.len())];
    1 + before.matches(['\n', '\r']).count() - before.matches("\r\n").count()
}

/// Cuts at the first unescaped `=`, `:` or blank; blanks around the separator belong to neither side.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|&(_, c)| {
            let ends = !escaped && (is_blank(c) || c == '=' || c == ':');
            escaped = c == '\\' && !escaped;
            ends
        })
        .map_or(line.len(), |(i, _)| i);
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Option<String> {
    let mut utf16 = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let meant = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    let mut unit = 0;
                    for _ in 0..4 {
                        unit = unit * 16 + u16::try_from(chars.next()?.to_digit(16)?).expect("one digit");
                    }
                    utf16.push(unit);
                    continue;
                }
                Some('t') => '\t',
                Some('r') => '\r',
                Some('n') => '\n',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        utf16.extend_from_slice(meant.encode_utf16(&mut [0; 2]));
    }
    Some(String::from_utf16_lossy(&utf16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    fn one(text: &str) -> (String, String) {
        let pairs = pairs(text);
        assert_eq!(pairs.len(), 1, "{text:?} gives {pairs:?}");
        pairs[0].clone()
    }

    #[test]
    fn the_separator_is_the_first_equals_sign_colon_or_blank() {
        for text in ["a=b", "a:b", "a b", "a\tb", "  a = b", "a  :  b", "a   b"] {
            assert_eq!(one(text), ("a".into(), "b".into()), "{text:?}");
        }
        assert_eq!(one("a==b"), ("a".into(), "=b".into()));
        assert_eq!(one("listeners=PLAINTEXT://:9092"), ("listeners".into(), "PLAINTEXT://:9092".into()));
        assert_eq!(one("a"), ("a".into(), String::new()));
    }

    #[test]
    fn blanks_after_the_value_belong_to_it() {
        assert_eq!(one("a=b \t"), ("a".into(), "b \t".into()));
    }

    #[test]
    fn comments_and_empty_lines_are_skipped_and_a_backslash_does_not_continue_a_comment() {
        assert_eq!(pairs("# x=1\\\n! y=2\n\n   \n  # z=3\na=#b"), [("a".into(), "#b".into())]);
        assert_eq!(pairs("# comment \\\na=b"), [("a".into(), "b".into())]);
    }

    #[test]
    fn a_line_that_ends_in_an_odd_number_of_backslashes_goes_on() {
        assert_eq!(one("a=b,\\\n    c,\\\n  d"), ("a".into(), "b,c,d".into()));
        assert_eq!(one("a=b\\\r\n  c"), ("a".into(), "bc".into()));
        assert_eq!(pairs("a=b\\\\\nc=d"), [("a".into(), "b\\".into()), ("c".into(), "d".into())]);
        assert_eq!(one("a=b\\"), ("a".into(), "b".into()));
    }

    #[test]
    fn escapes_are_those_of_java() {
        assert_eq!(one(r"a\ b\=\:=\t\n\q\\"), ("a b=:".into(), "\t\nq\\".into()));
        assert_eq!(one(r"a=\u00e9\uD83D\uDE00"), ("a".into(), "é😀".into()));
    }

    #[test]
    fn a_bad_unicode_escape_names_its_line() {
        assert_eq!(parse("a=b\r\nc=d\\\n e\nf=\\u12g4"), Err(BadEscape { line: 4 }));
        assert_eq!(parse("a=\\u12"), Err(BadEscape { line: 1 }));
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        assert_eq!(pairs("a=1\nb=2\na=3"), [("a".into(), "3".into()), ("b".into(), "2".into())]);
    }
}
