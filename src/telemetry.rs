//! Logging to standard error: lines of text with fields, or JSON.

use crate::cli::{LogFormat, LogLevel};
use crate::config::Log;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging; only the first call counts.
pub fn init(log: Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // At its own levels the SDK logs requests whole, credentials' scope included.
    let filter = EnvFilter::default()
        .add_directive(LevelFilter::ERROR.into())
        .add_directive(format!("iam_key_exporter={level}").parse().expect("a level is a directive"));
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_target(false);
    let colors = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let _ = match log.format {
        LogFormat::Text => builder.with_ansi(colors).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
}
