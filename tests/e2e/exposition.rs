//! Exact snapshots of the metrics of the inventory.
//!
//! `data/NAME.prom` is the exposition of `data/inventory.json` with the flags below. After an intended change, accept
//! the new output, review the difference, and commit it with the change:
//!
//! ```sh
//! ACCEPT_SNAPSHOTS=1 cargo test --test e2e exposition && git diff tests/e2e/data
//! ```

use crate::exporter::cli;
use crate::metrics::Metrics;
use std::path::PathBuf;

const INVENTORY: &str = include_str!("data/inventory.json");
const CONFIG: &str = include_str!("data/config.yaml");

fn exposition(flags: &[&str]) -> String {
    let command = cli(["check", "--output=prometheus", "--input.inventory=i.json", "--config.file=c.yaml"]).args(flags);
    // There are users of every status in it, also of unknown.
    let ran = command.file("i.json", INVENTORY).file("c.yaml", CONFIG).run().expect(3);
    Metrics::new(ran.stdout()).inventory()
}

#[track_caller]
fn is_as_accepted(name: &str, flags: &[&str]) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/e2e/data", &format!("{name}.prom")].iter().collect();
    let now = exposition(flags);
    if std::env::var_os("ACCEPT_SNAPSHOTS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let accepted = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    pretty_assertions::assert_str_eq!(now, accepted, "{name}");
}

#[test]
fn all_users() {
    is_as_accepted("all", &[]);
}

#[test]
fn with_everything_that_can_be_added() {
    is_as_accepted(
        "everything",
        &["--metrics.access-key-id", "--collect.tags=Owner,cost-centre", "--account.name=Prod \"1\""],
    );
}

#[test]
fn users_with_keys() {
    is_as_accepted("keyed", &["--metrics.users=keyed", "--metrics.user-info"]);
}

#[test]
fn users_in_violation() {
    is_as_accepted("violating", &["--metrics.users=violating"]);
}

#[test]
fn totals_only() {
    is_as_accepted("none", &["--metrics.users=none"]);
}

/// Every metric that the documentation promises is in the fullest snapshot, and no other.
#[test]
fn the_documented_metrics_are_all_there() {
    let text = exposition(&["--metrics.user-info", "--collect.tags=Owner"]);
    let mut exposed: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let page = include_str!("../../docs/metrics.md");
    let mut documented: Vec<&str> = page
        .lines()
        .filter_map(|l| l.strip_prefix("| `")?.split('`').next())
        .filter(|n| n.starts_with("aws_iam_"))
        .collect();
    exposed.sort_unstable();
    documented.sort_unstable();
    assert_eq!(exposed, documented);
}
