//! The table of settings. One entry is a flag with its variable and help, a key of the file, its type, and its default.
//!
//! A setting is added by one entry here, its row in `docs/configuration.md`, and its test.

use super::accounts::{AccountEntry, AccountOverride, OrganizationSection, by_account};
use super::addresses::{ExternalUrl, ListenAddress, ListenAddresses, RoutePrefix};
use super::exemptions::ExemptionEntry;
use super::shard::ShardChoice;
use super::values::{CollectorChoice, Count, DemoScenario, InvalidValue, LogFormat, LogLevel, Period, Rate};
use super::values::{RateOrOff, Shape, UserSelection, Value};
use crate::model::AccountId;
use crate::policy::RuleSettings;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

/// A setting, apart from its value.
pub struct Setting {
    /// The flag without the dashes before it.
    pub flag: &'static str,
    /// The key in the file: `section.key`, or `key`.
    pub key: &'static str,
    /// Placeholder of the value in the help.
    pub value_name: &'static str,
    /// What the setting does, in one sentence, for the help.
    pub help: &'static str,
    /// Heading of the flag's group in the help.
    pub heading: &'static str,
    /// Whether `serve` has the flag and `check` does not.
    pub serve_only: bool,
    /// The number of values, and how they are written.
    pub shape: Shape,
    /// Whether this is a value of the setting, or of its list.
    pub check: fn(&OsStr) -> Result<(), InvalidValue>,
    /// Sets the values of a flag or variable.
    pub(super) set: fn(&mut Settings, &[&OsStr]) -> Result<(), InvalidValue>,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key)
    }
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// `scope "flag" "VALUE" key: type = default;`, where the scope is `all` or `serve`; the comment above is the help.
macro_rules! settings {
    (
        $root_heading:literal { $(#[doc = $rhelp:literal] $rscope:ident $rflag:literal $rvalue:literal $rkey:ident: $rtype:ty = $rdefault:expr;)* }
        $($name:ident $Section:ident $heading:literal {
            $(#[doc = $help:literal] $scope:ident $flag:literal $value:literal $key:ident: $type:ty = $default:expr;)*
        })*
    ) => {
        /// Every setting with its value; the shape of the file. Serialized, it can be parsed again.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        pub struct Settings {
            $(#[doc = $rhelp] #[serde(skip_serializing_if = "Value::is_absent")] pub $rkey: $rtype,)*
            $(
                #[doc = concat!("The section `", stringify!($name), "` of the file.")]
                pub $name: $Section,
            )*
            /// The section `policy` of the file: settings of the rules.
            pub policy: RuleSettings,
            /// The list `exemptions` of the file; empty if there is none.
            pub exemptions: Vec<ExemptionEntry>,
            /// The list `accounts` of the file; empty if there is none.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub accounts: Vec<AccountEntry>,
            /// The section `organization` of the file; `None` if there is none.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub organization: Option<OrganizationSection>,
            /// The section `account_overrides` of the file; empty if there is none.
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub account_overrides: BTreeMap<AccountId, AccountOverride>,
        }

        impl Default for Settings {
            fn default() -> Self {
                Settings {
                    $($rkey: $rdefault,)*
                    $($name: $Section::default(),)*
                    policy: RuleSettings::default(),
                    exemptions: Vec::new(),
                    accounts: Vec::new(),
                    organization: None,
                    account_overrides: BTreeMap::new(),
                }
            }
        }

        impl<'de> Deserialize<'de> for Settings {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // A key that is absent or null leaves the default.
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Settings {
                    $($rkey: Option<$rtype>,)*
                    $($name: Option<$Section>,)*
                    policy: Option<RuleSettings>,
                    exemptions: Option<Vec<ExemptionEntry>>,
                    accounts: Option<Vec<AccountEntry>>,
                    organization: Option<OrganizationSection>,
                    #[serde(default, deserialize_with = "by_account::deserialize")]
                    account_overrides: Option<BTreeMap<AccountId, AccountOverride>>,
                }
                let given = Settings::deserialize(deserializer)?;
                Ok(Self {
                    $($rkey: given.$rkey.unwrap_or_else(|| $rdefault),)*
                    $($name: given.$name.unwrap_or_default(),)*
                    policy: given.policy.unwrap_or_default(),
                    exemptions: given.exemptions.unwrap_or_default(),
                    accounts: given.accounts.unwrap_or_default(),
                    organization: given.organization,
                    account_overrides: given.account_overrides.unwrap_or_default(),
                })
            }
        }

        $(
            #[doc = concat!("Settings of the section `", stringify!($name), "` of the file.")]
            #[derive(Debug, Clone, PartialEq, Serialize)]
            pub struct $Section {
                $(#[doc = $help] #[serde(skip_serializing_if = "Value::is_absent")] pub $key: $type,)*
            }

            impl Default for $Section {
                fn default() -> Self {
                    $Section { $($key: $default,)* }
                }
            }

            impl<'de> Deserialize<'de> for $Section {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    #[derive(Deserialize)]
                    #[serde(deny_unknown_fields)]
                    struct $Section { $($key: Option<$type>,)* }
                    let given = $Section::deserialize(deserializer)?;
                    Ok(Self { $($key: given.$key.unwrap_or_else(|| $default),)* })
                }
            }
        )*

        /// Every setting that has a flag, in the order of the file.
        pub static SETTINGS: &[Setting] = &[
            $(Setting {
                flag: $rflag,
                key: stringify!($rkey),
                value_name: $rvalue,
                help: $rhelp,
                heading: $root_heading,
                serve_only: settings!(@ $rscope),
                shape: <$rtype as Value>::SHAPE,
                check: |text| <$rtype as Value>::parse(&[text]).map(drop),
                set: |settings, texts| { settings.$rkey = Value::parse(texts)?; Ok(()) },
            },)*
            $($(Setting {
                flag: $flag,
                key: concat!(stringify!($name), ".", stringify!($key)),
                value_name: $value,
                help: $help,
                heading: $heading,
                serve_only: settings!(@ $scope),
                shape: <$type as Value>::SHAPE,
                check: |text| <$type as Value>::parse(&[text]).map(drop),
                set: |settings, texts| { settings.$name.$key = Value::parse(texts)?; Ok(()) },
            },)*)*
        ];
    };
    (@ all) => { false };
    (@ serve) => { true };
}

settings! {
    "What to check" {
        /// Collector that reads AWS [default: auto]
        all "collector" "HOW" collector: CollectorChoice = CollectorChoice::Auto;
        /// `auto` uses the credential report for accounts with more users than this [default: 500]
        all "collector.report-above" "USERS" collector_report_above: u32 = 500;
        /// The part of the accounts to check, from 0 on; `auto` takes the number at the end of the pod's name
        serve "shard" "NUMBER" shard: Option<ShardChoice> = None;
        /// Number of parts that the accounts are divided into [default: 1]
        serve "total-shards" "NUMBER" total_shards: Count<1, 1000> = Count::new(1);
    }
    input InputSection "What to check" {
        /// Read a saved credential report (CSV as AWS writes it) instead of AWS
        all "input.credential-report" "FILE" credential_report: Option<PathBuf> = None;
        /// Read a JSON inventory (see `inventory-schema`) instead of AWS
        all "input.inventory" "FILE" inventory: Option<PathBuf> = None;
    }
    demo DemoSection "What to check" {
        /// What the demo shows [default: account]
        all "demo.scenario" "WHICH" scenario: DemoScenario = DemoScenario::Account;
    }
    account AccountSection "What to check" {
        /// Display name of the account
        all "account.name" "NAME" name: Option<String> = None;
    }
    check CheckSection "Checks" {
        /// Time between two checks [default: 5m; with --demo 10s]
        serve "check.interval" "DURATION" interval: Option<Period> = None;
        /// Time limit of a check [default: 10m]
        all "check.timeout" "DURATION" timeout: Period = Period::minutes(10);
    }
    collect CollectSection "Checks" {
        /// Read when each key was last used, with the live collector (one more request per key)
        all "collect.last-used" "BOOL" last_used: bool = false;
        /// Names of user tags to read and to expose as labels of aws_iam_user_info
        all "collect.tags" "NAME,..." tags: Vec<String> = Vec::new();
        /// Names of the user tag with the owner, in order of preference: the label owner
        all "collect.owner-tag" "NAME,..." owner_tag: Vec<String> = Vec::new();
    }
    aws AwsSection "AWS" {
        /// Region; determines the partition [default: the SDK's, else us-east-1]
        all "aws.region" "REGION" region: Option<String> = None;
        /// Profile of the AWS configuration files [default: the SDK's]
        all "aws.profile" "NAME" profile: Option<String> = None;
        /// Maximum number of requests per second to IAM [default: 10]
        all "aws.max-requests-per-second" "NUMBER" max_requests_per_second: Rate = Rate(10.0);
        /// Maximum number of accounts that are checked at the same time [default: 64]
        serve "aws.max-accounts" "NUMBER" max_accounts: Count<1, 4096> = Count::new(64);
        /// Maximum number of concurrent requests to AWS, in all accounts; one account has at most 8 [default: 64]
        all "aws.concurrency" "NUMBER" concurrency: Count<1, 1024> = Count::new(64);
    }
    sweep SweepSection "Checks" {
        /// Maximum number of requests per second that read users between checks; 0 for none [default: 2]
        serve "sweep.max-requests-per-second" "NUMBER" max_requests_per_second: RateOrOff = RateOrOff(2.0);
    }
    metrics MetricsSection "Metrics" {
        /// Which users have series of their own [default: all]
        all "metrics.users" "WHICH" users: UserSelection = UserSelection::All;
        /// Expose aws_iam_user_info
        all "metrics.user-info" "BOOL" user_info: bool = false;
        /// Show access key IDs: as a label of key metrics, and in the output of `check`
        all "metrics.access-key-id" "BOOL" access_key_id: bool = false;
    }
    web WebSection "Web" {
        /// Address to listen on, as host:port, :port or unix:///path; repeatable [default: :19674]
        serve "web.listen-address" "ADDRESS" listen_address: ListenAddresses = ListenAddresses::standard();
        /// Use the sockets that systemd passes, instead of --web.listen-address
        serve "web.systemd-socket" "BOOL" systemd_socket: bool = false;
        /// One more address, for health and readiness only, always without TLS and authentication
        serve "web.probe-address" "ADDRESS" probe_address: Option<ListenAddress> = None;
        /// URL under which browsers reach the exporter, where it differs from the address; links begin with its path
        serve "web.external-url" "URL" external_url: Option<ExternalUrl> = None;
        /// Prefix of the paths of all routes [default: the path of --web.external-url]
        serve "web.route-prefix" "PATH" route_prefix: Option<RoutePrefix> = None;
        /// File with TLS, authentication, headers and a rate limit, in the format of exporter-toolkit
        serve "web.config.file" "FILE" config_file: Option<PathBuf> = None;
        /// Maximum number of open connections; at the limit, the one that is idle longest is closed [default: 128]
        serve "web.max-connections" "NUMBER" max_connections: Count<1, { u16::MAX }> = Count::new(128);
        /// Allow reloading the configuration with POST /-/reload; SIGHUP always does
        serve "web.enable-lifecycle" "BOOL" enable_lifecycle: bool = false;
    }
    log LogSection "Logging" {
        /// Least severity that is logged [default: info]
        all "log.level" "LEVEL" level: LogLevel = LogLevel::Info;
        /// Format of log lines [default: text]
        all "log.format" "FORMAT" format: LogFormat = LogFormat::Text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn flags_and_keys_are_unique_and_documented() {
        let docs = include_str!("../../docs/configuration.md");
        let mut seen = HashSet::new();
        for Setting { flag, key, serve_only, .. } in SETTINGS {
            assert!(seen.insert(*flag) && (flag == key || seen.insert(*key)), "{flag} occurs twice");
            let row = docs.lines().find(|l| l.starts_with(&format!("| `--{flag}` | `{key}` |")));
            let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row of --{flag}"));
            assert_eq!(row.contains("| serve |"), *serve_only, "{row}");
        }
    }

    /// The help names the default; this is it.
    #[test]
    fn the_help_names_the_default() {
        let defaults = serde_json::to_value(Settings::default()).unwrap();
        for setting in SETTINGS {
            let named = setting.help.split_once("[default: ").map(|(_, rest)| rest.trim_end_matches(']'));
            let value = setting.key.split('.').fold(&defaults, |value, key| &value[key]);
            let text = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::Bool(false) => {
                    assert_eq!(named, None, "{setting:?}");
                    continue;
                }
                serde_json::Value::Array(list) if list.is_empty() => continue,
                serde_json::Value::Array(list) => list[0].as_str().unwrap().to_owned(),
                serde_json::Value::String(text) => text.clone(),
                number => number.to_string().trim_end_matches(".0").to_owned(),
            };
            assert_eq!(named, Some(text.as_str()), "{setting:?}");
        }
    }
}
