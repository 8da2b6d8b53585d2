//! The plots, as SVG: ratios with their intervals, and latency distributions.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::results::{Figure, Results};
use super::super::workload::Better;

/// One colour for each scheduler, told apart by people who cannot tell red from green, too.
const PALETTE: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(120, 94, 240),
    RGBColor(86, 180, 233),
    RGBColor(180, 140, 0),
    RGBColor(60, 60, 60),
];
const INK: RGBColor = RGBColor(60, 64, 68);
const GRID: RGBColor = RGBColor(222, 226, 230);
const FONT: &str = "sans-serif";
const NS_PER_US: f64 = 1_000.0;

/// Width of the plot of ratios, of its labels at the left, and heights of its parts, in pixels.
const RATIO_WIDTH: u32 = 1_120;
const LABEL_WIDTH: u32 = 210;
const BAR_HEIGHT: u32 = 13;
const ROW_GAP: u32 = 12;
const AXIS_HEIGHT: u32 = 56;
/// Size of one plot of latencies, in pixels.
const LATENCY_SIZE: (u32, u32) = (550, 360);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws into a string.
fn svg(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(text)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw a plot: {error}")
}

fn colour(index: usize) -> RGBColor {
    PALETTE.get(index % PALETTE.len()).copied().unwrap_or(INK)
}

fn text(size: i32, position: Pos) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK).pos(position)
}

/// One row: a metric with an interval for each scheduler, turned so that more is better.
struct Row {
    label: String,
    /// Index of the scheduler, ratio, lower and upper end.
    bars: Vec<(usize, f64, f64, f64)>,
}

/// Bars with intervals, one row for each metric, on a logarithmic axis around 1.
pub fn ratios(results: &Results) -> Result<String> {
    let rivals: Vec<&str> = results
        .schedulers
        .iter()
        .skip(1)
        .map(|entrant| entrant.name.as_str())
        .collect();
    let rows = ratio_rows(results, &rivals);
    if rows.is_empty() {
        return Ok("<p>There was no other scheduler to compare with.</p>\n".to_owned());
    }
    let row_height = BAR_HEIGHT * rivals.len() as u32 + ROW_GAP;
    let legend_height = 28;
    let height = legend_height + row_height * rows.len() as u32 + AXIS_HEIGHT;
    svg((RATIO_WIDTH, height), |area| {
        legend(area, &rivals)?;
        let (_, below) = area.split_vertically(legend_height);
        let mut chart = ChartBuilder::on(&below)
            .margin_right(30)
            .set_label_area_size(LabelAreaPosition::Left, LABEL_WIDTH)
            .set_label_area_size(LabelAreaPosition::Bottom, AXIS_HEIGHT)
            .build_cartesian_2d(ratio_range(&rows).log_scale(), rows.len() as f64..0.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_desc("times as good as EEVDF (logarithmic)")
            .x_label_formatter(&|ratio| trimmed(*ratio))
            .x_label_style(text(13, Pos::new(HPos::Center, VPos::Top)))
            .axis_desc_style(text(14, Pos::new(HPos::Center, VPos::Top)))
            .draw()
            .map_err(failed)?;
        let line = PathElement::new([(1.0, 0.0), (1.0, rows.len() as f64)], INK.stroke_width(2));
        chart.draw_series([line]).map_err(failed)?;
        for (index, row) in rows.iter().enumerate() {
            let step = f64::from(BAR_HEIGHT) / f64::from(row_height);
            let top = index as f64 + f64::from(ROW_GAP) / f64::from(row_height) / 2.0;
            for (scheduler, ratio, low, high) in &row.bars {
                let (y0, y1) = (
                    top + *scheduler as f64 * step,
                    top + (*scheduler + 1) as f64 * step,
                );
                let (middle, paint) = ((y0 + y1) / 2.0, colour(*scheduler + 1));
                let inset = step * 0.18;
                let bar = Rectangle::new(
                    [(1.0, y0 + inset), (*ratio, y1 - inset)],
                    paint.mix(0.55).filled(),
                );
                chart.draw_series([bar]).map_err(failed)?;
                let whisker =
                    PathElement::new([(*low, middle), (*high, middle)], INK.stroke_width(1));
                chart.draw_series([whisker]).map_err(failed)?;
                let ends = [*low, *high].map(|end| {
                    PathElement::new([(end, y0 + inset), (end, y1 - inset)], INK.stroke_width(1))
                });
                chart.draw_series(ends).map_err(failed)?;
            }
            let y = row_height as i32 * index as i32 + row_height as i32 / 2;
            let style = text(13, Pos::new(HPos::Right, VPos::Center));
            below
                .draw_text(&row.label, &style, (LABEL_WIDTH as i32 - 10, y))
                .map_err(failed)?;
        }
        Ok(())
    })
}

fn legend(area: &Area<'_>, names: &[&str]) -> Result<()> {
    let mut x = LABEL_WIDTH as i32;
    for (index, name) in names.iter().enumerate() {
        let square = Rectangle::new([(x, 8), (x + 12, 20)], colour(index + 1).mix(0.55).filled());
        area.draw(&square).map_err(failed)?;
        let style = text(14, Pos::new(HPos::Left, VPos::Center));
        area.draw_text(name, &style, (x + 18, 14)).map_err(failed)?;
        x += 40 + 8 * name.chars().count() as i32;
    }
    Ok(())
}

fn ratio_rows(results: &Results, rivals: &[&str]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for figure in &results.results {
        let Some(scheduler) = rivals.iter().position(|name| *name == figure.scheduler) else {
            continue;
        };
        let Some((ratio, low, high)) = goodness(figure) else {
            continue;
        };
        let label = format!("{} {}", figure.workload, figure.metric);
        let bar = (scheduler, ratio, low, high);
        match rows.last_mut() {
            Some(row) if row.label == label => row.bars.push(bar),
            _ => rows.push(Row {
                label,
                bars: vec![bar],
            }),
        }
    }
    rows
}

/// The ratio and its interval, turned so that more is better.
fn goodness(figure: &Figure) -> Option<(f64, f64, f64)> {
    let ratio = figure.ratio.filter(|ratio| *ratio > 0.0)?;
    let [low, high] = figure.ratio_ci95.unwrap_or([ratio; 2]);
    Some(match figure.better {
        Better::Higher => (ratio, low, high),
        Better::Lower => (1.0 / ratio, 1.0 / high, 1.0 / low),
    })
}

/// A range that holds every bar and, if it is sensible, every interval.
fn ratio_range(rows: &[Row]) -> std::ops::Range<f64> {
    let bars = rows.iter().flat_map(|row| &row.bars);
    let (mut low, mut high) = (0.8_f64, 1.25_f64);
    for (_, ratio, from, to) in bars {
        // A whisker of few rounds may be absurdly long: it may leave the plot, the bar may not.
        low = low.min(*ratio).min(from.max(ratio / 3.0));
        high = high.max(*ratio).max(to.min(ratio * 3.0));
    }
    low / 1.1..high * 1.1
}

/// A number without useless zeros.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Distribution of latencies of each scheduler, as a rising curve over a logarithmic axis.
pub fn latencies(workload: &str, about: &str, curves: &[(&str, &[[u64; 2]])]) -> Result<String> {
    let points: Vec<(&str, Vec<(f64, f64)>)> = curves
        .iter()
        .map(|(name, steps)| (*name, cumulative(steps)))
        .collect();
    let all = || {
        points
            .iter()
            .flat_map(|(_, points)| points.iter().map(|point| point.0))
    };
    let low = all().fold(f64::INFINITY, f64::min).max(0.1) / 1.5;
    let high = all().fold(low * 10.0, f64::max) * 1.5;
    let drawn = svg(LATENCY_SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .caption(workload, text(16, Pos::new(HPos::Center, VPos::Top)))
            .margin(10)
            .margin_right(22)
            .x_label_area_size(46)
            .y_label_area_size(56)
            .build_cartesian_2d((low..high).log_scale(), 0.0..100.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_desc("latency in us (logarithmic)")
            .y_desc("share of latencies in %")
            .x_label_formatter(&|us| trimmed(*us))
            .y_label_formatter(&|share| format!("{share:.0}"))
            .label_style(text(12, Pos::new(HPos::Left, VPos::Top)))
            .axis_desc_style(text(13, Pos::new(HPos::Left, VPos::Top)))
            .draw()
            .map_err(failed)?;
        for (index, (name, points)) in points.iter().enumerate() {
            let paint = colour(index);
            chart
                .draw_series(LineSeries::new(
                    points.iter().copied(),
                    paint.stroke_width(2),
                ))
                .map_err(failed)?
                .label(*name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 14, y)], paint.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .label_font(text(12, Pos::new(HPos::Left, VPos::Top)))
            .draw()
            .map_err(failed)?;
        Ok(())
    })?;
    let about = super::html::escape(about);
    Ok(format!(
        "<figure style=\"margin:0\" title=\"{about}\">{drawn}</figure>\n"
    ))
}

/// Steps of a rising curve: latency in us, share of all in per cent.
fn cumulative(steps: &[[u64; 2]]) -> Vec<(f64, f64)> {
    let mut steps = steps.to_vec();
    steps.sort_unstable();
    let all: u64 = steps.iter().map(|step| step[1]).sum();
    let mut points = Vec::with_capacity(2 * steps.len());
    let mut seen = 0;
    for [latency_ns, count] in steps {
        let us = latency_ns as f64 / NS_PER_US;
        let share = |seen: u64| 100.0 * seen as f64 / all.max(1) as f64;
        points.push((us, share(seen)));
        seen += count;
        points.push((us, share(seen)));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::tests::figure;

    #[test]
    fn a_distribution_rises_to_all_of_it() {
        let points = cumulative(&[[2_000, 1], [1_000, 3]]);
        assert_eq!(points, [(1.0, 0.0), (1.0, 75.0), (2.0, 75.0), (2.0, 100.0)]);
    }

    #[test]
    fn half_the_time_is_twice_as_good() {
        let mut half = figure("pipe", "time", "x", Some(0.5));
        assert_eq!(goodness(&half), Some((2.0, 2.0, 2.0)));
        half.better = Better::Higher;
        assert_eq!(goodness(&half), Some((0.5, 0.5, 0.5)));
        half.ratio = None;
        assert_eq!(goodness(&half), None);
    }

    #[test]
    fn axis_labels_have_no_useless_zeros() {
        assert_eq!(
            (trimmed(0.5), trimmed(10.0), trimmed(1000.0)),
            ("0.5".into(), "10".into(), "1000".into())
        );
    }

    #[test]
    fn a_plot_names_its_axes() {
        let drawn = latencies("wakeup", "x", &[("eevdf", &[[5_000, 1], [900_000, 9]])]).unwrap();
        assert!(
            drawn.contains("latency in us") && drawn.contains("eevdf"),
            "{drawn}"
        );
    }
}
