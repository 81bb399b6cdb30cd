//! AWS accounts and partitions.

use compact_str::CompactString;
use std::fmt;
use std::str::FromStr;

/// The ID of an AWS account: twelve digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId([u8; 12]);

/// The text is not twelve ASCII digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an AWS account ID: twelve digits")]
pub struct InvalidAccountId(String);

impl AccountId {
    /// A number that follows from the ID alone, in every version and on every machine; those of neighbouring IDs are far
    /// apart, and those of different seeds have nothing in common.
    pub fn mixed(self, seed: u16) -> u64 {
        // Twelve digits fit into 40 bits.
        let id = self.0.iter().fold(0_u64, |id, digit| id.wrapping_mul(10).wrapping_add((digit & 0x0f).into()));
        // The finalizer of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators"): the hashers
        // of the standard library may change with the toolchain.
        let mut z = (id ^ (u64::from(seed) << 48)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for AccountId {
    type Err = InvalidAccountId;

    fn from_str(text: &str) -> Result<Self, InvalidAccountId> {
        match <[u8; 12]>::try_from(text.as_bytes()) {
            Ok(digits) if digits.iter().all(u8::is_ascii_digit) => Ok(AccountId(digits)),
            _ => Err(InvalidAccountId(text.to_owned())),
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for AccountId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An AWS partition: `aws`, `aws-cn`, `aws-us-gov`, `aws-iso`, `aws-iso-b`, `eusc`, ... New ones are accepted: the name
/// is the second field of every ARN of the partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(CompactString);

impl Partition {
    /// Parses the name of a partition; `None` unless it consists of ASCII letters, digits and hyphens, at least one.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (!text.is_empty() && text.bytes().all(valid)).then(|| Partition(text.into()))
    }

    /// The name, as in ARNs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Partition {
    fn default() -> Self {
        Partition("aws".into())
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An AWS account, as GetCallerIdentity, the ARNs of a credential report, or an inventory file name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The twelve digits of the account.
    pub id: AccountId,
    /// A display name; empty when none is configured.
    pub name: String,
    /// The partition that the account is in.
    pub partition: Partition,
}

impl Account {
    /// The ARN of the account's root user, `arn:PARTITION:iam::ACCOUNT:root`.
    pub fn root_arn(&self) -> String {
        format!("arn:{}:iam::{}:root", self.partition, self.id)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { write!(f, "{}", self.id) } else { write!(f, "{} ({})", self.id, self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_is_twelve_digits() {
        let id: AccountId = "000000000012".parse().unwrap();
        assert_eq!((id.as_str(), id.to_string().as_str()), ("000000000012", "000000000012"));
        for bad in ["", "12", "1234567890123", "12345678901x", "１２３４"] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn partitions_are_fields_of_arns() {
        assert_eq!(Partition::parse("aws-cn").unwrap().as_str(), "aws-cn");
        for bad in ["", "a:b", "a b"] {
            assert_eq!(Partition::parse(bad), None, "{bad}");
        }
    }
}
