//! The configuration file: its keys, and what each may hold. Unknown keys are errors.

use super::check_listen_address;
use crate::cli::{CollectorChoice, LogFormat, LogLevel, UserSelection, check_rate};
use crate::policy::{self, Exemption, Policy, Rule, RuleSettings, settings};
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// Every key of the file. What is absent was not said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    pub collector: Option<CollectorChoice>,
    pub collector_report_above: Option<u32>,
    pub input: InputSection,
    pub account: AccountSection,
    pub check: CheckSection,
    pub collect: CollectSection,
    pub aws: AwsSection,
    pub metrics: MetricsSection,
    pub web: WebSection,
    pub log: LogSection,
    pub policy: RuleSettings,
    pub exemptions: Vec<ExemptionEntry>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_report: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSection {
    #[serde(with = "positive_duration")]
    pub interval: Option<Duration>,
    #[serde(with = "positive_duration")]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectSection {
    pub last_used: Option<bool>,
    pub tags: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(deserialize_with = "rate")]
    pub max_requests_per_second: Option<f64>,
    #[serde(deserialize_with = "concurrency")]
    pub concurrency: Option<u16>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSection {
    pub users: Option<UserSelection>,
    pub user_info: Option<bool>,
    pub access_key_id: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSection {
    #[serde(deserialize_with = "listen_addresses")]
    pub listen_address: Option<Vec<String>>,
    #[serde(deserialize_with = "max_connections")]
    pub max_connections: Option<u16>,
    pub enable_lifecycle: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    pub level: Option<LogLevel>,
    pub format: Option<LogFormat>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExemptionEntry {
    #[serde(deserialize_with = "not_empty")]
    pub user: String,
    #[serde(default, deserialize_with = "account_id", skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(default, with = "rule_name", skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static Rule>,
    #[serde(deserialize_with = "not_empty")]
    pub reason: String,
    /// The last day on which it holds, in UTC.
    #[serde(deserialize_with = "date")]
    pub expires: Date,
}

impl FileConfig {
    /// Reads YAML.
    ///
    /// # Errors
    /// What is wrong, with line, column and the lines around it.
    pub fn parse(text: &str) -> Result<Self, String> {
        // An empty file is a file that says nothing.
        if text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#') || l.trim() == "---") {
            return Ok(FileConfig::default());
        }
        let config: FileConfig = serde_saphyr::from_str(text).map_err(|e| one_line(&e.to_string()))?;
        config.check_exemptions()?;
        Ok(config)
    }

    /// Two exemptions for the same users, account and rule contradict each other, if only by their dates.
    fn check_exemptions(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        for (index, entry) in self.exemptions.iter().enumerate() {
            if !seen.insert((&entry.user, &entry.account, entry.rule.map(|r| r.name))) {
                let ordinal = index + 1;
                return Err(format!(
                    "exemptions: number {ordinal} (user {:?}) repeats the user, account and rule of an earlier one",
                    entry.user
                ));
            }
        }
        Ok(())
    }

    /// Itself as YAML, which [`FileConfig::parse`] reads back.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("plain data serializes")
    }

    pub fn policy(&self) -> Policy {
        Policy { rules: self.policy, exemptions: self.exemptions.iter().map(exemption).collect() }
    }

    /// Fills in, from `other`, whatever was not said here.
    pub fn or(self, other: FileConfig) -> FileConfig {
        FileConfig {
            collector: self.collector.or(other.collector),
            collector_report_above: self.collector_report_above.or(other.collector_report_above),
            input: InputSection {
                credential_report: self.input.credential_report.or(other.input.credential_report),
                inventory: self.input.inventory.or(other.input.inventory),
            },
            account: AccountSection { name: self.account.name.or(other.account.name) },
            check: CheckSection {
                interval: self.check.interval.or(other.check.interval),
                timeout: self.check.timeout.or(other.check.timeout),
            },
            collect: CollectSection {
                last_used: self.collect.last_used.or(other.collect.last_used),
                tags: self.collect.tags.or(other.collect.tags),
            },
            aws: AwsSection {
                region: self.aws.region.or(other.aws.region),
                profile: self.aws.profile.or(other.aws.profile),
                max_requests_per_second: self.aws.max_requests_per_second.or(other.aws.max_requests_per_second),
                concurrency: self.aws.concurrency.or(other.aws.concurrency),
            },
            metrics: MetricsSection {
                users: self.metrics.users.or(other.metrics.users),
                user_info: self.metrics.user_info.or(other.metrics.user_info),
                access_key_id: self.metrics.access_key_id.or(other.metrics.access_key_id),
            },
            web: WebSection {
                listen_address: self.web.listen_address.or(other.web.listen_address),
                max_connections: self.web.max_connections.or(other.web.max_connections),
                enable_lifecycle: self.web.enable_lifecycle.or(other.web.enable_lifecycle),
            },
            log: LogSection { level: self.log.level.or(other.log.level), format: self.log.format.or(other.log.format) },
            // No flag speaks of these.
            policy: other.policy,
            exemptions: other.exemptions,
        }
    }
}

/// The library's message without the lines of the file, and without hints for users of the library.
fn one_line(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let (message, _) = message.split_once("\n --> ").unwrap_or((message, ""));
    message.trim_end().replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}

fn exemption(entry: &ExemptionEntry) -> Exemption {
    let day_after = entry.expires.saturating_add(1.day());
    let expires = day_after.to_zoned(TimeZone::UTC).map_or(jiff::Timestamp::MAX, |z| z.timestamp());
    Exemption::new(entry.user.clone(), entry.account.clone(), entry.rule, entry.reason.clone(), expires)
}

mod positive_duration {
    use super::{Deserialize, Deserializer, Duration, Serializer, settings};
    use serde::de::Error as _;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        settings::parse_period(&text).map(Some).map_err(D::Error::custom)
    }

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&settings::format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }
}

mod rule_name {
    use super::{Deserialize, Deserializer, Rule, Serializer, policy};
    use serde::de::Error as _;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'static Rule>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        policy::rule(&name).map(Some).ok_or_else(|| {
            let known: Vec<&str> = policy::RULES.iter().map(|r| r.name).collect();
            D::Error::custom(format!("there is no rule {name:?}; there are {}", known.join(", ")))
        })
    }

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub fn serialize<S: Serializer>(rule: &Option<&'static Rule>, serializer: S) -> Result<S::Ok, S::Error> {
        match rule {
            Some(rule) => serializer.serialize_str(rule.name),
            None => serializer.serialize_none(),
        }
    }
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() { Err(D::Error::custom("it must not be empty")) } else { Ok(text) }
}

fn account_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(id) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()) {
        Ok(Some(id))
    } else {
        Err(D::Error::custom(format!("{id:?} is not an account ID: twelve digits, in quotation marks")))
    }
}

fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    let text = String::deserialize(deserializer)?;
    let well_formed = text.len() == 10;
    text.parse()
        .ok()
        .filter(|_| well_formed)
        .ok_or_else(|| D::Error::custom(format!("{text:?} is not a date such as 2026-12-31")))
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let Some(value) = Option::<f64>::deserialize(deserializer)? else { return Ok(None) };
    check_rate(value).map(|()| Some(value)).map_err(D::Error::custom)
}

fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    match Option::<u16>::deserialize(deserializer)? {
        Some(n) if !(1..=256).contains(&n) => Err(D::Error::custom("it must be between 1 and 256")),
        n => Ok(n),
    }
}

fn max_connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    match Option::<u16>::deserialize(deserializer)? {
        Some(0) => Err(D::Error::custom("it must be at least 1")),
        n => Ok(n),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// At least one: without a listener the exporter would run unseen.
fn listen_addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let addresses = match Option::<OneOrMany>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(OneOrMany::One(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
    };
    if addresses.is_empty() {
        return Err(D::Error::custom("it must name at least one address"));
    }
    match addresses.iter().find_map(|address| check_listen_address(address).err()) {
        Some(error) => Err(D::Error::custom(error)),
        None => Ok(Some(addresses)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_says_nothing_is_the_default() {
        for text in ["", "# nothing\n", "---\n", "{}"] {
            assert_eq!(FileConfig::parse(text), Ok(FileConfig::default()), "{text:?}");
        }
    }

    #[test]
    fn mistakes_are_found_by_line_and_named() {
        for (text, line, word) in [
            ("policy:\n  key_agee: {}\n", 2, "key_agee"),
            ("policy:\n  key_age:\n    max_age: 90\n", 3, "90d"),
            ("policy:\n  multiple_active_keys:\n    limit: 0\n", 3, "nonzero"),
            ("check:\n  interval: 0s\n", 2, "longer than zero"),
            ("aws:\n  concurrency: 0\n", 2, "between 1 and 256"),
            ("web:\n  listen_address: []\n", 2, "at least one address"),
            ("web:\n  listen_address: [':1', nowhere]\n", 2, "nowhere"),
            ("exemptions:\n  - user: a\n    reason: r\n    expires: soon\n", 4, "soon"),
            ("exemptions:\n  - user: a\n    reason: r\n    expires: 2026-02-30\n", 4, "2026-02-30"),
            ("exemptions:\n  - user: a\n    expires: 2026-12-31\n", 3, "reason"),
            ("exemptions:\n  - user: a\n    reason: ' '\n    expires: 2026-12-31\n", 3, "empty"),
            (
                "exemptions:\n  - user: a\n    rule: nope\n    reason: r\n    expires: 2026-12-31\n",
                3,
                "there is no rule",
            ),
            ("exemptions:\n  - user: a\n    account: 12\n    reason: r\n    expires: 2026-12-31\n", 3, "twelve digits"),
            ("collector: sideways\n", 1, "sideways"),
            ("check: [\n", 1, "mapping"),
            ("check: {interval: 1m}\ncheck: {interval: 2m}\n", 2, "duplicate mapping key: check"),
        ] {
            let error = FileConfig::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
            assert!(error.contains(&format!("line {line}")), "{text}: {error}");
        }
    }

    #[test]
    fn an_exemption_holds_until_the_end_of_its_day_and_is_not_repeated() {
        let entry = "  - {user: a, reason: r, expires: 2026-12-31}\n";
        let config = FileConfig::parse(&format!("exemptions:\n{entry}")).unwrap();
        assert_eq!(config.policy().exemptions[0].expires, "2027-01-01T00:00:00Z".parse().unwrap());
        let error = FileConfig::parse(&format!("exemptions:\n{entry}{entry}")).unwrap_err();
        assert!(error.contains("number 2"), "{error}");
    }
}
