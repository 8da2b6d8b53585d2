//! The plots, as SVG: ratios with their intervals, and latency distributions.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::combinators::{LogCoord, WithKeyPoints};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::results::{Figure, Results};
use super::super::workload::Better;

/// One colour for each scheduler, most distinct without seeing red and green apart, too; the
/// kind of line helps.
const PALETTE: [RGBColor; 12] = [
    RGBColor(60, 60, 60),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(120, 94, 240),
    RGBColor(180, 140, 0),
    RGBColor(86, 180, 233),
    RGBColor(150, 30, 60),
    RGBColor(120, 190, 60),
    RGBColor(140, 90, 50),
    RGBColor(240, 150, 120),
];
/// Curves in turn: drawn through, then dashes and gaps of so many pixels. Neighbours in the list of
/// schedulers never look alike, even without colour; the same colour comes again with another line.
const DASHES: [Option<(u32, u32)>; 3] = [None, Some((8, 4)), Some((2, 3))];
const INK: RGBColor = RGBColor(60, 64, 68);
const GRID: RGBColor = RGBColor(222, 226, 230);
const FONT: &str = "sans-serif";
const NS_PER_US: f64 = 1_000.0;
/// Where the axis of latencies begins at the earliest, in us: a logarithm has no zero.
const SHORTEST_US: f64 = 0.1;

/// Width of the plot of ratios, of its labels at the left, and heights of its parts, in pixels.
const RATIO_WIDTH: u32 = 940;
const LABEL_WIDTH: u32 = 350;
const BAR_HEIGHT: u32 = 18;
const ROW_GAP: u32 = 14;
const AXIS_HEIGHT: u32 = 60;
/// Height of the labels above the plot of ratios, and width of the figures right of it.
const TOP_HEIGHT: u32 = 26;
const VALUE_WIDTH: u32 = 70;
/// Longest name of a scheduler that has room beside its bar, in characters.
const NAME_LENGTH: usize = 22;
/// Size of one plot of latencies, in pixels.
const LATENCY_SIZE: (u32, u32) = (550, 360);

type LogAxis = WithKeyPoints<LogCoord<f64>>;
type LogChart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<LogAxis, RangedCoordf64>>;
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

fn dashes(index: usize) -> Option<(u32, u32)> {
    let dash = index + index / PALETTE.len();
    DASHES.get(dash % DASHES.len()).copied().flatten()
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
    let height = TOP_HEIGHT + row_height * rows.len() as u32 + AXIS_HEIGHT;
    svg((RATIO_WIDTH, height), |area| {
        let mut chart = ratio_chart(area, &rows, &results.baseline)?;
        for (index, row) in rows.iter().enumerate() {
            draw_row(&mut chart, index, row, f64::from(row_height))?;
            let top = TOP_HEIGHT as i32 + row_height as i32 * index as i32;
            label_row(area, row, top, &rivals)?;
        }
        Ok(())
    })
}

/// What stands beside a row: the metric, and for each bar the name of a scheduler and the figure.
fn label_row(area: &Area<'_>, row: &Row, top: i32, rivals: &[(usize, &str)]) -> Result<()> {
    let first = top + (ROW_GAP / 2) as i32 + (BAR_HEIGHT / 2) as i32;
    let style = text(15, Pos::new(HPos::Left, VPos::Center));
    area.draw_text(&row.label, &style, (0, first))
        .map_err(failed)?;
    let style = text(14, Pos::new(HPos::Right, VPos::Center));
    for bar in &row.bars {
        let name = rivals.get(bar.place).map_or("", |(_, name)| name);
        let y = first + bar.place as i32 * BAR_HEIGHT as i32;
        area.draw_text(&shortened(name), &style, (LABEL_WIDTH as i32 - 8, y))
            .map_err(failed)?;
        area.draw_text(&times(bar.ratio), &style, (RATIO_WIDTH as i32 - 4, y))
            .map_err(failed)?;
    }
    Ok(())
}

/// A ratio in three digits.
fn times(ratio: f64) -> String {
    let before_point = ratio.log10().floor() as i32 + 1;
    let decimals = (3 - before_point).clamp(0, 4) as usize;
    format!("{ratio:.decimals$}")
}

/// A name that may be a long command line, cut to what has room.
fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_LENGTH {
        return name.to_owned();
    }
    let kept: String = name.chars().take(NAME_LENGTH - 1).collect();
    format!("{kept}…")
}

/// The empty plot of ratios: axis, grid, and the line at 1.
fn ratio_chart<'a>(area: &Area<'a>, rows: &[Row], baseline: &str) -> Result<LogChart<'a>> {
    let range = ratio_range(rows);
    let axis = range.clone().log_scale().with_key_points(ticks(&range));
    let mut chart = ChartBuilder::on(area)
        .margin_right(VALUE_WIDTH)
        .set_label_area_size(LabelAreaPosition::Left, LABEL_WIDTH)
        .margin_top(TOP_HEIGHT)
        .set_label_area_size(LabelAreaPosition::Bottom, AXIS_HEIGHT)
        .build_cartesian_2d(axis, rows.len() as f64..0.0)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .x_desc(format!("times as good as {baseline} (logarithmic)"))
        .x_label_formatter(&|ratio| trimmed(*ratio))
        .x_label_style(text(14, Pos::new(HPos::Center, VPos::Top)))
        .axis_desc_style(text(15, Pos::new(HPos::Center, VPos::Top)))
        .draw()
        .map_err(failed)?;
    let line = PathElement::new([(1.0, 0.0), (1.0, rows.len() as f64)], INK.stroke_width(2));
    chart.draw_series([line]).map_err(failed)?;
    let (one, _) = chart.backend_coord(&(1.0, 0.0));
    for (side, position, word) in [(-10, HPos::Right, "worse"), (10, HPos::Left, "better")] {
        let style = text(14, Pos::new(position, VPos::Center));
        area.draw_text(word, &style, (one + side, TOP_HEIGHT as i32 / 2))
            .map_err(failed)?;
    }
    let style = text(14, Pos::new(HPos::Right, VPos::Center));
    let corner = (RATIO_WIDTH as i32 - 4, TOP_HEIGHT as i32 / 2);
    area.draw_text("times", &style, corner).map_err(failed)?;
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

/// What each colour and each kind of line stands for, for all plots of latencies; HTML.
pub fn legend(names: &[&str]) -> String {
    let entries = names.iter().enumerate().map(|(index, name)| {
        let RGBColor(red, green, blue) = colour(index);
        let dashes = dashes(index).map_or_else(String::new, |(dash, gap)| {
            format!(" stroke-dasharray=\"{dash} {gap}\"")
        });
        format!(
            "<span><svg width=\"34\" height=\"10\"><line x2=\"34\" y1=\"5\" y2=\"5\" stroke-width=\"3\" \
             stroke=\"rgb({red},{green},{blue})\"{dashes}/></svg> {}</span>",
            super::html::escape(name)
        )
    });
    let entries: Vec<String> = entries.collect();
    format!("<p class=\"legend\">{}</p>\n", entries.join("\n"))
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

/// The numbers on a logarithmic axis: so few that none runs into the next, and two at least.
fn ticks(range: &std::ops::Range<f64>) -> Vec<f64> {
    let mantissas: &[f64] = match (range.end / range.start).log10() {
        decades if decades < 0.7 => &[1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        decades if decades < 2.5 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let first = range.start.log10().floor() as i32;
    let last = range.end.log10().ceil() as i32;
    (first..=last)
        .flat_map(|power| {
            mantissas
                .iter()
                .map(move |mantissa| mantissa * 10_f64.powi(power))
        })
        .filter(|tick| range.contains(tick))
        .collect()
}

/// A number without useless zeros.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One scheduler's latencies: its index among all, and `[upper bound in ns, count]`.
pub type Curve<'a> = (usize, &'a [[u64; 2]]);

/// Distribution of latencies of each scheduler, as a rising curve over a logarithmic axis of `what`.
pub fn latencies(workload: &str, about: &str, what: &str, curves: &[Curve<'_>]) -> Result<String> {
    let points: Vec<(usize, Vec<(f64, f64)>)> = curves
        .iter()
        .map(|(scheduler, steps)| (*scheduler, cumulative(steps)))
        .collect();
    let all = || points.iter().flat_map(|(_, points)| points);
    let times = || all().map(|point| point.0);
    let low = times().fold(f64::INFINITY, f64::min).max(SHORTEST_US) / 1.5;
    let high = times().fold(low * 10.0, f64::max) * 1.5;
    let range = low..high;
    let drawn = svg(LATENCY_SIZE, |area| {
        let axis = range.clone().log_scale().with_key_points(ticks(&range));
        let mut chart = ChartBuilder::on(area)
            .caption(workload, text(17, Pos::new(HPos::Center, VPos::Top)))
            .margin(10)
            .margin_right(22)
            .x_label_area_size(50)
            .y_label_area_size(60)
            .build_cartesian_2d(axis, 0.0..100.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_desc(format!("{what} in us (logarithmic)"))
            .y_desc("share of all in %")
            .x_label_formatter(&|us| trimmed(*us))
            .y_label_formatter(&|share| format!("{share:.0}"))
            .label_style(text(14, Pos::new(HPos::Left, VPos::Top)))
            .axis_desc_style(text(14, Pos::new(HPos::Left, VPos::Top)))
            .draw()
            .map_err(failed)?;
        draw_curves(&mut chart, &points)
    })?;
    let about = super::html::escape(about);
    Ok(format!(
        "<figure style=\"margin:0\" title=\"{about}\">{drawn}</figure>\n"
    ))
}

/// One curve for each scheduler.
fn draw_curves(chart: &mut LogChart<'_>, curves: &[(usize, Vec<(f64, f64)>)]) -> Result<()> {
    for (scheduler, points) in curves {
        let paint = colour(*scheduler).stroke_width(2);
        let points = points.iter().copied();
        match dashes(*scheduler) {
            None => chart
                .draw_series(LineSeries::new(points, paint))
                .map(|_| ()),
            Some((dash, gap)) => chart
                .draw_series(DashedLineSeries::new(points, dash, gap, paint))
                .map(|_| ()),
        }
        .map_err(failed)?;
    }
    Ok(())
}

/// Steps of a rising curve: latency in us, share of all in per cent.
fn cumulative(steps: &[[u64; 2]]) -> Vec<(f64, f64)> {
    let mut steps = steps.to_vec();
    steps.sort_unstable();
    let all: u64 = steps.iter().map(|step| step[1]).sum();
    let mut points = Vec::with_capacity(2 * steps.len());
    let mut seen = 0;
    for [latency_ns, count] in steps {
        let us = (latency_ns as f64 / NS_PER_US).max(SHORTEST_US);
        let share = |seen: u64| 100.0 * seen as f64 / all.max(1) as f64;
        points.push((us, share(seen)));
        seen += count;
        points.push((us, share(seen)));
    }
    points
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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
        assert_eq!(
            [0.01234, 0.5, 12.34, 999.6].map(times),
            ["0.0123", "0.500", "12.3", "1000"]
        );
    }

    #[test]
    fn an_axis_has_few_numbers_but_two_at_least() {
        let labels = |range| ticks(&range).into_iter().map(trimmed).collect::<Vec<_>>();
        assert_eq!(labels(0.003..400.0), ["0.01", "0.1", "1", "10", "100"]);
        assert_eq!(labels(4.0..120.0), ["5", "10", "20", "50", "100"]);
        assert_eq!(labels(0.73..1.38), ["0.8", "0.9", "1", "1.2"]);
    }

    #[test]
    fn a_plot_names_its_axes() {
        let curves: [Curve<'_>; 1] = [(0, &[[5_000, 1], [900_000, 9]])];
        let drawn = latencies("wakeup", "x", "latency", &curves).unwrap();
        assert!(
            drawn.contains("latency in us") && drawn.contains("share of all in %"),
            "{drawn}"
        );
    }

    #[test]
    fn every_scheduler_of_a_large_race_has_a_line_of_its_own() {
        let names: Vec<String> = (0..24).map(|index| format!("scx_{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let legend = legend(&names);
        let looks: HashSet<_> = (0..24)
            .map(|index| (colour(index).rgb(), dashes(index)))
            .collect();
        assert!(legend.contains("scx_23"));
        assert_eq!(looks.len(), names.len());
        assert_eq!(
            shortened("scx_lavd --performance --more"),
            "scx_lavd --performanc…"
        );
    }
}
