//! The table in the terminal: one line for each scheduler in each metric, losses as loud as wins.

use std::io::IsTerminal;

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};
use comfy_table::{LineStyle, TableStyle};

use super::results::{Figure, Results};

/// Draws the results for people.
pub fn draw(results: &Results) -> String {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut parts = vec![figures(results, colour).to_string()];
    if let Some(warning) = results.warning() {
        parts.push(format!("\n{warning}"));
    }
    if !results.callbacks.is_empty() {
        parts.push(format!("\n{}", callbacks(results)));
    }
    if !results.waits.is_empty() {
        parts.push(format!("\n{}\n", waits(results)));
    }
    if let Some(why) = &results.waits_missing {
        parts.push(format!("run-queue latency was not observed: {why}"));
    }
    parts.extend(results.rivals().map(|(_, rival)| rival).map(|entrant| {
        let load = entrant
            .load_s
            .map(|load_s| format!(", loaded in {load_s:.2} s"));
        let fate = entrant
            .ejected
            .as_ref()
            .map(|why| format!(", EJECTED: {why}"));
        format!(
            "{}: {}{}{}",
            entrant.name,
            tally(results, &entrant.name),
            load.unwrap_or_default(),
            fate.unwrap_or_default()
        )
    }));
    parts.join("\n")
}

fn table(header: &[&str], colour: bool) -> Table {
    let line = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table
        .load_style(TableStyle::new().header_separator(line))
        .set_header(header);
    table.set_content_arrangement(ContentArrangement::Disabled);
    if !colour {
        table.force_no_tty();
    }
    table
}

fn figures(results: &Results, colour: bool) -> Table {
    let header = [
        "workload",
        "metric",
        "scheduler",
        "median",
        "95 % interval",
        "unit",
        "ratio",
        "95 % interval",
        "verdict",
    ];
    let mut table = table(&header, colour);
    let mut previous: Option<&Figure> = None;
    for figure in &results.results {
        let same_workload = previous.is_some_and(|other| other.workload == figure.workload);
        let same_metric = same_workload && previous.is_some_and(|o| o.metric == figure.metric);
        let unless = |same: bool, text: &str| if same { String::new() } else { text.to_owned() };
        table.add_row(vec![
            Cell::new(unless(same_workload, &figure.workload)),
            Cell::new(unless(same_metric, &figure.metric)),
            Cell::new(&figure.scheduler),
            number(figure.median.map(significant)),
            number(
                figure
                    .ci95
                    .map(|[low, high]| interval(significant(low), significant(high))),
            ),
            Cell::new(&figure.unit),
            number(figure.ratio.map(|ratio| format!("{ratio:.3}"))),
            number(
                figure
                    .ratio_ci95
                    .map(|[l, h]| interval(format!("{l:.3}"), format!("{h:.3}"))),
            ),
            verdict(&figure.verdict),
        ]);
        previous = Some(figure);
    }
    table
}

fn callbacks(results: &Results) -> Table {
    let mut table = table(
        &["scheduler", "workload", "callback", "calls", "ns per call"],
        false,
    );
    for cost in &results.callbacks {
        table.add_row(vec![
            Cell::new(&cost.scheduler),
            Cell::new(&cost.workload),
            Cell::new(&cost.op),
            number(Some(cost.calls.to_string())),
            number(Some(format!("{:.0}", cost.ns_per_call))),
        ]);
    }
    table
}

/// How long all tasks waited for a CPU, the workload's and the system's.
fn waits(results: &Results) -> Table {
    let header = [
        "workload",
        "scheduler",
        "waits for a CPU",
        "count",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
    ];
    let mut table = table(&header, false);
    for waits in &results.waits {
        for (kind, found) in waits.parts() {
            let mut row = vec![
                Cell::new(&waits.workload),
                Cell::new(&waits.scheduler),
                Cell::new(kind),
                number(Some(found.count.to_string())),
            ];
            row.extend(found.times_us().map(|us| number(us.map(significant))));
            table.add_row(row);
        }
    }
    table
}

fn number(text: Option<String>) -> Cell {
    Cell::new(text.unwrap_or_else(|| "-".to_owned())).set_alignment(CellAlignment::Right)
}

fn interval(low: String, high: String) -> String {
    format!("{low} to {high}")
}

/// Wins and losses weigh the same; what went wrong weighs as much as a loss.
fn verdict(text: &str) -> Cell {
    let cell = Cell::new(text);
    match text {
        "better" => cell.fg(Color::Green).add_attribute(Attribute::Bold),
        "baseline" | "no difference shown" => cell,
        _ => cell.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}

/// Four significant digits, and no exponent.
pub fn significant(value: f64) -> String {
    let before_point = value.abs().max(1e-9).log10().floor() as i32 + 1;
    let decimals = (4 - before_point).clamp(0, 6) as usize;
    format!("{value:.decimals$}")
}

/// "3 better, 1 worse, 12 no difference shown" of one scheduler.
fn tally(results: &Results, scheduler: &str) -> String {
    let of = |verdict: &str| {
        let figures = results.results.iter();
        figures
            .filter(|f| f.scheduler == scheduler && f.verdict == verdict)
            .count()
    };
    let (better, worse) = (of("better"), of("worse"));
    format!(
        "{better} better, {worse} worse, {} no difference shown",
        of("no difference shown")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        assert_eq!(significant(1649.66), "1650");
        assert_eq!(significant(5.0319), "5.032");
        assert_eq!(significant(0.043_728_7), "0.04373");
        assert_eq!(significant(18_038_139.3), "18038139");
        assert_eq!(significant(0.0), "0.000000");
    }
}
