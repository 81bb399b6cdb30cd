//! The real binary, from outside: against a fake AWS, with files, over HTTP, by signals.
//!
//! One program, because each links the whole AWS SDK. No test sleeps for a fixed time: tests poll until a deadline, or
//! count calls.

#[path = "../common/mod.rs"]
mod common;

mod exporter;
mod http;
mod metrics;

mod account_faults;
mod accounts;
mod check_accounts;
mod check_command;
mod collectors;
mod commands;
mod configuration;
mod connections;
mod details;
mod exposition;
mod honest_failure;
mod listen;
mod malformed;
mod matrix;
mod output;
mod pacing;
mod reload;
mod requests;
mod roles;
mod secrets;
mod shutdown;
mod soak;
mod status_codes;
mod trust;
mod verify_aws;
mod web;
mod web_config;
