//! The tables of `docs/reliability.md`.

use crate::exporter::wait_for;
use crate::metrics::Metrics;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

const DOCUMENT: &str = include_str!("../../../docs/reliability.md");
/// What precedes the limit of memory of rows that have none.
const MEMORY: &str = "The peak of memory is at most ";
const HEADER: &str = "| fault | expected metrics | expected log | recovery |";

/// The rows of the table below a heading.
pub fn section(name: &str) -> Vec<Row> {
    let heading = format!("### {name}");
    let mut lines = DOCUMENT.lines().skip_while(|line| *line != heading).skip_while(|line| !line.starts_with('|'));
    assert_eq!(lines.next(), Some(HEADER), "the table of {name} in docs/reliability.md");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(Row::parse).collect()
}

/// A row: a fault and what is expected. A cell is a list of items that are separated by semicolons; in the cell of the log,
/// the lines are separated by `<br>`.
#[derive(Debug)]
pub struct Row {
    /// The name of the fault.
    pub fault: String,
    /// Items of the metrics and of the recovery, and lines of the log that quote nothing.
    items: BTreeSet<String>,
    /// For each line of the log, the texts that it contains.
    log: Vec<Vec<String>>,
    /// Items that the injection has asked for.
    asserted: Mutex<BTreeSet<String>>,
}

/// A value that a series is expected to have.
#[derive(Debug)]
pub struct Sample<'a> {
    /// The name, and labels other than `account_id`.
    series: &'a str,
    /// A number, `about` a number, `N days ago`, `absent`, `stays` or `grows`.
    value: &'a str,
}

impl Row {
    fn parse(line: &str) -> Row {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [fault, metrics, log, recovery] = cells[..] else { panic!("a row has four cells: {line}") };
        let mut items: BTreeSet<_> =
            [metrics, recovery].into_iter().flat_map(|cell| outside_of_code(cell, ';')).collect();
        let texts = |line: &str| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let lines = log.split("<br>").filter(|line| *line != "nothing");
        let (quoted, other): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains('`'));
        items.extend(other.into_iter().map(str::to_owned));
        let log = quoted.into_iter().map(texts).collect();
        Row { fault: fault.into(), items, log, asserted: Mutex::default() }
    }

    /// Whether the row has this item. Asking means that the injection asserts it.
    pub fn says(&self, item: &str) -> bool {
        let found = self.items.contains(item);
        if found {
            self.asserted.lock().unwrap_or_else(PoisonError::into_inner).insert(item.to_owned());
        }
        found
    }

    /// The rest of the item that begins so, without code quotes. Asking means that the injection asserts it.
    pub fn value(&self, beginning: &str) -> Option<&str> {
        let item = self.items.iter().find(|item| item.starts_with(beginning))?;
        assert!(self.says(item));
        Some(item[beginning.len()..].trim().trim_matches('`'))
    }

    /// The values of series. Asking means that the injection asserts them.
    pub fn samples(&self) -> Vec<Sample<'_>> {
        let series = self.items.iter().filter(|item| item.starts_with('`'));
        let samples = series.map(|item| {
            assert!(self.says(item));
            let (series, value) = item[1..].split_once("` ").unwrap_or_else(|| panic!("no value: {item}"));
            Sample { series: if series == "up" { "iam_key_exporter_account_up" } else { series }, value }
        });
        samples.collect()
    }

    /// How far the peak of the resident memory may be above that of an exporter without a fault, in KiB: the limit of the
    /// row, or that of all rows without one.
    pub fn memory_limit(&self) -> u64 {
        let of_row = self.value("memory at most ").and_then(|limit| limit.strip_suffix(" MiB above idle"));
        let limit = of_row.unwrap_or_else(|| {
            let (_, after) = DOCUMENT.split_once(MEMORY).expect("the limit of memory in docs/reliability.md");
            after.split(' ').next().unwrap_or_default()
        });
        limit.parse::<u64>().expect("a number of MiB") << 10
    }

    /// For each line that is logged once when the fault begins, the texts that it contains.
    pub fn log(&self) -> &[Vec<String>] {
        &self.log
    }

    /// Fails unless the injection has asserted every item of the row.
    pub fn assert_complete(&self) {
        let asserted = self.asserted.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<_> = self.items.difference(&asserted).collect();
        assert!(missing.is_empty(), "the injection does not assert {missing:?}");
    }
}

impl Sample<'_> {
    /// Whether the value is expected to grow, which can take more than a check.
    pub fn grows(&self) -> bool {
        self.value == "grows"
    }

    /// The metrics as soon as the value has grown.
    pub fn wait(&self, account: &str, before: Option<&Metrics>, now: impl Fn() -> Metrics) -> Metrics {
        let earlier = before.and_then(|before| self.of(account, before)).unwrap_or(0.0);
        wait_for(&format!("{self:?}"), || Some(now()).filter(|now| self.of(account, now) > Some(earlier)))
    }

    /// Fails unless the series of this account has the expected value. `before` is from before the fault, `None` if the fault
    /// is there from the start.
    #[track_caller]
    pub fn assert(&self, account: &str, before: Option<&Metrics>, now: &Metrics) {
        let found = self.of(account, now);
        let earlier = before.and_then(|before| self.of(account, before));
        let holds = match self.value {
            "absent" => found.is_none(),
            // What was never known is unknown.
            "stays" => found == earlier,
            "grows" => found > Some(earlier.unwrap_or(0.0)),
            value => {
                let number = |text: &str| text.parse::<f64>().unwrap_or_else(|_| panic!("no value: {self:?}"));
                let days_ago = |days: &str| Timestamp::now().as_second() as f64 - 86_400.0 * number(days);
                let (expected, tolerance) = match (value.strip_prefix("about "), value.strip_suffix(" days ago")) {
                    (Some(value), _) => (number(value), 5.0),
                    // Rows take some time.
                    (_, Some(days)) => (days_ago(days), 120.0),
                    _ => (number(value), 0.0),
                };
                found.is_some_and(|found| (found - expected).abs() <= tolerance)
            }
        };
        assert!(holds, "{self:?}: it is {found:?}, and was {earlier:?}");
    }

    /// The value of the series of this account, or of the exporter as a whole.
    pub fn of(&self, account: &str, metrics: &Metrics) -> Option<f64> {
        let label = format!("account_id=\"{account}\"");
        let series = match self.series.split_once('{') {
            Some((name, labels)) => format!("{name}{{{label},{labels}"),
            None => format!("{}{{{label}}}", self.series),
        };
        metrics.value(&series).or_else(|| metrics.value(self.series))
    }
}

/// The parts between separators that are not in backticks.
fn outside_of_code(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut in_code = false;
    for c in text.chars() {
        in_code ^= c == '`';
        if c == separator && !in_code {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(c);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Tests that the document names, and that exist, in files that are not in this crate as well.
#[test]
fn the_tests_that_are_named_exist() {
    let named: Vec<(&str, &str)> =
        DOCUMENT.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect();
    assert!(named.len() > 10, "{named:?}");
    for (file, name) in named {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let is_test = |start: &str| source.contains(&format!("{start} {name}("));
        assert!(is_test("fn") || is_test("def"), "{file} has no test {name}");
    }
}

#[test]
fn a_row_is_parsed() {
    let row = Row::parse(
        "| a fault | `up` 0; reason `x_y`; `m{a=\"b;c\"}` 2 | `check failed` and `for it`<br>`more` | next check |",
    );
    assert_eq!(row.fault, "a fault");
    assert_eq!(row.log(), [vec!["check failed".to_owned(), "for it".to_owned()], vec!["more".to_owned()]]);
    assert!(!row.says("data unchanged"));
    assert!(row.says("next check"));
    assert_eq!(row.value("reason"), Some("x_y"));
    let metrics =
        Metrics::new("m{account_id=\"1\",a=\"b;c\"} 2\niam_key_exporter_account_up{account_id=\"1\"} 0\n".into());
    assert_eq!(row.samples().len(), 2);
    row.samples().iter().for_each(|sample| sample.assert("1", None, &metrics));
    row.assert_complete();
}

#[test]
#[should_panic = "the injection does not assert [\"data unchanged\"]"]
fn a_row_that_says_more_than_is_asserted_fails() {
    Row::parse("| x | data unchanged | nothing | next check |").tap().assert_complete();
}

#[cfg(test)]
impl Row {
    fn tap(self) -> Self {
        assert!(self.says("next check"));
        self
    }
}
