//! Which accounts to check: the sections `accounts`, `organization` and `account_overrides` of the file.

use super::values::{Count, Period, Rate};
use crate::model::{Access, AccountId, ExternalId, Role, RoleArn, RoleName, SessionName};
use crate::policy::settings::duration;
use crate::policy::{RuleOverrides, RuleSettings};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An account of the list `accounts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WrittenEntry", into = "WrittenEntry")]
pub struct AccountEntry {
    /// How the account is reached.
    pub access: Access,
    /// A display name; `None` for that of the organisation, or else the account's alias.
    pub name: Option<String>,
}

/// As it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenEntry {
    #[serde(rename = "self", skip_serializing_if = "std::ops::Not::not")]
    own: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_arn: Option<RoleArn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<ExternalId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_name: Option<SessionName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// Why an entry of the list is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum InvalidEntry {
    /// Neither of the two.
    #[error("an account has either `role_arn`, or `self: true` for the account of the credentials")]
    NoAccess,
    /// Both of the two.
    #[error("`self: true` is the account of the credentials, without a role: leave out `role_arn`, or `self`")]
    TwoAccesses,
    /// A property of a role without a role.
    #[error("`external_id` and `session_name` belong to a role: `self: true` has none")]
    NoRole,
}

impl TryFrom<WrittenEntry> for AccountEntry {
    type Error = InvalidEntry;

    fn try_from(written: WrittenEntry) -> Result<Self, InvalidEntry> {
        let access = match written.role_arn {
            Some(_) if written.own => return Err(InvalidEntry::TwoAccesses),
            Some(arn) => Access::Role(Box::new(Role {
                arn,
                external_id: written.external_id,
                session_name: written.session_name.unwrap_or_default(),
                base: None,
            })),
            None if !written.own => return Err(InvalidEntry::NoAccess),
            None if written.external_id.is_some() || written.session_name.is_some() => {
                return Err(InvalidEntry::NoRole);
            }
            None => Access::Own,
        };
        Ok(AccountEntry { access, name: written.name.filter(|name| !name.is_empty()) })
    }
}

impl From<AccountEntry> for WrittenEntry {
    fn from(entry: AccountEntry) -> Self {
        let name = entry.name;
        match entry.access {
            Access::Own => WrittenEntry { own: true, name, ..WrittenEntry::default() },
            Access::Role(role) => WrittenEntry {
                role_arn: Some(role.arn),
                external_id: role.external_id,
                session_name: Some(role.session_name).filter(|name| *name != SessionName::default()),
                name,
                ..WrittenEntry::default()
            },
        }
    }
}

/// The section `organization`: the members of an organisation are checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationSection {
    /// The role that is assumed in every member.
    pub role_name: RoleName,
    /// What the role's trust policy may require.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<ExternalId>,
    /// Name of the sessions of the role.
    #[serde(default)]
    pub session_name: SessionName,
    /// The role that may list the accounts; `None` if the credentials may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_role_arn: Option<RoleArn>,
    /// How the management account is reached.
    #[serde(default)]
    pub management_account: ManagementAccount,
    /// Time between two listings of the organisation.
    #[serde(default = "refresh_interval")]
    pub refresh_interval: Period,
    /// The accounts to check; all if it is empty.
    #[serde(default, skip_serializing_if = "AccountFilter::is_empty")]
    pub include: AccountFilter,
    /// The accounts that are not checked, also if they are included.
    #[serde(default, skip_serializing_if = "AccountFilter::is_empty")]
    pub exclude: AccountFilter,
    /// How long the last data of an account stay after it has left.
    #[serde(default = "retention", with = "duration")]
    pub retention: Duration,
    /// The share of accounts that can leave at once, in percent. If more are missing from a listing, it takes a second
    /// listing to confirm that.
    #[serde(default = "max_removed_percent")]
    pub max_removed_percent: Count<1, 100>,
}

impl OrganizationSection {
    /// How this role is assumed.
    pub fn role(&self, arn: RoleArn) -> Role {
        let (external_id, session_name) = (self.external_id.clone(), self.session_name.clone());
        Role { external_id, session_name, ..Role::new(arn) }
    }

    /// The role that may list the accounts; `None` if the credentials may.
    pub fn discovery_role(&self) -> Option<Role> {
        self.discovery_role_arn.clone().map(|arn| self.role(arn))
    }
}

fn refresh_interval() -> Period {
    Period::minutes(15)
}

fn retention() -> Duration {
    Duration::from_secs(3600)
}

fn max_removed_percent() -> Count<1, 100> {
    Count::new(33)
}

/// How the management account is reached: it has no role that AWS Organizations creates in members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagementAccount {
    /// With the credentials as they are.
    #[serde(rename = "self")]
    #[default]
    Own,
    /// With the role, which was created there, too.
    Assume,
    /// Not at all.
    Skip,
}

/// A selection of accounts: those that match in any way.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountFilter {
    /// Accounts by ID.
    #[serde(deserialize_with = "account_ids", skip_serializing_if = "BTreeSet::is_empty")]
    pub accounts: BTreeSet<AccountId>,
    /// Accounts anywhere below organizational units, or the root.
    #[serde(deserialize_with = "units", skip_serializing_if = "BTreeSet::is_empty")]
    pub organizational_units: BTreeSet<String>,
    /// Accounts with a tag of this key whose value matches the pattern, with the wildcards `*` and `?`.
    #[serde(deserialize_with = "crate::policy::settings::null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl AccountFilter {
    /// Whether nothing is selected.
    pub fn is_empty(&self) -> bool {
        *self == AccountFilter::default()
    }
}

/// Settings of one account that differ from those of all others.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountOverride {
    /// A display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Settings of rules. A rule that is named here has these settings and defaults, not those of `policy`.
    #[serde(skip_serializing_if = "RuleOverrides::is_empty")]
    pub policy: RuleOverrides,
    /// The largest number of requests to IAM per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests_per_second: Option<Rate>,
}

impl AccountOverride {
    /// Settings of the rules for this account.
    pub fn rules(&self, rules: RuleSettings) -> RuleSettings {
        self.policy.apply(rules)
    }
}

/// For `#[serde(with)]`: overrides by account ID.
pub(super) mod by_account {
    use super::{AccountId, AccountOverride, BTreeMap, account_id};
    use serde::{Deserialize, Deserializer};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<BTreeMap<AccountId, AccountOverride>>, D::Error> {
        let Some(entries) = Option::<BTreeMap<String, Option<AccountOverride>>>::deserialize(deserializer)? else {
            return Ok(None);
        };
        entries
            .into_iter()
            .map(|(id, entry)| Ok((account_id(&id)?, entry.unwrap_or_default())))
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

fn account_id<E: serde::de::Error>(text: &str) -> Result<AccountId, E> {
    text.parse().map_err(|_| E::custom(format!("{text:?} is not an account ID: twelve digits, in quotation marks")))
}

fn account_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<AccountId>, D::Error> {
    let ids = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    ids.iter().map(|id| account_id(id)).collect()
}

fn units<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let units = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    match units.iter().find(|unit| !is_unit(unit)) {
        Some(wrong) => Err(D::Error::custom(format!(
            "{wrong:?} is not the ID of an organizational unit, such as ou-abcd-12345678, or of a root, such as r-abcd"
        ))),
        None => Ok(units.into_iter().collect()),
    }
}

/// The ID of an organizational unit or of a root (Organizations API Reference, ListParents).
fn is_unit(id: &str) -> bool {
    let part = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    match id.split('-').collect::<Vec<_>>()[..] {
        ["r", root] => part(root, 4..=32),
        ["ou", root, unit] => part(root, 4..=32) && part(unit, 8..=32),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Settings;
    use super::*;

    const EVERYTHING: &str = r#"
accounts:
  - role_arn: arn:aws:iam::111111111111:role/audit/iam-key-exporter
    external_id: secret-1
    session_name: keys
    name: payments
  - self: true
organization:
  role_name: audit/iam-key-exporter
  external_id: secret-2
  discovery_role_arn: arn:aws:iam::222222222222:role/discovery
  management_account: skip
  refresh_interval: 5m
  include: { accounts: ["012345678901"], organizational_units: [ou-abcd-12345678, r-abcd], tags: { env: "prod*" } }
  exclude: { accounts: [], organizational_units: ~, tags: ~ }
  retention: 0
  max_removed_percent: 50
account_overrides:
  "111111111111":
    name: paid
    policy: { key_age: { max_age: 30d } }
    max_requests_per_second: 2.5
  222222222222:
"#;

    #[test]
    fn everything_is_read() {
        let settings = Settings::from_yaml(EVERYTHING).unwrap();
        let [role, own] = &settings.accounts[..] else { panic!("two accounts") };
        let Access::Role(access) = &role.access else { panic!("a role") };
        assert_eq!(access.arn.account.as_str(), "111111111111");
        assert_eq!((access.external_id.as_ref().unwrap().expose(), access.session_name.as_str()), ("secret-1", "keys"));
        assert_eq!((role.name.as_deref(), &own.access), (Some("payments"), &Access::Own));
        let organization = settings.organization.as_ref().unwrap();
        assert_eq!(organization.management_account, ManagementAccount::Skip);
        assert_eq!(organization.retention, Duration::ZERO);
        assert_eq!(organization.include.accounts.first().unwrap().as_str(), "012345678901");
        assert!(organization.exclude.is_empty());
        let first = settings.account_overrides.first_key_value().unwrap().1;
        let rules = first.rules(settings.policy);
        assert_eq!(rules.key_age.max_age, Duration::from_secs(30 * 86_400));
        assert_eq!(rules.multiple_active_keys, settings.policy.multiple_active_keys);
        assert_eq!(settings.account_overrides.len(), 2);
    }

    /// External IDs are hidden in what is printed, and nothing else is.
    #[test]
    fn what_is_printed_is_read_back() {
        let text = EVERYTHING.lines().filter(|l| !l.contains("external_id")).collect::<Vec<_>>().join("\n");
        let settings = Settings::from_yaml(&text).unwrap();
        assert_eq!(Settings::from_yaml(&settings.to_yaml()).unwrap(), settings);
        let printed = Settings::from_yaml(EVERYTHING).unwrap().to_yaml();
        assert!(!printed.contains("secret-") && printed.contains("[redacted]"), "{printed}");
        assert!(Settings::from_yaml(&printed).unwrap_err().to_string().contains("external ID"));
    }

    #[test]
    fn the_defaults_of_an_organisation() {
        let settings = Settings::from_yaml("organization: { role_name: iam-key-exporter }").unwrap();
        let organization = settings.organization.unwrap();
        assert_eq!(organization.management_account, ManagementAccount::Own);
        assert_eq!(organization.refresh_interval, Period::minutes(15));
        assert_eq!(organization.retention, Duration::from_secs(3600));
        assert_eq!(organization.max_removed_percent.get(), 33);
        assert!(organization.include.is_empty() && organization.exclude.is_empty());
    }
}
