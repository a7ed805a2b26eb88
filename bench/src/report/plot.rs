//! Plots as inline SVG: lines over a linear or logarithmic axis, and bars.
//!
//! Pure text. Colours, fonts and line widths come from the page's style sheet, so that plots follow its light and dark scheme; each
//! series has a dash pattern besides its colour. Every point has a tooltip, every plot a title and a description for readers
//! that cannot see it.

use std::fmt::Write;

use crate::units::{significant, to_f64};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 52.0;
/// More series than this repeat colours; dashes tell them apart then.
pub(crate) const COLOURS: usize = 8;

/// How values become places.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    Linear,
    /// Decades; values must be positive, others are left out.
    Log,
    /// The same for microseconds, which are written with the unit that fits.
    Latency,
    /// Percentiles by their number of nines: 0, 90, 99, 99.9 ... are evenly spaced.
    Nines,
}

/// An axis: what it shows, with its unit.
#[derive(Clone)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) scale: Scale,
}

/// A named row of points.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot of lines. `None` where there is nothing to show.
pub(crate) fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> Option<String> {
    let shown: Vec<Line> = lines
        .iter()
        .map(|line| {
            let points = line.points.iter().filter(|(px, py)| x.scale.shows(*px) && y.scale.shows(*py));
            Line { name: line.name.clone(), points: points.copied().collect() }
        })
        .collect();
    let all = || shown.iter().flat_map(|line| line.points.iter());
    let xs = Range::new(x.scale, all().map(|point| point.0))?;
    let ys = Range::new(y.scale, all().map(|point| point.1))?;
    let mut svg = open(title, &format!("{} against {}", y.label, x.label));
    axes(&mut svg, (x, &xs), (y, &ys), None);
    for (index, line) in shown.iter().enumerate() {
        let class = format!("s{}", index % COLOURS);
        let place = |(px, py): &(f64, f64)| (xs.across(*px), ys.up(*py));
        let path: Vec<String> = line.points.iter().map(place).map(|(px, py)| format!("{px:.1},{py:.1}")).collect();
        put(&mut svg, format_args!("<polyline class=\"line {class}\" points=\"{}\"/>", path.join(" ")));
        for point in &line.points {
            let (px, py) = place(point);
            put(
                &mut svg,
                format_args!(
                    "<circle class=\"dot {class}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"2.5\"><title>{}: {} at {}</title></circle>",
                    escape(&line.name),
                    y.scale.text(point.1),
                    x.scale.text(point.0),
                ),
            );
        }
    }
    svg.push_str("</svg>");
    Some(figure(title, &svg, &shown.iter().map(|line| line.name.clone()).collect::<Vec<_>>()))
}

/// Bars beside each other, one for each name.
pub(crate) fn bars(title: &str, y: &Axis, values: &[(String, f64)]) -> Option<String> {
    let ys = Range::new(Scale::Linear, values.iter().map(|(_, value)| *value))?;
    let mut svg = open(title, &format!("{} of {} cases", y.label, values.len()));
    let x = Axis { label: String::new(), scale: Scale::Linear };
    axes(&mut svg, (&x, &ys), (y, &ys), Some(values));
    let step = (WIDTH - LEFT - RIGHT) / to_f64(values.len());
    for (index, (name, value)) in values.iter().enumerate() {
        let (left, top) = (LEFT + step * (to_f64(index) + 0.15), ys.up(*value));
        put(
            &mut svg,
            format_args!(
                "<rect class=\"bar s0\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}: {}</title></rect>\
                 <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                step * 0.7,
                HEIGHT - BOTTOM - top,
                escape(name),
                significant(*value),
                left + step * 0.35,
                top - 4.0,
                significant(*value),
            ),
        );
    }
    svg.push_str("</svg>");
    Some(figure(title, &svg, &[]))
}

impl Scale {
    fn shows(self, value: f64) -> bool {
        match self {
            Scale::Linear => value.is_finite(),
            Scale::Log | Scale::Latency => value > 0.0 && value.is_finite(),
            Scale::Nines => (0.0..100.0).contains(&value),
        }
    }

    /// Where a value lies on an even axis.
    fn even(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log | Scale::Latency => value.log10(),
            Scale::Nines => -(1.0 - value / 100.0).log10(),
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Scale::Nines => format!("p{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned(),
            Scale::Latency if value < 1e3 => format!("{} us", short(value)),
            Scale::Latency if value < 1e6 => format!("{} ms", short(value / 1e3)),
            Scale::Latency => format!("{} s", short(value / 1e6)),
            _ => short(value),
        }
    }
}

/// Without zeros that say nothing.
fn short(value: f64) -> String {
    let text = significant(value);
    if text.contains('.') && !text.contains('e') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// What an axis spans, in even units, and where its ticks are.
struct Range {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Range {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Range> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (low, high) = (low.min(scale.even(value)), high.max(scale.even(value)));
        }
        if low > high {
            return None;
        }
        let range = match scale {
            Scale::Linear => {
                let step = nice_step(high.max(f64::MIN_POSITIVE) / 5.0);
                let count = (high / step).ceil().max(1.0);
                let ticks = (0..32).map(f64::from).take_while(|tick| *tick <= count).map(|tick| tick * step);
                Range { scale, from: 0.0, to: step * count, ticks: ticks.collect() }
            }
            Scale::Log | Scale::Latency => {
                let (from, to) = (low.floor(), high.ceil().max(low.floor() + 1.0));
                let decades = (-12..16).map(f64::from).filter(|tick| (from..=to).contains(tick));
                Range { scale, from, to, ticks: decades.map(|tick| 10_f64.powf(tick)).collect() }
            }
            Scale::Nines => {
                let to = high.ceil().max(1.0);
                let nines = (0..9).map(f64::from).filter(|tick| *tick <= to);
                Range { scale, from: 0.0, to, ticks: nines.map(|tick| 100.0 * (1.0 - 10_f64.powf(-tick))).collect() }
            }
        };
        Some(range)
    }

    fn share(&self, value: f64) -> f64 {
        (self.scale.even(value) - self.from) / (self.to - self.from)
    }

    fn across(&self, value: f64) -> f64 {
        LEFT + self.share(value) * (WIDTH - LEFT - RIGHT)
    }

    fn up(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.share(value) * (HEIGHT - TOP - BOTTOM)
    }
}

/// 1, 2 or 5 times a power of ten, at least as large as `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|nice| *nice >= step).unwrap_or(power)
}

fn open(title: &str, description: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}: {}\"><desc>{}</desc>",
        escape(title),
        escape(description),
        escape(description),
    )
}

/// Grid, ticks and labels; with `names` the horizontal axis has a name for each bar.
fn axes(svg: &mut String, (x, xs): (&Axis, &Range), (y, ys): (&Axis, &Range), names: Option<&[(String, f64)]>) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in &ys.ticks {
        let at = ys.up(*tick);
        put(svg, format_args!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"));
        let text = y.scale.text(*tick);
        put(svg, format_args!("<text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", LEFT - 6.0, at + 4.0));
    }
    match names {
        None => {
            for tick in &xs.ticks {
                let at = xs.across(*tick);
                put(
                    svg,
                    format_args!("<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"),
                );
                let text = x.scale.text(*tick);
                put(
                    svg,
                    format_args!("<text class=\"tick mid\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>", bottom + 18.0),
                );
            }
        }
        Some(names) => {
            let step = (WIDTH - LEFT - RIGHT) / to_f64(names.len());
            for (index, (name, _)) in names.iter().enumerate() {
                let at = LEFT + step * (to_f64(index) + 0.5);
                let text = escape(name);
                put(
                    svg,
                    format_args!("<text class=\"tick mid\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>", bottom + 18.0),
                );
            }
        }
    }
    let (middle, label) = ((LEFT + right) / 2.0, escape(&x.label));
    put(svg, format_args!("<text class=\"label mid\" x=\"{middle:.1}\" y=\"{:.1}\">{label}</text>", HEIGHT - 8.0));
    let (middle, label) = ((TOP + bottom) / 2.0, escape(&y.label));
    put(
        svg,
        format_args!("<text class=\"label mid\" transform=\"translate(16 {middle:.1}) rotate(-90)\">{label}</text>"),
    );
}

fn figure(title: &str, svg: &str, names: &[String]) -> String {
    let mut legend = String::new();
    for (index, name) in names.iter().enumerate().filter(|_| names.len() > 1) {
        let class = index % COLOURS;
        put(
            &mut legend,
            format_args!(
                "<li><svg class=\"key\" viewBox=\"0 0 28 8\" aria-hidden=\"true\"><line class=\"line s{class}\" x1=\"0\" \
                 x2=\"28\" y1=\"4\" y2=\"4\"/></svg>{}</li>",
                escape(name)
            ),
        );
    }
    format!("<figure><figcaption>{}</figcaption><ul class=\"legend\">{legend}</ul>{svg}</figure>", escape(title))
}

fn put(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(out, "{arguments}").expect("a String takes everything");
}

/// Text that stands between tags or in quotes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_highest_value() {
        let range = Range::new(Scale::Linear, [3.0, 873.0].into_iter()).unwrap();
        assert_eq!(range.ticks, [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        let range = Range::new(Scale::Log, [40.0, 2500.0].into_iter()).unwrap();
        assert_eq!((range.from, range.to), (1.0, 4.0));
        assert!(Range::new(Scale::Linear, std::iter::empty()).is_none());
    }

    #[test]
    fn a_name_cannot_break_out_of_its_place() {
        let line = Line { name: "<script>\"".to_owned(), points: vec![(1.0, 1.0), (2.0, 3.0)] };
        let axis = Axis { label: "a & b".to_owned(), scale: Scale::Linear };
        let plot = lines("t", &axis, &axis, &[line]).unwrap();
        assert!(!plot.contains("<script>") && plot.contains("a &amp; b"));
    }

    #[test]
    fn points_that_an_axis_cannot_show_are_left_out() {
        let line = Line { name: "l".to_owned(), points: vec![(0.0, 0.0), (50.0, 10.0), (100.0, 20.0)] };
        let x = Axis { label: String::new(), scale: Scale::Nines };
        let y = Axis { label: String::new(), scale: Scale::Log };
        assert_eq!(lines("t", &x, &y, &[line]).unwrap().matches("<circle").count(), 1);
    }
}
