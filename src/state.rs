//! What is known about every account, and the verdicts on it. Pure: observations, policy and time are arguments.
//!
//! [`AccountState::apply`] is the only merge rule. States are cheap to clone: the users stand in
//! blocks that clones share, and a change copies only the blocks that it touches.

pub mod account;
pub mod snapshot;
pub mod users;

mod details;
mod entry;
mod freshness;
mod merge;
mod totals;

pub use account::{AccountState, Change, RootState};
pub use entry::Entry;
pub use freshness::Place;
pub use snapshot::Snapshot;
pub use totals::{RuleTotal, Totals};
pub use users::{Block, Users};
