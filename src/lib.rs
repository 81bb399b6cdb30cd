//! A Prometheus exporter that continuously checks the IAM users of AWS accounts for more than one active access key.
//!
//! Data flow:
//!
//! ```text
//! accounts -> schedule (a worker for each account):
//!
//! source -> model::Observation -> state::AccountState -> policy::evaluate_user -> state::Snapshot -> exposition -> http
//! (AWS,     (with its time)       (merges)               (verdicts)               (last good)        (segments,   (shares
//!  file)                                                                                             plain, gzip)  pointers)
//! ```
//!
//! Modules, from the inside out; `tests/architecture.rs` checks which of them each may import:
//!
//! * [`model`]: identity types, users, keys, observations. Pure.
//! * [`policy`]: rules, exemptions, verdicts, advice. A rule is one file and one line in [`policy::RULES`]. Pure.
//! * [`state`]: the last good data of each account and the verdicts on it. Pure.
//! * [`report`]: output formats of `check`. Pure.
//! * [`aws`]: the SDK: clients, identity, rate limit, request counting, errors, and the collectors that call AWS.
//! * [`source`]: the interface of collectors, [`source::Source`], and those without AWS: file, demo.
//! * [`accounts`]: which accounts are checked: that of the credentials, listed ones, members of an organisation; shards. Pure.
//! * [`exposition`]: metrics. [`exposition::families::FAMILIES`] is the public contract,
//!   [`exposition::exporter`] the metrics about the exporter itself; [`exposition::Parts`] are what a page is made of.
//! * [`schedule`]: workers: when to check, to recheck and to evaluate again.
//! * [`http`]: the server: addresses, limits of connections, TLS, authentication, routes, the status page.
//! * [`cli`]: commands and flags. [`config`]: settings, from flags and the file; [`config::settings::SETTINGS`] is their
//!   table; [`config::web`] is the file of TLS, passwords, headers and the rate limit. [`telemetry`]: logging, and panics.
//! * [`files`]: reads files within bounds of size and time. [`text`]: escapes for terminals and logs, redaction. Pure.
//! * [`app`]: composition of the modules.

// Clippy runs with `-D warnings`: a public item without documentation fails scripts/test.
#![warn(missing_docs)]

// Modules that compute times: no setting and no date of AWS may overflow. Clippy requires checked or saturating operations
// where arithmetic can panic.
#[cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]
pub mod accounts;
pub mod app;
#[cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]
pub mod aws;
pub mod cli;
#[cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]
pub mod config;
pub mod exposition;
pub mod files;
pub mod http;
pub mod model;
#[cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]
pub mod policy;
pub mod report;
#[cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]
pub mod schedule;
pub mod source;
pub mod state;
pub mod telemetry;
pub mod text;
