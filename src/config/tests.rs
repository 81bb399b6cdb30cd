use super::*;
use crate::cli::{Action, Cli, command};
use crate::model::{Timestamp, UserName};
use crate::policy::{ExemptionState, Status};
use crate::source::demo::DemoSource;
use crate::state::{AccountState, Snapshot};
use clap::FromArgMatches;
use std::io::Write;
use std::sync::Arc;

/// The configuration of `serve` with these arguments, or the error.
fn load(arguments: &[&str], file: Option<&str>) -> Result<Config, ConfigError> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    let mut typed: Vec<String> =
        ["iam-key-exporter", "serve"].iter().chain(arguments).map(ToString::to_string).collect();
    if let Some(text) = file {
        on_disk.write_all(text.as_bytes()).unwrap();
        typed.push(format!("--config.file={}", on_disk.path().display()));
    }
    let matches = command().try_get_matches_from(typed).unwrap_or_else(|e| panic!("{e}"));
    let Action::Serve(args) = Cli::from_arg_matches(&matches).unwrap().command else { panic!("it is serve") };
    Config::load(&args.into())
}

#[test]
fn flag_then_file_then_default() {
    let file = "check: {interval: 2m}\naws: {concurrency: 3}\n";
    let config = load(&["--check.interval=1m"], Some(file)).unwrap();
    assert_eq!(config.interval(), Duration::from_secs(60));
    assert_eq!(config.settings.aws.concurrency.get(), 3);
    assert_eq!(config.settings.check.timeout, Period::minutes(10));
}

#[test]
fn a_flag_can_take_back_what_the_file_says() {
    let file = "collect: {last_used: true}\n";
    assert!(load(&[], Some(file)).unwrap().settings.collect.last_used);
    assert!(!load(&["--collect.last-used=false"], Some(file)).unwrap().settings.collect.last_used);
    assert!(load(&["--collect.last-used"], None).unwrap().settings.collect.last_used);
}

#[test]
fn an_input_named_by_flag_replaces_the_files() {
    let config = load(&["--input.inventory=a.json"], Some("input: {credential_report: b.csv}\n")).unwrap();
    assert_eq!(config.input, Input::Inventory("a.json".into()));
}

#[test]
fn what_is_printed_means_the_same_when_read_back() {
    let file = "policy: {multiple_active_keys: {limit: 2, rotation_grace: 36h}, unused_key: {enabled: false}}\n\
        exemptions: [{user: 'a*', rule: key_age, account: '000000000012', reason: r, expires: 2030-02-28}]\n\
        web: {listen_address: '127.0.0.1:0'}\ncollect: {tags: [owner, 'Cost Centre']}\n";
    let parsed = Settings::from_yaml(file).unwrap();
    assert_eq!(Settings::from_yaml(&parsed.to_yaml()), Ok(parsed));
}

#[test]
fn contradictions_name_what_contradicts() {
    for (arguments, file, words) in [
        (
            &["--input.inventory=a", "--input.credential-report=b"][..],
            None,
            ["--input.inventory", "--input.credential-report"],
        ),
        (&["--demo", "--input.inventory=a"], None, ["--demo", "--input.inventory"]),
        (&["--demo", "--collector=live"], None, ["--demo", "--collector"]),
        (&["--collector=live", "--input.inventory=a"], None, ["--collector", "--input"]),
        (&[], Some("input: {inventory: a, credential_report: b}"), ["input.inventory", "input.credential_report"]),
        (&["--input.inventory=a"], Some("accounts: [{self: true}]"), ["accounts", "input"]),
        (&[], Some("input: {inventory: a}\norganization: {role_name: x}"), ["organization", "input"]),
        (&["--input.inventory=a", "--shard=0", "--total-shards=2"], None, ["--total-shards=2", "file"]),
        (&["--shard=2", "--total-shards=2"], None, ["--shard: 2", "--total-shards=2"]),
        (&["--total-shards=2"], None, ["--total-shards=2", "--shard"]),
        (&["--demo.scenario=organization"], None, ["--demo.scenario", "--demo"]),
        (&["--collect.tags=Owner,owner"], None, ["--collect.tags", "tag_owner"]),
        (&["--collect.tags=a,,b"], None, ["--collect.tags", "empty"]),
        (&["--collect.owner-tag=owner, "], None, ["--collect.owner-tag", "empty"]),
        (&["--collect.owner-tag=Owner,team,owner"], None, ["--collect.owner-tag", "\"owner\""]),
        (&["--config.file=/nowhere/at/all"], None, ["--config.file", "/nowhere/at/all"]),
    ] {
        let error = load(arguments, file).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in {error:?}");
        }
    }
}

#[test]
fn the_demo_follows_its_script_and_has_users_of_every_status() {
    let policy = Arc::new(Settings::from_yaml(DEMO).unwrap().policy());
    let start: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
    let demo = DemoSource::new(start, String::new());
    for (second, expected) in [
        (0, Status::Compliant),
        (44, Status::Compliant),
        (46, Status::Rotating),
        (76, Status::Violation),
        (120, Status::Violation),
        (166, Status::Compliant),
        (599, Status::Compliant),
        (600 + 90, Status::Violation),
    ] {
        let now = start + Duration::from_secs(second);
        let mut state = AccountState::new(demo.demo_account(), Arc::clone(&policy));
        for observation in demo.observations(now) {
            state.apply(observation);
        }
        state.evaluate(&policy, now);
        let changing = state.users().get(&UserName::new("deploy-bot")).unwrap();
        assert_eq!(changing.status(), expected, "after {second} s");
        for wanted in Status::ALL {
            assert!(state.totals().users(wanted) > 0, "no user is {wanted:?} after {second} s");
        }
        let snapshot = Snapshot::new(Arc::clone(&policy)).with(Arc::new(state));
        let states: Vec<_> = snapshot.exemption_states(now).flatten().collect();
        for wanted in [ExemptionState::Used, ExemptionState::Expired, ExemptionState::Unmatched] {
            assert!(states.contains(&wanted), "no exemption is {wanted:?}");
        }
    }
}
