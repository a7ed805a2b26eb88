//! `cargo bench`: measures the parts of the engine one by one and ends with the throughput report.
//!
//! Each module adds rows to one [`Meter`], which runs them through criterion and keeps its samples with their CPU time. The
//! report goes to the terminal and to `target/bench-report/`; `bench/benches/README.md` says how to use and read it.
//!
//! Files lie under `target/` and are removed at the end; what a killed run left is removed by the next one.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "measures the real machine: its clock, its files, its threads")]

mod append;
mod append_loops;
mod batches;
mod broker;
mod codec;
mod commit;
mod echo;
mod fetch;
mod ground;
mod lookup;
mod meter;
mod shard;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kringle_bench::throughput::{Baseline, BaselineError, Report, Run};

use ground::Ground;
use meter::Meter;

/// `record`: the run becomes the baseline.
const BASELINE_VARIABLE: &str = "KRINGLE_BENCH_BASELINE";

fn main() -> ExitCode {
    let mut meter = Meter::from_arguments();
    let mut ground = Ground::new(&target_dir());
    meter.note_machine();
    batches::rows(&mut meter);
    codec::rows(&mut meter);
    append::rows(&mut meter, &mut ground);
    append_loops::rows(&mut meter, &mut ground);
    fetch::rows(&mut meter, &ground);
    lookup::rows(&mut meter, &ground);
    commit::rows(&mut meter, &mut ground);
    echo::rows(&mut meter);
    broker::rows(&mut meter, &ground);
    match finish(meter, &ground) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the report, if there is anything to report: `--list` and `--test` measure nothing.
fn finish(meter: Meter, ground: &Ground) -> Result<(), BaselineError> {
    let (rows, mut notes) = meter.finish();
    if rows.is_empty() {
        return Ok(());
    }
    notes.extend(ground.notes());
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = package.join("baseline.json");
    let run = Run::here(ground.describe(), package);
    let report = Report { run, rows, notes, baseline: Baseline::load(&path)? };

    let dir = target_dir().join("bench-report");
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BaselineError::Io { path, source }
    };
    std::fs::create_dir_all(&dir).map_err(io(&dir))?;
    for (name, text) in [("report.md", report.markdown()), ("report.html", report.html())] {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(io(&path))?;
    }
    println!("\n{}", report.terminal());
    println!("{} has the same with how to read it; report.html too", dir.join("report.md").display());
    if std::env::var(BASELINE_VARIABLE).is_ok_and(|value| value == "record") {
        Baseline::of(&report, report.baseline.as_ref()).save(&path)?;
        println!("recorded as the baseline: {}", path.display());
    }
    Ok(())
}

/// Cargo's target directory, on the disk that the source lies on (or wherever the user put it).
fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a directory in the target directory").to_owned()
}
