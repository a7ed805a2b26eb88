//! The report for programs.

use crate::report::Report;

/// Pretty, because people look at it too.
pub(crate) fn render(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("numbers, strings and lists of them are always JSON")
}
