//! Reads the text format 0.0.4 of Prometheus, strictly: what Prometheus accepts in several forms has the one that the
//! exporter writes.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of a sample, by name.
pub type Labels = BTreeMap<String, String>;

/// What a page contains: the value of each series.
pub type Samples = BTreeMap<(String, Labels), f64>;

/// Reads a page; panics if it is not one, or if a family, a series or a label occurs twice.
pub fn read(page: &str) -> Samples {
    let mut samples = Samples::new();
    let mut families = BTreeSet::new();
    let mut lines = page.split_inclusive('\n').peekable();
    while let Some(help) = lines.next() {
        let (family, _) = description(help, "# HELP ");
        let (typed, kind) = description(lines.next().expect("a type follows the help"), "# TYPE ");
        assert_eq!(family, typed);
        assert!(matches!(kind, "gauge" | "counter"), "{family} is a {kind}");
        assert!(families.insert(family), "the family {family} occurs twice");
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (name, labels, value) = sample(line);
            assert_eq!(name, family, "a sample of another family: {line}");
            assert!(samples.insert((name.to_owned(), labels), value).is_none(), "{line} occurs twice");
        }
    }
    samples
}

fn description<'a>(line: &'a str, begin: &str) -> (&'a str, &'a str) {
    let rest = line.strip_prefix(begin).and_then(|line| line.strip_suffix('\n'));
    let (family, text) = rest.and_then(|rest| rest.split_once(' ')).unwrap_or_else(|| panic!("{line:?} is no {begin}"));
    assert!(is_name(family, true), "{family:?} is no name of a metric");
    (family, text)
}

fn is_name(text: &str, of_metric: bool) -> bool {
    let mut bytes = text.bytes();
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_' || of_metric && b == b':';
    bytes.next().is_some_and(first) && bytes.all(|b| first(b) || b.is_ascii_digit())
}

fn sample(line: &str) -> (&str, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no end of the name: {line:?}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name, true), "{name:?} is no name of a metric");
    let mut labels = Labels::new();
    if let Some(after) = rest.strip_prefix('{') {
        rest = after;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no value of a label: {line:?}"));
            assert!(is_name(label, false), "{label:?} is no name of a label");
            let (value, after) = quoted(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{label} occurs twice: {line:?}");
            rest = after.get(1..).unwrap_or_default();
            match after.chars().next() {
                Some(',') => {}
                Some('}') => break,
                _ => panic!("neither the next label nor the end of them: {line:?}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').and_then(|rest| rest.strip_suffix('\n'));
    let value = value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no value: {line:?}"));
    (name, labels, value)
}

/// A label value up to its quotation mark, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next() {
            Some('"') => return (value, chars.as_str()),
            Some('\\') => value.push(match chars.next() {
                Some('n') => '\n',
                Some(c @ ('\\' | '"')) => c,
                other => panic!("no escape sequence: {other:?} in {text:?}"),
            }),
            Some('\n') | None => panic!("a label value without an end: {text:?}"),
            Some(c) => value.push(c),
        }
    }
}
