//! Which accounts to check: that of the credentials, those of the list, and the members of an organisation.
//!
//! Pure: [`Directory`] keeps what AWS answered, and [`Directory::targets`] is a function of that and of the configuration.

mod directory;
mod discovery;
mod filter;
pub mod shard;

pub use directory::{Departure, Directory, Key, Notice, STATES, Shrunken, Target, Targets};
pub use discovery::DiscoveryError;
