//! page
use crate::report::Report;
pub(crate) fn render(report: &Report) -> String {
    report.command.clone()
}
