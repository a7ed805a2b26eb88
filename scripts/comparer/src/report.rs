//! What the comparison found: one line for each API, one for each difference, and the sum.

use std::collections::BTreeMap;

use crate::difference::{Difference, between};
use crate::meant::Entry;
use crate::runner::Taken;

/// What is known of one API.
#[derive(Default)]
struct Row {
    versions: Option<(i16, i16)>,
    equal: usize,
    meant: usize,
    different: usize,
}

/// Collects and prints.
pub(crate) struct Report {
    rows: BTreeMap<String, Row>,
    meant: Vec<Entry>,
    /// What differs and is not meant, a line each: printed last, where the end of a long output is read.
    found: Vec<String>,
    verbose: bool,
    /// A canary waits to be put into the next answer that has a number.
    canary: bool,
}

impl Report {
    /// With the list of meant differences; a `canary` spoils the first answer, which must then be reported.
    pub(crate) fn new(meant: Vec<Entry>, verbose: bool, canary: bool) -> Self {
        Self { rows: BTreeMap::new(), meant, found: Vec::new(), verbose, canary }
    }

    /// Compares the steps of one run on both brokers.
    pub(crate) fn compare(&mut self, kafka: &[Taken], kringle: &mut [Taken], prefix: &str) {
        if self.canary {
            self.canary = !kringle.iter_mut().any(canary);
        }
        for (kafka, kringle) in kafka.iter().zip(kringle.iter()) {
            let differences = if kafka.step == kringle.step {
                between(&kafka.outcome, &kringle.outcome, prefix)
            } else {
                let path = "$".to_owned();
                vec![Difference { path, kafka: kafka.step.clone(), kringle: kringle.step.clone() }]
            };
            self.step(kafka, &differences);
        }
        if kafka.len() != kringle.len() {
            let row = self.rows.entry(kafka.first().map_or_else(String::new, |taken| taken.api.clone())).or_default();
            row.different += 1;
            self.found.push(format!("DIFF {prefix}: kafka took {} steps, kringle {}", kafka.len(), kringle.len()));
        }
    }

    fn step(&mut self, taken: &Taken, differences: &[Difference]) {
        let Taken { api, version, step, .. } = taken;
        let mut unmeant = Vec::new();
        for difference in differences {
            let mut covered = false;
            for entry in self.meant.iter_mut().filter(|entry| entry.covers(api, *version, step, difference)) {
                entry.used += 1;
                covered = true;
            }
            if !covered {
                unmeant.push(difference);
            }
        }
        let row = self.rows.entry(api.clone()).or_default();
        row.versions = Some(row.versions.map_or((*version, *version), |(a, b)| (a.min(*version), b.max(*version))));
        match (differences.is_empty(), unmeant.is_empty()) {
            (true, _) => row.equal += 1,
            (false, true) => row.meant += 1,
            (false, false) => row.different += 1,
        }
        for Difference { path, kafka, kringle } in unmeant {
            self.found.push(format!("DIFF {api} v{version} step {step:?}: {path}: kafka {kafka}, kringle {kringle}"));
        }
        if self.verbose && differences.is_empty() {
            println!("same {api} v{version} step {step:?}: {}", crate::difference::outcome(&taken.outcome));
        }
    }

    /// Prints the sum; `true` if all is well. Entries of the list for APIs that were not compared are not judged.
    pub(crate) fn close(&self, everything: bool) -> bool {
        let (mut passed, mut failed) = (0, 0);
        for (api, row) in &self.rows {
            let (from, to) = row.versions.unwrap_or_default();
            let meant = if row.meant > 0 { format!(", meant {}", row.meant) } else { String::new() };
            if row.different == 0 {
                println!("ok   {api} v{from}-{to}: {} answers equal{meant}", row.equal);
            } else {
                println!("FAIL {api} v{from}-{to}: {} answers differ, {} equal{meant}", row.different, row.equal);
            }
            passed += row.equal + row.meant;
            failed += row.different;
        }
        let judged = |entry: &&Entry| everything && (entry.api == "*" || self.rows.contains_key(&entry.api));
        for entry in self.meant.iter().filter(|entry| entry.used == 0).filter(judged) {
            println!("FAIL meant.txt line {}: no difference needs it any more; take it out", entry.line);
            failed += 1;
        }
        if self.canary {
            println!("FAIL the canary found no answer to spoil");
            failed += 1;
        }
        for line in &self.found {
            println!("{line}");
        }
        println!("{passed} passed, {failed} failed");
        failed == 0 && passed > 0
    }
}

/// Changes the first number of an answer.
fn canary(taken: &mut Taken) -> bool {
    use crate::runner::Outcome;
    use kringle_protocol::dynamic::Value;
    fn spoil(value: &mut Value) -> bool {
        match value {
            Value::Int(n) => {
                *n += 1;
                true
            }
            Value::Struct(fields) => fields.iter_mut().any(|(_, value)| spoil(value)),
            Value::Array(items) => items.iter_mut().any(spoil),
            _ => false,
        }
    }
    match &mut taken.outcome {
        Outcome::Answer(value) => spoil(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meant;
    use crate::runner::Outcome;
    use kringle_protocol::dynamic::Value;

    fn taken(code: i64) -> Vec<Taken> {
        let answer = Value::Struct(vec![("error_code".into(), Value::Int(code))]);
        vec![Taken { api: "Metadata".into(), version: 1, step: "s".into(), outcome: Outcome::Answer(answer) }]
    }

    fn verdict(list: &str, canary: bool, kringle: i64) -> bool {
        let mut report = Report::new(meant::parse(list).unwrap(), false, canary);
        report.compare(&taken(0), &mut taken(kringle), "cmp1-");
        report.close(true)
    }

    #[test]
    fn a_difference_fails_unless_it_is_meant() {
        assert!(verdict("", false, 0));
        assert!(!verdict("", false, 3));
        assert!(verdict("Metadata v0-9 \"*\" $.error_code because so it is", false, 3));
    }

    #[test]
    fn a_meant_difference_that_is_not_there_fails() {
        assert!(!verdict("Metadata v0-9 \"*\" $.error_code because so it was", false, 0));
    }

    #[test]
    fn a_canary_is_reported() {
        assert!(!verdict("", true, 0));
    }
}
