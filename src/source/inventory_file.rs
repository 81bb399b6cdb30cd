//! The JSON inventory: facts about one account in a file of our own, for trials, air-gapped audits and tests.

use crate::model::{AccessKey, Account, Collector, Inventory, KeyStatus, Keys, LastUsed, Tag, Timestamp, User};
use schemars::JsonSchema;
use serde::Deserialize;

/// IAM's limit.
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
    /// When the facts were true, RFC 3339. The file's modification time when absent.
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
    /// A name for people.
    #[serde(default)]
    name: String,
    /// AWS partition: aws, aws-cn, aws-us-gov, ...
    #[serde(default = "default_partition")]
    partition: String,
}

fn default_partition() -> String {
    "aws".into()
}

/// The root user. Leave it out when nothing is known of it.
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
    /// Begins and ends with a slash.
    #[serde(default = "default_path")]
    #[schemars(regex(pattern = "^/(.*/)?$"))]
    path: String,
    #[schemars(with = "Option<DateTime>")]
    created: Option<Timestamp>,
    #[serde(default)]
    tags: std::collections::BTreeMap<String, String>,
    /// When this user's keys were read, if not with the whole.
    #[schemars(with = "Option<DateTime>")]
    observed_at: Option<Timestamp>,
    /// The user's keys, `[]` for none. Null (not left out) when they are not known: the user then has the status `unknown`.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schemars(with = "KeysEntry")]
    access_keys: Option<Vec<KeyEntry>>,
}

fn default_path() -> String {
    "/".into()
}

/// For the schema: null is an answer, silence is none.
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

/// The format as JSON Schema.
pub fn schema() -> String {
    let schema = schemars::schema_for!(InventoryFile);
    serde_json::to_string_pretty(&schema).expect("a schema is plain JSON")
}

/// Reads an inventory; `modified` stands in for `generated_at`.
///
/// # Errors
/// A sentence with line and column, or with the name of the user that is wrong.
pub fn parse(bytes: &[u8], modified: Timestamp) -> Result<Inventory, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty".into());
    }
    let file: InventoryFile = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if file.version != 1 {
        return Err(format!("version {} is not known, only version 1", file.version));
    }
    let AccountEntry { id, name, partition } = file.account;
    if id.len() != 12 || !id.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("account.id {id:?} is not twelve digits"));
    }
    let account = Account { id, name, partition };
    let facts_at = file.generated_at.unwrap_or(modified);
    let users = file.users.into_iter().map(|u| user(u, &account, facts_at)).collect::<Result<Vec<_>, _>>()?;
    let mut inventory = Inventory {
        account,
        collector: Collector::File,
        facts_at,
        root_active_keys: file.root.map(|r| r.active_access_keys),
        users,
    };
    inventory.sort_users().map_err(|e| e.to_string())?;
    Ok(inventory)
}

fn user(entry: UserEntry, account: &Account, facts_at: Timestamp) -> Result<User, String> {
    let UserEntry { name, arn, path, created, tags, observed_at, access_keys } = entry;
    if name.is_empty() {
        return Err("a user has an empty name".into());
    }
    if name.chars().count() > LONGEST_NAME {
        return Err(format!("user {name:?}: the name has more than {LONGEST_NAME} characters"));
    }
    if !path.starts_with('/') || !path.ends_with('/') {
        return Err(format!("user {name:?}: path {path:?} does not begin and end with a slash"));
    }
    let arn = arn.unwrap_or_else(|| format!("arn:{}:iam::{}:user{path}{name}", account.partition, account.id));
    match super::credential_report::split_arn(&arn) {
        Some((_, id)) if id == account.id => {}
        Some((_, id)) => {
            return Err(format!("user {name:?} is of account {id}, the inventory of account {}", account.id));
        }
        None => return Err(format!("user {name:?}: {arn:?} is not the ARN of an IAM user")),
    }
    let keys = match access_keys {
        Some(keys) => Keys::known(keys.into_iter().map(key).collect()),
        None => Keys::unknown("not_in_file"),
    };
    Ok(User {
        name,
        arn,
        path,
        created,
        tags: tags.into_iter().map(|(key, value)| Tag { key, value }).filter(|t| !t.names_an_access_key()).collect(),
        observed_at: observed_at.unwrap_or(facts_at),
        keys,
    })
}

fn key(entry: KeyEntry) -> AccessKey {
    AccessKey {
        id: entry.id,
        status: match entry.status {
            StatusEntry::Active => KeyStatus::Active,
            StatusEntry::Inactive => KeyStatus::Inactive,
        },
        created: entry.created,
        last_used: match entry.last_used {
            None => LastUsed::Unknown,
            Some(LastUsedEntry::Never(_)) => LastUsed::Never,
            Some(LastUsedEntry::At(at)) => LastUsed::At(at),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: Timestamp = Timestamp::UNIX_EPOCH;

    fn parse_users(users: &str) -> Result<Inventory, String> {
        let json = format!(r#"{{"version":1,"account":{{"id":"123456789012"}},"users":[{users}]}}"#);
        parse(json.as_bytes(), MODIFIED)
    }

    #[test]
    fn a_full_entry_is_read_whole() {
        let inventory = parse_users(
            r#"{"name":"a,b","path":"/ci/","tags":{"owner":"x","AKIAEXAMPLE":"secret"},
                "access_keys":[{"id":"AKIA1","status":"active","created":"2026-01-01T00:00:00Z","last_used":"never"}]}"#,
        )
        .unwrap();
        let user = &inventory.users[0];
        assert_eq!(user.arn, "arn:aws:iam::123456789012:user/ci/a,b");
        assert_eq!(user.tags.len(), 1, "tags named like a key ID are dropped");
        assert_eq!(user.keys.as_known().unwrap()[0].last_used, LastUsed::Never);
        assert_eq!(inventory.root_active_keys, None);
        assert_eq!(inventory.facts_at, MODIFIED);
    }

    #[test]
    fn null_keys_are_unknown_and_missing_keys_are_an_error() {
        assert_eq!(parse_users(r#"{"name":"a","access_keys":null}"#).unwrap().users[0].active_keys(), None);
        assert!(parse_users(r#"{"name":"a"}"#).unwrap_err().contains("access_keys"));
    }

    #[test]
    fn mistakes_are_named() {
        for (users, word) in [
            (r#"{"name":"a","access_keys":[],"colour":1}"#, "colour"),
            (r#"{"name":"a","access_keys":[{"status":"sleeping"}]}"#, "sleeping"),
            (r#"{"name":"a","access_keys":[{"status":"active","last_used":"soon"}]}"#, "neither"),
            (r#"{"name":"a","path":"x","access_keys":[]}"#, "slash"),
            (r#"{"name":"a","arn":"arn:aws:iam::999999999999:user/a","access_keys":[]}"#, "999999999999"),
            (r#"{"name":"a","access_keys":[]},{"name":"A","access_keys":[]}"#, "twice"),
        ] {
            let error = parse_users(users).unwrap_err();
            assert!(error.contains(word), "{users}: {error}");
        }
        assert_eq!(parse(b" ", MODIFIED).unwrap_err(), "it is empty");
        assert!(parse(b"<html>", MODIFIED).unwrap_err().contains("line 1 column 1"));
    }
}
