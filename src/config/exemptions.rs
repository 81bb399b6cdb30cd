//! Exemptions in the configuration file.

use crate::model::AccountId;
use crate::policy::{self, Exemption, Rule};
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An exemption as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExemptionEntry {
    /// User name or ARN, with the wildcards `*` and `?`; not empty.
    #[serde(deserialize_with = "not_empty")]
    pub user: String,
    /// The account in which it applies; `None` for all accounts.
    #[serde(default, deserialize_with = "account_id", skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The rule that users may violate; `None` for all rules.
    #[serde(default, with = "rule_name", skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static Rule>,
    /// Why the users are exempt; not empty.
    #[serde(deserialize_with = "not_empty")]
    pub reason: String,
    /// The last day on which it applies, in UTC.
    #[serde(deserialize_with = "date")]
    pub expires: Date,
}

impl ExemptionEntry {
    /// The exemption, in force until the end of its last day.
    pub(super) fn exemption(&self) -> Exemption {
        let day_after = self.expires.saturating_add(1.day());
        let expires = day_after.to_zoned(TimeZone::UTC).map_or(jiff::Timestamp::MAX, |z| z.timestamp());
        Exemption::new(self.user.clone(), self.account, self.rule, self.reason.clone(), expires)
    }
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
    let text = String::deserialize(deserializer)?;
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
