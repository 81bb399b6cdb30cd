//! When an account is checked, and what one check does. One [`Worker`] per account.

pub mod check;
mod plan;
mod worker;

pub use check::{Check, check_account};
pub use plan::{Action, Plan, Timing};
pub use worker::{Events, Worker};
