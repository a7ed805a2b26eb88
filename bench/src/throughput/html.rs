//! The report as one HTML page that needs nothing else: bars for the ways side by side, all rows below.

use super::markdown::head;
use super::row::Row;
use super::{Report, SideBySide, how_to_read};

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c2430;\
background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #e3e7ee;vertical-align:top}\
td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}.slower{color:#b3261e;font-weight:600}\
.faster{color:#1b7f3b}.bar{display:grid;grid-template-columns:9rem 1fr 15rem;gap:.6rem;align-items:center;margin:.15rem 0}\
.bar i{display:block;height:.8rem;background:#9db4d8;border-radius:2px}.bar.ring i{background:#2f66c4}h3{font-size:1rem;\
margin:1rem 0 .2rem}.bar span{font-variant-numeric:tabular-nums;font-size:.9rem}li{margin:.2rem 0}\
@media(prefers-color-scheme:dark){body{background:#14181f;color:#dde3ec}th,td{border-color:#2b323d}}";

/// The whole page.
pub(super) fn document(report: &Report) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\"><title>Throughput report</title>\n");
    out.push_str(&format!("<style>{STYLE}</style></head><body>\n<h1>Throughput report</h1>\n"));
    out.push_str(&list(head(report).into_iter()));
    let sides = report.side_by_side("ring");
    if !sides.is_empty() {
        out.push_str("<h2>What io_uring buys</h2>\n");
        sides.iter().for_each(|side| out.push_str(&bars(side)));
    }
    out.push_str("<h2>All rows</h2>\n<table><tr><th>what<th>case<th>way<th>rate<th>CPU<th>vs baseline</tr>\n");
    report.rows.iter().for_each(|row| out.push_str(&line(report, row)));
    out.push_str("</table>\n");
    if !report.notes.is_empty() {
        out.push_str("<h2>Not measured, or to be read with care</h2>\n");
        out.push_str(&list(report.notes.iter().cloned()));
    }
    out.push_str("<h2>How to read it</h2>\n");
    out.push_str(&list(how_to_read().map(str::to_owned).into_iter()));
    out.push_str("</body></html>\n");
    out
}

fn bars(side: &SideBySide<'_>) -> String {
    let best = side.ways.iter().map(|row| row.rate()).fold(0.0, f64::max);
    let mut out = format!("<h3>{}</h3>\n", escaped(&side.case));
    for (at, row) in side.ways.iter().enumerate() {
        let class = if at == 0 { "bar ring" } else { "bar" };
        let width = if best > 0.0 { row.rate() / best * 100.0 } else { 0.0 };
        let figures = escaped(&format!("{}, {}", row.shown_rate(), row.shown_cpu()));
        let way = escaped(&row.way);
        out.push_str(&format!(
            "<div class=\"{class}\"><span>{way}</span><i style=\"width:{width:.1}%\"></i><span>{figures}</span></div>\n"
        ));
    }
    out
}

fn line(report: &Report, row: &Row) -> String {
    let compared = report.compared(row);
    let class = match compared {
        super::Compared::Change(_) if compared.is_regression() => "n slower",
        super::Compared::Change(change) if change > super::REGRESSION => "n faster",
        _ => "n",
    };
    let [group, case, way] = [&row.group, &row.case, &row.way].map(|text| escaped(text));
    format!(
        "<tr><td>{group}<td>{case}<td>{way}<td class=n>{}<td class=n>{}<td class=\"{class}\">{}</tr>\n",
        row.shown_rate(),
        row.shown_cpu(),
        compared.shown()
    )
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: String = items.map(|item| format!("<li>{}</li>\n", escaped(&item))).collect();
    format!("<ul>\n{items}</ul>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
