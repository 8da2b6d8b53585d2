//! The plot of a tuned run: latency, tunables and work over time, one above the other.

#![allow(clippy::unwrap_used)] // helpers are not seen as tests by clippy

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

/// Points of time in seconds since the scheduler was loaded, and values.
pub type Points = Vec<(f64, f64)>;

/// What is drawn.
pub struct Plot {
    /// p99 of the wakeup latency of those that the goal is for, in microseconds.
    pub p99_us: Points,
    /// The goal in microseconds.
    pub goal_us: f64,
    /// Tunables by name, in milliseconds.
    pub tunables_ms: Vec<(&'static str, Points)>,
    /// Work of the load, what it does untuned being 1.
    pub work: Points,
    /// When something was done to the system.
    pub marks_s: Vec<f64>,
    /// How long it took, in seconds.
    pub end_s: f64,
}

/// So much wider than the data is a diagram, to leave room for its legend.
const LEGEND: f64 = 1.22;

/// What holds each value until the next one.
fn steps(points: &Points) -> Points {
    let corners = points
        .windows(2)
        .flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
    corners.chain(points.last().copied()).collect()
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Plot {
    /// Writes the plot to `path`.
    pub fn draw(&self, path: &Path) {
        let root = SVGBackend::new(path, (900, 800)).into_drawing_area();
        root.fill(&WHITE).unwrap();
        let rows = root.split_evenly((3, 1));
        let goal = vec![(0.0, self.goal_us), (self.end_s, self.goal_us)];
        let lines = [("p99 of wakeups", self.p99_us.clone()), ("goal", goal)];
        let (low, high) = (1.0, 100_000.0);
        let axis = (low..high).log_scale();
        self.panel(&rows[0], "latency, us", axis, (low, high), &lines);
        let (low, high) = (0.01, 100.0);
        let axis = (low..high).log_scale();
        let tunables: Vec<_> = self
            .tunables_ms
            .iter()
            .map(|(name, points)| (*name, steps(points)))
            .collect();
        self.panel(&rows[1], "tunables, ms", axis, (low, high), &tunables);
        let (low, high) = (0.0, 1.2);
        let title =
            "work of the load, 1: untuned (time: seconds since load; grey: load, goal dropped)";
        let lines = [("work", self.work.clone())];
        self.panel(&rows[2], title, low..high, (low, high), &lines);
        root.present().unwrap();
    }

    /// One diagram.
    fn panel<Y>(
        &self,
        area: &Area<'_>,
        title: &str,
        axis: Y,
        (low, high): (f64, f64),
        lines: &[(&str, Points)],
    ) where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..self.end_s * LEGEND, axis)
            .unwrap();
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(WHITE).draw().unwrap();
        for &at_s in &self.marks_s {
            let line = LineSeries::new([(at_s, low), (at_s, high)], BLACK.mix(0.4));
            chart.draw_series(line).unwrap();
        }
        for (i, (name, points)) in lines.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            let drawn = chart.draw_series(line).unwrap().label(*name);
            drawn.legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
        }
        let mut labels = chart.configure_series_labels();
        let labels = labels.position(SeriesLabelPosition::UpperRight);
        let labels = labels.background_style(WHITE.mix(0.8)).border_style(BLACK);
        labels.draw().unwrap();
    }
}
