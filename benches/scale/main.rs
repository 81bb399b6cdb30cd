//! The exporter at the scale of an organisation: `make bench-scale`, or `cargo bench --bench scale -- [ROW...] [OPTIONS]`.
//!
//! Starts the exporter of `IAM_KEY_EXPORTER_BIN` against a fake AWS (this program again, as a process of its own), measures
//! CPU time, memory and durations, prints a table with what is to be reached, and writes it as JSON. `cargo test` runs all
//! of it in a small size, so that it does not rot; figures of that run mean nothing.

mod answers;
mod client;
mod fake;
mod organization;
mod process;
mod publish;
mod rows;
mod scenario;
mod table;

use anyhow::{Context as _, bail, ensure};
use rows::{MEASURES, Measure, Size};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: cargo bench --bench scale -- [ROW...] [OPTION...]
  ROW                cycle, memory, users, publish, scrape, throttled, live; all of them without one
  --accounts N       members of the organisation (1000)
  --users N          users of each (500)
  --single-users N   users of the single account (5000)
  --latency-ms N     time that a call of AWS takes (50)
  --rounds N         repetitions of short measurements (3)
  --scrapes N        scrapes of each kind (300)
  --seed N           of accounts, users and keys (1)
  --json FILE        where the result is written (target/bench-scale.json)
The exporter is that of IAM_KEY_EXPORTER_BIN, or else target/release/iam-key-exporter.";

struct Options {
    measures: Vec<(&'static str, Measure)>,
    size: Size,
    json: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("fake") => process::fake_settings(&arguments[1..]).and_then(fake::run).map(|()| ExitCode::SUCCESS),
        _ if arguments.iter().any(|a| a == "--help") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        // cargo bench passes --bench, cargo test does not.
        _ if arguments.iter().any(|a| a == "--bench") => bench(&arguments),
        _ => smoke(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("scale: {error:?}");
        ExitCode::FAILURE
    })
}

fn bench(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = options(arguments)?;
    ensure!(options.size.binary.exists(), "no exporter at {}: cargo build --release", options.size.binary.display());
    let (version, machine) = (table::version(&options.size.binary), table::machine());
    println!("{version}; {machine}");
    table::print_heading();
    let mut rows = Vec::new();
    for (name, measure) in &options.measures {
        let measured = measure(&options.size).with_context(|| format!("row {name}"))?;
        measured.iter().for_each(table::Row::print);
        rows.extend(measured);
    }
    let result = json!({
        "date": jiff::Timestamp::now().to_string(),
        "exporter": version,
        "machine": machine,
        "command": format!("cargo bench --bench scale -- {}", arguments.join(" ")),
        "rows": rows.iter().map(table::Row::json).collect::<Vec<_>>(),
    });
    std::fs::write(&options.json, format!("{result:#}\n"))
        .with_context(|| format!("cannot write {}", options.json.display()))?;
    let missed = rows.iter().filter(|row| row.reached() == Some(false)).count();
    println!("{} rows, {missed} not reached; written to {}", rows.len(), options.json.display());
    Ok(ExitCode::SUCCESS)
}

fn options(arguments: &[String]) -> anyhow::Result<Options> {
    let binary =
        std::env::var_os("IAM_KEY_EXPORTER_BIN").map_or("target/release/iam-key-exporter".into(), PathBuf::from);
    let mut options = Options { measures: Vec::new(), size: full(binary), json: "target/bench-scale.json".into() };
    let mut rest = arguments.iter().filter(|a| *a != "--bench");
    while let Some(argument) = rest.next() {
        if let Some(measure) = MEASURES.iter().find(|(name, _)| name == argument) {
            options.measures.push(*measure);
            continue;
        }
        let value = rest.next().with_context(|| format!("{argument}: no such row, or no value\n{USAGE}"))?;
        let number = || value.parse::<usize>().with_context(|| format!("{argument} {value}"));
        let size = &mut options.size;
        match argument.as_str() {
            "--accounts" => size.accounts = number()?.max(1),
            "--users" => size.users = number()?.max(1),
            "--single-users" => size.single_users = number()?.max(1),
            "--latency-ms" => size.latency = Duration::from_millis(number()? as u64),
            "--rounds" => size.rounds = number()?.max(1),
            "--scrapes" => size.scrapes = number()?.max(1),
            "--seed" => size.seed = number()? as u64,
            "--json" => options.json = value.into(),
            _ => bail!("{argument}: no such option\n{USAGE}"),
        }
    }
    if options.measures.is_empty() {
        options.measures = MEASURES.to_vec();
    }
    Ok(options)
}

fn full(binary: PathBuf) -> Size {
    Size {
        binary,
        accounts: 1000,
        users: 500,
        few_accounts: 10,
        single_users: 5000,
        throttled_accounts: 300,
        rounds: 3,
        scrapes: 300,
        latency: Duration::from_millis(50),
        often: Duration::from_secs(30),
        seed: 1,
    }
}

/// As a test of cargo: every measurement in a small size.
fn smoke(arguments: &[String]) -> anyhow::Result<ExitCode> {
    const NAME: &str = "every_row_is_measured";
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let selected = names.is_empty() || names.iter().any(|name| NAME.contains(*name));
    if arguments.iter().any(|a| a == "--list") {
        println!("{NAME}: test\n\n1 test, 0 benchmarks");
        return Ok(ExitCode::SUCCESS);
    }
    if selected {
        let size = Size {
            accounts: 4,
            users: 20,
            few_accounts: 2,
            single_users: 40,
            throttled_accounts: 4,
            rounds: 1,
            scrapes: 3,
            latency: Duration::from_millis(1),
            often: Duration::from_secs(1),
            ..full(env!("CARGO_BIN_EXE_iam-key-exporter").into())
        };
        for (name, measure) in MEASURES {
            let rows = measure(&size).with_context(|| format!("row {name}"))?;
            ensure!(!rows.is_empty(), "row {name} is empty");
        }
        println!("test {NAME} ... ok");
    }
    println!("\ntest result: ok. {} passed; 0 failed", u8::from(selected));
    Ok(ExitCode::SUCCESS)
}
