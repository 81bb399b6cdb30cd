//! Shared parts of whole-program tests: generated accounts, and a fake AWS that serves them and injects faults.

pub mod account;
pub mod answers;
pub mod fake_iam;
pub mod form;

pub use account::{Account, Key, User, days_ago, now};
pub use fake_iam::{FakeIam, Fault, On, Pages, Report};
