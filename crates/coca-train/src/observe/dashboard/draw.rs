//! The dashboard's picture.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Axis, Block, Borders, Chart, Dataset, Gauge, GraphType, LegendPosition, Paragraph, Wrap,
};

use super::state::{Doing, LOSSES, Sample, State};
use crate::observe::{line, units};

/// Colours of the losses, told apart without red and green.
const COLOURS: [Color; 4] = [Color::White, Color::Cyan, Color::Yellow, Color::Magenta];

/// Draws the state on the whole frame. Small terminals show less.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    let texts = match area.height {
        0..16 => 0,
        16..28 => 7,
        height => height / 3,
    };
    let [head, charts, bottom, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Min(5),
        Constraint::Length(texts),
        Constraint::Length(1),
    ])
    .areas(area);
    progress(frame, head, state);
    if charts.width < 70 {
        losses(frame, charts, state);
    } else {
        let [left, right] =
            Layout::horizontal([Constraint::Percentage(62), Constraint::Percentage(38)])
                .areas(charts);
        losses(frame, left, state);
        let [upper, lower] =
            Layout::vertical([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(right);
        curve(frame, upper, state, ("learning rate", "learning_rate"));
        curve(frame, lower, state, ("samples/s", "samples_per_second"));
    }
    if texts > 0 {
        let [left, right] =
            Layout::horizontal([Constraint::Percentage(62), Constraint::Percentage(38)])
                .areas(bottom);
        samples(frame, left, &state.samples);
        reports(frame, right, state);
    }
    let keys = " Ctrl-C  stop after this step and save (twice: at once)    l  linear or log scale";
    frame.render_widget(Paragraph::new(keys).style(Style::new().dark_gray()), foot);
}

fn progress(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let done = state.step as f64 / state.steps.max(1) as f64;
    let doing = match state.doing {
        _ if state.stopping() => "stopping after this step and saving",
        Doing::Starting => "starting",
        Doing::Training => "training",
        Doing::Validating => "validating",
    };
    let speed = state
        .last("samples_per_second")
        .filter(|&speed| speed > 0.0);
    let left = speed.map_or("unknown time".into(), |speed| {
        units::duration((state.steps.saturating_sub(state.step) * state.batch) as f64 / speed)
    });
    let label = format!(
        "step {}/{} · {} samples · {left} left",
        units::count(state.step),
        units::count(state.steps),
        units::count(state.step * state.batch),
    );
    let gauge = Gauge::default()
        .block(Block::bordered().title(format!(" {} · {doing} ", state.name)))
        .gauge_style(Style::new().fg(Color::Blue).bg(Color::Black))
        .ratio(done.clamp(0.0, 1.0))
        .label(Span::styled(
            label,
            Style::new().fg(Color::White).add_modifier(Modifier::BOLD),
        ));
    frame.render_widget(gauge, area);
}

/// A named curve over steps.
struct Curve {
    name: String,
    colour: Color,
    points: Vec<(f64, f64)>,
}

fn losses(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let scale = if state.logarithmic {
        " (log scale)"
    } else {
        ""
    };
    let curve = |(&name, colour): (&&str, Color)| {
        let value = state.last(name).map(units::number).unwrap_or_default();
        Curve {
            name: format!("{} {value}", name.replace('_', " ")),
            colour,
            points: state.curve(name),
        }
    };
    let curves = LOSSES.iter().zip(COLOURS).map(curve);
    let curves = curves.filter(|curve| !curve.points.is_empty()).collect();
    plot(
        frame,
        area,
        &format!(" losses{scale} "),
        curves,
        state.logarithmic,
    );
}

fn curve(frame: &mut Frame<'_>, area: Rect, state: &State, (title, name): (&str, &str)) {
    let value = state.last(name).map(units::number).unwrap_or_default();
    let curve = Curve {
        name: String::new(),
        colour: Color::Cyan,
        points: state.curve(name),
    };
    plot(
        frame,
        area,
        &format!(" {title} {value} "),
        vec![curve],
        false,
    );
}

/// Curves in one picture.
fn plot(frame: &mut Frame<'_>, area: Rect, title: &str, mut curves: Vec<Curve>, logarithmic: bool) {
    let block = Block::bordered().title(title.to_owned());
    for Curve { points, .. } in &mut curves {
        if logarithmic {
            points.retain(|point| point.1 > 0.0);
            points
                .iter_mut()
                .for_each(|point| point.1 = point.1.log10());
        }
        points.retain(|point| point.1.is_finite());
    }
    let points = || curves.iter().flat_map(|curve| &curve.points);
    if points().next().is_none() {
        let waiting = Paragraph::new("waiting for the first logged step")
            .alignment(Alignment::Center)
            .style(Style::new().dark_gray())
            .block(block);
        frame.render_widget(waiting, area);
        return;
    }
    let range = |values: &dyn Fn(&(f64, f64)) -> f64| {
        points()
            .map(values)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
    };
    let (first, last) = range(&|point| point.0);
    let (low, high) = range(&|point| point.1);
    // A flat curve is drawn in the middle.
    let margin = if high > low {
        (high - low) * 0.05
    } else {
        (high.abs() * 0.1).max(1e-9)
    };
    let (low, high) = (low - margin, high + margin);
    let shown = |value: f64| {
        units::number(if logarithmic {
            10f64.powf(value)
        } else {
            value
        })
    };
    let step = |step: f64| units::count(step.max(0.0) as u64);
    let grey = Style::new().dark_gray();
    let sets = curves
        .iter()
        .map(|curve| {
            Dataset::default()
                .name(curve.name.clone())
                .marker(Marker::Braille)
                .graph_type(GraphType::Line)
                .style(Style::new().fg(curve.colour))
                .data(&curve.points)
        })
        .collect();
    let named = curves.iter().any(|curve| !curve.name.is_empty());
    let chart = Chart::new(sets)
        .block(block)
        .legend_position(named.then_some(LegendPosition::TopRight))
        .hidden_legend_constraints((Constraint::Percentage(60), Constraint::Percentage(60)))
        .x_axis(
            Axis::default()
                .style(grey)
                .bounds([first, last.max(first + 1.0)])
                .labels([step(first), step(last.max(first + 1.0))]),
        )
        .y_axis(Axis::default().style(grey).bounds([low, high]).labels([
            shown(low),
            shown((low + high) / 2.0),
            shown(high),
        ]));
    frame.render_widget(chart, area);
}

fn samples(frame: &mut Frame<'_>, area: Rect, samples: &[Sample]) {
    let grey = Style::new().dark_gray();
    let mut lines = Vec::new();
    for sample in samples {
        let mut spans = vec![Span::styled(format!("{}  ", sample.key), grey)];
        if let Some(question) = &sample.question {
            spans.push(Span::raw(format!("{question} ")));
        }
        spans.push(Span::styled(
            sample.text.clone(),
            Style::new().fg(Color::Cyan),
        ));
        if !sample.reference.is_empty() {
            spans.push(Span::styled(
                format!("  (data: {})", sample.reference),
                grey,
            ));
        }
        lines.push(Line::from(spans));
    }
    if lines.is_empty() {
        lines.push(Line::styled(
            "none yet; a [[validation]] with the task \"captions\" or \"vqa\" gives some",
            grey,
        ));
    }
    let block = Block::bordered().title(" captions and answers ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// The last measurements, and under them the last messages.
fn reports(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let mut lines = Vec::new();
    for set in &state.validations {
        let step = line::step(set).unwrap_or_default();
        let title = format!(
            "{} at step {step}",
            line::validation(set).unwrap_or_default()
        );
        lines.push(Line::styled(
            title,
            Style::new().add_modifier(Modifier::BOLD),
        ));
        let values = line::scalars(set)
            .into_iter()
            .map(|(name, value)| format!("{name} {}", units::number(value)));
        lines.push(Line::raw(values.collect::<Vec<_>>().join("  ")));
    }
    let room = usize::from(area.height.saturating_sub(2));
    let messages = state.messages.iter().rev().take((room / 2).max(1)).rev();
    lines.extend(messages.map(|text| Line::styled(text.clone(), Style::new().dark_gray())));
    let block = Block::new()
        .borders(Borders::ALL)
        .title(" validation and messages ");
    frame.render_widget(
        Paragraph::new(lines).wrap(Wrap { trim: true }).block(block),
        area,
    );
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn state(lines: u64) -> State {
        let mut state = State {
            name: "tiny".into(),
            steps: 200,
            batch: 8,
            step: lines,
            doing: Doing::Training,
            ..State::default()
        };
        for step in 1..=lines {
            state.history.push(json!({
                "step": step, "loss": 10.0 / step as f64, "caption": 4.0 / step as f64,
                "learning_rate": 1e-3, "samples_per_second": 4.0,
            }));
        }
        state.samples.push(Sample {
            key: "007".into(),
            question: Some("what colour is it?".into()),
            text: "red".into(),
            reference: "blue".into(),
        });
        state.say("saved step 9".into());
        state
    }

    fn shown(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_is_on_a_usual_terminal() {
        let screen = shown(&state(100), 120, 40);
        for text in [
            "tiny · training",
            "step 100/200 · 800 samples · 3 min 20 s left",
            "loss 0.1",
            "caption 0.04",
            "learning rate 0.001",
            "samples/s 4",
            "what colour is it? red  (data: blue)",
            "saved step 9",
        ] {
            assert!(screen.contains(text), "{text} is not in\n{screen}");
        }
    }

    #[test]
    fn a_logarithmic_scale_is_labelled_with_values() {
        let mut state = state(100);
        state.logarithmic = true;
        state
            .history
            .push(json!({ "step": 101, "loss": 0.0, "caption": -1.0 }));
        let screen = shown(&state, 120, 40);
        assert!(
            screen.contains("losses (log scale)") && screen.contains("13.18"),
            "{screen}"
        );
    }

    #[test]
    fn no_size_and_no_state_is_too_small() {
        for (width, height) in [(1, 1), (10, 3), (40, 8), (69, 15), (80, 24)] {
            shown(&state(0), width, height);
            shown(&state(1), width, height);
            shown(&state(9), width, height);
        }
        let mut odd = state(3);
        odd.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        odd.history
            .push(json!({ "step": 4, "loss": null, "caption": "x" }));
        assert!(shown(&odd, 80, 24).contains("stopping after this step"));
    }
}
