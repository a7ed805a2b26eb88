//! The differences that are meant: a committed list, each with its reason. An entry that no difference needs any more
//! is an error, so that the list stays true.
//!
//! A line: API, versions, step, path, reason; `*` in step and path stands for anything. One `{a,b}` in the path makes an
//! entry of each, and each must be needed.
//!
//! ```text
//! DescribeConfigs v1-4 "*" $.results[*].configs[log.dirs].value because each broker has its own directory
//! ```

use crate::difference::Difference;
use crate::literal::{Mistake, Token, Tokens};
use crate::scenario::{Versions, versions};

/// One meant difference.
pub(crate) struct Entry {
    /// API name, or `*`.
    pub(crate) api: String,
    versions: Versions,
    step: String,
    path: String,
    /// The line, for the report.
    pub(crate) line: usize,
    /// How often it was needed.
    pub(crate) used: usize,
}

/// Reads the list. Every entry must say `because` and why.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, Mistake> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let mistake = |what: &str| Mistake { line: number, what: what.to_owned() };
        let (entry, reason) = line.split_once(" because ").ok_or_else(|| mistake("no ` because ` and a reason"))?;
        if reason.trim().is_empty() {
            return Err(mistake("no reason"));
        }
        let mut tokens = Tokens::of(entry).map_err(|found| Mistake { line: number, ..found })?;
        let parts = (tokens.take(), tokens.take(), tokens.take(), tokens.take());
        let (Some(Token::Word(api)), Some(Token::Word(range)), Some(Token::Text(step)), path) = parts else {
            return Err(mistake("expected: API versions \"step\" $.path because reason"));
        };
        let path = match path {
            Some(Token::Path(path)) => path,
            // `$` alone: the whole answer, or that there is none.
            Some(Token::Var(name)) if name.is_empty() => name,
            _ => return Err(mistake("expected a path, like $.topics[0], or $ for the whole answer")),
        };
        let versions =
            range.strip_prefix('v').and_then(versions).ok_or_else(|| mistake("expected versions like v0-4"))?;
        for path in alternatives(&path) {
            let (api, step) = (api.clone(), step.clone());
            entries.push(Entry { api, versions, step, path: format!("${path}"), line: number, used: 0 });
        }
    }
    Ok(entries)
}

/// The paths that one with `{a,b}` in it stands for.
fn alternatives(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (each, after))) => each.split(',').map(|one| format!("{before}{one}{after}")).collect(),
        None => vec![path.to_owned()],
    }
}

impl Entry {
    /// Whether it speaks of that difference.
    pub(crate) fn covers(&self, api: &str, version: i16, step: &str, difference: &Difference) -> bool {
        (self.api == "*" || self.api == api)
            && (self.versions.0..=self.versions.1).contains(&version)
            && like(&self.step, step)
            && like(&self.path, &difference.path)
    }
}

/// Whether `text` is `pattern`, in which `*` stands for anything.
fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Difference {
        Difference { path: path.into(), kafka: "1".into(), kringle: "2".into() }
    }

    #[test]
    fn an_entry_covers_its_versions_and_paths_only() {
        let entries = parse("Metadata v1-4 \"*\" $.topics[*].port because each has its own").unwrap();
        assert!(entries[0].covers("Metadata", 3, "any", &at("$.topics[a].port")));
        assert!(!entries[0].covers("Metadata", 5, "any", &at("$.topics[a].port")));
        assert!(!entries[0].covers("Metadata", 3, "any", &at("$.topics[a].host")));
        assert!(!entries[0].covers("Fetch", 3, "any", &at("$.topics[a].port")));
    }

    #[test]
    fn braces_make_an_entry_of_each() {
        let entries = parse("ApiVersions v0 \"*\" $.keys[{1,22}].max because not yet").unwrap();
        let paths: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["$.keys[1].max", "$.keys[22].max"]);
        assert_eq!(alternatives(".a{b"), [".a{b"]);
    }

    #[test]
    fn an_entry_without_a_reason_is_refused() {
        assert!(parse("Metadata v1-4 \"*\" $.topics").is_err());
    }

    #[test]
    fn stars_stand_for_anything_between() {
        assert!(like("a*c*e", "abcde") && like("*", "") && like("x*", "x"));
        assert!(!like("a*c", "abcd") && !like("ab", "abc"));
    }
}
