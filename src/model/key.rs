//! Access keys.

use super::Timestamp;
use super::compact::OptionalSecond;
use compact_str::CompactString;
use std::fmt;

/// The ID of an access key, `AKIA...`. IDs of today's keys are stored without an allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKeyId(CompactString);

impl AccessKeyId {
    /// Any text is accepted: AWS defines no form of an ID beyond 16 to 128 word characters (IAM API Reference,
    /// AccessKeyMetadata).
    pub fn new(id: &str) -> Self {
        AccessKeyId(id.into())
    }

    /// The ID as AWS writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text begins like the ID of a long-term or temporary access key. The console stores the description
    /// of a key in a user tag whose key is the ID of the access key.
    pub fn is_prefix_of(text: &str) -> bool {
        text.starts_with("AKIA") || text.starts_with("ASIA")
    }
}

/// Key IDs stay out of logs, also where a whole value is printed for debugging.
impl fmt::Debug for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKeyId(..)")
    }
}

/// Whether a key can be used (`StatusType` of the IAM API; `Expired` keys are inactive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// The key signs requests.
    Active,
    /// The key exists and does not sign requests.
    Inactive,
}

impl KeyStatus {
    /// The value of the label `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyStatus::Active => "active",
            KeyStatus::Inactive => "inactive",
        }
    }
}

/// The last use of a key.
///
/// AWS tracks it since 2015-04-22, at a resolution of 15 minutes (IAM API Reference, GetAccessKeyLastUsed; IAM User
/// Guide, "Generate credential reports for your AWS account").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastUsed {
    /// Not requested, or not part of the data.
    Unknown,
    /// Never used, or not since 2015-04-22.
    Never,
    /// At this time, within 15 minutes.
    At(Timestamp),
}

/// An access key. Dates have a resolution of one second, as AWS's have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// `None` where the data lack it: credential reports contain no key IDs.
    pub id: Option<AccessKeyId>,
    created: OptionalSecond,
    last_used: OptionalSecond,
    /// Whether the key can be used.
    pub status: KeyStatus,
}

impl AccessKey {
    /// `created` is the creation of the key; in a credential report, its creation or last change.
    pub fn new(id: Option<AccessKeyId>, status: KeyStatus, created: Option<Timestamp>, last_used: LastUsed) -> Self {
        AccessKey { id, created: OptionalSecond::new(created), last_used: encode(last_used), status }
    }

    /// Whether the key signs requests.
    pub fn is_active(&self) -> bool {
        self.status == KeyStatus::Active
    }

    /// When the key was created, in whole seconds; `None` where the data lack it.
    pub fn created(&self) -> Option<Timestamp> {
        self.created.get()
    }

    /// The last use of the key, in whole seconds.
    pub fn last_used(&self) -> LastUsed {
        match self.last_used.get() {
            Some(at) => LastUsed::At(at),
            None if self.last_used == OptionalSecond::NEVER => LastUsed::Never,
            None => LastUsed::Unknown,
        }
    }

    /// Replaces the last use, which AWS returns separately from the key.
    pub fn set_last_used(&mut self, last_used: LastUsed) {
        self.last_used = encode(last_used);
    }
}

fn encode(last_used: LastUsed) -> OptionalSecond {
    match last_used {
        LastUsed::Unknown => OptionalSecond::NONE,
        LastUsed::Never => OptionalSecond::NEVER,
        LastUsed::At(at) => OptionalSecond::new(Some(at)),
    }
}

/// The number of keys with the status [`KeyStatus::Active`].
pub fn count_active(keys: &[AccessKey]) -> usize {
    keys.iter().filter(|k| k.is_active()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_use_is_read_back() {
        for last_used in [LastUsed::Unknown, LastUsed::Never, LastUsed::At(Timestamp::UNIX_EPOCH)] {
            assert_eq!(AccessKey::new(None, KeyStatus::Active, None, last_used).last_used(), last_used);
        }
    }

    #[test]
    fn a_key_id_is_not_printed_for_debugging() {
        let key =
            AccessKey::new(Some(AccessKeyId::new("AKIAIOSFODNN7EXAMPLE")), KeyStatus::Active, None, LastUsed::Never);
        assert!(!format!("{key:?}").contains("AKIA"));
    }
}
