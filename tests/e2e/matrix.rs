//! The fault matrix of `docs/reliability.md`, executed. The document says what is expected; the code here injects each fault,
//! and compares what happens with the row of the document. No expectation is written twice.
//!
//! A section of the matrix is a function that returns its [`Injection`]s, and a test that calls [`execute`].
//! `FAULT=text cargo test --test e2e matrix` executes only the rows whose name contains the text.

mod aws;
mod files;
mod process;
mod scenario;
mod table;
mod throttled;

pub use table::Row;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Rows that are executed at the same time. Most of them wait most of the time.
const AT_ONCE: usize = 8;

/// Produces the fault of a row, and asserts what the row says.
pub struct Injection {
    /// The name of the row.
    fault: &'static str,
    run: fn(&Row),
}

impl Injection {
    pub const fn new(fault: &'static str, run: fn(&Row)) -> Self {
        Injection { fault, run }
    }
}

/// Executes the rows of a section. Each row has one injection, and each injection one row.
pub fn execute(section: &str, injections: &[Injection]) {
    let rows = table::section(section);
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(
        sorted(rows.iter().map(|row| row.fault.clone()).collect()),
        sorted(injections.iter().map(|injection| injection.fault.to_owned()).collect()),
        "the rows of {section} in docs/reliability.md (left) are not those that can be injected (right)"
    );
    let only = std::env::var("FAULT").unwrap_or_default();
    let waiting: Vec<Row> = rows.into_iter().filter(|row| row.fault.contains(&only)).rev().collect();
    let waiting = Mutex::new(waiting);
    let failed = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = next() {
                    let run = injections.iter().find(|injection| injection.fault == row.fault).unwrap().run;
                    let started = std::time::Instant::now();
                    let result = catch_unwind(AssertUnwindSafe(|| {
                        run(&row);
                        row.assert_complete();
                    }));
                    eprintln!("{}: {:.1} s", row.fault, started.elapsed().as_secs_f64());
                    if let Err(panic) = result {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                        let message = format!("{}: {}", row.fault, text.unwrap_or_default());
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failed.is_empty(), "{} rows of the fault matrix failed:\n{}", failed.len(), failed.join("\n\n"));
}

#[test]
fn faults_of_aws() {
    execute("AWS", &aws::injections());
}

#[test]
fn faults_of_files() {
    execute("Files", &files::injections());
}

#[test]
fn faults_of_the_process() {
    execute("Process", &process::injections());
}
