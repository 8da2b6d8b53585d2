//! The cgroups of a snapshot as a table: of `stats --cgroups`, and of a page of `top`.

use crate::snapshot::Cgroup;

/// A heading, and a line for each. Paths come last, as they may be long.
pub fn table(cgroups: &[Cgroup]) -> Vec<String> {
    let heading = format!(
        "{:>7} {:>6} {:>15} {:>9} {:>9} {:>13}  cgroup",
        "CPU %", "weight", "cpu.max ms", "periods", "throttled", "throttled ms"
    );
    let lines = cgroups.iter().map(line);
    [heading].into_iter().chain(lines).collect()
}

fn line(cgroup: &Cgroup) -> String {
    let unknown = || "-".to_owned();
    let weight = match cgroup.weight {
        Some(0) => "idle".to_owned(),
        weight => weight.map_or_else(unknown, |weight| weight.to_string()),
    };
    let count = |count: fn(&crate::snapshot::Throttling) -> u64| {
        let known = cgroup.throttling.as_ref();
        known.map_or_else(unknown, |known| count(known).to_string())
    };
    format!(
        "{:>7.1} {weight:>6} {:>15} {:>9} {:>9} {:>13}  {}",
        cgroup.used_permille as f64 / 10.0,
        limit(cgroup),
        count(|known| known.nr_periods),
        count(|known| known.nr_throttled),
        count(|known| known.throttled_ns / 1_000_000),
        cgroup.path
    )
}

/// Quota and period, in ms.
fn limit(cgroup: &Cgroup) -> String {
    let ms = |ns: u64| ns as f64 / 1e6;
    match (cgroup.quota_ns, cgroup.period_ns) {
        (Some(quota_ns), period_ns) => format!("{}/{}", ms(quota_ns), ms(period_ns)),
        (None, 0) => "-".to_owned(),
        (None, _) => "max".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing;

    #[test]
    fn one_line_each_with_units_in_the_heading() {
        assert_eq!(
            table(&testing::cgroups(2)),
            [
                "  CPU % weight      cpu.max ms   periods throttled  throttled ms  cgroup",
                "   90.0    100             max         0         0             0  /a.slice",
                "   20.0   idle          20/100        20        20           160  /a.slice/web",
                "    0.5      -               -         -         -             -  /other",
            ]
        );
    }
}
