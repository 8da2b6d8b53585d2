//! The plot of a tuned run: p99 and two of the knobs over time, one above the other.

#![allow(clippy::unwrap_used)] // helpers are not seen as tests by clippy

use std::path::Path;

use plotters::prelude::*;

/// One round of the tuner, as it recorded it.
pub struct Round {
    /// Seconds since the scheduler was loaded.
    pub at_s: f64,
    /// p99 of the wakeup latency of the goal's class, in microseconds; `None`: no wakeups.
    pub p99_us: Option<f64>,
    /// `slice_max_ns`, in milliseconds.
    pub slice_ms: f64,
    /// `burst_max_ns`, in milliseconds.
    pub burst_max_ms: f64,
}

/// Draws `rounds` with the goal as a line.
pub fn draw(path: &Path, rounds: &[Round], goal_us: f64) {
    let root = SVGBackend::new(path, (900, 720)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let rows = root.split_evenly((3, 1));
    let end_s = rounds.last().map_or(1.0, |round| round.at_s);
    let p99 = rounds
        .iter()
        .filter_map(|round| Some((round.at_s, round.p99_us?)));
    panel(
        &rows[0],
        "p99 of wakeup latency, us (line: goal)",
        end_s,
        (1.0, 100_000.0),
        p99,
        Some(goal_us),
    );
    let slice = rounds.iter().map(|round| (round.at_s, round.slice_ms));
    panel(&rows[1], "slice_max, ms", end_s, (0.5, 50.0), slice, None);
    let burst = rounds.iter().map(|round| (round.at_s, round.burst_max_ms));
    panel(
        &rows[2],
        "burst_max, ms (time: seconds since load)",
        end_s,
        (0.5, 50.0),
        burst,
        None,
    );
    root.present().unwrap();
}

/// One diagram with a logarithmic axis.
fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    end_s: f64,
    (low, high): (f64, f64),
    points: impl Iterator<Item = (f64, f64)>,
    limit: Option<f64>,
) {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..end_s, (low..high).log_scale())
        .unwrap();
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .draw()
        .unwrap();
    chart.draw_series(LineSeries::new(points, &BLUE)).unwrap();
    let limit = limit
        .map(|limit| vec![(0.0, limit), (end_s, limit)])
        .unwrap_or_default();
    chart.draw_series(LineSeries::new(limit, &RED)).unwrap();
}
