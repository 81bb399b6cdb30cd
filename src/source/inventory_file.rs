//! The JSON inventory: one account's users and keys in a file format of our own, for trials, air-gapped audits and tests.

use crate::model::{
    AccessKey, AccessKeyId, Account, Arn, Collector, DetailsResult, DetailsScope, DuplicateUser, KeyStatus, KeysResult,
    LastUsed, ListedUser, Listing, Partition, Tag, Timestamp, UserDetails, UserName,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::Arc;

/// A parsed inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The account that the file names.
    pub account: Account,
    /// All users of the file.
    pub listing: Listing,
    /// The number of active keys of the root user; `None` where the file has no root user.
    pub root_active_keys: Option<u32>,
    /// The tags of each user, sorted by key, and groups if the file has them for all users.
    pub details: DetailsResult,
}

/// What is wrong with an inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// There is nothing but white space.
    #[error("it is empty")]
    Empty,
    /// The text is not JSON, or not of this format; with line and column.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The file has another version of the format.
    #[error("version {0} is not known, only version 1")]
    Version(u32),
    /// The account ID is not twelve digits.
    #[error("account.id {0:?} is not twelve digits")]
    AccountId(String),
    /// The partition cannot be a field of an ARN.
    #[error("account.partition {0:?} is not the name of an AWS partition")]
    Partition(String),
    /// The name of a user is empty.
    #[error("a user has an empty name")]
    EmptyName,
    /// The entry of a user is wrong.
    #[error("user {name:?}: {message}")]
    User {
        /// The name of the user.
        name: String,
        /// What is wrong with the entry.
        message: String,
    },
    /// A user occurs twice.
    #[error("{0}")]
    Duplicate(#[from] DuplicateUser),
}

/// The longest name of a user in characters (IAM User Guide, "IAM and AWS STS quotas").
const LONGEST_NAME: usize = 64;

/// IAM users and access keys of one AWS account, as of one moment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "iam-key-exporter inventory")]
struct InventoryFile {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    version: u32,
    account: AccountEntry,
    /// When the data were true, RFC 3339. The file's modification time when absent.
    #[schemars(with = "Option<DateTime>")]
    generated_at: Option<Timestamp>,
    root: Option<RootEntry>,
    users: Vec<UserEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccountEntry {
    /// Twelve digits.
    #[schemars(regex(pattern = "^[0-9]{12}$"))]
    id: String,
    /// Display name.
    #[serde(default)]
    name: String,
    /// AWS partition: aws, aws-cn, aws-us-gov, ...
    #[serde(default = "default_partition")]
    partition: String,
}

fn default_partition() -> String {
    "aws".into()
}

/// The root user. Leave it out if its keys are not known.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RootEntry {
    active_access_keys: u32,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UserEntry {
    #[schemars(length(min = 1, max = LONGEST_NAME))]
    name: String,
    /// Made of account, path and name when absent.
    arn: Option<String>,
    /// Begins and ends with a slash. That of the ARN, or `/`, when absent.
    #[schemars(with = "Option<Path>")]
    path: Option<String>,
    #[schemars(with = "Option<DateTime>")]
    created: Option<Timestamp>,
    #[serde(default)]
    tags: std::collections::BTreeMap<String, String>,
    /// Names of the IAM groups that the user is in, `[]` for none. Left out or null when not known.
    groups: Option<Vec<String>>,
    /// When this user's keys were read, if not with the whole.
    #[schemars(with = "Option<DateTime>")]
    observed_at: Option<Timestamp>,
    /// The user's keys, `[]` for none. Null (not left out) when they are not known: the user then has the status `unknown`.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schemars(with = "KeysEntry")]
    access_keys: Option<Vec<KeyEntry>>,
}

/// A path, for the schema.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "named by the schema only")]
struct Path(#[schemars(regex(pattern = "^/(.*/)?$"))] String);

/// For the schema: null is a value, a missing field is an error.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the variants' types are what the schema is made of")]
enum KeysEntry {
    Known(Vec<KeyEntry>),
    NotKnown(()),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    /// AKIA...
    id: Option<String>,
    status: StatusEntry,
    #[schemars(with = "Option<DateTime>")]
    created: Option<Timestamp>,
    /// A date; "never"; left out or null when not known.
    last_used: Option<LastUsedEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum StatusEntry {
    Active,
    Inactive,
}

#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the variants' types are what the schema is made of")]
enum LastUsedEntry {
    Never(NeverEntry),
    #[schemars(with = "DateTime")]
    At(Timestamp),
}

#[derive(Debug, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "named by the schema only")]
enum NeverEntry {
    Never,
}

/// RFC 3339.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "named by the schema only")]
struct DateTime(#[schemars(extend("format" = "date-time"))] String);

impl<'de> Deserialize<'de> for LastUsedEntry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(LastUsedEntry::Never(NeverEntry::Never));
        }
        text.parse().map(LastUsedEntry::At).map_err(|_| {
            serde::de::Error::custom(format!("{text:?} is neither \"never\" nor a date such as 2026-01-31T12:00:00Z"))
        })
    }
}

/// The format as JSON Schema, pretty-printed.
pub fn schema() -> String {
    let schema = schemars::schema_for!(InventoryFile);
    serde_json::to_string_pretty(&schema).expect("a schema is plain JSON")
}

/// Parses an inventory. `modified` stands in for `generated_at`; times after `now` become `now`, because a later
/// inventory would not be newer.
///
/// # Errors
/// [`InventoryError`], with line and column or with the name of the user.
pub fn parse(bytes: &[u8], modified: Timestamp, now: Timestamp) -> Result<Inventory, InventoryError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(InventoryError::Empty);
    }
    let file: InventoryFile = serde_json::from_slice(bytes)?;
    if file.version != 1 {
        return Err(InventoryError::Version(file.version));
    }
    let account = account(file.account)?;
    let at = file.generated_at.unwrap_or(modified).min(now);
    let scope = DetailsScope::all_tags(file.users.iter().all(|user| user.groups.is_some()));
    let mut details = Vec::new();
    let mut paths = HashSet::new();
    let mut users = Vec::with_capacity(file.users.len());
    for mut entry in file.users {
        let own = user_details(&mut entry);
        if !own.is_empty() {
            details.push((UserName::new(&entry.name), Arc::new(own)));
        }
        users.push(user(entry, &account, at, now, &mut paths)?);
    }
    let listing = Listing::new(Collector::File, at, users)?;
    let details = DetailsResult::Complete { scope, users: details };
    Ok(Inventory { account, listing, root_active_keys: file.root.map(|r| r.active_access_keys), details })
}

fn user_details(entry: &mut UserEntry) -> UserDetails {
    let tags = std::mem::take(&mut entry.tags);
    let groups = entry.groups.take().unwrap_or_default();
    UserDetails {
        tags: tags.iter().filter_map(|(key, value)| Tag::new(key, value)).collect(),
        groups: groups.into_iter().map(Arc::from).collect(),
    }
}

fn account(entry: AccountEntry) -> Result<Account, InventoryError> {
    let id = entry.id.parse().map_err(|_| InventoryError::AccountId(entry.id))?;
    let partition = Partition::parse(&entry.partition).ok_or(InventoryError::Partition(entry.partition))?;
    Ok(Account { id, name: entry.name, partition })
}

fn user(
    entry: UserEntry,
    account: &Account,
    at: Timestamp,
    now: Timestamp,
    paths: &mut HashSet<Arc<str>>,
) -> Result<ListedUser, InventoryError> {
    let name = entry.name.clone();
    if name.is_empty() {
        return Err(InventoryError::EmptyName);
    }
    let path = path(&entry, account)?;
    // The users of a path share its text.
    let path = paths.get(path.as_str()).cloned().unwrap_or_else(|| path.into());
    paths.insert(Arc::clone(&path));
    let keys = match entry.access_keys {
        Some(keys) => KeysResult::complete(keys.into_iter().map(key).collect()),
        None => KeysResult::Failed("not_in_file"),
    };
    let observed_at = entry.observed_at.unwrap_or(at).min(now);
    Ok(ListedUser { name: UserName::new(&name), path, created: entry.created, observed_at, keys })
}

/// The user's path, which ARN and path have to agree on.
fn path(entry: &UserEntry, account: &Account) -> Result<String, InventoryError> {
    let wrong = |message: String| InventoryError::User { name: entry.name.clone(), message };
    if entry.name.chars().count() > LONGEST_NAME {
        return Err(wrong(format!("the name has more than {LONGEST_NAME} characters")));
    }
    if let Some(path) = &entry.path
        && (!path.starts_with('/') || !path.ends_with('/'))
    {
        return Err(wrong(format!("path {path:?} does not begin and end with a slash")));
    }
    let Some(arn) = &entry.arn else { return Ok(entry.path.clone().unwrap_or_else(|| "/".into())) };
    let parsed = Arn::parse(arn).ok_or_else(|| wrong(format!("{arn:?} is not the ARN of an IAM user")))?;
    if parsed.account != account.id {
        return Err(wrong(format!("it is of account {}, the inventory of account {}", parsed.account, account.id)));
    }
    match (parsed.path_of(&entry.name), &entry.path) {
        (None, _) => Err(wrong(format!("{arn:?} is not the ARN of this user"))),
        (Some(by_arn), Some(path)) if by_arn != path => {
            Err(wrong(format!("path {path:?} contradicts the ARN {arn:?}")))
        }
        (Some(by_arn), _) => Ok(by_arn.to_owned()),
    }
}

fn key(entry: KeyEntry) -> AccessKey {
    let status = match entry.status {
        StatusEntry::Active => KeyStatus::Active,
        StatusEntry::Inactive => KeyStatus::Inactive,
    };
    let last_used = match entry.last_used {
        None => LastUsed::Unknown,
        Some(LastUsedEntry::Never(_)) => LastUsed::Never,
        Some(LastUsedEntry::At(at)) => LastUsed::At(at),
    };
    AccessKey::new(entry.id.as_deref().map(AccessKeyId::new), status, entry.created, last_used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: Timestamp = Timestamp::UNIX_EPOCH;

    fn parse_users(users: &str) -> Result<Inventory, InventoryError> {
        let json = format!(r#"{{"version":1,"account":{{"id":"123456789012"}},"users":[{users}]}}"#);
        parse(json.as_bytes(), MODIFIED, Timestamp::MAX)
    }

    #[test]
    fn a_full_entry_is_read_whole() {
        let inventory = parse_users(
            r#"{"name":"a,b","path":"/ci/","tags":{"owner":"x","AKIAEXAMPLE":"secret"},"groups":["bots"],
                "access_keys":[{"id":"AKIA1","status":"active","created":"2026-01-01T00:00:00Z","last_used":"never"}]}"#,
        )
        .unwrap();
        let user = &inventory.listing.users()[0];
        assert_eq!(&*user.path, "/ci/");
        let DetailsResult::Complete { scope, users } = &inventory.details else { panic!("{:?}", inventory.details) };
        assert_eq!(*scope, DetailsScope::all_tags(true));
        let [(name, details)] = &users[..] else { panic!("{users:?}") };
        assert_eq!((name, details.tags.len()), (&user.name, 1), "tags named like a key ID are dropped");
        assert_eq!(details.groups, Box::from([Arc::from("bots")]));
        let KeysResult::Complete(keys) = &user.keys else { panic!("{:?}", user.keys) };
        assert_eq!(keys[0].last_used(), LastUsed::Never);
        assert_eq!(inventory.root_active_keys, None);
        assert_eq!(inventory.listing.at(), MODIFIED);
    }

    #[test]
    fn groups_are_known_if_they_are_of_all_users() {
        for (users, known) in [
            (r#"{"name":"a","access_keys":[],"groups":[]},{"name":"b","access_keys":[],"groups":["x"]}"#, true),
            (r#"{"name":"a","access_keys":[]},{"name":"b","access_keys":[],"groups":["x"]}"#, false),
            (r#"{"name":"a","access_keys":[],"groups":null}"#, false),
        ] {
            let inventory = parse_users(users).unwrap();
            let DetailsResult::Complete { scope, .. } = inventory.details else { panic!("{users}") };
            assert_eq!(scope, DetailsScope::all_tags(known), "{users}");
        }
    }

    #[test]
    fn null_keys_are_unknown_and_missing_keys_are_an_error() {
        let inventory = parse_users(r#"{"name":"a","access_keys":null}"#).unwrap();
        assert_eq!(inventory.listing.users()[0].keys, KeysResult::Failed("not_in_file"));
        assert!(parse_users(r#"{"name":"a"}"#).unwrap_err().to_string().contains("access_keys"));
    }

    #[test]
    fn mistakes_are_named() {
        for (users, word) in [
            (r#"{"name":"a","access_keys":[],"colour":1}"#, "colour"),
            (r#"{"name":"a","access_keys":[{"status":"sleeping"}]}"#, "sleeping"),
            (r#"{"name":"a","access_keys":[{"status":"active","last_used":"soon"}]}"#, "neither"),
            (r#"{"name":"a","path":"x","access_keys":[]}"#, "slash"),
            (r#"{"name":"a","arn":"arn:aws:iam::999999999999:user/a","access_keys":[]}"#, "999999999999"),
            (r#"{"name":"a","arn":"arn:aws:iam::123456789012:user/b","access_keys":[]}"#, "this user"),
            (r#"{"name":"a","path":"/x/","arn":"arn:aws:iam::123456789012:user/a","access_keys":[]}"#, "contradicts"),
            (r#"{"name":"a","access_keys":[]},{"name":"A","access_keys":[]}"#, "twice"),
        ] {
            let error = parse_users(users).unwrap_err().to_string();
            assert!(error.contains(word), "{users}: {error}");
        }
        let error = |bytes| parse(bytes, MODIFIED, Timestamp::MAX).unwrap_err().to_string();
        assert_eq!(error(b" "), "it is empty");
        assert!(error(b"<html>").contains("line 1 column 1"));
    }
}
