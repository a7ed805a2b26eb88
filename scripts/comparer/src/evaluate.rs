//! From a literal to the value that is sent: names of this run, saved values, functions.

use std::collections::BTreeMap;

use bytes::Bytes;
use kringle_protocol::Uuid;
use kringle_protocol::dynamic::Value;

use crate::batch;
use crate::literal::Expr;
use crate::value::{fields, int, text};

/// What literals can refer to; one for each run of a scenario on one broker.
pub(crate) struct Scope {
    /// Put before every name that begins with `@`.
    pub(crate) prefix: String,
    /// The same instant for both brokers, so that the same bytes are sent.
    pub(crate) now_ms: i64,
    /// Ids of the topics made by `topic`.
    pub(crate) topics: BTreeMap<String, Uuid>,
    /// What `save` and `let` named.
    pub(crate) saved: BTreeMap<String, Value>,
}

impl Scope {
    /// An empty one.
    pub(crate) fn new(prefix: &str, now_ms: i64) -> Self {
        Self { prefix: prefix.to_owned(), now_ms, topics: BTreeMap::new(), saved: BTreeMap::new() }
    }

    /// The value that `expr` means here.
    pub(crate) fn value(&self, expr: &Expr) -> Result<Value, String> {
        Ok(match expr {
            Expr::Null => Value::Null,
            Expr::Bool(b) => Value::Bool(*b),
            Expr::Int(n) => Value::Int(*n),
            Expr::Float(n) => Value::Float(*n),
            Expr::Text(text) => Value::String(self.name(text)),
            Expr::List(list) => Value::Array(self.values(list)?),
            Expr::Fields(fields) => Value::Struct(
                fields
                    .iter()
                    .map(|(name, expr)| Ok((name.clone(), self.value(expr)?)))
                    .collect::<Result<_, String>>()?,
            ),
            Expr::Var(name) => self.saved.get(name).cloned().ok_or(format!("nothing was saved as ${name}"))?,
            Expr::Call(function, args) => self.call(function, &self.values(args)?)?,
        })
    }

    /// A name of this run's own if it begins with `@`, else the text itself.
    pub(crate) fn name(&self, text: &str) -> String {
        text.strip_prefix('@').map_or_else(|| text.to_owned(), |own| format!("{}{own}", self.prefix))
    }

    fn values(&self, list: &[Expr]) -> Result<Vec<Value>, String> {
        list.iter().map(|expr| self.value(expr)).collect()
    }

    fn call(&self, function: &str, args: &[Value]) -> Result<Value, String> {
        let wrong = || format!("{function}: wrong arguments");
        let number = |index: usize| args.get(index).and_then(int).ok_or_else(wrong);
        let word = |index: usize| args.get(index).and_then(text).ok_or_else(wrong);
        let low = |size: usize| Ok(Value::Bytes(Bytes::copy_from_slice(&number(0)?.to_be_bytes()[8 - size..])));
        match function {
            "batch" => batch::build(args.first().ok_or_else(wrong)?, self.now_ms).map(Value::Bytes),
            "old" => batch::build_old(args.first().ok_or_else(wrong)?, self.now_ms).map(Value::Bytes),
            "i8" => low(1),
            "i16" => low(2),
            "i32" => low(4),
            "i64" => low(8),
            "hex" => hex(word(0)?).map(Value::Bytes).ok_or_else(wrong),
            "bytes" => Ok(Value::Bytes(Bytes::copy_from_slice(word(0)?.as_bytes()))),
            "concat" => concat(args).map(|bytes| Value::Bytes(bytes.into())),
            // A frame: the size of what follows, and it.
            "frame" => {
                let body = concat(args)?;
                let size = u32::try_from(body.len()).map_err(|e| e.to_string())?;
                Ok(Value::Bytes([&size.to_be_bytes(), &body[..]].concat().into()))
            }
            "now" => Ok(Value::Int(self.now_ms + number(0)?)),
            "add" => match (args.first(), args.get(1)) {
                (Some(Value::Int(a)), Some(Value::Int(b))) => Ok(Value::Int(a + b)),
                (Some(Value::String(a)), Some(Value::String(b))) => Ok(Value::String(format!("{a}{b}"))),
                _ => Err(wrong()),
            },
            "repeat" => {
                let times = usize::try_from(number(0)?).map_err(|e| e.to_string())?;
                match args.get(1).ok_or_else(wrong)? {
                    Value::String(text) => Ok(Value::String(text.repeat(times))),
                    other => Ok(Value::Array(vec![other.clone(); times])),
                }
            }
            "id" => {
                self.topics.get(word(0)?).map(|id| Value::Uuid(*id)).ok_or_else(|| format!("no topic {:?}", args[0]))
            }
            "uuid" => Ok(Value::Uuid(uuid(number(0)?))),
            // The later fields of two structs win.
            "merge" => match (args.first(), args.get(1)) {
                (Some(Value::Struct(base)), Some(Value::Struct(more))) => {
                    let kept = base.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
                    Ok(Value::Struct(kept.chain(more).cloned().collect()))
                }
                _ => Err(wrong()),
            },
            "produce" => Ok(self.produce(word(0)?, number(1)?, args.get(2).ok_or_else(wrong)?)),
            "fetch" => Ok(self.fetch(word(0)?, number(1)?, number(2)?)),
            "offset_at" => {
                let partition = [("partition_index", Value::Int(number(1)?)), ("timestamp", Value::Int(number(2)?))];
                let topic = [("name", args[0].clone()), ("partitions", Value::Array(vec![fields(partition)]))];
                Ok(fields([("replica_id", Value::Int(-1)), ("topics", Value::Array(vec![fields(topic)]))]))
            }
            // The metadata of a consumer as librdkafka and Java send it, version 0.
            "subscription" => {
                let mut out = vec![0, 0];
                put_texts(&mut out, args)?;
                out.extend((-1i32).to_be_bytes());
                Ok(Value::Bytes(out.into()))
            }
            // An assignment of partition 0 of each topic, version 0.
            "assignment" => {
                let mut out = vec![0, 0];
                out.extend(u32::try_from(args.len()).map_err(|e| e.to_string())?.to_be_bytes());
                for topic in args {
                    put_text(&mut out, topic)?;
                    out.extend([0, 0, 0, 1, 0, 0, 0, 0]);
                }
                out.extend((-1i32).to_be_bytes());
                Ok(Value::Bytes(out.into()))
            }
            other => Err(format!("no function is called {other}")),
        }
    }
}

impl Scope {
    /// The id of a topic made here; of another, one that no topic has.
    fn id(&self, topic: &str) -> Value {
        Value::Uuid(self.topics.get(topic).copied().unwrap_or_else(|| uuid(999)))
    }

    fn produce(&self, topic: &str, partition: i64, records: &Value) -> Value {
        let partition = fields([("index", Value::Int(partition)), ("records", records.clone())]);
        let topic = fields([
            ("name", Value::String(topic.to_owned())),
            ("topic_id", self.id(topic)),
            ("partition_data", Value::Array(vec![partition])),
        ]);
        let acks =
            [("acks", Value::Int(-1)), ("timeout_ms", Value::Int(5000)), ("topic_data", Value::Array(vec![topic]))];
        fields(acks)
    }

    fn fetch(&self, topic: &str, partition: i64, offset: i64) -> Value {
        let partition = fields([
            ("partition", Value::Int(partition)),
            ("fetch_offset", Value::Int(offset)),
            ("partition_max_bytes", Value::Int(1_000_000)),
        ]);
        let topic = fields([
            ("topic", Value::String(topic.to_owned())),
            ("topic_id", self.id(topic)),
            ("partitions", Value::Array(vec![partition])),
        ]);
        fields([
            ("max_wait_ms", Value::Int(100)),
            ("min_bytes", Value::Int(1)),
            ("max_bytes", Value::Int(1_000_000)),
            ("topics", Value::Array(vec![topic])),
        ])
    }
}

fn uuid(n: i64) -> Uuid {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    Uuid::from_bytes(bytes)
}

fn put_texts(out: &mut Vec<u8>, texts: &[Value]) -> Result<(), String> {
    out.extend(u32::try_from(texts.len()).map_err(|e| e.to_string())?.to_be_bytes());
    texts.iter().try_for_each(|text| put_text(out, text))
}

fn put_text(out: &mut Vec<u8>, value: &Value) -> Result<(), String> {
    let text = text(value).ok_or("expected a text")?;
    out.extend(u16::try_from(text.len()).map_err(|e| e.to_string())?.to_be_bytes());
    out.extend(text.as_bytes());
    Ok(())
}

fn concat(parts: &[Value]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Value::Bytes(bytes) => out.extend_from_slice(bytes),
            Value::String(text) => out.extend_from_slice(text.as_bytes()),
            other => return Err(format!("{other} cannot be joined to bytes")),
        }
    }
    Ok(out)
}

/// Bytes from hexadecimal digits; spaces are allowed.
fn hex(text: &str) -> Option<Bytes> {
    let digits: Vec<u32> = text.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    if digits.len() % 2 == 1 {
        return None;
    }
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::literal::Tokens;

    fn scope() -> Scope {
        Scope::new("run1-", 5)
    }

    fn value(text: &str) -> Result<Value, String> {
        scope().value(&Tokens::of(text).unwrap().literal().unwrap())
    }

    #[test]
    fn names_with_an_at_sign_belong_to_the_run() {
        assert_eq!(value("\"@a\""), Ok(Value::String("run1-a".into())));
        assert_eq!(value("\"a@b\""), Ok(Value::String("a@b".into())));
    }

    #[test]
    fn a_frame_carries_its_size() {
        let bytes = Bytes::from_static(&[0, 0, 0, 3, 0, 7, 0xff]);
        assert_eq!(value("frame(i16(7), hex(\"ff\"))"), Ok(Value::Bytes(bytes)));
    }

    #[test]
    fn what_was_not_saved_is_a_mistake() {
        assert!(value("$nobody").is_err());
    }
}
