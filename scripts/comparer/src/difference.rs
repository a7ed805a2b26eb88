//! Where two answers differ: a list of paths with both values.

use std::collections::BTreeMap;

use kringle_protocol::dynamic::Value;

use crate::normalise::{Label, label};
use crate::runner::Outcome;

/// Longer values are cut in the report.
const SHOWN_CHARS: usize = 160;

/// One difference between two answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Where, as `$.topics[@a].error_code`.
    pub(crate) path: String,
    /// What Kafka answered there.
    pub(crate) kafka: String,
    /// What Kringle answered there.
    pub(crate) kringle: String,
}

/// Compares two outcomes; names that begin with `prefix` are shown with an `@`.
pub(crate) fn between(kafka: &Outcome, kringle: &Outcome, prefix: &str) -> Vec<Difference> {
    let mut found = Vec::new();
    match (kafka, kringle) {
        (Outcome::Answer(kafka), Outcome::Answer(kringle)) => compare("$", Some(kafka), Some(kringle), &mut found),
        // Nothing can be right about these, even if both agree.
        (Outcome::Unreadable(_) | Outcome::Unsent(_) | Outcome::Silent, _) => found.push(whole(kafka, kringle)),
        _ if kafka != kringle => found.push(whole(kafka, kringle)),
        _ => {}
    }
    for difference in &mut found {
        for text in [&mut difference.path, &mut difference.kafka, &mut difference.kringle] {
            *text = text.replace(prefix, "@");
        }
    }
    found
}

fn whole(kafka: &Outcome, kringle: &Outcome) -> Difference {
    Difference { path: "$".into(), kafka: outcome(kafka), kringle: outcome(kringle) }
}

pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer(value) => cut(&value.to_string()),
        Outcome::Closed => "closed".into(),
        Outcome::Nothing => "no answer".into(),
        Outcome::Silent => "no answer in time".into(),
        Outcome::Unreadable(reason) => format!("an answer that is wrong: {reason}"),
        Outcome::Unsent(reason) => format!("not asked: {reason}"),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "absent".into(), |value| cut(&value.to_string()))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

fn compare(path: &str, kafka: Option<&Value>, kringle: Option<&Value>, found: &mut Vec<Difference>) {
    match (kafka, kringle) {
        (Some(Value::Struct(a)), Some(Value::Struct(b))) => {
            for (name, value) in a {
                let other = b.iter().find(|(field, _)| field == name).map(|(_, value)| value);
                compare(&format!("{path}.{name}"), Some(value), other, found);
            }
            for (name, value) in b.iter().filter(|(name, _)| !a.iter().any(|(field, _)| field == name)) {
                compare(&format!("{path}.{name}"), None, Some(value), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            let (a, b) = (labelled(a), labelled(b));
            for (name, value) in &a {
                compare(&format!("{path}[{name}]"), Some(value), b.get(name).copied(), found);
            }
            for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                compare(&format!("{path}[{name}]"), None, Some(value), found);
            }
        }
        (a, b) if a != b => {
            // The words of a message are one thing, whether there is one another.
            let words = path.ends_with("error_message")
                && [a, b].iter().all(|side| matches!(side, Some(Value::String(text)) if !text.is_empty()));
            let path = if words { format!("{path}(words)") } else { path.to_owned() };
            found.push(Difference { path, kafka: shown(a), kringle: shown(b) });
        }
        _ => {}
    }
}

/// Items by label (and by which of those with that label), or by index.
fn labelled(items: &[Value]) -> BTreeMap<String, &Value> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let names = items.iter().enumerate().map(|(index, item)| {
        let name = match label(item) {
            Some(Label::Text(name)) => name,
            Some(Label::Number(n)) => n.to_string(),
            None => return (index.to_string(), item),
        };
        let time = times.entry(name.clone()).or_default();
        *time += 1;
        (if *time > 1 { format!("{name}#{time}") } else { name }, item)
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(list: &[(&str, i64)]) -> Outcome {
        let topic = |(name, code): &(&str, i64)| {
            Value::Struct(vec![("name".into(), Value::String((*name).into())), ("code".into(), Value::Int(*code))])
        };
        Outcome::Answer(Value::Struct(vec![("topics".into(), Value::Array(list.iter().map(topic).collect()))]))
    }

    #[test]
    fn a_difference_names_the_item_it_is_in() {
        let found =
            between(&topics(&[("cmp1-a", 0), ("cmp1-b", 3)]), &topics(&[("cmp1-a", 0), ("cmp1-b", 5)]), "cmp1-");
        let expected = Difference { path: "$.topics[@b].code".into(), kafka: "3".into(), kringle: "5".into() };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_missing_item_does_not_shift_the_others() {
        let found = between(&topics(&[("a", 0), ("b", 3)]), &topics(&[("b", 3)]), "cmp1-");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "$.topics[a]");
        assert_eq!(found[0].kringle, "absent");
    }

    #[test]
    fn what_cannot_be_read_is_wrong_even_on_both_sides() {
        let wrong = Outcome::Unreadable("short".into());
        assert_eq!(between(&wrong, &wrong, "cmp1-").len(), 1);
    }
}
