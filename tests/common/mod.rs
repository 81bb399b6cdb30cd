//! Shared parts of whole-program tests: generated accounts, and a fake AWS that serves them and injects faults.

#![allow(dead_code, unused_imports, reason = "each test program uses a part")]

pub mod account;
pub mod answers;
pub mod fake_iam;
pub mod fake_org;
pub mod form;
pub mod gateway;

pub use account::{Account, Key, User, days_ago, now};
pub use fake_iam::{FakeIam, Fault, On, Pages, Report};
pub use fake_org::{Member, Organization};
pub use gateway::{Authority, Gateway, Way};
