//! What tests of the whole program share: made-up accounts, and an AWS that gives them out and fails on command.

pub mod account;
pub mod answers;
pub mod fake_iam;
pub mod form;

pub use account::{Account, Key, User, days_ago, now};
pub use fake_iam::{FakeIam, Fault, On, Pages, Report};
