//! The workloads, a file for each. Each takes its options, runs its loads and gives what the report shows.

mod batch_sizes;
mod catch_up;
mod codecs;
pub(crate) mod consume;
mod e2e;
mod fan_out;
mod group_churn;
pub(crate) mod produce;
mod small_producers;
mod sweep;

use crate::cli::{Run, Target, Workload};
use crate::error::BenchError;
use crate::interrupt;
use crate::report::Outcome;
use crate::session::Session;

/// What a workload has found.
pub(crate) struct Findings {
    /// What the load was: name and value.
    pub(crate) plan: Vec<(String, String)>,
    pub(crate) outcomes: Vec<Outcome>,
    /// The outcomes are steps of a comparison.
    pub(crate) compares: bool,
    /// Why steps are missing.
    pub(crate) failures: Vec<String>,
    pub(crate) notes: Vec<String>,
}

impl Findings {
    /// Of a workload with one outcome.
    pub(crate) fn of(plan: Vec<(String, String)>, outcome: Outcome) -> Findings {
        Findings { plan, outcomes: vec![outcome], compares: false, failures: Vec::new(), notes: Vec::new() }
    }

    /// Of a comparison whose steps are still to come.
    pub(crate) fn comparing(plan: Vec<(String, String)>) -> Findings {
        Findings { plan, outcomes: Vec::new(), compares: true, failures: Vec::new(), notes: Vec::new() }
    }

    /// Takes a step's outcome, or why there is none. False: no further step.
    pub(crate) fn take(&mut self, name: &str, outcome: Result<Outcome, BenchError>) -> bool {
        match outcome {
            Ok(outcome) => self.outcomes.push(outcome),
            Err(error) => self.failures.push(format!("{name}: {error}")),
        }
        self.failures.is_empty() && !interrupt::asked()
    }
}

/// Runs the workload of the command line.
pub(crate) fn run(workload: &Workload, session: &Session) -> Result<Findings, BenchError> {
    match workload {
        Workload::Produce(options) => produce::run(options, session),
        Workload::Consume(options) => consume::run(options, session),
        Workload::E2e(options) => e2e::run(options, session),
        Workload::FanOut(options) => fan_out::run(options, session),
        Workload::CatchUp(options) => catch_up::run(options, session),
        Workload::SmallProducers(options) => small_producers::run(options, session),
        Workload::GroupChurn(options) => group_churn::run(options, session),
        Workload::Sweep(options) => sweep::run(options, session),
        Workload::Codecs(options) => codecs::run(options, session),
        Workload::BatchSizes(options) => batch_sizes::run(options, session),
    }
}

/// The name of a workload, its topics and how it is run.
pub(crate) fn common(workload: &Workload) -> (&'static str, &Target, &Run) {
    match workload {
        Workload::Produce(options) => ("produce", &options.target, &options.run),
        Workload::Consume(options) => ("consume", &options.target, &options.run),
        Workload::E2e(options) => ("e2e", &options.produce.target, &options.produce.run),
        Workload::FanOut(options) => ("fan-out", &options.e2e.produce.target, &options.e2e.produce.run),
        Workload::CatchUp(options) => ("catch-up", &options.e2e.produce.target, &options.e2e.produce.run),
        Workload::SmallProducers(options) => ("small-producers", &options.target, &options.run),
        Workload::GroupChurn(options) => ("group-churn", &options.target, &options.run),
        Workload::Sweep(options) => ("sweep", &options.produce.target, &options.produce.run),
        Workload::Codecs(options) => ("codecs", &options.produce.target, &options.produce.run),
        Workload::BatchSizes(options) => ("batch-sizes", &options.produce.target, &options.produce.run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_cannot_begin_ends_a_comparison_and_costs_no_other() {
        let mut findings = Findings::comparing(Vec::new());
        assert!(!findings.take("50 %", Err(BenchError::Options("no connection".to_owned()))));
        assert_eq!(
            (findings.outcomes.len(), findings.failures.as_slice()),
            (0, ["50 %: no connection".to_owned()].as_slice())
        );
    }
}
