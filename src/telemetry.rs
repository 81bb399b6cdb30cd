//! Logging to standard error: text with fields, or JSON. One event is one line, and a line that cannot be written is
//! dropped: a full disk or a closed pipe must not end the process, and a pipe that is not read must not stop it.

mod queue;

pub use queue::flush;

use crate::config::settings::LogSection;
use crate::config::values::{LogFormat, LogLevel};
use crate::text::redact::{redact, shorten};
use crate::text::{is_unsafe, printable};
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging; later calls change nothing.
pub fn init(log: &LogSection) {
    let filter = filter(log.level);
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

/// Libraries do not log, at no level: the SDK writes whole requests with their credentials, and an error for each attempt.
/// What an error means for a check is logged by the exporter, once. No environment variable changes the filter.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_target("iam_key_exporter", level)
}

/// From now on a panic is one log record, whatever the task that panics, and its message is redacted: it can quote a
/// value. What the panic means for a check is up to what supervises the task.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic_message(panic.payload_as_str());
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        if tracing::dispatcher::has_been_set() {
            tracing::error!(error = message, location, "{PANICKED}");
        } else {
            report_error(&format!("{PANICKED} at {location}: {message}"));
        }
    }));
}

const PANICKED: &str = "internal error, please report it";

fn panic_message(payload: Option<&str>) -> String {
    shorten(redact(payload.unwrap_or("a panic without a message")))
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
    fn no_level_lets_libraries_log() {
        for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            let filter = filter(level);
            assert!(filter.would_enable("iam_key_exporter::app", &tracing::Level::ERROR));
            for library in ["aws_smithy_runtime::client::orchestrator", "aws_config", "hyper_util", "rustls", "h2", ""]
            {
                assert!(!filter.would_enable(library, &tracing::Level::ERROR), "{library} logs at {level:?}");
            }
        }
    }

    #[test]
    fn the_message_of_a_panic_quotes_no_key_and_no_token() {
        let message =
            panic_message(Some("byte index 4 is not a char boundary; it is inside 'é' of `AKIAIOSFODNN7EXAMPLE`"));
        assert_eq!(message, "byte index 4 is not a char boundary; it is inside 'é' of `[redacted]`");
        let message = panic_message(Some("called `Result::unwrap()` on an `Err` value: Bad { secret: \"hush\" }"));
        assert!(message.contains("Result::unwrap()") && !message.contains("hush"), "{message}");
    }

    #[test]
    fn an_event_is_one_line() {
        let mut lines = Lines { out: Vec::new(), colors: false };
        lines.write_all("WARN a=\"b\nc\u{1b}[2J\"\n".as_bytes()).unwrap();
        lines.write_all(b"INFO d\n").unwrap();
        assert_eq!(String::from_utf8(lines.out).unwrap(), "WARN a=\"b\\nc\\u{1b}[2J\"\nINFO d\n");
    }
}
