//! Scenario files: what is asked, in which order, in which versions.
//!
//! ```text
//! scenario "topics by name" for Metadata          # runs once in every version of Metadata that both brokers serve
//!   topic "@a" 3 {cleanup.policy: "compact"}      # made and led before the next line
//!   ask Metadata "known" {topics: [{name: "@a"}]} save id = $.topics[0].topic_id
//!   ask Metadata "by id" v12+ {topics: [{topic_id: $id, name: null}]}
//! ```
//!
//! With several APIs after `for`, run N asks each of them in the version nearest to N; an API not named there is asked
//! in the newest version that both serve. The README has the whole language.

use crate::literal::{Expr, Mistake, Token, Tokens};

/// An ordered list of statements, run in each version of its subjects.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// What it is about.
    pub(crate) name: String,
    /// The APIs whose versions it walks through.
    pub(crate) subjects: Vec<String>,
    /// What happens, in order.
    pub(crate) statements: Vec<Statement>,
}

/// One line of a scenario.
#[derive(Debug)]
pub(crate) enum Statement {
    /// Makes a topic and waits until it can be used. Not compared.
    Topic {
        /// Its name.
        name: Expr,
        /// How many partitions.
        partitions: i64,
        /// Its configs, texts.
        configs: Expr,
    },
    /// Waits until the coordinator of a group answers. Not compared.
    Coordinator(Expr),
    /// Sends a request.
    Ask(Box<Ask>),
    /// Reads the answer to what was sent with `later` on that connection.
    Receive(String),
    /// Sends bytes that are no request.
    Raw {
        /// Shown in differences.
        name: String,
        /// The bytes, size included.
        bytes: Expr,
    },
    /// Gives a value a name.
    Let(String, Expr),
    /// Waits until this broker shows every change of metadata made so far. Not compared.
    Settle,
}

/// What kind of answer an ask has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Answered at once (or the connection closes).
    Answer,
    /// No answer, as to a produce request with acks=0. What comes next on the connection must still be answered.
    Nothing,
    /// No answer although the connection stays: something that Kafka forgets. It costs the time of waiting.
    Silence,
    /// Read by a later `receive`.
    Later,
}

/// A change made to the encoded request.
#[derive(Debug)]
pub(crate) enum Edit {
    /// Another API key.
    Key(i64),
    /// Another version in the header; the body stays.
    Version(i64),
    /// Bytes after the body.
    Append(Expr),
    /// So many bytes fewer at the end.
    Cut(usize),
}

/// Versions from, to.
pub(crate) type Versions = (i16, i16);

/// A request with all that is said about it.
#[derive(Debug)]
pub(crate) struct Ask {
    /// API name, as `Metadata`.
    pub(crate) api: String,
    /// Shown in differences, and used in the list of meant ones.
    pub(crate) name: String,
    /// Only in these versions of the API.
    pub(crate) versions: Option<Versions>,
    /// Only in these runs of the scenario.
    pub(crate) runs: Option<Versions>,
    /// Always in this version.
    pub(crate) at: Option<i16>,
    /// The answer is in this version, if not in that of the request.
    pub(crate) read: Option<i16>,
    /// Name of the connection.
    pub(crate) connection: String,
    /// The client id in the header.
    pub(crate) client: Option<String>,
    /// The request; bytes replace the whole encoded body.
    pub(crate) body: Expr,
    /// Whether and when an answer comes.
    pub(crate) expect: Expect,
    /// Ask again while the answer carries one of these error codes.
    pub(crate) retry: Vec<i64>,
    /// Ask again until the value at that path is this.
    pub(crate) until: Option<(String, Expr)>,
    /// Values of the answer that get a name.
    pub(crate) saves: Vec<(String, String)>,
    /// Changes to the encoded request.
    pub(crate) edits: Vec<Edit>,
    /// Not compared.
    pub(crate) unseen: bool,
}

/// Reads a scenario file.
pub(crate) fn parse(text: &str) -> Result<Vec<Scenario>, Mistake> {
    let mut tokens = Tokens::of(text)?;
    let mut scenarios = Vec::new();
    while tokens.peek().is_some() {
        if !tokens.took_word("scenario") {
            return tokens.mistake(format!("expected `scenario`, found {:?}", tokens.peek()));
        }
        scenarios.push(scenario(&mut tokens)?);
    }
    Ok(scenarios)
}

fn scenario(tokens: &mut Tokens) -> Result<Scenario, Mistake> {
    let name = tokens.text()?;
    let mut subjects = Vec::new();
    if tokens.took_word("for") {
        subjects.push(tokens.word()?);
        while tokens.took(',') {
            subjects.push(tokens.word()?);
        }
    }
    let mut statements = Vec::new();
    while let Some(Token::Word(word)) = tokens.peek() {
        if word == "scenario" {
            break;
        }
        statements.push(statement(tokens)?);
    }
    Ok(Scenario { name, subjects, statements })
}

fn statement(tokens: &mut Tokens) -> Result<Statement, Mistake> {
    let keyword = tokens.word()?;
    Ok(match keyword.as_str() {
        "topic" => {
            let name = Expr::Text(tokens.text()?);
            let partitions = match tokens.peek() {
                Some(Token::Int(n)) => *n,
                _ => 1,
            };
            if matches!(tokens.peek(), Some(Token::Int(_))) {
                tokens.take();
            }
            let configs = if tokens.at_literal() { tokens.literal()? } else { Expr::Fields(Vec::new()) };
            Statement::Topic { name, partitions, configs }
        }
        "coordinator" => Statement::Coordinator(tokens.literal()?),
        "ask" => Statement::Ask(Box::new(ask(tokens)?)),
        "receive" => Statement::Receive(tokens.word()?),
        "raw" => Statement::Raw { name: tokens.text()?, bytes: tokens.literal()? },
        "let" => {
            let name = tokens.word()?;
            tokens.sign('=')?;
            Statement::Let(name, tokens.literal()?)
        }
        "settle" => Statement::Settle,
        other => return tokens.mistake(format!("{other:?} is no statement")),
    })
}

fn ask(tokens: &mut Tokens) -> Result<Ask, Mistake> {
    let mut ask = Ask {
        api: tokens.word()?,
        name: tokens.text()?,
        versions: None,
        runs: None,
        at: None,
        read: None,
        connection: "main".into(),
        client: None,
        body: Expr::Fields(Vec::new()),
        expect: Expect::Answer,
        retry: Vec::new(),
        until: None,
        saves: Vec::new(),
        edits: Vec::new(),
        unseen: false,
    };
    loop {
        if tokens.at_literal() {
            ask.body = tokens.literal()?;
            continue;
        }
        let Some(Token::Word(word)) = tokens.peek() else { return Ok(ask) };
        let word = word.clone();
        match word.as_str() {
            "on" | "client" | "at" | "read" | "nothing" | "silence" | "later" | "unseen" | "retry" | "until"
            | "save" | "edit" => {
                tokens.take();
            }
            _ => {
                if let Some(versions) = word.strip_prefix("run").and_then(versions) {
                    ask.runs = Some(versions);
                } else if let Some(versions) = word.strip_prefix('v').and_then(versions) {
                    ask.versions = Some(versions);
                } else {
                    return Ok(ask);
                }
                tokens.take();
                continue;
            }
        }
        match word.as_str() {
            "on" => ask.connection = tokens.word()?,
            "client" => ask.client = Some(tokens.text()?),
            "at" => ask.at = Some(small(tokens)?),
            "read" => ask.read = Some(small(tokens)?),
            "nothing" => ask.expect = Expect::Nothing,
            "silence" => ask.expect = Expect::Silence,
            "later" => ask.expect = Expect::Later,
            "unseen" => ask.unseen = true,
            "retry" => ask.retry = codes(tokens)?,
            "until" => ask.until = Some((path(tokens)?, tokens.literal()?)),
            "save" => {
                let name = tokens.word()?;
                tokens.sign('=')?;
                ask.saves.push((name, path(tokens)?));
            }
            _ => ask.edits.push(edit(tokens)?),
        }
    }
}

fn edit(tokens: &mut Tokens) -> Result<Edit, Mistake> {
    match tokens.word()?.as_str() {
        "key" => Ok(Edit::Key(int(tokens)?)),
        "version" => Ok(Edit::Version(int(tokens)?)),
        "append" => Ok(Edit::Append(tokens.literal()?)),
        "cut" => match usize::try_from(int(tokens)?) {
            Ok(n) => Ok(Edit::Cut(n)),
            Err(_) => tokens.mistake("a cut is a number of bytes"),
        },
        other => tokens.mistake(format!("{other:?} is no edit")),
    }
}

fn int(tokens: &mut Tokens) -> Result<i64, Mistake> {
    match tokens.literal()? {
        Expr::Int(n) => Ok(n),
        other => tokens.mistake(format!("expected a number, found {other:?}")),
    }
}

fn small(tokens: &mut Tokens) -> Result<i16, Mistake> {
    let n = int(tokens)?;
    i16::try_from(n).or_else(|_| tokens.mistake(format!("{n} is no version")))
}

fn codes(tokens: &mut Tokens) -> Result<Vec<i64>, Mistake> {
    let Expr::List(items) = tokens.literal()? else { return tokens.mistake("expected [codes]") };
    Ok(items.into_iter().filter_map(|item| if let Expr::Int(n) = item { Some(n) } else { None }).collect())
}

fn path(tokens: &mut Tokens) -> Result<String, Mistake> {
    match tokens.take() {
        Some(Token::Path(path)) => Ok(path),
        other => tokens.mistake(format!("expected a path like $.error_code, found {other:?}")),
    }
}

/// Reads `4`, `4+` or `4-7`.
pub(crate) fn versions(text: &str) -> Option<Versions> {
    if let Some(from) = text.strip_suffix('+') {
        return Some((from.parse().ok()?, i16::MAX));
    }
    match text.split_once('-') {
        Some((from, to)) => Some((from.parse().ok()?, to.parse().ok()?)),
        None => text.parse().ok().map(|only| (only, only)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_takes_its_words_in_any_order() {
        let text = r#"scenario "s" for A, B
            topic "@t" 3 {cleanup.policy: "compact"}
            ask A "x" v4+ on b {a: 1} retry [14, 15] until $.error_code 0 save id = $.m[0].id
            ask B "y" run0-2 later"#;
        let scenarios = parse(text).unwrap();
        assert_eq!(scenarios[0].subjects, ["A", "B"]);
        let Statement::Ask(x) = &scenarios[0].statements[1] else { panic!("no ask") };
        assert_eq!((x.versions, x.connection.as_str(), &x.retry[..]), (Some((4, i16::MAX)), "b", &[14, 15][..]));
        assert_eq!(x.saves, [("id".to_owned(), ".m[0].id".to_owned())]);
        assert_eq!(x.until, Some((".error_code".into(), Expr::Int(0))));
        let Statement::Ask(y) = &scenarios[0].statements[2] else { panic!("no ask") };
        assert_eq!((y.runs, y.expect), (Some((0, 2)), Expect::Later));
    }

    #[test]
    fn an_unknown_statement_is_a_mistake() {
        assert_eq!(parse("scenario \"s\"\n sleep 3").unwrap_err().line, 2);
    }
}
