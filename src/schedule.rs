//! When an account is checked, and what one check does. One [`Worker`] per account.

pub mod check;
pub mod fleet;
pub mod once;
mod pacing;
mod phase;
mod plan;
mod worker;

pub use check::{Check, check_account};
pub use pacing::{Limits, Pacing};
pub use phase::Phase;
pub use plan::{Action, Moment, Plan, Timing};
pub use worker::{Events, Worker};
