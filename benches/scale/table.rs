//! Results as a table, and as JSON.

use serde_json::{Value, json};
use std::process::Command;

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    AtMost(f64),
    /// For information.
    None,
}

/// One measured value.
#[derive(Debug, Clone)]
pub struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    limit: Limit,
    note: String,
}

impl Row {
    pub fn new(what: String, value: f64, unit: &'static str, limit: Limit, note: String) -> Row {
        Row { what, value, unit, limit, note }
    }

    /// `None` without a limit.
    pub fn reached(&self) -> Option<bool> {
        match self.limit {
            Limit::AtMost(limit) => Some(self.value <= limit),
            Limit::None => None,
        }
    }

    pub fn print(&self) {
        let limit = match self.limit {
            Limit::AtMost(limit) => format!("<= {limit} {}", self.unit),
            Limit::None => String::new(),
        };
        let verdict = match self.reached() {
            Some(true) => "reached",
            Some(false) => "NOT REACHED",
            None => "",
        };
        let value = format!("{:.*} {}", if self.value < 10.0 { 2 } else { 1 }, self.value, self.unit);
        println!("{:<68} {value:>11}  {limit:<12} {verdict:<11}  {}", self.what, self.note);
    }

    pub fn json(&self) -> Value {
        let limit = match self.limit {
            Limit::AtMost(limit) => json!(limit),
            Limit::None => Value::Null,
        };
        json!({
            "what": self.what, "value": self.value, "unit": self.unit, "to_reach": limit, "reached": self.reached(),
            "note": self.note,
        })
    }
}

pub fn print_heading() {
    println!("{:<68} {:>11}  {:<12} {:<11}  details", "what", "measured", "to reach", "");
}

/// The machine, as far as figures depend on it.
pub fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({
        "cpu": model.trim_matches([' ', '\t', ':']),
        "cores": cores,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").split(' ').next(),
    })
}

/// What the binary calls itself.
pub fn version(binary: &std::path::Path) -> String {
    let output = Command::new(binary).arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
