//! The scenarios of `scenarios.yaml`, and what they do not cover: root, partial and last known keys, exemptions.

use super::*;
use crate::model::{AccessKey, KeyStatus, KeysResult, LastUsed, Partition, Tag, UserDetails, UserName};
use crate::policy::settings::parse_duration;
use crate::policy::{Exemption, RuleSettings, Selector, rule};
use jiff::ToSpan;
use jiff::civil::Date;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    name: String,
    #[serde(default)]
    policy: RuleSettings,
    keys: Option<Vec<(String, String, String)>>,
    #[serde(default)]
    exemptions: Vec<ExemptionData>,
    /// Of the user, whose path is `/team/`.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    groups: Vec<String>,
    status: String,
    findings: Option<BTreeMap<String, String>>,
    keep: Option<Vec<usize>>,
    deactivate: Option<Vec<usize>>,
    next_change: Option<String>,
    #[serde(default)]
    not_evaluated: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExemptionData {
    user: Option<String>,
    path: Option<String>,
    group: Option<String>,
    #[serde(default)]
    tag: BTreeMap<String, String>,
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
    let status = if status == "active" { KeyStatus::Active } else { KeyStatus::Inactive };
    let last_used = match used.as_str() {
        "never" => LastUsed::Never,
        "?" => LastUsed::Unknown,
        ago_text => LastUsed::At(ago(ago_text)),
    };
    AccessKey::new(None, status, Some(ago(age)), last_used)
}

fn account() -> Account {
    Account { id: "123456789012".parse().unwrap(), name: String::new(), partition: Partition::default() }
}

fn user(keys: KeysResult) -> User {
    let mut user = User::new(UserName::new("bob"), "/team/".into(), None, now());
    user.observe(now(), keys);
    user
}

fn active(age: &str, used: &str) -> AccessKey {
    key(&("active".into(), age.into(), used.into()))
}

fn evaluate_at(user: &User, policy: &Policy, now: Timestamp) -> Verdict {
    let exemptions = policy.exemptions.matching(&account(), &Subject::of(user, &user.arn(&account())));
    evaluate_user(user, policy, &exemptions, now)
}

fn evaluate(user: &User, policy: &Policy) -> Verdict {
    evaluate_at(user, policy, now())
}

impl Scenario {
    fn policy(&self) -> Policy {
        let exemption = |e: &ExemptionData| {
            let end = e.expires.saturating_add(1.day()).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
            let named = e.rule.as_deref().map(|name| rule(name).unwrap());
            let account = e.account.as_ref().map(|id| id.parse().unwrap());
            let ExemptionData { user, path, group, tag, .. } = e;
            let selector = Selector { user: user.clone(), path: path.clone(), group: group.clone(), tag: tag.clone() };
            Exemption::new(selector, account, named, e.reason.clone(), end)
        };
        Policy { rules: self.policy, exemptions: self.exemptions.iter().map(exemption).collect(), without_root: false }
    }

    fn user(&self) -> User {
        let mut user = user(match &self.keys {
            Some(keys) => KeysResult::complete(keys.iter().map(key).collect()),
            None => KeysResult::Failed("throttled"),
        });
        let tags = self.tags.iter().filter_map(|(key, value)| Tag::new(key, value)).collect();
        let groups = self.groups.iter().map(|group| Arc::from(group.as_str())).collect();
        user.set_details(Some(Arc::new(UserDetails { tags, groups })));
        user
    }

    fn check(&self) {
        let name = &self.name;
        let (user, policy) = (self.user(), self.policy());
        let verdict = evaluate(&user, &policy);
        assert_eq!(verdict.status.as_str(), self.status, "{name}: status");
        if let Some(expected) = &self.findings {
            let found: BTreeMap<String, Timestamp> =
                verdict.findings.iter().map(|f| (f.rule.name.to_owned(), f.since())).collect();
            let expected = expected.iter().map(|(rule, since)| (rule.clone(), ago(since))).collect();
            assert_eq!(found, expected, "{name}: findings");
        } else if self.status == "compliant" || self.status == "unknown" {
            assert!(verdict.findings.is_empty(), "{name}: findings");
        }
        let advice = verdict.findings.first().map(|f| f.advice(&user, &policy, now()));
        if let Some(keep) = &self.keep {
            assert_eq!(&advice.as_ref().unwrap().keep, keep, "{name}: keep");
        }
        if let Some(deactivate) = &self.deactivate {
            assert_eq!(&advice.as_ref().unwrap().deactivate, deactivate, "{name}: deactivate");
        }
        if let Some(next) = &self.next_change {
            let expected = now() + parse_duration(next.strip_prefix("in ").unwrap()).unwrap();
            assert_eq!(verdict.next_change(), Some(expected), "{name}: next change");
        }
        for (index, rule) in RULES.iter().enumerate() {
            let undetermined = self.not_evaluated.iter().any(|r| r == rule.name());
            assert_eq!(verdict.undetermined.contains(index), undetermined, "{name}: {rule:?} undetermined");
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
fn a_verdict_holds_until_the_next_change_and_not_longer() {
    let scenarios: Vec<Scenario> = serde_saphyr::from_str(include_str!("../scenarios.yaml")).unwrap();
    let mut changes = 0;
    for scenario in scenarios.iter().filter(|s| s.keys.is_some()) {
        let (user, policy) = (scenario.user(), scenario.policy());
        let verdict = evaluate(&user, &policy);
        let Some(next) = verdict.next_change() else { continue };
        let before = evaluate_at(&user, &policy, next - jiff::SignedDuration::from_secs(1));
        assert_eq!(before, verdict, "{}", scenario.name);
        assert_ne!(evaluate_at(&user, &policy, next), verdict, "{}", scenario.name);
        changes += 1;
    }
    assert!(changes > 5, "{changes}");
}

#[test]
fn root_is_evaluated_by_its_own_rules() {
    let at = ago("1h");
    let root = |active_keys| {
        evaluate_root(&account(), &RootSubject { active_keys, active_since: at }, &Policy::default(), now())
    };
    let index = RULES.iter().position(|r| r.name() == "root_access_key").unwrap();
    let violation = root(Some(1));
    assert_eq!((violation.findings[0].rule.name, violation.findings[0].since), ("root_access_key", at));
    assert_eq!(violation.findings[0].state, FindingState::Violation);
    assert_eq!(root(Some(0)), RootVerdict::default());
    assert!(root(None).undetermined.contains(index) && root(None).findings.is_empty());

    let mut exempt = Policy::default();
    let exemption = Exemption::new(ROOT.into(), None, None, "r".into(), Timestamp::MAX);
    exempt.exemptions = vec![exemption].into();
    let verdict = evaluate_root(&account(), &RootSubject { active_keys: Some(1), active_since: at }, &exempt, now());
    assert_eq!(verdict.findings[0].state, FindingState::Exempt { exemption: 0 });
}

#[test]
fn a_user_that_cannot_be_read_keeps_its_finding_but_its_status_is_unknown() {
    let mut user = user(KeysResult::complete(vec![active("50d", "1d"), active("20d", "2d")]));
    user.observe(now() + 1.second(), KeysResult::Failed("throttled"));
    let verdict = evaluate(&user, &Policy::default());
    assert_eq!(verdict.status, Status::Unknown);
    assert!(verdict.has_violation());
}

/// The limit is the policy's: two listed keys and one more are compliant with no limit below three.
#[test]
fn partial_keys_are_unknown_unless_they_exceed_the_limit_by_themselves() {
    let mut limit_of_two = Policy::default();
    limit_of_two.rules.multiple_active_keys.limit = 2.try_into().unwrap();
    let one = vec![active("20d", "1d")];
    let two = vec![active("50d", "1d"), active("20d", "2d")];
    let three = vec![active("50d", "1d"), active("20d", "2d"), active("10d", "2d")];
    for (keys, policy, status) in [
        (&one, Policy::default(), Status::Unknown),
        (&two, Policy::default(), Status::Violation),
        (&two, limit_of_two.clone(), Status::Unknown),
        (&three, limit_of_two, Status::Violation),
    ] {
        let verdict = evaluate(&user(KeysResult::partial(keys.clone())), &policy);
        assert_eq!(verdict.status, status, "{} keys, {policy:?}", keys.len());
        let undetermined = verdict.undetermined.contains(0);
        assert_eq!(undetermined, status == Status::Unknown, "{} keys, {policy:?}", keys.len());
    }
}

#[test]
fn an_undated_key_counts_from_the_users_creation() {
    let undated = AccessKey::new(None, KeyStatus::Active, None, LastUsed::At(ago("1d")));
    let mut user = user(KeysResult::complete(vec![active("50d", "1d"), undated]));
    user.set_created(Some(ago("60d")));
    let verdict = evaluate(&user, &Policy::default());
    assert_eq!(verdict.findings[0].since(), ago("60d"));
}

#[test]
fn a_key_dated_in_the_future_is_a_violation_now() {
    let graceful = {
        let mut policy = Policy::default();
        policy.rules.multiple_active_keys.rotation_grace = parse_duration("7d").unwrap();
        policy
    };
    let dated = |ahead: &str| {
        let created = now() + parse_duration(ahead).unwrap();
        let key = AccessKey::new(None, KeyStatus::Active, Some(created), LastUsed::Never);
        user(KeysResult::complete(vec![active("10d", "1d"), key]))
    };
    for (ahead, policy, status) in [
        ("1m", &Policy::default(), Status::Violation),
        ("365d", &Policy::default(), Status::Violation),
        ("1m", &graceful, Status::Rotating),
        ("2h", &graceful, Status::Violation),
        ("365d", &graceful, Status::Violation),
    ] {
        let verdict = evaluate(&dated(ahead), policy);
        assert_eq!(verdict.status, status, "{ahead}");
        assert!(verdict.findings[0].since() <= now(), "{ahead}: since {}", verdict.findings[0].since());
    }
}

/// The local clock was behind: the verdict ends when the clock is set, although the keys stay the same.
#[test]
fn a_key_dated_in_the_future_is_evaluated_again_when_its_date_has_come() {
    let mut policy = Policy::default();
    policy.rules.multiple_active_keys.rotation_grace = parse_duration("7d").unwrap();
    let created = now() + parse_duration("2h").unwrap();
    let key = AccessKey::new(None, KeyStatus::Active, Some(created), LastUsed::Never);
    let user = user(KeysResult::complete(vec![active("10d", "1d"), key]));
    assert_eq!(evaluate(&user, &policy).next_change(), Some(created));
    assert_eq!(evaluate_at(&user, &policy, created).status, Status::Rotating);
}

#[test]
fn a_verdict_without_an_end_has_no_next_change() {
    assert_eq!(evaluate(&user(KeysResult::complete(vec![])), &Policy::default()).next_change(), None);
}
