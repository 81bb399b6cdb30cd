//! The only module that imports the AWS SDK: clients, credentials, collectors, limits, request counting, errors.
//!
//! [`Process`] is what all accounts share, [`Aws`] the access to one of them.

mod access;
mod blocking;
mod clock;
pub mod collect;
pub mod counting;
pub mod errors;
mod organization;
pub mod pages;
pub mod probe;
mod process;
mod rate_limit;
mod reception;
mod session;
mod sts;
mod transport;
pub mod truncation;

pub use access::Aws;
pub use process::{Process, Settings};

/// A date of the SDK in whole seconds; `None` if it is not in the range of timestamps.
pub fn timestamp(date: &aws_smithy_types::DateTime) -> Option<crate::model::Timestamp> {
    crate::model::Timestamp::from_second(date.secs()).ok()
}

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
mod tests;
