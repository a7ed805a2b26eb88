//! The report as Markdown whose columns are aligned, so that the same text serves the terminal.

use super::{Report, SideBySide, how_to_read};

/// The way that the others are compared with in "what does io_uring buy".
const RING: &str = "ring";

/// The title, where it was measured, the tables, how to read them.
pub(super) fn document(report: &Report) -> String {
    let mut out = String::from("# Throughput report\n\n");
    for line in head(report) {
        out.push_str(&format!("- {line}\n"));
    }
    out.push('\n');
    out.push_str(&tables(report));
    out.push_str("\n## How to read it\n\n");
    for paragraph in how_to_read() {
        out.push_str(&format!("- {paragraph}\n"));
    }
    out
}

/// Where and when it was measured and what it is compared with.
pub(super) fn head(report: &Report) -> Vec<String> {
    let run = &report.run;
    let machine = &run.machine;
    let baseline = match &report.baseline {
        None => "none recorded yet (KRINGLE_BENCH_BASELINE=record cargo bench)".to_owned(),
        Some(baseline) => {
            let of = &baseline.run;
            let other = if of.machine == *machine { "" } else { ", on another machine: not compared" };
            baseline.origin() + other
        }
    };
    vec![
        format!("{} x {}, {} GiB, kernel {}", machine.cores, machine.cpu, machine.memory_gib, run.kernel),
        format!("files on {}", run.filesystem),
        format!("commit {}, {}: `{}`", run.commit, run.date, run.command),
        format!("baseline: {baseline}"),
    ]
}

/// The tables, and what is to be said about them.
pub(super) fn tables(report: &Report) -> String {
    let mut out = String::new();
    let sides = report.side_by_side(RING);
    if !sides.is_empty() {
        out.push_str("## What io_uring buys\n\n");
        out.push_str("Beside each rate: how many times the ring's rate, and the ring's CPU cost, it is.\n\n");
        out.push_str(&table(&side_by_side(&sides)));
        out.push('\n');
    }
    out.push_str("## All rows\n\n");
    out.push_str(&table(&all_rows(report)));
    let regressions = report.regressions();
    if !regressions.is_empty() {
        out.push_str(&format!("\n{} slower than the baseline by more than 10 %:\n\n", rows(regressions.len())));
        for row in regressions {
            out.push_str(&format!("- {} ({})\n", row.id(), report.compared(row).shown()));
        }
    }
    if !report.notes.is_empty() {
        out.push_str("\nNot measured, or to be read with care:\n\n");
        for note in &report.notes {
            out.push_str(&format!("- {note}\n"));
        }
    }
    out
}

fn rows(count: usize) -> String {
    if count == 1 { "1 row is".to_owned() } else { format!("{count} rows are") }
}

fn all_rows(report: &Report) -> Vec<Vec<String>> {
    let mut lines = vec![["what", "case", "way", "rate", "CPU", "vs baseline"].map(str::to_owned).to_vec()];
    lines.extend(report.rows.iter().map(|row| {
        let compared = report.compared(row).shown();
        vec![row.group.clone(), row.case.clone(), row.way.clone(), row.shown_rate(), row.shown_cpu(), compared]
    }));
    lines
}

/// A line for each case, a column for each way that any case has.
fn side_by_side(sides: &[SideBySide<'_>]) -> Vec<Vec<String>> {
    let mut ways: Vec<&str> = Vec::new();
    for row in sides.iter().flat_map(|side| &side.ways) {
        if !ways.contains(&row.way.as_str()) {
            ways.push(&row.way);
        }
    }
    let mut lines = vec![std::iter::once("case").chain(ways.iter().copied()).map(str::to_owned).collect()];
    for side in sides {
        let ring = side.ways[0];
        let cell = |way: &&str| match side.ways.iter().find(|row| row.way == **way) {
            None => String::new(),
            Some(row) if row.way == ring.way => format!("{}, {}", row.shown_rate(), row.shown_cpu()),
            Some(row) => {
                let (rate, cpu) = (row.rate() / ring.rate(), row.cpu() / ring.cpu());
                format!("{} ({rate:.2}x, CPU {cpu:.2}x)", row.shown_rate())
            }
        };
        lines.push(std::iter::once(side.case.clone()).chain(ways.iter().map(cell)).collect());
    }
    lines
}

/// Markdown with aligned columns; the first line is the head.
fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
        if at == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
            out.push_str(&format!("|{}|\n", rule.join("|")));
        }
    }
    out
}
