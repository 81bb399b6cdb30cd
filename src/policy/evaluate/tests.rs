//! The scenarios of `scenarios.yaml`, and what they do not say: root, totals, last known keys.

use super::*;
use crate::model::{AccessKey, Account, Collector, KeyStatus, Keys, LastUsed};
use crate::policy::settings::parse_duration;
use crate::policy::{Exemption, RuleSettings, rule};
use jiff::ToSpan;
use jiff::civil::Date;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    name: String,
    #[serde(default)]
    policy: RuleSettings,
    keys: Option<Vec<(String, String, String)>>,
    #[serde(default)]
    exemptions: Vec<ExemptionData>,
    status: String,
    findings: Option<BTreeMap<String, String>>,
    keep: Option<Vec<usize>>,
    deactivate: Option<Vec<usize>>,
    next_change: Option<String>,
    #[serde(default)]
    not_judged: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExemptionData {
    user: String,
    account: Option<String>,
    rule: Option<String>,
    reason: String,
    expires: Date,
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn ago(text: &str) -> Timestamp {
    now() - parse_duration(text).unwrap()
}

fn key((status, age, used): &(String, String, String)) -> AccessKey {
    AccessKey {
        id: None,
        status: if status == "active" { KeyStatus::Active } else { KeyStatus::Inactive },
        created: Some(ago(age)),
        last_used: match used.as_str() {
            "never" => LastUsed::Never,
            "?" => LastUsed::Unknown,
            ago_text => LastUsed::At(ago(ago_text)),
        },
    }
}

fn inventory(keys: Keys) -> Inventory {
    let user = User {
        name: "bob".into(),
        arn: "arn:aws:iam::123456789012:user/team/bob".into(),
        path: "/team/".into(),
        created: None,
        tags: vec![],
        observed_at: now(),
        keys,
    };
    Inventory {
        account: Account { id: "123456789012".into(), name: String::new(), partition: "aws".into() },
        collector: Collector::Live,
        facts_at: now(),
        root_active_keys: Some(0),
        users: vec![user],
    }
}

fn active(age: &str, used: &str) -> AccessKey {
    key(&("active".into(), age.into(), used.into()))
}

impl Scenario {
    fn policy(&self) -> Policy {
        let exemption = |e: &ExemptionData| {
            let end = e.expires.saturating_add(1.day()).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
            let named = e.rule.as_deref().map(|name| rule(name).unwrap());
            Exemption::new(e.user.clone(), e.account.clone(), named, e.reason.clone(), end)
        };
        Policy { rules: self.policy, exemptions: self.exemptions.iter().map(exemption).collect() }
    }

    fn check(&self) {
        let name = &self.name;
        let keys = self.keys.as_ref().map_or(Keys::unknown("throttled"), |k| Keys::known(k.iter().map(key).collect()));
        let evaluation = evaluate(&inventory(keys), &self.policy(), now());
        assert_eq!(evaluation.statuses[0].as_str(), self.status, "{name}: status");
        if let Some(expected) = &self.findings {
            let found: BTreeMap<String, Timestamp> =
                evaluation.findings.iter().map(|f| (f.rule.name.to_owned(), f.since)).collect();
            let expected = expected.iter().map(|(rule, since)| (rule.clone(), ago(since))).collect();
            assert_eq!(found, expected, "{name}: findings");
        } else if self.status == "compliant" || self.status == "unknown" {
            assert_eq!(evaluation.findings, [], "{name}: findings");
        }
        let advice = evaluation.findings.first().map(|f| &f.advice);
        if let Some(keep) = &self.keep {
            assert_eq!(&advice.unwrap().keep, keep, "{name}: keep");
        }
        if let Some(deactivate) = &self.deactivate {
            assert_eq!(&advice.unwrap().deactivate, deactivate, "{name}: deactivate");
        }
        if let Some(next) = &self.next_change {
            let expected = now() + parse_duration(next.strip_prefix("in ").unwrap()).unwrap();
            assert_eq!(evaluation.next_change, Some(expected), "{name}: next change");
        }
        for total in &evaluation.totals {
            let judged = !self.not_judged.iter().any(|r| r == total.rule.name);
            assert_eq!(total.violations.is_some(), judged, "{name}: {:?} judged", total.rule);
        }
    }
}

#[test]
fn scenarios() {
    let scenarios: Vec<Scenario> = serde_saphyr::from_str(include_str!("../scenarios.yaml")).unwrap();
    assert!(scenarios.len() > 30);
    for scenario in scenarios {
        scenario.check();
    }
}

#[test]
fn the_answer_holds_until_the_next_change_and_not_longer() {
    let scenarios: Vec<Scenario> = serde_saphyr::from_str(include_str!("../scenarios.yaml")).unwrap();
    for scenario in scenarios {
        let Some(keys) = &scenario.keys else { continue };
        let (inventory, policy) = (inventory(Keys::known(keys.iter().map(key).collect())), scenario.policy());
        let answer = evaluate(&inventory, &policy, now());
        let Some(next) = answer.next_change else { continue };
        let before = evaluate(&inventory, &policy, next - jiff::SignedDuration::from_secs(1));
        assert_eq!(
            (&before.statuses, before.findings.len()),
            (&answer.statuses, answer.findings.len()),
            "{}",
            scenario.name
        );
        assert_eq!(before.totals, answer.totals, "{}", scenario.name);
        assert_ne!(evaluate(&inventory, &policy, next), before, "{}", scenario.name);
    }
}

#[test]
fn root_is_judged_apart_and_is_no_user() {
    let mut facts = inventory(Keys::known(vec![]));
    let total = |e: &Evaluation| e.totals.iter().find(|t| t.rule.name == "root_access_key").unwrap().violations;

    facts.root_active_keys = Some(1);
    let evaluation = evaluate(&facts, &Policy::default(), now());
    assert_eq!(total(&evaluation), Some(1));
    assert_eq!(evaluation.findings[0].user, None);
    assert_eq!(evaluation.statuses, [Status::Compliant]);

    facts.root_active_keys = None;
    assert_eq!(total(&evaluate(&facts, &Policy::default(), now())), None);
}

#[test]
fn a_user_that_cannot_be_read_keeps_its_finding_but_its_status_is_unknown() {
    let last_known = Some(vec![active("50d", "1d"), active("20d", "2d")]);
    let facts = inventory(Keys::Unknown { reason: "throttled", last_known });
    let evaluation = evaluate(&facts, &Policy::default(), now());
    assert_eq!(evaluation.statuses, [Status::Unknown]);
    assert_eq!(evaluation.totals[0].violations, Some(1));
    assert!(evaluation.findings[0].last_known);
}

#[test]
fn violations_that_are_known_count_although_others_cannot_be_judged() {
    let mut facts = inventory(Keys::known(vec![active("200d", "?")]));
    let mut other = facts.users[0].clone();
    other.name = "carol".into();
    other.keys = Keys::known(vec![active("200d", "100d")]);
    facts.users.push(other);
    let evaluation = evaluate(&facts, &Policy::default(), now());
    let unused = evaluation.totals.iter().find(|t| t.rule.name == "unused_key").unwrap();
    assert_eq!(unused.violations, Some(1));
}

#[test]
fn an_undated_key_counts_from_the_users_creation() {
    let mut undated = active("20d", "1d");
    undated.created = None;
    let mut facts = inventory(Keys::known(vec![active("50d", "1d"), undated]));
    facts.users[0].created = Some(ago("60d"));
    let evaluation = evaluate(&facts, &Policy::default(), now());
    assert_eq!(evaluation.findings[0].since, ago("60d"));
}

#[test]
fn exemptions_say_whether_there_is_anybody_whom_they_speak_of() {
    let policy = Policy {
        exemptions: ["bob", "nobody", "<root_account>"]
            .map(|user| Exemption::new(user.into(), None, None, "r".into(), Timestamp::MAX))
            .to_vec(),
        ..Policy::default()
    };
    for keys in [vec![], vec![active("50d", "1d"), active("20d", "2d")]] {
        let facts = inventory(Keys::known(keys));
        assert_eq!(evaluate(&facts, &policy, now()).exemptions_used, [true, false, true]);
    }
}
