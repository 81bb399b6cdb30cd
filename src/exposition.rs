//! From a snapshot to bytes: each metric family of each account is written and compressed once; a scrape only
//! puts the pieces in a row.

pub mod exporter;
pub mod families;
pub mod family;
pub mod page;

pub use page::{Encoder, Page};

/// Which users have series of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    All,
    /// Users that have a key, or may have one.
    Keyed,
    /// Users in violation.
    Violating,
    /// Totals only.
    None,
}

/// What of the facts is exposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub users: Users,
    pub user_info: bool,
    /// Tags that become labels of `aws_iam_user_info`.
    pub tags: Vec<String>,
    /// Adds the label `access_key_id` to metrics of keys.
    pub access_key_id: bool,
}
