//! `--report`: one HTML file that opens without network, with plots, the machine, every command
//! line and every sample.

mod html;
mod plot;

use anyhow::Result;

use self::html::{escape, table};
use super::machine;
use super::results::{Figure, Results};
use super::runner::Distributions;
use super::table::significant;

/// What has to be said beside the results.
pub struct Context<'a> {
    /// The command line of this benchmark.
    pub command: String,
    /// Seed of order and workloads.
    pub seed: u64,
    /// Name and description of each workload that was run.
    pub workloads: Vec<(&'a str, &'a str)>,
    /// Latencies of all rounds.
    pub distributions: &'a Distributions,
}

/// Draws the report.
pub fn draw(results: &Results, context: &Context<'_>) -> Result<String> {
    let mut body = String::new();
    body += "<h1>scx_takt bench: schedulers raced against EEVDF</h1>\n";
    body += &notice(results);
    body += &summary(results);
    body += "<h2>Ratio to EEVDF</h2>\n<p>Median of the ratios of each round, with its 95 % interval, \
             on a logarithmic axis. <b>Right of the line is better</b> for every metric: where less is \
             better, the inverse is drawn.</p>\n";
    body += &plot::ratios(results)?;
    body += &latencies(context)?;
    body += &callbacks(results);
    body += &all_figures(results);
    body += &setting(results, context);
    Ok(html::page("scx_takt bench", &body))
}

fn notice(results: &Results) -> String {
    let mut notice = String::new();
    if !results.complete {
        notice += "<p class=\"worse\">Interrupted: these results are partial.</p>\n";
    }
    if results.deterministic {
        notice += "<p>Deterministic mode: one executed instruction is one nanosecond. There is no \
                   cache model; right for latency and cost, wrong for multi-core throughput.</p>\n";
    }
    notice
}

fn summary(results: &Results) -> String {
    let rows = results.schedulers.iter().map(|entrant| {
        let count = |verdict: &str| {
            let own = results
                .results
                .iter()
                .filter(|figure| figure.scheduler == entrant.name);
            own.filter(|figure| figure.verdict == verdict)
                .count()
                .to_string()
        };
        let load = entrant.load_s.map(|load_s| format!("{load_s:.2} s"));
        vec![
            escape(&entrant.name),
            escape(entrant.ops.as_deref().unwrap_or("-")),
            load.unwrap_or_else(|| "-".to_owned()),
            format!("<span class=\"better\">{}</span>", count("better")),
            format!("<span class=\"worse\">{}</span>", count("worse")),
            count("no difference shown"),
            escape(entrant.ejected.as_deref().unwrap_or("no")),
        ]
    });
    let header = [
        "scheduler",
        "ops",
        "load",
        "better",
        "worse",
        "no difference shown",
        "ejected",
    ];
    format!("<h2>Summary</h2>\n{}", table(&header, rows))
}

fn latencies(context: &Context<'_>) -> Result<String> {
    if context.distributions.is_empty() {
        return Ok(String::new());
    }
    let mut text = String::from(
        "<h2>Latency distributions</h2>\n<p>Share of all latencies of all counted rounds that are at \
         most so long. Further left is better.</p>\n<div class=\"plots\">\n",
    );
    for (workload, about) in &context.workloads {
        let own = context
            .distributions
            .iter()
            .filter(|(of, ..)| of == workload);
        let curves: Vec<_> = own
            .map(|(_, scheduler, steps)| (scheduler.as_str(), steps.as_slice()))
            .collect();
        if !curves.is_empty() {
            text += &plot::latencies(workload, about, &curves)?;
        }
    }
    Ok(text + "</div>\n")
}

fn callbacks(results: &Results) -> String {
    if results.callbacks.is_empty() {
        return String::new();
    }
    let rows = results.callbacks.iter().map(|cost| {
        vec![
            escape(&cost.scheduler),
            escape(&cost.workload),
            escape(&cost.op),
            cost.calls.to_string(),
            format!("{:.0}", cost.ns_per_call),
        ]
    });
    let header = ["scheduler", "workload", "callback", "calls", "ns per call"];
    let table = table(&header, rows);
    format!("<h2>Cost per callback</h2>\n<p>BPF run time, from a pass of its own.</p>\n{table}")
}

fn all_figures(results: &Results) -> String {
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
        "samples",
    ];
    let table = table(&header, results.results.iter().map(figure_row));
    format!("<h2>Every figure, every sample</h2>\n{table}")
}

fn figure_row(figure: &Figure) -> Vec<String> {
    let dash = || "-".to_owned();
    let range = |range: Option<[f64; 2]>, text: fn(f64) -> String| {
        range.map_or_else(dash, |[low, high]| {
            format!("{} to {}", text(low), text(high))
        })
    };
    let ratio = |ratio: f64| format!("{ratio:.3}");
    let class = match figure.verdict.as_str() {
        "better" => "better",
        "baseline" | "no difference shown" => "same",
        _ => "worse",
    };
    let samples: Vec<String> = figure
        .samples
        .iter()
        .map(|sample| significant(*sample))
        .collect();
    vec![
        escape(&figure.workload),
        escape(&figure.metric),
        escape(&figure.scheduler),
        figure.median.map_or_else(dash, significant),
        range(figure.ci95, significant),
        escape(&figure.unit),
        figure.ratio.map_or_else(dash, ratio),
        range(figure.ratio_ci95, ratio),
        format!("<span class=\"{class}\">{}</span>", escape(&figure.verdict)),
        samples.join(", "),
    ]
}

fn setting(results: &Results, context: &Context<'_>) -> String {
    let mut facts: Vec<(&str, String)> = machine::describe();
    facts.push(("CPUs used", results.cpus.to_string()));
    facts.push((
        "Rounds that count",
        format!("{} (and a warm-up)", results.rounds),
    ));
    facts.push(("Seed", context.seed.to_string()));
    facts.push(("This benchmark", context.command.clone()));
    let machine = table(
        &["", ""],
        facts
            .iter()
            .map(|(name, text)| vec![escape(name), format!("<code>{}</code>", escape(text))]),
    );
    let commands = results.schedulers.iter().map(|entrant| {
        let command = if entrant.command.is_empty() {
            "(the kernel's own)"
        } else {
            &entrant.command
        };
        vec![
            escape(&entrant.name),
            format!("<code>{}</code>", escape(command)),
        ]
    });
    let commands = table(&["scheduler", "command line"], commands);
    let workloads = context
        .workloads
        .iter()
        .map(|(name, about)| vec![escape(name), escape(about)]);
    let workloads = table(&["workload", "what it measures"], workloads);
    format!("<h2>Machine and commands</h2>\n{machine}{commands}<h2>Workloads</h2>\n{workloads}")
}
