use std::time::Duration;

use super::*;

fn sample(iterations: u64, wall_us: u64, cpu_us: u64) -> Sample {
    Sample { iterations, wall: Duration::from_micros(wall_us), cpu: Duration::from_micros(cpu_us) }
}

/// A row at so many MB/s.
fn row(case: &str, way: &str, rate: u64) -> Row {
    // One microsecond an iteration: bytes per microsecond are MB/s.
    Row::from_samples("append", case, way, Amount::Bytes(rate), &[sample(1000, 1000, 500)]).expect("a sample")
}

fn run(cpu: &str) -> Run {
    Run {
        machine: Machine { cpu: cpu.to_owned(), cores: 2, memory_gib: 24 },
        kernel: "6.1".to_owned(),
        filesystem: "ext4".to_owned(),
        commit: "abc".to_owned(),
        command: "cargo bench".to_owned(),
        date: "2026-11-21".to_owned(),
    }
}

fn report(rows: Vec<Row>, baseline: Option<Baseline>) -> Report {
    Report { run: run("EPYC"), rows, notes: Vec::new(), baseline }
}

fn recorded(rows: Vec<Row>) -> Baseline {
    Baseline::of(&report(rows, None), None)
}

#[test]
fn a_rate_is_the_median_of_the_samples_and_the_cpu_their_sum() {
    let samples = [sample(10, 100, 30), sample(10, 200, 30), sample(10, 9_000, 60)];
    let row = Row::from_samples("g", "c", "", Amount::Bytes(4000), &samples).unwrap();
    assert_eq!(row.ns_per_iteration, 20_000.0);
    assert_eq!(row.cpu_ns_per_iteration, 4_000.0);
    assert_eq!(row.shown_rate(), "200 MB/s");
    assert_eq!(row.shown_cpu(), "1.00 CPU-s/GB");
    assert_eq!(row.id(), "g/c");
    let row = Row::from_samples("g", "c", "w", Amount::Operations(16), &samples[..2]).unwrap();
    assert_eq!(row.shown_rate(), "1,066,667 ops/s");
    assert_eq!(row.shown_cpu(), "0.188 CPU-us/op");
    assert_eq!(row.id(), "g/c/w");
}

#[test]
fn a_bench_that_never_ran_makes_no_row() {
    assert_eq!(Row::from_samples("g", "c", "", Amount::Bytes(1), &[]), None);
    assert_eq!(Row::from_samples("g", "c", "", Amount::Bytes(1), &[sample(0, 5, 5)]), None);
}

#[test]
fn a_row_that_became_slower_is_flagged_everywhere() {
    let baseline = recorded(vec![row("4 KiB", "ring", 1000), row("64 KiB", "ring", 1000)]);
    let report = report(vec![row("4 KiB", "ring", 850), row("64 KiB", "ring", 950)], Some(baseline));
    let slow: Vec<String> = report.regressions().iter().map(|row| row.id()).collect();
    assert_eq!(slow, ["append/4 KiB/ring"]);
    assert!(report.markdown().contains("-15.0 % SLOWER"), "{}", report.markdown());
    assert!(report.terminal().contains("1 row is slower than the baseline by more than 10 %"));
    assert!(report.html().contains("<td class=\"n slower\">-15.0 % SLOWER"));
    assert!(report.markdown().contains("| -5.0 % "));
}

#[test]
fn without_a_baseline_every_row_says_so_and_nothing_is_a_regression() {
    let report = report(vec![row("4 KiB", "ring", 1)], None);
    assert_eq!(report.compared(&report.rows[0]).shown(), "n/a");
    assert!(report.regressions().is_empty());
    assert!(report.markdown().contains("baseline: none recorded yet"));
}

#[test]
fn a_baseline_of_another_machine_is_not_compared() {
    let mut baseline = recorded(vec![row("4 KiB", "ring", 1000)]);
    baseline.run = run("Xeon");
    let report = report(vec![row("4 KiB", "ring", 1)], Some(baseline));
    assert_eq!(report.compared(&report.rows[0]), Compared::OtherMachine);
    assert!(report.regressions().is_empty());
    assert!(report.markdown().contains("on another machine: not compared"));
}

#[test]
fn a_row_that_is_new_or_whose_unit_changed_is_not_compared() {
    let baseline = recorded(vec![row("4 KiB", "ring", 1000)]);
    let counted = Row { amount: Amount::Operations(1), ..row("4 KiB", "ring", 1) };
    let report = report(vec![row("8 KiB", "ring", 1), counted], Some(baseline));
    assert!(report.rows.iter().all(|row| report.compared(row) == Compared::NotRecorded));
}

#[test]
fn a_filtered_run_renews_only_its_own_rows_of_the_baseline() {
    let before = recorded(vec![row("4 KiB", "ring", 1000), row("64 KiB", "ring", 1000)]);
    let mut filtered = report(vec![row("4 KiB", "ring", 2000)], None);
    filtered.run.commit = "def".to_owned();
    filtered.run.command = "cargo bench -- 4".to_owned();
    let after = Baseline::of(&filtered, Some(&before));
    assert_eq!(after.rows["append/4 KiB/ring"].rate, 2000.0);
    assert_eq!(after.rows["append/64 KiB/ring"].rate, 1000.0);
    let origin = "abc at 2026-11-21 (kernel 6.1: cargo bench); 1 of its 2 rows: def at 2026-11-21 (kernel 6.1: cargo bench -- 4)";
    assert!(report(vec![], Some(after.clone())).markdown().contains(origin));
    let without_an_old_row = report(vec![row("4 KiB", "ring", 1), row("8 KiB", "ring", 1)], None);
    let whole = Baseline::of(&without_an_old_row, Some(&after));
    assert_eq!(whole.rows.keys().collect::<Vec<_>>(), ["append/4 KiB/ring", "append/8 KiB/ring"]);
    assert!(whole.rows.values().all(|row| row.renewed.is_none()));
    let elsewhere = Baseline { run: run("Xeon"), ..before };
    assert_eq!(Baseline::of(&filtered, Some(&elsewhere)).rows.len(), 1);
}

#[test]
fn a_baseline_is_read_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("baseline.json");
    assert_eq!(Baseline::load(&path).unwrap(), None);
    let baseline = recorded(vec![row("4 KiB", "ring", 1234)]);
    baseline.save(&path).unwrap();
    assert_eq!(Baseline::load(&path).unwrap(), Some(baseline));
}

#[test]
fn a_broken_baseline_is_an_error_that_says_how_to_mend_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("baseline.json");
    std::fs::write(&path, "{").unwrap();
    let error = Baseline::load(&path).unwrap_err().to_string();
    assert!(error.contains("baseline.json") && error.contains("KRINGLE_BENCH_BASELINE=record"), "{error}");
}

#[test]
fn ways_of_the_same_case_stand_side_by_side_with_the_ring_first() {
    let rows = vec![
        row("4 KiB", "syscalls", 500),
        row("4 KiB", "ring", 1000),
        row("64 KiB", "ring", 1000),
        row("4 KiB", "tokio-uring", 250),
    ];
    let report = report(rows, None);
    let sides = report.side_by_side("ring");
    assert_eq!(sides.len(), 1, "a case with one way has nothing beside it");
    let ways: Vec<&str> = sides[0].ways.iter().map(|row| row.way.as_str()).collect();
    assert_eq!(ways, ["ring", "syscalls", "tokio-uring"]);
    assert!(report.terminal().contains("500 MB/s (0.50x, CPU 2.00x)"), "{}", report.terminal());
}

#[test]
fn what_could_not_be_measured_is_said_and_markup_is_escaped() {
    let mut report = report(vec![row("<4 KiB>", "ring", 1)], None);
    report.notes.push("XFS skipped: no mkfs.xfs".to_owned());
    assert!(report.markdown().contains("- XFS skipped: no mkfs.xfs"));
    let html = report.html();
    assert!(html.contains("XFS skipped") && html.contains("&lt;4 KiB&gt;") && !html.contains("<4 KiB>"));
}

#[test]
fn columns_of_the_tables_are_aligned() {
    let text = report(vec![row("4 KiB", "ring", 1), row("a longer case", "tokio-uring", 100_000)], None).terminal();
    let lines: Vec<usize> =
        text.lines().filter(|line| line.starts_with('|')).map(|line| line.chars().count()).collect();
    assert!(lines.len() == 4 && lines.iter().all(|len| *len == lines[0]), "{text}");
}
