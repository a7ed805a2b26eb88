//! The small language in which scenarios are written: tokens, and the literals that requests are built from.
//!
//! A literal is JSON without the ceremony: `{topics: [{name: "@t", partitions: [0]}], timeout_ms: 1000}`. What it has
//! more: `"@t"` is a name of this run's own (so that versions and runs do not disturb each other), `$x` is what an
//! earlier answer was saved as, and `batch({...})`, `i32(7)` and the like are functions, which `evaluate` knows.
//! A mistake is reported with its line; nothing here knows Kafka.

use std::fmt;

/// A request or a part of it, as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// `42`
    Int(i64),
    /// `0.5`
    Float(f64),
    /// `"text"`; a leading `@` makes the name the run's own.
    Text(String),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `{a: 1, b: 2}`
    Fields(Vec<(String, Expr)>),
    /// `$name`
    Var(String),
    /// `name(a, b)`
    Call(String, Vec<Expr>),
}

#[cfg(test)]
impl Expr {
    /// All field names in it.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Fields(fields) => {
                fields.iter().flat_map(|(name, expr)| std::iter::once(name.clone()).chain(expr.names())).collect()
            }
            Self::List(items) => items.iter().flat_map(Self::names).collect(),
            Self::Call(function, args) if function == "merge" => args.iter().flat_map(Self::names).collect(),
            _ => Vec::new(),
        }
    }
}

/// A mistake in a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Line in the file, from 1.
    pub(crate) line: usize,
    /// What is wrong there.
    pub(crate) what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// One token of a scenario file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A bare word: keywords, API names, field names, `v4+`.
    Word(String),
    /// A quoted text, escapes resolved.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number with a point.
    Float(f64),
    /// `$name`
    Var(String),
    /// `$.a.b[0]`, without the `$`.
    Path(String),
    /// One of `{}[](),:=`.
    Sign(char),
}

/// Tokens with their lines, read one after the other.
pub(crate) struct Tokens {
    tokens: Vec<(Token, usize)>,
    at: usize,
}

impl Tokens {
    /// Cuts `text` into tokens; `#` begins a comment.
    pub(crate) fn of(text: &str) -> Result<Self, Mistake> {
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            tokens_of_line(line, index + 1, &mut tokens)?;
        }
        Ok(Self { tokens, at: 0 })
    }

    /// The next token, not taken.
    pub(crate) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    /// Takes the next token.
    pub(crate) fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|(token, _)| token.clone());
        self.at += 1;
        token
    }

    /// Line of the next token, or of the last one.
    pub(crate) fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |(_, line)| *line)
    }

    /// A mistake at the next token.
    pub(crate) fn mistake<T>(&self, what: impl Into<String>) -> Result<T, Mistake> {
        Err(Mistake { line: self.line(), what: what.into() })
    }

    /// Takes `sign` if it comes next.
    pub(crate) fn took(&mut self, sign: char) -> bool {
        let here = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(here);
        here
    }

    /// Takes the bare word `word` if it comes next.
    pub(crate) fn took_word(&mut self, word: &str) -> bool {
        let here = matches!(self.peek(), Some(Token::Word(w)) if w == word);
        self.at += usize::from(here);
        here
    }

    /// Takes a sign that must be there.
    pub(crate) fn sign(&mut self, sign: char) -> Result<(), Mistake> {
        if self.took(sign) { Ok(()) } else { self.mistake(format!("expected {sign:?}, found {:?}", self.peek())) }
    }

    /// Takes a bare word that must be there.
    pub(crate) fn word(&mut self) -> Result<String, Mistake> {
        match self.take() {
            Some(Token::Word(word)) => Ok(word),
            other => {
                self.at -= 1;
                self.mistake(format!("expected a word, found {other:?}"))
            }
        }
    }

    /// Takes a quoted text that must be there.
    pub(crate) fn text(&mut self) -> Result<String, Mistake> {
        match self.take() {
            Some(Token::Text(text)) => Ok(text),
            other => {
                self.at -= 1;
                self.mistake(format!("expected a quoted text, found {other:?}"))
            }
        }
    }

    /// Takes a whole literal.
    pub(crate) fn literal(&mut self) -> Result<Expr, Mistake> {
        match self.take() {
            Some(Token::Int(n)) => Ok(Expr::Int(n)),
            Some(Token::Float(n)) => Ok(Expr::Float(n)),
            Some(Token::Text(text)) => Ok(Expr::Text(text)),
            Some(Token::Var(name)) => Ok(Expr::Var(name)),
            Some(Token::Sign('[')) => self.list(']').map(Expr::List),
            Some(Token::Sign('{')) => self.fields(),
            Some(Token::Word(word)) => match word.as_str() {
                "null" => Ok(Expr::Null),
                "true" => Ok(Expr::Bool(true)),
                "false" => Ok(Expr::Bool(false)),
                _ => {
                    self.sign('(')?;
                    Ok(Expr::Call(word, self.list(')')?))
                }
            },
            other => {
                self.at -= 1;
                self.mistake(format!("expected a literal, found {other:?}"))
            }
        }
    }

    /// Whether a literal comes next (and not a keyword).
    pub(crate) fn at_literal(&self) -> bool {
        match self.peek() {
            Some(Token::Int(_) | Token::Float(_) | Token::Text(_) | Token::Var(_) | Token::Sign('[' | '{')) => true,
            Some(Token::Word(word)) => {
                matches!(word.as_str(), "null" | "true" | "false")
                    || matches!(self.tokens.get(self.at + 1), Some((Token::Sign('('), _)))
            }
            _ => false,
        }
    }

    fn list(&mut self, end: char) -> Result<Vec<Expr>, Mistake> {
        let mut items = Vec::new();
        while !self.took(end) {
            items.push(self.literal()?);
            if !self.took(',') {
                self.sign(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn fields(&mut self) -> Result<Expr, Mistake> {
        let mut fields = Vec::new();
        while !self.took('}') {
            let name = match self.take() {
                Some(Token::Word(name) | Token::Text(name)) => name,
                other => {
                    self.at -= 1;
                    return self.mistake(format!("expected a field name, found {other:?}"));
                }
            };
            self.sign(':')?;
            fields.push((name, self.literal()?));
            if !self.took(',') {
                self.sign('}')?;
                break;
            }
        }
        Ok(Expr::Fields(fields))
    }
}

fn tokens_of_line(line: &str, number: usize, tokens: &mut Vec<(Token, usize)>) -> Result<(), Mistake> {
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(()) };
        let token = match first {
            '#' => return Ok(()),
            '"' => {
                let Some((text, after)) = quoted(rest) else {
                    return Err(Mistake { line: number, what: "a text without its closing quote".into() });
                };
                rest = after;
                Token::Text(text)
            }
            '{' | '}' | '[' | ']' | '(' | ')' | ',' | ':' | '=' => {
                rest = &rest[1..];
                Token::Sign(first)
            }
            '$' if rest[1..].starts_with(['.', '[']) => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let path = rest[1..end].to_owned();
                rest = &rest[end..];
                Token::Path(path)
            }
            '$' => {
                let (name, after) = span(&rest[1..]);
                rest = after;
                Token::Var(name.to_owned())
            }
            _ => {
                let (word, after) = span(rest);
                if word.is_empty() {
                    return Err(Mistake { line: number, what: format!("{first:?} has no meaning here") });
                }
                rest = after;
                number_or_word(word)
            }
        };
        tokens.push((token, number));
    }
}

fn span(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_alphanumeric() || "_.-+*".contains(c))).unwrap_or(text.len());
    text.split_at(end)
}

fn number_or_word(word: &str) -> Token {
    if let Ok(n) = word.parse::<i64>() {
        return Token::Int(n);
    }
    let digits = word.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    match word.parse::<f64>() {
        Ok(n) if digits => Token::Float(n),
        _ => Token::Word(word.to_owned()),
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                '0' => out.push('\0'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Expr {
        Tokens::of(text).unwrap().literal().unwrap()
    }

    #[test]
    fn a_literal_spans_lines_and_keeps_the_order_of_its_fields() {
        let read = literal("{a: 1, # one\n  b: [true, null, -2.5],\n}");
        let b = Expr::List(vec![Expr::Bool(true), Expr::Null, Expr::Float(-2.5)]);
        assert_eq!(read, Expr::Fields(vec![("a".into(), Expr::Int(1)), ("b".into(), b)]));
    }

    #[test]
    fn config_names_with_points_are_field_names() {
        let read = literal("{cleanup.policy: \"compact\"}");
        assert_eq!(read, Expr::Fields(vec![("cleanup.policy".into(), Expr::Text("compact".into()))]));
    }

    #[test]
    fn variables_and_paths_are_told_apart() {
        let mut tokens = Tokens::of("$member $.members[0].id").unwrap();
        assert_eq!(tokens.take(), Some(Token::Var("member".into())));
        assert_eq!(tokens.take(), Some(Token::Path(".members[0].id".into())));
    }

    #[test]
    fn a_mistake_names_its_line() {
        let mistake = Tokens::of("{a: 1,\n b 2}").unwrap().literal().unwrap_err();
        assert_eq!(mistake.line, 2);
    }
}
