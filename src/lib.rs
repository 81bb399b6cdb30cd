//! A Prometheus exporter that keeps checking the IAM users of an AWS account for more than one active access key.
//!
//! The way of the data:
//!
//! ```text
//! source -> model::Inventory -> policy::evaluate -> state::Snapshot -> exposition::Page -> http
//! (AWS,     (facts)             (verdicts)          (last good)        (bytes, plain      (copies
//!  file)                                                                and gzip)          pointers)
//! ```
//!
//! Rooms, from the inside out; `tests/architecture.rs` holds what each may import:
//!
//! * [`model`]: neutral facts. Pure.
//! * [`policy`]: rules, exemptions, verdicts, advice. A rule is one file and one line in [`policy::RULES`]. Pure.
//! * [`state`]: the last good facts and the verdicts on them. Pure.
//! * [`report`]: what `check` prints. Pure.
//! * [`aws`]: clients, identity, rate limit, request counting, errors of the SDK.
//! * [`source`]: collectors, behind [`source::Source`]: live, credential report, file, demo.
//! * [`exposition`]: metrics. [`exposition::families::FAMILIES`] is the public contract,
//!   [`exposition::exporter`] the metrics about the exporter itself.
//! * [`schedule`]: when to check and when to judge again.
//! * [`http`]: accept loop, routes, the page for people.
//! * [`cli`]: commands and flags. [`config`]: settings, from flags and the file; [`config::settings::SETTINGS`] is their
//!   table. [`telemetry`]: logging.
//! * [`text`]: escapes for terminals and logs. Pure.
//! * [`app`]: puts everything together.

// Modules that compute times: no setting and no date of AWS may overflow. Where arithmetic can panic, clippy demands
// checked or saturating operations.
#[cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]
pub mod app;
#[cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]
pub mod aws;
pub mod cli;
#[cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]
pub mod config;
pub mod exposition;
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
