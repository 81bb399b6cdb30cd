//! What is measured, and what is to be reached.

use super::client::{get, pause};
use super::scenario::{Cycle, Running, Scenario};
use super::table::{Limit, Row};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How much of everything.
#[derive(Debug, Clone)]
pub struct Size {
    pub binary: PathBuf,
    /// Members of the large organisation, and users of each.
    pub accounts: usize,
    pub users: usize,
    /// Members of the small organisation, with as many users each.
    pub few_accounts: usize,
    /// Users of the single account.
    pub single_users: usize,
    /// Members of the organisation of which one is throttled.
    pub throttled_accounts: usize,
    /// Repetitions of short measurements.
    pub rounds: usize,
    /// Number of scrapes.
    pub scrapes: usize,
    pub latency: Duration,
    /// The interval of checks where accounts are checked all the time.
    pub often: Duration,
    pub seed: u64,
}

/// A group of rows that one run measures.
pub type Measure = fn(&Size) -> anyhow::Result<Vec<Row>>;

/// The measurements by name.
pub const MEASURES: &[(&str, Measure)] = &[
    ("cycle", cycle),
    ("memory", memory),
    ("users", users),
    ("publish", super::publish::publish),
    ("scrape", scrape),
    ("throttled", throttled),
    ("live", live),
];

/// No second check within a measurement.
const ONCE: &str = "24h";

impl Size {
    fn organization(&self, members: usize) -> Scenario {
        Scenario {
            binary: self.binary.clone(),
            members: Some(members),
            users: self.users,
            latency: self.latency,
            changing: false,
            settings: vec![("collector", "report".into())],
            seed: self.seed,
        }
    }

    fn single(&self, collector: &str) -> Scenario {
        let scenario = Scenario { members: None, users: self.single_users, ..self.organization(0) };
        Scenario { settings: vec![("collector", collector.into())], ..scenario }
    }
}

fn first_cycle(scenario: &Scenario) -> anyhow::Result<(Cycle, Running)> {
    let mut running = scenario.start(|_| Ok(()))?;
    Ok((running.first_cycle(0)?, running))
}

fn describe(cycle: &Cycle) -> String {
    format!("{:.0} requests, fake AWS {:.2} s CPU", cycle.requests, cycle.fake_cpu)
}

/// The first cycle of the large organisation, with the default settings.
fn cycle(size: &Size) -> anyhow::Result<Vec<Row>> {
    let (cycle, running) = first_cycle(&size.organization(size.accounts).with("check.interval", ONCE))?;
    let (accounts, users) = (size.accounts, size.users);
    let what = format!("{accounts} accounts x {users} users, first cycle");
    let note = describe(&cycle);
    let peak = running.exporter.memory("VmHWM")?;
    Ok(vec![
        Row::new(format!("{what}, wall"), cycle.wall, "s", Limit::AtMost(20.0), note.clone()),
        Row::new(format!("{what}, CPU"), cycle.cpu, "s", Limit::AtMost(15.0), note),
        Row::new(format!("{what}, peak memory"), peak, "MiB", Limit::None, String::new()),
    ])
}

/// Resident memory after three cycles in which every report is another one.
fn memory(size: &Size) -> anyhow::Result<Vec<Row>> {
    let measure = |users: &str, limit: f64| -> anyhow::Result<Row> {
        let interval = format!("{}s", size.often.as_secs());
        let scenario = size.organization(size.accounts).with("check.interval", interval).with("metrics.users", users);
        let mut running = Scenario { changing: true, ..scenario }.start(|_| Ok(()))?;
        running.first_cycle(0)?;
        running.checked_times(size.accounts, 3)?;
        let (resident, peak) = (running.exporter.memory("VmRSS")?, running.exporter.memory("VmHWM")?);
        let note = format!("peak {peak:.0} MiB");
        let what = format!("{} accounts x {} users, three cycles, users={users}", size.accounts, size.users);
        Ok(Row::new(what, resident, "MiB", Limit::AtMost(limit), note))
    };
    Ok(vec![measure("all", 600.0)?, measure("violating", 150.0)?])
}

/// CPU time per user, of the large organisation and of one large account, by report.
fn users(size: &Size) -> anyhow::Result<Vec<Row>> {
    let per_user = |scenario: Scenario, rounds: usize| -> anyhow::Result<f64> {
        let scenario = scenario.with("check.interval", ONCE);
        let round = |_| Ok(first_cycle(&scenario)?.0.cpu / (scenario.checked() * scenario.users) as f64 * 1e6);
        Ok(median((0..rounds).map(round).collect::<anyhow::Result<_>>()?))
    };
    let many = per_user(size.organization(size.accounts), 1)?;
    let one = per_user(size.single("report"), size.rounds)?;
    let what = format!("CPU per user, {} users : {} in one account", size.accounts * size.users, size.single_users);
    Ok(vec![Row::new(what, many / one, "x", Limit::AtMost(1.2), format!("{many:.1} us : {one:.1} us"))])
}

/// The latency of scrapes while accounts are checked all the time, and while none is.
fn scrape(size: &Size) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for users in ["violating", "all"] {
        let scenario = size.organization(size.accounts).with("metrics.users", users);
        let idle = {
            let quiet = scenario.clone().with("check.interval", ONCE);
            let (_, running) = first_cycle(&quiet)?;
            latencies(&running, size.scrapes)?
        };
        let running = {
            let interval = format!("{}s", size.often.as_secs());
            let busy = Scenario { changing: true, ..scenario.with("check.interval", interval) };
            let (_, running) = first_cycle(&busy)?;
            latencies(&running, size.scrapes)?
        };
        let what = format!("scrape during a cycle : idle, p99, {} accounts, users={users}", size.accounts);
        let note = format!(
            "{:.1} ms : {:.1} ms; medians {:.1} ms : {:.1} ms",
            percentile(&running, 0.99),
            percentile(&idle, 0.99),
            percentile(&running, 0.5),
            percentile(&idle, 0.5)
        );
        let ratio = percentile(&running, 0.99) / percentile(&idle, 0.99);
        rows.push(Row::new(what, ratio, "x", Limit::AtMost(2.0), note));
    }
    Ok(rows)
}

/// Scrapes as Prometheus does, compressed, ten times a second. In milliseconds, sorted.
fn latencies(running: &Running, scrapes: usize) -> anyhow::Result<Vec<f64>> {
    get(running.port, "/metrics", true)?;
    let mut latencies: Vec<f64> = (0..scrapes)
        .map(|_| {
            pause(Duration::from_millis(100));
            let started = Instant::now();
            get(running.port, "/metrics", true)?;
            Ok(started.elapsed().as_secs_f64() * 1000.0)
        })
        .collect::<anyhow::Result<_>>()?;
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// One account that admits one request per second, and the time that all others take, with and without it.
fn throttled(size: &Size) -> anyhow::Result<Vec<Row>> {
    let scenario = size.organization(size.throttled_accounts).with("check.interval", ONCE);
    let others = |throttle: bool| -> anyhow::Result<f64> {
        let mut running = scenario.start(|port| {
            if throttle {
                get(port, "/fake/throttle?account=1&rate=1&burst=1", false)?;
            }
            Ok(())
        })?;
        let cycle = running.first_cycle(usize::from(throttle))?;
        let throttled = super::organization::Organization::account_id(1);
        let others = cycle.ends.iter().filter(|(labels, _)| !labels.contains(&throttled));
        Ok(others.map(|(_, at)| *at).fold(0.0, f64::max))
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        without.push(others(false)?);
        with.push(others(true)?);
    }
    let (with, without) = (median(with), median(without));
    let what = format!("one of {} accounts throttled to 1 request/s, cycle of the others", size.throttled_accounts);
    let note = format!("{with:.2} s : {without:.2} s");
    Ok(vec![Row::new(what, with / without, "x", Limit::AtMost(1.05), note)])
}

/// CPU time of a request, with an AWS that answers at once.
fn live(size: &Size) -> anyhow::Result<Vec<Row>> {
    let scenario = Scenario { latency: Duration::from_millis(1), ..size.single("live") };
    let scenario = scenario.with("check.interval", ONCE).with("aws.max_requests_per_second", "10000");
    let (cycle, _) = first_cycle(&scenario)?;
    let what = format!("{} users live, 1 ms a call, CPU per call", size.single_users);
    let note = format!("{}, {:.2} s wall, {:.2} s CPU", describe(&cycle), cycle.wall, cycle.cpu);
    Ok(vec![Row::new(what, cycle.cpu / cycle.requests * 1000.0, "ms", Limit::AtMost(0.4), note)])
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 0.5)
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let index = ((sorted.len() as f64 - 1.0) * share).ceil() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
