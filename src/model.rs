//! The neutral data model: identities, access keys, users, and observations of them. No policy, no I/O, no clock.
//!
//! Every identity is parsed once, where it enters the program, and is a type of its own from then on.

pub mod account;
pub mod arn;
pub mod details;
pub mod key;
pub mod observation;
pub mod role;
pub mod user;

mod compact;

pub use account::{Account, AccountId, Partition};
pub use arn::{Arn, Principal};
pub use compact::CompactTimestamp;
pub use details::{DetailsScope, Tag, UserDetails};
pub use jiff::Timestamp;
pub use key::{AccessKey, AccessKeyId, KeyStatus, LastUsed, count_active};
pub use observation::{
    Collector, DetailsResult, DuplicateUser, KeysResult, ListedUser, Listing, Observation, RootKeys,
};
pub use role::{Access, ExternalId, InvalidRole, Role, RoleArn, RoleName, SessionName};
pub use user::{COLUMNS_INCOMPLETE, Keys, User, UserName};
