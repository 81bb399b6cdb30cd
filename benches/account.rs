//! The data flow for an account of 5,000 users: parsed, applied, evaluated, encoded as 20,000 series, compressed.
//!
//! `cargo bench --bench account`. Everything runs on one thread. The prometheus crate writes the same series in the same
//! run, for comparison; that both texts are the same is checked before.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use iam_key_exporter::exposition::encoder::{write_account, write_block};
use iam_key_exporter::exposition::families::FAMILIES;
use iam_key_exporter::exposition::family::{Kind, header};
use iam_key_exporter::exposition::{Options, Page, Parts, Users};
use iam_key_exporter::model::{
    AccessKey, Collector, KeyStatus, KeysResult, LastUsed, Observation, Timestamp, UserName,
};
use iam_key_exporter::policy::{Policy, evaluate_user};
use iam_key_exporter::source::credential_report::{self, CredentialReport};
use iam_key_exporter::source::inventory_file;
use iam_key_exporter::state::{AccountState, Snapshot};
use prometheus::{Encoder as _, IntGaugeVec, Opts, Registry, TextEncoder};
use std::fmt::Write as _;
use std::sync::Arc;

const USERS: usize = 5000;
/// One active key each, but every 250th user has two, and the one after that none.
const SERIES: usize = 4 * USERS;

fn main() {
    assert_same_text();
    divan::main();
}

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn keys_of(user: usize) -> usize {
    match user % 250 {
        0 => 2,
        1 => 0,
        _ => 1,
    }
}

/// A credential report in the format of AWS.
fn report() -> String {
    let mut text = String::from(
        "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,\
         password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,\
         access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,\
         access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,\
         cert_1_last_rotated,cert_2_active,cert_2_last_rotated\n\
         <root_account>,arn:aws:iam::123456789012:root,2020-01-01T00:00:00+00:00,not_supported,no_information,\
         not_supported,not_supported,true,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A\n",
    );
    let key = "true,2026-01-15T08:30:00+00:00,2026-02-27T17:45:00+00:00,us-east-1,s3";
    let none = "false,N/A,N/A,N/A,N/A";
    for user in 0..USERS {
        let keys = keys_of(user);
        let first = if keys > 0 { key } else { none };
        let second = if keys > 1 { key } else { none };
        writeln!(
            text,
            "user-{user:05},arn:aws:iam::123456789012:user/division/team-{}/user-{user:05},2024-06-01T09:00:00+00:00,\
             true,2026-02-20T07:00:00+00:00,2025-12-01T00:00:00+00:00,N/A,true,{first},{second},false,N/A,false,N/A",
            user % 40,
        )
        .unwrap();
    }
    text
}

/// The same as a JSON inventory.
fn inventory_json() -> String {
    let key = r#"{"status":"active","created":"2026-01-15T08:30:00Z","last_used":"2026-02-27T17:45:00Z"}"#;
    let users: Vec<String> = (0..USERS)
        .map(|user| {
            let keys = vec![key; keys_of(user)].join(",");
            format!(r#"{{"name":"user-{user:05}","path":"/division/team-{}/","access_keys":[{keys}]}}"#, user % 40)
        })
        .collect();
    format!(r#"{{"version":1,"account":{{"id":"123456789012"}},"users":[{}]}}"#, users.join(","))
}

fn parsed(text: &str) -> CredentialReport {
    credential_report::parse(text.as_bytes(), now(), Collector::Report).unwrap()
}

/// The account as published after a check.
fn state() -> AccountState {
    let report = parsed(&report());
    let policy = Arc::new(Policy::default());
    let mut state = AccountState::new(report.account, Arc::clone(&policy));
    state.apply(Observation::Listing(report.listing));
    state.evaluate(&policy, now());
    state
}

fn snapshot() -> Snapshot {
    Snapshot::new(Arc::default()).with(Arc::new(state()))
}

/// Publishes all accounts and puts the page together, as a scrape does.
fn publish(parts: &Parts, snapshot: &Snapshot) -> Arc<Page> {
    for state in snapshot.accounts() {
        parts.publish(parts.encode(state), snapshot, now());
    }
    parts.page()
}

fn options() -> Options {
    Options { users: Users::All, user_info: false, tags: Vec::new(), owner_tags: Vec::new(), access_key_id: false }
}

#[divan::bench]
fn parse_credential_report(bencher: Bencher) {
    let text = report();
    bencher.counter(BytesCount::of_str(&text)).bench(|| parsed(black_box(&text)));
}

#[divan::bench]
fn parse_inventory_file(bencher: Bencher) {
    let text = inventory_json();
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| inventory_file::parse(black_box(text.as_bytes()), now(), now()).unwrap());
}

/// The first listing of an account: merging and evaluating every user.
#[divan::bench]
fn apply_and_evaluate(bencher: Bencher) {
    let (report, policy) = (parsed(&report()), Arc::new(Policy::default()));
    bencher.counter(ItemsCount::new(USERS)).with_inputs(|| report.clone()).bench_values(|report| {
        let mut state = AccountState::new(report.account, Arc::clone(&policy));
        state.apply(Observation::Listing(report.listing));
        state.evaluate(&policy, now());
        state
    });
}

#[divan::bench]
fn evaluate_policy(bencher: Bencher) {
    let (state, policy) = (state(), Policy::default());
    bencher.counter(ItemsCount::new(USERS)).bench(|| {
        for entry in black_box(&state).users().iter() {
            black_box(evaluate_user(&entry.user, &policy, &[], now()));
        }
    });
}

/// One user's observation, until it is ready to be scraped.
#[divan::bench]
fn apply_one_user(bencher: Bencher) {
    let policy = Arc::new(Policy::default());
    let mut state = Arc::new(state());
    let mut snapshot = Snapshot::new(Arc::clone(&policy)).with(Arc::clone(&state));
    let parts = Parts::new(options());
    publish(&parts, &snapshot);
    let mut round = 0;
    bencher.bench_local(move || {
        round += 1;
        let key = |i: i64| {
            let created = Timestamp::from_second(1_768_000_000 + i).ok();
            AccessKey::new(None, KeyStatus::Active, created, LastUsed::Never)
        };
        let keys = KeysResult::complete((0..1 + round % 2).map(key).collect());
        let at = now() + std::time::Duration::from_secs(round.unsigned_abs());
        let changed = Arc::make_mut(&mut state);
        changed.apply(Observation::UserKeys { user: UserName::new("user-02500"), at, keys });
        changed.evaluate(&policy, now());
        snapshot.put(Arc::clone(&state));
        publish(&parts, black_box(&snapshot))
    });
}

#[divan::bench]
fn encode_text(bencher: Bencher) {
    let (snapshot, options) = (snapshot(), options());
    bencher.counter(ItemsCount::new(SERIES)).bench(|| encode(black_box(&snapshot), &options));
}

/// The prometheus crate with the same series, kept in its own vectors.
#[divan::bench]
fn encode_text_with_prometheus_crate(bencher: Bencher) {
    let registry = registry(&snapshot());
    bencher.counter(ItemsCount::new(SERIES)).bench(|| gather(black_box(&registry)));
}

/// Text, compression and checksums: the cost of a check that changed every user.
#[divan::bench]
fn encode_and_compress(bencher: Bencher) {
    let snapshot = snapshot();
    bencher.counter(ItemsCount::new(SERIES)).bench(|| publish(&Parts::new(options()), black_box(&snapshot)));
}

/// A check that changed nothing.
#[divan::bench]
fn encode_unchanged(bencher: Bencher) {
    let snapshot = snapshot();
    let parts = Parts::new(options());
    publish(&parts, &snapshot);
    bencher.bench_local(move || publish(&parts, black_box(&snapshot)));
}

fn encode(snapshot: &Snapshot, options: &Options) -> Vec<Vec<u8>> {
    let texts = |state: &AccountState| -> Vec<Vec<u8>> {
        let text = |family| {
            let mut text = Vec::new();
            write_account(family, state, options, &mut text);
            for block in state.users().blocks() {
                write_block(family, state, block, options, &mut text);
            }
            text
        };
        FAMILIES.iter().map(text).collect()
    };
    snapshot.accounts().flat_map(|state| texts(state)).collect()
}

fn gather(registry: &Registry) -> Vec<u8> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
    text
}

/// The four large families, kept by the prometheus crate.
fn registry(snapshot: &Snapshot) -> Registry {
    let registry = Registry::new();
    let vector = |name: &str, labels: &[&str]| {
        let family = FAMILIES.iter().find(|f| f.name == name).expect("a family of ours");
        let vector = IntGaugeVec::new(Opts::new(family.name, family.help), labels).unwrap();
        registry.register(Box::new(vector.clone())).unwrap();
        vector
    };
    let of_key = ["account_id", "key", "user_name"];
    let user_active = vector("aws_iam_user_active_access_keys", &["account_id", "user_name"]);
    let active = vector("aws_iam_access_key_active", &of_key);
    let created = vector("aws_iam_access_key_created_timestamp_seconds", &of_key);
    let last_used = vector("aws_iam_access_key_last_used_timestamp_seconds", &of_key);
    for state in snapshot.accounts() {
        for entry in state.users().iter() {
            let (account, name) = (state.account.id.as_str(), entry.user.name.as_str());
            user_active.with_label_values(&[account, name]).set(entry.user.active_keys().unwrap() as i64);
            for (index, key) in entry.keys().unwrap().iter().enumerate() {
                let number = (index + 1).to_string();
                let labels = [account, &number, name];
                active.with_label_values(&labels).set(i64::from(key.is_active()));
                created.with_label_values(&labels).set(key.created().unwrap().as_second());
                if let LastUsed::At(at) = key.last_used() {
                    last_used.with_label_values(&labels).set(at.as_second());
                }
            }
        }
    }
    registry
}

/// Comparing two encoders makes sense only if they write the same text.
fn assert_same_text() {
    let snapshot = snapshot();
    let texts = encode(&snapshot, &options());
    let theirs = String::from_utf8(gather(&registry(&snapshot))).unwrap();
    let mut ours = String::new();
    for (family, text) in FAMILIES.iter().zip(&texts) {
        let text = std::str::from_utf8(text).unwrap();
        if text.lines().count() > 1000 {
            ours += std::str::from_utf8(&header(family.name, family.help, Kind::Gauge)).unwrap();
            ours += text;
        }
    }
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let (ours, theirs) = (sorted(&ours), sorted(&theirs));
    assert_eq!(ours.iter().filter(|l| !l.starts_with('#')).count(), SERIES);
    assert!(ours == theirs, "the two encoders write different texts");
}
