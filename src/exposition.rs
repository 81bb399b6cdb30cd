//! From accounts to bytes: what has changed is encoded and compressed once; a scrape only joins segments.

pub mod encoder;
pub mod exporter;
pub mod families;
pub mod family;
pub mod page;
pub mod parts;
pub mod process;
pub mod segment;

pub use page::Page;
pub use parts::Parts;

/// Which users have series of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// All users.
    All,
    /// Users that have a key, or may have one.
    Keyed,
    /// Users in violation.
    Violating,
    /// Totals only.
    None,
}

/// What is exposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which users have series of their own.
    pub users: Users,
    /// Whether `aws_iam_user_info` is exposed.
    pub user_info: bool,
    /// Keys of the tags that become labels of `aws_iam_user_info`, in this order.
    pub tags: Vec<String>,
    /// Keys of the tags that name the owner of a user, in the order of preference: the label `owner`.
    pub owner_tags: Vec<String>,
    /// Whether metrics of keys have the label `access_key_id`.
    pub access_key_id: bool,
}

#[cfg(test)]
mod tests {
    use super::exporter::{ACCOUNT_FAMILIES, ExporterMetrics};
    use super::families::FAMILIES;
    use crate::source::REASONS;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const DOCUMENTATION: &str = include_str!("../docs/metrics.md");

    /// The names in the first column of the page's tables.
    fn documented() -> BTreeSet<&'static str> {
        DOCUMENTATION.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect()
    }

    #[test]
    fn every_metric_is_documented_and_every_documented_one_exists() {
        let metrics = ExporterMetrics::new(Duration::from_secs(300));
        let everything = metrics.names();
        let of_accounts = FAMILIES.iter().map(|f| f.name).chain(ACCOUNT_FAMILIES.iter().map(|f| f.name));
        let exist: BTreeSet<&str> = of_accounts.chain(everything.iter().map(String::as_str)).collect();
        assert_eq!(exist, documented());
    }

    #[test]
    fn every_reason_is_documented() {
        for reason in REASONS {
            assert!(DOCUMENTATION.contains(&format!("`{reason}`")), "{reason}");
        }
    }
}
