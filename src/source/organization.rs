//! The accounts of an organisation, as AWS Organizations lists them.

use super::SourceError;
use crate::model::{AccountId, Tag};
use futures_util::future::BoxFuture;

/// The state of an account in its organisation (Organizations API Reference, `State` of Account).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// In use.
    Active,
    /// Suspended by AWS, or being closed.
    Suspended,
    /// Not ready for use yet.
    Pending,
    /// Closed; listed for 90 days.
    Closed,
    /// A state that is not documented, or none.
    Unknown,
}

impl MemberState {
    /// From `State` or `Status` of AWS.
    pub fn parse(text: &str) -> Self {
        match text {
            "ACTIVE" => MemberState::Active,
            "SUSPENDED" | "PENDING_CLOSURE" => MemberState::Suspended,
            "PENDING_ACTIVATION" => MemberState::Pending,
            "CLOSED" => MemberState::Closed,
            _ => MemberState::Unknown,
        }
    }

    /// The name for labels and output.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberState::Active => "active",
            MemberState::Suspended => "suspended",
            MemberState::Pending => "pending",
            MemberState::Closed => "closed",
            MemberState::Unknown => "unknown",
        }
    }
}

/// An account of an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The account.
    pub id: AccountId,
    /// The name of the account in the organisation; it need not be unique.
    pub name: String,
    /// What the account can be used for.
    pub state: MemberState,
    /// The IDs of the root and of every organisational unit above the account, from the root on; empty unless requested.
    pub units: Vec<String>,
    /// Empty unless requested.
    pub tags: Vec<Tag>,
}

/// All accounts of an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The management account.
    pub management: AccountId,
    /// Every account once, in the order of their IDs; the management account is one of them.
    pub members: Vec<Member>,
}

/// The reason of a listing that lacks too many accounts, beside those of [`SourceError`].
pub const SHRUNKEN: &str = "shrunken";

/// What to read beside the list of accounts, which costs further requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The organisational units above each account.
    pub units: bool,
    /// The tags of each account: one request per account.
    pub tags: bool,
}

/// Lists the accounts of an organisation.
pub trait MemberLister: Send + Sync {
    /// All accounts, or an error: never a part.
    ///
    /// # Errors
    /// When any of the answers is missing, or they contradict each other.
    fn members<'a>(&'a self, wanted: &'a Wanted) -> BoxFuture<'a, Result<Members, SourceError>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_documented_state_is_known() {
        for (text, state) in [
            ("ACTIVE", MemberState::Active),
            ("SUSPENDED", MemberState::Suspended),
            ("PENDING_CLOSURE", MemberState::Suspended),
            ("PENDING_ACTIVATION", MemberState::Pending),
            ("CLOSED", MemberState::Closed),
        ] {
            assert_eq!(MemberState::parse(text), state, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_other_state_is_unknown(text in "[A-Za-z_]{0,20}") {
            prop_assume!(!["ACTIVE", "SUSPENDED", "PENDING_CLOSURE", "PENDING_ACTIVATION", "CLOSED"].contains(&&*text));
            prop_assert_eq!(MemberState::parse(&text), MemberState::Unknown);
        }
    }
}
