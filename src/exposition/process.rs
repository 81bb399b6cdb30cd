//! What this process uses: the `process_*` metrics that Prometheus' client libraries agree on.
//!
//! They are read at every scrape and must not make up most of its cost: one read of a file that stays open, and the
//! size of a directory. Values that the system does not provide are left out.

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use std::fmt::{Display, Write};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

const FILES: &str = "/proc/self/fd";

/// Reads what this process uses from `/proc`.
pub struct Process {
    stat: Option<File>,
    /// When the machine was started, seconds since the epoch.
    boot: Option<u64>,
}

/// Of proc(5)'s `/proc/PID/stat`, in the system's own units.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Process {
    /// The current process.
    pub fn current() -> Self {
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| parse_boot(&text));
        Process { stat: File::open("/proc/self/stat").ok(), boot }
    }

    /// The metrics at this moment, in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(1536);
        if let Some(stat) = self.stat() {
            let ticks = clock_ticks_per_second() as f64;
            let cpu = stat.cpu_ticks as f64 / ticks;
            add(&mut out, "process_cpu_seconds_total", "counter", "Processor time, user and system, in seconds.", cpu);
            let resident = stat.resident_pages * page_size() as u64;
            add(&mut out, "process_resident_memory_bytes", "gauge", "Resident memory in bytes.", resident);
            let total = stat.virtual_bytes;
            add(&mut out, "process_virtual_memory_bytes", "gauge", "Virtual memory in bytes.", total);
            add(&mut out, "process_threads", "gauge", "Threads of the process.", stat.threads);
            if let Some(boot) = self.boot {
                let start = boot as f64 + stat.start_ticks as f64 / ticks;
                let help = "When the process was started, in seconds since the epoch.";
                add(&mut out, "process_start_time_seconds", "gauge", help, start);
            }
        }
        if let Some(open) = open_files() {
            add(&mut out, "process_open_fds", "gauge", "Open file descriptors.", open);
        }
        // Without a limit there is no number.
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            add(&mut out, "process_max_fds", "gauge", "Limit of open file descriptors.", limit);
        }
        out
    }

    fn stat(&self) -> Option<Stat> {
        let mut buffer = [0; 1024];
        let length = self.stat.as_ref()?.read_at(&mut buffer, 0).ok()?;
        parse_stat(std::str::from_utf8(&buffer[..length]).ok()?)
    }
}

fn add(out: &mut String, name: &str, kind: &str, help: &str, value: impl Display) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}").expect("a string takes everything");
}

/// The program's name stands in parentheses and may hold spaces and parentheses itself: what follows the last one counts.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
    // proc(5) counts from 1, and the first field here is its third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

fn parse_boot(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Kernels from 6.2 on return the number as the size of the directory; older ones return 0.
fn open_files() -> Option<u64> {
    match fs::metadata(FILES).ok()?.size() {
        // One of those counted is the directory that is being read.
        0 => Some((fs::read_dir(FILES).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_confuses_nothing() {
        let text = "4242 (a ) b (c) S 1 2 3 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 99999 17000000 2500 184 1 1 0";
        let stat =
            Stat { cpu_ticks: 200, threads: 3, start_ticks: 99999, virtual_bytes: 17_000_000, resident_pages: 2500 };
        assert_eq!(parse_stat(text), Some(stat));
        assert_eq!(parse_stat("4242 (short) S 1"), None);
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_boot("cpu 1 2\nbtime 1795300000\n"), Some(1_795_300_000));
    }

    #[test]
    fn this_process_is_described_anew_each_time() {
        let value = |text: &str, name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let process = Process::current();
        let before = process.text();
        let files: Vec<_> = (0..500).map(|_| File::open("/dev/null").unwrap()).collect();
        let after = process.text();
        // Other tests of this program open and close files as well, but fewer.
        let opened = value(&after, "process_open_fds") - value(&before, "process_open_fds");
        assert!(opened > 300.0, "{} files were opened, {opened} show", files.len());

        assert!(value(&after, "process_resident_memory_bytes") > 1e6);
        assert!(value(&after, "process_virtual_memory_bytes") >= value(&after, "process_resident_memory_bytes"));
        assert!(value(&after, "process_threads") >= 1.0);
        assert!(value(&after, "process_max_fds") >= value(&after, "process_open_fds"));
        let age = jiff::Timestamp::now().as_second() as f64 - value(&after, "process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "started {age} seconds ago");
        let mut work = 0_u64;
        while value(&process.text(), "process_cpu_seconds_total") <= value(&before, "process_cpu_seconds_total") {
            work = std::hint::black_box(work + 1);
        }
    }
}
