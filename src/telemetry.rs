//! Logging to standard error: text with fields, or JSON. One event is one line, and a line that cannot be written is
//! dropped: a full disk or a closed pipe must not end the process, and a pipe that is not read must not stop it.

mod queue;

pub use queue::flush;

use crate::config::settings::LogSection;
use crate::config::values::{LogFormat, LogLevel};
use crate::text::{is_unsafe, printable};
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging; later calls change nothing.
pub fn init(log: &LogSection) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Libraries do not log: the SDK writes whole requests, and an error for each attempt. What an error means for a check
    // is logged by the exporter, once.
    let filter = Targets::new().with_target("iam_key_exporter", level);
    let colors = log.format == LogFormat::Text && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer().with_target(false).with_ansi(colors).log_internal_errors(false);
    let _ = match log.format {
        LogFormat::Text => {
            let layer = layer.with_writer(move || Lines { out: StandardError, colors });
            tracing_subscriber::registry().with(filter).with(layer).try_init()
        }
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false);
            tracing_subscriber::registry().with(filter).with(layer.with_writer(|| StandardError)).try_init()
        }
    };
}

/// Writes one line about the end of a command to standard error, whether or not logging has started.
pub fn report_error(error: &dyn std::fmt::Display) {
    let line = format!("iam-key-exporter: {}\n", printable(&error.to_string()));
    queue::write(line.as_bytes());
}

/// Lines wait for standard error in a queue.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        queue::write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes each event, which arrives as a whole, as one line, and drops what cannot be written.
struct Lines<W> {
    out: W,
    /// The formatter colours the line; it escapes escape characters in values itself.
    colors: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let event = text.strip_suffix('\n').unwrap_or(&text);
        let mut line = String::with_capacity(bytes.len());
        for c in event.chars() {
            if is_unsafe(c) && !(self.colors && c == '\u{1b}') { line.extend(c.escape_default()) } else { line.push(c) }
        }
        line.push('\n');
        let _ = self.out.write_all(line.as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let mut lines = Lines { out: Vec::new(), colors: false };
        lines.write_all("WARN a=\"b\nc\u{1b}[2J\"\n".as_bytes()).unwrap();
        lines.write_all(b"INFO d\n").unwrap();
        assert_eq!(String::from_utf8(lines.out).unwrap(), "WARN a=\"b\\nc\\u{1b}[2J\"\nINFO d\n");
    }
}
