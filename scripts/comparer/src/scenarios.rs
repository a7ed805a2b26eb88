//! The scenario files, in the order in which they run.

use crate::scenario::{Scenario, parse};

const FILES: [(&str, &str); 10] = [
    ("cluster.txt", include_str!("../scenarios/cluster.txt")),
    ("produce.txt", include_str!("../scenarios/produce.txt")),
    ("refused.txt", include_str!("../scenarios/refused.txt")),
    ("fetch.txt", include_str!("../scenarios/fetch.txt")),
    ("offsets.txt", include_str!("../scenarios/offsets.txt")),
    ("groups.txt", include_str!("../scenarios/groups.txt")),
    ("topics.txt", include_str!("../scenarios/topics.txt")),
    ("configs.txt", include_str!("../scenarios/configs.txt")),
    ("inspection.txt", include_str!("../scenarios/inspection.txt")),
    ("frames.txt", include_str!("../scenarios/frames.txt")),
];

/// All scenarios.
pub(crate) fn all() -> Result<Vec<Scenario>, String> {
    let mut scenarios = Vec::new();
    for (name, text) in FILES {
        scenarios.extend(parse(text).map_err(|mistake| format!("{name}: {mistake}"))?);
    }
    Ok(scenarios)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis;
    use crate::scenario::Statement;

    #[test]
    fn every_scenario_can_be_read_and_asks_apis_that_exist() {
        for scenario in all().unwrap() {
            assert!(scenario.subjects.iter().all(|api| apis::key(api).is_some()), "{}", scenario.name);
            for statement in &scenario.statements {
                if let Statement::Ask(ask) = statement {
                    assert!(apis::key(&ask.api).is_some(), "{}: {}", scenario.name, ask.api);
                    let unknown = apis::unknown_fields(&ask.api, &ask.body.names());
                    assert!(unknown.is_empty(), "{}: {}: no field {unknown:?}", scenario.name, ask.name);
                }
            }
        }
    }

    #[test]
    fn steps_of_a_scenario_have_names_of_their_own() {
        for scenario in all().unwrap() {
            let mut seen = std::collections::BTreeSet::new();
            for statement in &scenario.statements {
                if let Statement::Ask(ask) = statement
                    && !seen.insert((&ask.api, &ask.name, ask.versions))
                {
                    panic!("{}: {:?} twice", scenario.name, ask.name);
                }
            }
        }
    }
}
