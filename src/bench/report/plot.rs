//! The plots, as SVG: ratios with their intervals, and latency distributions.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::combinators::LogCoord;
use plotters::coord::types::RangedCoordf64;
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
const LEGEND_HEIGHT: u32 = 28;
/// Size of one plot of latencies, in pixels.
const LATENCY_SIZE: (u32, u32) = (550, 360);

type LogChart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<LogCoord<f64>, RangedCoordf64>>;
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
    bars: Vec<Bar>,
}

/// One scheduler in one metric.
struct Bar {
    /// Place among the bars of the row.
    place: usize,
    /// Index of the scheduler among all, which gives the colour.
    scheduler: usize,
    ratio: f64,
    low: f64,
    high: f64,
}

/// Bars with intervals, one row for each metric, on a logarithmic axis around 1.
pub fn ratios(results: &Results) -> Result<String> {
    let rivals: Vec<(usize, &str)> = results
        .rivals()
        .map(|(index, entrant)| (index, entrant.name.as_str()))
        .collect();
    let rows = ratio_rows(results, &rivals);
    if rows.is_empty() {
        return Ok("<p>There was no other scheduler to compare with.</p>\n".to_owned());
    }
    let row_height = BAR_HEIGHT * rivals.len() as u32 + ROW_GAP;
    let height = LEGEND_HEIGHT + row_height * rows.len() as u32 + AXIS_HEIGHT;
    svg((RATIO_WIDTH, height), |area| {
        legend(area, &rivals)?;
        let (_, below) = area.split_vertically(LEGEND_HEIGHT);
        let mut chart = ratio_chart(&below, &rows, &results.baseline)?;
        for (index, row) in rows.iter().enumerate() {
            draw_row(&mut chart, index, row, f64::from(row_height))?;
            let y = (row_height as usize * index) as i32 + row_height as i32 / 2;
            let style = text(13, Pos::new(HPos::Right, VPos::Center));
            below
                .draw_text(&row.label, &style, (LABEL_WIDTH as i32 - 10, y))
                .map_err(failed)?;
        }
        Ok(())
    })
}

/// The empty plot of ratios: axis, grid, and the line at 1.
fn ratio_chart<'a>(area: &Area<'a>, rows: &[Row], baseline: &str) -> Result<LogChart<'a>> {
    let range = ratio_range(rows);
    let length = decades(&range);
    let mut chart = ChartBuilder::on(area)
        .margin_right(30)
        .set_label_area_size(LabelAreaPosition::Left, LABEL_WIDTH)
        .set_label_area_size(LabelAreaPosition::Bottom, AXIS_HEIGHT)
        .build_cartesian_2d(range.log_scale(), rows.len() as f64..0.0)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .x_desc(format!("times as good as {baseline} (logarithmic)"))
        .x_label_formatter(&|ratio| log_label(*ratio, length))
        .x_label_style(text(13, Pos::new(HPos::Center, VPos::Top)))
        .axis_desc_style(text(14, Pos::new(HPos::Center, VPos::Top)))
        .draw()
        .map_err(failed)?;
    let line = PathElement::new([(1.0, 0.0), (1.0, rows.len() as f64)], INK.stroke_width(2));
    chart.draw_series([line]).map_err(failed)?;
    Ok(chart)
}

/// The bars of one metric, each with its interval.
fn draw_row(chart: &mut LogChart<'_>, index: usize, row: &Row, height: f64) -> Result<()> {
    let step = f64::from(BAR_HEIGHT) / height;
    let top = index as f64 + f64::from(ROW_GAP) / height / 2.0;
    let inset = step * 0.18;
    let shown = chart.x_range();
    for bar in &row.bars {
        let y0 = top + bar.place as f64 * step + inset;
        let y1 = y0 + step - 2.0 * inset;
        let middle = f64::midpoint(y0, y1);
        let paint = colour(bar.scheduler).mix(0.55).filled();
        let area = Rectangle::new([(1.0, y0), (bar.ratio, y1)], paint);
        chart.draw_series([area]).map_err(failed)?;
        let mut lines = vec![[(bar.low, middle), (bar.high, middle)]];
        // An interval that leaves the plot has no end there.
        let ends = [bar.low, bar.high]
            .into_iter()
            .filter(|end| shown.contains(end));
        lines.extend(ends.map(|end| [(end, y0), (end, y1)]));
        let whiskers = lines
            .into_iter()
            .map(|line| PathElement::new(line, INK.stroke_width(1)));
        chart.draw_series(whiskers).map_err(failed)?;
    }
    Ok(())
}

fn legend(area: &Area<'_>, rivals: &[(usize, &str)]) -> Result<()> {
    let mut x = LABEL_WIDTH as i32;
    for (index, name) in rivals {
        let square = Rectangle::new([(x, 8), (x + 12, 20)], colour(*index).mix(0.55).filled());
        area.draw(&square).map_err(failed)?;
        let style = text(14, Pos::new(HPos::Left, VPos::Center));
        area.draw_text(name, &style, (x + 18, 14)).map_err(failed)?;
        x += 40 + 8 * name.chars().count() as i32;
    }
    Ok(())
}

fn ratio_rows(results: &Results, rivals: &[(usize, &str)]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for figure in &results.results {
        let known = rivals
            .iter()
            .enumerate()
            .find(|(_, (_, name))| *name == figure.scheduler);
        let Some((place, (scheduler, _))) = known else {
            continue;
        };
        let Some((ratio, low, high)) = goodness(figure) else {
            continue;
        };
        let label = format!("{} {}", figure.workload, figure.metric);
        let bar = Bar {
            place,
            scheduler: *scheduler,
            ratio,
            low,
            high,
        };
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
    for bar in bars {
        // A whisker of few rounds may be absurdly long: it may leave the plot, the bar may not.
        low = low.min(bar.ratio).min(bar.low.max(bar.ratio / 3.0));
        high = high.max(bar.ratio).max(bar.high.min(bar.ratio * 3.0));
    }
    low / 1.1..high * 1.1
}

/// Labels of a logarithmic axis: so few that none runs into the next. `decades` is the length of
/// the axis.
fn log_label(value: f64, decades: f64) -> String {
    let mantissa = value / 10_f64.powf(value.log10().floor());
    let shown: &[f64] = match decades {
        d if d < 0.7 => &[1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        d if d < 2.5 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let near = |other: &f64| (mantissa - other).abs() < 0.001 || (mantissa - 10.0).abs() < 0.001;
    if shown.iter().any(near) {
        trimmed(value)
    } else {
        String::new()
    }
}

/// Powers of ten between the ends of a range.
fn decades(range: &std::ops::Range<f64>) -> f64 {
    (range.end / range.start).log10()
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
    let length = decades(&(low..high));
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
            .x_label_formatter(&|us| log_label(*us, length))
            .y_label_formatter(&|share| format!("{share:.0}"))
            .label_style(text(12, Pos::new(HPos::Left, VPos::Top)))
            .axis_desc_style(text(13, Pos::new(HPos::Left, VPos::Top)))
            .draw()
            .map_err(failed)?;
        draw_curves(&mut chart, &points)
    })?;
    let about = super::html::escape(about);
    Ok(format!(
        "<figure style=\"margin:0\" title=\"{about}\">{drawn}</figure>\n"
    ))
}

/// One curve for each scheduler, and the legend.
fn draw_curves(chart: &mut LogChart<'_>, curves: &[(&str, Vec<(f64, f64)>)]) -> Result<()> {
    for (index, (name, points)) in curves.iter().enumerate() {
        let paint = colour(index).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), paint))
            .map_err(failed)?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], paint));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(text(12, Pos::new(HPos::Left, VPos::Top)))
        .draw()
        .map_err(failed)
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
    fn a_long_axis_shows_few_labels() {
        assert_eq!(log_label(5_000.0, 3.0), "");
        assert_eq!(log_label(5_000.0, 2.0), "5000");
        assert_eq!(log_label(10_000.0, 5.0), "10000");
        assert_eq!(log_label(0.8, 0.5), "0.8");
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
