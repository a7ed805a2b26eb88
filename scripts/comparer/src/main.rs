//! Sends the same requests to Apache Kafka and to Kringle and compares the answers field by field.
//!
//! It answers "what would Kafka do" for every API that both serve, in every version: the scenarios in `scenarios/` are
//! run on both brokers at the same time, version by version, and each answer of one is held against the other's.
//! Differences that are meant are listed with a reason in `meant.txt`. Comparing Kafka with Kafka must find none.
//! The README beside this crate has the language of the scenarios.

#![allow(clippy::disallowed_methods, reason = "a tool outside the broker: it waits and reads the clock as it likes")]
#![forbid(unsafe_code)]

mod apis;
mod batch;
mod broker;
mod codec;
mod difference;
mod evaluate;
mod fuzz;
mod literal;
mod meant;
mod normalise;
mod report;
mod runner;
mod scenario;
mod scenarios;
mod value;
mod wire;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;

use broker::Broker;
use evaluate::Scope;
use normalise::{Normaliser, PREFIX};
use report::Report;
use runner::{Common, Run, Sample, Taken};

/// Compares a broker with Apache Kafka, answer by answer.
#[derive(Parser)]
struct Options {
    /// Apache Kafka, HOST:PORT.
    #[arg(long)]
    kafka: String,
    /// The broker to compare with it, HOST:PORT.
    #[arg(long)]
    kringle: String,
    /// Only scenarios about this API.
    #[arg(long)]
    only: Option<String>,
    /// Only scenarios with these words in their name.
    #[arg(long)]
    scenario: Option<String>,
    /// Only this version of the scenarios.
    #[arg(long)]
    version: Option<i16>,
    /// Print equal answers too.
    #[arg(long)]
    verbose: bool,
    /// Spoil one answer: the comparison must fail.
    #[arg(long)]
    canary: bool,
}

fn main() -> ExitCode {
    match compare(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::from(2)
        }
    }
}

fn compare(options: &Options) -> Result<bool, String> {
    let scenarios = scenarios::all()?;
    let meant = meant::parse(include_str!("../meant.txt")).map_err(|e| format!("meant.txt: {e}"))?;
    let kafka = Broker::meet("kafka", &options.kafka)?;
    let kringle = Broker::meet("kringle", &options.kringle)?;
    let common = in_common(&kafka, &kringle);
    let mut report = Report::new(meant, options.verbose, options.canary);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?;
    let now_ms = i64::try_from(since_epoch.as_millis()).map_err(|e| e.to_string())?;
    let mut spoiler = Spoiler { now_ms, samples: BTreeMap::new() };

    for (number, scenario) in scenarios.iter().enumerate() {
        if options.only.as_ref().is_some_and(|api| !scenario.subjects.contains(api))
            || options.scenario.as_ref().is_some_and(|words| !scenario.name.contains(words.as_str()))
        {
            continue;
        }
        let Some((from, to)) = runner::versions(scenario, &common) else { continue };
        for version in (from..=to).filter(|version| options.version.is_none_or(|only| only == *version)) {
            // The clock makes names new for each comparison, so that brokers may live on between two.
            let prefix = format!("{PREFIX}{:x}-{number}v{version}-", (now_ms / 1000) & 0xff_ffff);
            let begin = |broker| Run::new(broker, &common, scenario, version, Scope::new(&prefix, now_ms));
            let (mut ours, mut theirs) = (begin(&kringle), begin(&kafka));
            std::thread::scope(|threads| {
                threads.spawn(|| theirs.all());
                ours.all();
            });
            let theirs = theirs.end(&kafka, &prefix, now_ms);
            let mut ours = ours.end(&kringle, &prefix, now_ms);
            report.compare(&theirs.0, &mut ours.0, &prefix);
            spoiler.keep(theirs.1, ours.1);
        }
    }
    let everything = options.scenario.is_none() && options.version.is_none() && options.only.is_none();
    if options.scenario.is_none() {
        spoiler.run(&kafka, &kringle, &mut report);
    }
    not_compared(&kafka, &kringle, &common);
    Ok(report.close(everything && !options.canary))
}

/// What both serve, in the versions that both serve.
fn in_common(kafka: &Broker, kringle: &Broker) -> Common {
    let both = kafka.serves.iter().filter_map(|(api, (min, max))| {
        let (from, to) = kringle.serves.get(api)?;
        let versions = (*min.max(from).max(&apis::oldest(api)), *max.min(to));
        (versions.0 <= versions.1).then(|| (api.clone(), versions))
    });
    both.collect()
}

/// Says which APIs or versions of one broker the other lacks; that itself is no failure here.
fn not_compared(kafka: &Broker, kringle: &Broker, common: &Common) {
    for (one, other) in [(kafka, kringle), (kringle, kafka)] {
        let lacking = one.serves.iter().filter(|(api, versions)| common.get(*api) != Some(versions));
        let names: Vec<String> = lacking.map(|(api, (min, max))| format!("{api} v{min}-{max}")).collect();
        if !names.is_empty() {
            println!(
                "note: {} serves what {} does not or not in all versions: {}",
                one.name,
                other.name,
                names.join(", ")
            );
        }
    }
}

/// The first sample of each API and version.
fn firsts(samples: Vec<Sample>) -> BTreeMap<(String, i16), Sample> {
    let mut firsts = BTreeMap::new();
    for sample in samples {
        firsts.entry((sample.api.clone(), sample.version)).or_insert(sample);
    }
    firsts
}

/// Keeps one body for each API and version, and sends it cut and lengthened at the end.
struct Spoiler {
    now_ms: i64,
    samples: BTreeMap<(String, i16), (Sample, Sample)>,
}

impl Spoiler {
    /// Takes the first body that each broker answered: of the same step, however often one had to be asked again.
    fn keep(&mut self, kafka: Vec<Sample>, kringle: Vec<Sample>) {
        let mut kringle = firsts(kringle);
        for (key, kafka) in firsts(kafka) {
            if let Some(kringle) = kringle.remove(&key) {
                self.samples.entry(key).or_insert((kafka, kringle));
            }
        }
    }

    fn run(&self, kafka: &Broker, kringle: &Broker, report: &mut Report) {
        for (theirs, ours) in self.samples.values() {
            let (mut theirs, mut ours) = std::thread::scope(|threads| {
                let theirs = threads.spawn(|| fuzz::spoiled(kafka, theirs));
                let ours = fuzz::spoiled(kringle, ours);
                (theirs.join().expect("the fuzzer does not panic"), ours)
            });
            for (broker, taken) in [(kafka, &mut theirs), (kringle, &mut ours)] {
                Normaliser::new(broker, PREFIX, self.now_ms, &BTreeMap::new()).steps(taken);
            }
            report.compare(&theirs, &mut ours, PREFIX);
        }
    }
}

impl Run<'_> {
    /// What was answered, normalised, and the samples.
    fn end(self, broker: &Broker, prefix: &str, now_ms: i64) -> (Vec<Taken>, Vec<Sample>) {
        let (mut taken, samples, topics) = self.take();
        Normaliser::new(broker, prefix, now_ms, &topics).steps(&mut taken);
        (taken, samples)
    }
}
