//! Exemptions in the configuration file.

use crate::model::AccountId;
use crate::policy::{self, Exemption, Rule, Selector};
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, HashSet};

/// An exemption as it is written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExemptionEntry {
    /// Which users it matches; not empty.
    #[serde(flatten)]
    pub selector: SelectorEntry,
    /// The account in which it applies; `None` for all accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The rule that users may violate; `None` for all rules.
    #[serde(serialize_with = "rule_name::serialize", skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static Rule>,
    /// Why the users are exempt; not empty.
    pub reason: String,
    /// The last day on which it applies, in UTC.
    pub expires: Date,
}

/// The keys of an exemption that select users.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelectorEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tag: BTreeMap<String, String>,
}

impl SelectorEntry {
    /// The selector of the policy.
    pub fn selector(&self) -> Selector {
        let SelectorEntry { user, path, group, tag } = self.clone();
        Selector { user, path, group, tag }
    }
}

impl ExemptionEntry {
    /// The exemption, in force until the end of its last day.
    pub(super) fn exemption(&self) -> Exemption {
        let day_after = self.expires.saturating_add(1.day());
        let expires = day_after.to_zoned(TimeZone::UTC).map_or(jiff::Timestamp::MAX, |z| z.timestamp());
        Exemption::new(self.selector.selector(), self.account, self.rule, self.reason.clone(), expires)
    }
}

impl<'de> Deserialize<'de> for ExemptionEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ExemptionEntry {
            #[serde(default, deserialize_with = "pattern")]
            user: Option<String>,
            #[serde(default, deserialize_with = "path")]
            path: Option<String>,
            #[serde(default, deserialize_with = "pattern")]
            group: Option<String>,
            #[serde(default, deserialize_with = "tags")]
            tag: BTreeMap<String, String>,
            #[serde(default, deserialize_with = "account_id")]
            account: Option<AccountId>,
            #[serde(default, deserialize_with = "rule_name::deserialize")]
            rule: Option<&'static Rule>,
            #[serde(deserialize_with = "not_empty")]
            reason: String,
            #[serde(deserialize_with = "date")]
            expires: Date,
        }
        let given = ExemptionEntry::deserialize(deserializer)?;
        let selector = SelectorEntry { user: given.user, path: given.path, group: given.group, tag: given.tag };
        if selector.selector().is_empty() {
            return Err(D::Error::custom("an exemption needs at least one of user, path, group and tag"));
        }
        let ExemptionEntry { account, rule, reason, expires, .. } = given;
        Ok(Self { selector, account, rule, reason, expires })
    }
}

/// A key that is there has a pattern: nothing after it is a mistake, not "every user".
fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    not_empty(deserializer).map(Some)
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let path = not_empty(deserializer)?;
    if path.starts_with(['/', '*', '?']) && path.ends_with(['/', '*', '?']) {
        return Ok(Some(path));
    }
    Err(D::Error::custom(format!("{path:?} matches no path: paths begin and end with a slash, such as /service/*")))
}

fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let tags = BTreeMap::<String, Option<String>>::deserialize(deserializer)?;
    let tags: BTreeMap<_, _> = tags.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect();
    let mut keys = HashSet::new();
    for (key, value) in &tags {
        if key.trim().is_empty() {
            return Err(D::Error::custom("the key of a tag must not be empty"));
        }
        if !keys.insert(key.to_ascii_lowercase()) {
            return Err(D::Error::custom(format!(
                "{key:?} occurs twice: keys of tags are the same in upper and lower case"
            )));
        }
        if value.is_empty() {
            return Err(D::Error::custom(format!(
                "the value of the tag {key:?} must not be empty; \"*\" is any value"
            )));
        }
    }
    if tags.is_empty() {
        return Err(D::Error::custom("it must not be empty"));
    }
    Ok(tags)
}

mod rule_name {
    use super::{Deserialize, Deserializer, Rule, Serializer, policy};
    use serde::de::Error as _;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'static Rule>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        policy::rule(&name).map(Some).ok_or_else(|| {
            let known: Vec<&str> = policy::RULES.iter().map(|r| r.name()).collect();
            D::Error::custom(format!("there is no rule {name:?}; there are {}", known.join(", ")))
        })
    }

    #[allow(clippy::ref_option, reason = "the signature is serde's")]
    pub fn serialize<S: Serializer>(rule: &Option<&'static Rule>, serializer: S) -> Result<S::Ok, S::Error> {
        match rule {
            Some(rule) => serializer.serialize_str(rule.name()),
            None => serializer.serialize_none(),
        }
    }
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    if text.trim().is_empty() { Err(D::Error::custom("it must not be empty")) } else { Ok(text) }
}

fn account_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AccountId>, D::Error> {
    let Some(id) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let wrong = |_| D::Error::custom(format!("{id:?} is not an account ID: twelve digits, in quotation marks"));
    id.parse().map(Some).map_err(wrong)
}

fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    let text = String::deserialize(deserializer)?;
    let well_formed = text.len() == 10;
    text.parse()
        .ok()
        .filter(|_| well_formed)
        .ok_or_else(|| D::Error::custom(format!("{text:?} is not a date such as 2026-12-31")))
}
