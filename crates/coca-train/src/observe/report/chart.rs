//! Line charts as SVG. Colours are the page's, so that they follow the colour scheme.

use maud::{Markup, html};

use super::axis::{Axis, Values};
use crate::observe::units;

/// Size of the drawing, in its own units, and where the curves lie in it.
const SIZE: (f64, f64) = (440.0, 236.0);
const LEFT: f64 = 50.0;
const TOP: f64 = 10.0;
const PLOT: (f64, f64) = (SIZE.0 - LEFT - 12.0, SIZE.1 - TOP - 38.0);
/// Colours that the page has.
const COLOURS: usize = 7;

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Thin, behind the others, and not in the legend.
    Faint,
    /// A line.
    Line,
    /// A line with a dot at each point, for few points.
    Dots,
}

/// A curve.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is called in the legend.
    pub name: String,
    /// The number of its colour; with the dashes, of its look.
    pub look: usize,
    /// Step and value.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub kind: Kind,
}

/// Curves over the steps.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What the values are.
    pub values: Values,
    /// The curves.
    pub series: Vec<Series>,
}

impl Chart {
    /// The chart with its legend; nothing if there is no point.
    pub fn draw(&self) -> Markup {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let Some(y) = Axis::of(all().map(|point| point.1), self.values) else {
            return html! {};
        };
        let x = Axis::steps(all().map(|point| point.0));
        let at = |point: &(f64, f64)| {
            (
                LEFT + x.place(point.0) * PLOT.0,
                TOP + (1.0 - y.place(point.1)) * PLOT.1,
            )
        };
        let (right, bottom) = (LEFT + PLOT.0, TOP + PLOT.1);
        html! {
            figure.chart {
                figcaption {
                    b { (self.title) }
                    @if y.logarithmic { span.scale { "log scale" } }
                }
                svg viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) role="img" aria-label=(self.words())
                    data-x=(format!("{} {}", x.low, x.high))
                    data-y=(format!("{} {} {}", y.low, y.high, u8::from(y.logarithmic)))
                    data-plot=(format!("{LEFT} {TOP} {} {}", PLOT.0, PLOT.1))
                    data-unit=(if self.values == Values::Fraction { "%" } else { "" }) {
                    @for (value, label) in &y.ticks {
                        @let (_, height) = at(&(x.low, *value));
                        line.grid x1=(LEFT) x2=(right) y1=(px(height)) y2=(px(height)) {}
                        text.tick x=(LEFT - 6.0) y=(px(height + 3.5)) text-anchor="end" { (label) }
                    }
                    @for (step, label) in &x.ticks {
                        @let (along, _) = at(&(*step, y.low));
                        line.mark x1=(px(along)) x2=(px(along)) y1=(bottom) y2=(bottom + 4.0) {}
                        text.tick x=(px(along)) y=(bottom + 16.0) text-anchor="middle" { (label) }
                    }
                    line.axis x1=(LEFT) x2=(right) y1=(bottom) y2=(bottom) {}
                    text.unit x=(right) y=(bottom + 31.0) text-anchor="end" { "step" }
                    @for series in &self.series {
                        @let places: Vec<(f64, f64)> = series.points.iter().map(at).collect();
                        path class=(class(series)) d=(path(&places))
                            data-name=[(series.kind != Kind::Faint).then_some(&series.name)] {}
                        @if series.kind == Kind::Dots || places.len() == 1 {
                            @for (along, height) in &places {
                                circle class=(format!("dot c{}", series.look % COLOURS))
                                    cx=(px(*along)) cy=(px(*height)) r="2.6" {}
                            }
                        }
                    }
                }
                (self.legend())
            }
        }
    }

    /// The curves that are named, with their last values.
    fn named(&self) -> impl Iterator<Item = (&Series, String)> {
        let named = self
            .series
            .iter()
            .filter(|series| series.kind != Kind::Faint);
        named.filter_map(|series| {
            let last = series.points.last()?.1;
            Some((series, value(last, self.values)))
        })
    }

    fn legend(&self) -> Markup {
        html! {
            ul.legend {
                @for (series, last) in self.named() {
                    li {
                        svg.swatch viewBox="0 0 22 10" aria-hidden="true" {
                            path class=(class(series)) d="M1,5L21,5" {}
                            @if series.kind == Kind::Dots {
                                circle class=(format!("dot c{}", series.look % COLOURS)) cx="11" cy="5" r="2.6" {}
                            }
                        }
                        (series.name) " " b { (last) }
                    }
                }
            }
        }
    }

    /// The chart for those who cannot see it.
    fn words(&self) -> String {
        let values = self
            .named()
            .map(|(series, last)| format!("{} {last}", series.name));
        format!(
            "{}, last values: {}",
            self.title,
            values.collect::<Vec<_>>().join(", ")
        )
    }
}

/// A value as the page shows it.
pub fn value(value: f64, kind: Values) -> String {
    match kind {
        Values::Fraction => units::percent(value),
        Values::Number | Values::Linear => units::number(value),
    }
}

fn class(series: &Series) -> String {
    let kind = if series.kind == Kind::Faint {
        "faint"
    } else {
        "line"
    };
    let dashes = series.look / COLOURS + series.look % 2;
    format!("{kind} c{} d{}", series.look % COLOURS, dashes % 3)
}

/// A coordinate.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

fn path(places: &[(f64, f64)]) -> String {
    let mut path = String::with_capacity(places.len() * 12);
    for (at, (along, height)) in places.iter().enumerate() {
        path.push(if at == 0 { 'M' } else { 'L' });
        path += &format!("{along:.1},{height:.1}");
    }
    path
}

/// Counts as bars: one for each number from 0 on, several numbers to a bar where there are many.
pub fn bars(title: &str, counts: &[u64], unit: &str) -> Markup {
    const MOST: usize = 40;
    let first = counts.iter().position(|&count| count > 0).unwrap_or(0);
    let shown = counts.get(first..).unwrap_or_default();
    let per_bar = shown.len().div_ceil(MOST).max(1);
    let bars: Vec<u64> = shown.chunks(per_bar).map(|bar| bar.iter().sum()).collect();
    let most = bars.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = PLOT.0 / bars.len().max(1) as f64;
    let bottom = TOP + PLOT.1;
    let every = bars.len().div_ceil(8).max(1);
    html! {
        figure.chart {
            figcaption { b { (title) } }
            svg viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) role="img" aria-label=(title) {
                text.tick x=(LEFT - 6.0) y=(TOP + 6.0) text-anchor="end" { (units::count(most as u64)) }
                text.tick x=(LEFT - 6.0) y=(bottom + 3.5) text-anchor="end" { "0" }
                line.axis x1=(LEFT) x2=(LEFT + PLOT.0) y1=(bottom) y2=(bottom) {}
                @for (at, &count) in bars.iter().enumerate() {
                    @let height = PLOT.1 * count as f64 / most;
                    @let from = first + at * per_bar;
                    rect.bar x=(px(LEFT + at as f64 * width + 0.5)) y=(px(bottom - height))
                        width=(px((width - 1.0).max(0.5))) height=(px(height)) {
                        title {
                            @if per_bar > 1 { (from) "–" (from + per_bar - 1) } @else { (from) }
                            " " (unit) ": " (units::count(count))
                        }
                    }
                    @if at % every == 0 {
                        text.tick x=(px(LEFT + (at as f64 + 0.5) * width)) y=(bottom + 16.0)
                            text-anchor="middle" { (from) }
                    }
                }
                text.unit x=(LEFT + PLOT.0) y=(bottom + 31.0) text-anchor="end" { (unit) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_where_they_belong() {
        let chart = Chart {
            title: "a < b".into(),
            values: Values::Fraction,
            series: vec![Series {
                name: "top1 & more".into(),
                look: 0,
                points: vec![(0.0, 0.0), (10.0, 1.0)],
                kind: Kind::Dots,
            }],
        };
        let svg = chart.draw().into_string();
        let (right, bottom) = (LEFT + PLOT.0, TOP + PLOT.1);
        assert!(
            svg.contains(&format!("M{LEFT:.1},{bottom:.1}L{right:.1},{TOP:.1}")),
            "{svg}"
        );
        assert!(
            svg.contains("a &lt; b") && svg.contains("top1 &amp; more <b>100.0 %</b>"),
            "{svg}"
        );
        let empty = Chart {
            series: Vec::new(),
            ..chart
        };
        assert_eq!(empty.draw().into_string(), "");
    }

    #[test]
    fn bars_start_at_the_first_count() {
        let svg = bars("lengths", &[0, 0, 0, 5, 10], "tokens").into_string();
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(svg.contains("<title>4 tokens: 10</title>"), "{svg}");
        let many = vec![1; 400];
        assert_eq!(
            bars("l", &many, "t").into_string().matches("<rect").count(),
            40
        );
        bars("l", &[], "t");
    }
}
