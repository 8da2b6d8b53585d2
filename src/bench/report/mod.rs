//! `--report`: one HTML file that opens without network, with plots, the machine, every command
//! line and every sample.

mod html;
mod plot;

use anyhow::Result;

use self::html::{escape, table};
use super::machine;
use super::results::{CallbackCost, Figure, Results};
use super::runner::Distributions;
use super::table::significant;
use super::waits::Waits;

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
    body += &format!(
        "<h1>scx_takt bench: schedulers compared with {}</h1>\n",
        escape(&results.baseline)
    );
    body += &notice(results);
    body += &summary(results);
    body += &format!("<h2>Ratio to {}</h2>\n", escape(&results.baseline));
    body += "<p>Median of the ratios of each round, with its 95 % interval, \
             on a logarithmic axis. <b>Right of the line is better</b> for every metric: where less is \
             better, the inverse is drawn. The figure beside a bar is its length.</p>\n";
    body += &plot::ratios(results)?;
    body += &latencies(results, context)?;
    body += &waits(results, context)?;
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
        let cpus = if results.side_by_side {
            ", and all CPUs run at the same time"
        } else {
            ""
        };
        let caches = match &results.caches {
            Some(name) => format!("Accesses to memory cost what they cost on {}", escape(name)),
            None => "There is no cache model".to_owned(),
        };
        notice += &format!(
            "<p>Deterministic mode: one executed instruction is one nanosecond{cpus}. {caches}.</p>\n"
        );
    }
    if let Some(warning) = results.warning() {
        notice += &format!("<p class=\"worse\">{}</p>\n", escape(warning));
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
        let load = entrant.load_s.map(|load_s| format!("{load_s:.2}&nbsp;s"));
        vec![
            escape(&entrant.name),
            // Long names may be broken where they have underscores.
            escape(entrant.ops.as_deref().unwrap_or("-")).replace('_', "_<wbr>"),
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
    format!(
        "<h2>Summary</h2>\n<p>{}</p>\n{}",
        "<i>better</i> and <i>worse</i> are said of a metric whose interval excludes 1, whose ratio differs \
         by at least 1 %, and which is not to be expected by chance among so many metrics.",
        table(&header, rows)
    )
}

fn latencies(results: &Results, context: &Context<'_>) -> Result<String> {
    if context.distributions.is_empty() {
        return Ok(String::new());
    }
    let mut text = String::from(
        "<h2>Latency distributions</h2>\n<p>Share of all latencies of all counted rounds that are at \
         most so long. Further left is better.</p>\n",
    );
    text += &plot::legend(&names(results));
    text += "<div class=\"plots\">\n";
    for (workload, about) in &context.workloads {
        let own = context
            .distributions
            .iter()
            .filter(|(of, ..)| of == workload);
        let curves = own.filter_map(|(_, scheduler, steps)| {
            Some((place_of(results, scheduler)?, steps.as_slice()))
        });
        let curves: Vec<plot::Curve<'_>> = curves.collect();
        if !curves.is_empty() {
            text += &plot::latencies(workload, about, "latency", &curves)?;
        }
    }
    Ok(text + "</div>\n")
}

/// Run-queue latency of all tasks: a curve for each scheduler and a table.
fn waits(results: &Results, context: &Context<'_>) -> Result<String> {
    let mut text = String::from("<h2>Run-queue latency</h2>\n");
    if let Some(why) = &results.waits_missing {
        return Ok(text + &format!("<p>Not observed: {}</p>\n", escape(why)));
    }
    if results.waits.is_empty() {
        return Ok(String::new());
    }
    text += "<p>How long all tasks, the workload's and the system's, waited for a CPU once they were \
             ready, from a pass of its own with tracing programs. The curves are the waits of tasks that \
             had slept; the table has those of tasks that were put back as well.</p>\n";
    text += &plot::legend(&names(results));
    text += "<div class=\"plots\">\n";
    for (workload, about) in &context.workloads {
        let own = results.waits.iter().filter(|of| of.workload == *workload);
        let curves = own.filter_map(|waits| {
            let steps = waits.wakeups.distribution.as_slice();
            Some((place_of(results, &waits.scheduler)?, steps))
        });
        let curves: Vec<plot::Curve<'_>> = curves.collect();
        if !curves.is_empty() {
            text += &plot::latencies(workload, about, "wait after sleep", &curves)?;
        }
    }
    text += "</div>\n";
    let rows = results.waits.iter().flat_map(wait_rows);
    let header = [
        "workload",
        "scheduler",
        "waits for a CPU",
        "count",
        "p50, us",
        "p99, us",
        "p99.9, us",
        "max, us",
    ];
    Ok(text + &table(&header, rows))
}

fn wait_rows(waits: &Waits) -> impl Iterator<Item = Vec<String>> {
    waits.parts().into_iter().map(|(kind, found)| {
        let (workload, scheduler) = (escape(&waits.workload), escape(&waits.scheduler));
        let count = found.count.to_string();
        let times = found.times_us();
        let times = times.map(|us| us.map_or_else(|| "-".to_owned(), significant));
        let mut row = vec![workload, scheduler, kind.to_owned(), count];
        row.extend(times);
        row
    })
}

fn names(results: &Results) -> Vec<&str> {
    let all = results.schedulers.iter();
    all.map(|entrant| entrant.name.as_str()).collect()
}

/// Index of a scheduler among all, which gives its colour.
fn place_of(results: &Results, scheduler: &str) -> Option<usize> {
    let mut all = results.schedulers.iter();
    all.position(|entrant| entrant.name == scheduler)
}

fn callbacks(results: &Results) -> String {
    if results.callbacks.is_empty() {
        return String::new();
    }
    let mut text =
        "<h2>Cost per callback</h2>\n<p>BPF run time of one call in ns, and how many there were, \
                    from a pass of its own.</p>\n"
            .to_owned();
    let costs = &results.callbacks;
    let schedulers = distinct(costs, |cost| &cost.scheduler);
    let mut header = vec!["callback"];
    header.extend(&schedulers);
    for workload in distinct(costs, |cost| &cost.workload) {
        let own: Vec<&CallbackCost> = costs.iter().filter(|c| c.workload == workload).collect();
        let mut ops: Vec<&str> = own.iter().map(|cost| cost.op.as_str()).collect();
        ops.sort_unstable();
        ops.dedup();
        let rows = ops.into_iter().map(|op| {
            let of = |name: &&str| own.iter().find(|c| c.op == op && c.scheduler == *name);
            let cell = |found: &&CallbackCost| {
                format!("{:.0} <small>× {}</small>", found.ns_per_call, found.calls)
            };
            let cells = schedulers
                .iter()
                .map(|name| of(name).map_or_else(String::new, cell));
            std::iter::once(escape(op)).chain(cells).collect()
        });
        text += &format!("<h3>{}</h3>\n{}", escape(workload), table(&header, rows));
    }
    text
}

/// The different names among `costs`, in the order in which they come.
fn distinct(costs: &[CallbackCost], name: impl Fn(&CallbackCost) -> &String) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for cost in costs {
        let name = name(cost).as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
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

#[cfg(test)]
mod tests {
    use super::super::results::{Entrant, tests::figure};
    use super::super::waits::Quantiles;
    use super::*;

    const METRICS: [(&str, &str); 5] = [
        ("wakeup", "p99"),
        ("wakeup", "cpu_work"),
        ("pipe", "time"),
        ("messaging-fork", "time"),
        ("fairness", "cgroup_error"),
    ];

    fn entrant(name: &str) -> Entrant {
        Entrant {
            name: name.to_owned(),
            ops: Some(format!("{name}_1.2.3_x86_64_unknown_linux_gnu")),
            command: format!("/usr/bin/{name}"),
            load_s: Some(0.5),
            ejected: None,
        }
    }

    fn quantiles(steps: &[[u64; 2]]) -> Quantiles {
        Quantiles {
            count: 100,
            p50_ns: Some(4_000),
            p99_ns: Some(9_000),
            p999_ns: None,
            max_ns: None,
            distribution: steps.to_vec(),
        }
    }

    /// Latencies around a place of its own for each scheduler: `[upper bound in ns, count]`.
    fn steps(place: u64) -> Vec<[u64; 2]> {
        (1..40).map(|n| [n * n * n * 300 * place, 41 - n]).collect()
    }

    fn comparison(names: &[&str]) -> Results {
        let mut results = Results {
            kernel: "7.2".into(),
            cpus: 1,
            deterministic: true,
            side_by_side: false,
            caches: None,
            machine: None,
            rounds: 3,
            baseline: "eevdf".into(),
            complete: true,
            schedulers: names.iter().map(|name| entrant(name)).collect(),
            results: Vec::new(),
            callbacks: Vec::new(),
            waits: Vec::new(),
            waits_missing: None,
        };
        for (row, (workload, metric)) in METRICS.iter().enumerate() {
            for (place, name) in names.iter().enumerate() {
                let ratio = 0.02 * (1.0 + place as f64).powi(row as i32 % 4);
                results
                    .results
                    .push(figure(workload, metric, name, Some(ratio)));
            }
        }
        for (place, name) in (1..).zip(names) {
            results.waits.push(Waits {
                scheduler: (*name).to_owned(),
                workload: "wakeup".to_owned(),
                all: quantiles(&[]),
                wakeups: quantiles(&steps(place)),
            });
            results.callbacks.push(CallbackCost {
                scheduler: (*name).to_owned(),
                workload: "wakeup".to_owned(),
                op: format!("op_{}", place % 4),
                calls: 1_000 * place,
                ns_per_call: 200.0,
            });
        }
        results
    }

    /// `TAKT_REPORT_SAMPLE=FILE` keeps the page, to look at it in a browser.
    #[test]
    fn report_shows_every_scheduler_in_every_part() {
        let rivals: Vec<String> = (1..11)
            .map(|index| format!("scx_rival{index:02}"))
            .collect();
        let names: Vec<&str> = std::iter::once("eevdf")
            .chain(rivals.iter().map(String::as_str))
            .collect();
        let results = comparison(&names);
        let distributions: Distributions = (1..)
            .zip(&names)
            .map(|(place, name)| ("wakeup".to_owned(), (*name).to_owned(), steps(place)))
            .collect();
        let context = Context {
            command: "scx_takt bench".to_owned(),
            seed: 1,
            workloads: vec![("wakeup", "how late"), ("pipe", "round trips")],
            distributions: &distributions,
        };
        let page = draw(&results, &context).unwrap();
        if let Some(file) = std::env::var_os("TAKT_REPORT_SAMPLE") {
            std::fs::write(file, &page).unwrap();
        }
        for name in &rivals {
            // Summary, two legends, callbacks, waits twice, command line; each bar and each figure.
            let least = 7 + 2 * METRICS.len();
            let found = page.matches(name.as_str()).count();
            assert!(found >= least, "{name}: {found} times");
        }
        let loads = ["<script", "<link", "https://", "src=", "url("];
        assert!(loads.iter().all(|word| !page.contains(word)));
    }

    #[test]
    fn what_could_not_be_observed_is_said() {
        let mut results = comparison(&["eevdf", "x"]);
        results.waits.clear();
        results.waits_missing = Some("needs <root>".to_owned());
        let context = Context {
            command: String::new(),
            seed: 1,
            workloads: Vec::new(),
            distributions: &Vec::new(),
        };
        let page = draw(&results, &context).unwrap();
        assert!(page.contains("Not observed: needs &lt;root&gt;"));
    }
}
