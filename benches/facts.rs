//! The way of the facts, an account of 5,000 users: parsed, judged, written as 20,000 series, compressed.
//!
//! `cargo bench --bench facts`. Everything runs on one thread. The prometheus crate writes the same series in the same
//! run, for comparison; that both texts are the same is checked before.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use iam_key_exporter::exposition::families::FAMILIES;
use iam_key_exporter::exposition::family::header;
use iam_key_exporter::exposition::page::account_texts;
use iam_key_exporter::exposition::{Encoder, Options, Users};
use iam_key_exporter::model::{Inventory, LastUsed, Timestamp};
use iam_key_exporter::policy::{Policy, evaluate};
use iam_key_exporter::source::{credential_report, inventory_file};
use iam_key_exporter::state::Snapshot;
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

/// A credential report as AWS writes it.
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

fn inventory() -> Inventory {
    credential_report::parse(report().as_bytes(), now()).unwrap()
}

fn snapshot() -> Snapshot {
    Snapshot::new(Arc::new(Policy::default())).with_facts(inventory(), now())
}

fn options() -> Options {
    Options { users: Users::All, user_info: false, tags: Vec::new(), access_key_id: false }
}

#[divan::bench]
fn parse_credential_report(bencher: Bencher) {
    let text = report();
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| credential_report::parse(black_box(text.as_bytes()), now()).unwrap());
}

#[divan::bench]
fn parse_inventory_file(bencher: Bencher) {
    let text = inventory_json();
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| inventory_file::parse(black_box(text.as_bytes()), now()).unwrap());
}

#[divan::bench]
fn evaluate_policy(bencher: Bencher) {
    let (inventory, policy) = (inventory(), Policy::default());
    bencher.counter(ItemsCount::new(USERS)).bench(|| evaluate(black_box(&inventory), &policy, now()));
}

#[divan::bench]
fn encode_text(bencher: Bencher) {
    let (snapshot, options) = (snapshot(), options());
    bencher.counter(ItemsCount::new(SERIES)).bench(|| encode(black_box(&snapshot), &options));
}

/// What the prometheus crate makes of the same series, kept in its own vectors.
#[divan::bench]
fn encode_text_with_prometheus_crate(bencher: Bencher) {
    let registry = registry(&snapshot());
    bencher.counter(ItemsCount::new(SERIES)).bench(|| gather(black_box(&registry)));
}

/// Text, compression and checksums: what a check that brought news costs.
#[divan::bench]
fn encode_and_compress(bencher: Bencher) {
    let snapshot = snapshot();
    bencher.counter(ItemsCount::new(SERIES)).bench(|| Encoder::new(options()).encode(black_box(&snapshot)));
}

/// A check that found everything as it was.
#[divan::bench]
fn encode_unchanged(bencher: Bencher) {
    let snapshot = snapshot();
    let mut encoder = Encoder::new(options());
    encoder.encode(&snapshot);
    bencher.bench_local(move || encoder.encode(black_box(&snapshot)));
}

fn encode(snapshot: &Snapshot, options: &Options) -> Vec<Vec<u8>> {
    snapshot.accounts.values().flat_map(|facts| account_texts(facts, options)).collect()
}

fn gather(registry: &Registry) -> Vec<u8> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
    text
}

/// The four large families in the prometheus crate's hands.
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
    for (account, facts) in &snapshot.accounts {
        for user in &facts.inventory.users {
            user_active.with_label_values(&[account, &user.name]).set(user.active_keys().unwrap() as i64);
            for (index, key) in user.keys.as_known().unwrap().iter().enumerate() {
                let number = (index + 1).to_string();
                let labels = [account.as_str(), &number, &user.name];
                active.with_label_values(&labels).set(i64::from(key.is_active()));
                created.with_label_values(&labels).set(key.created.unwrap().as_second());
                if let LastUsed::At(at) = key.last_used {
                    last_used.with_label_values(&labels).set(at.as_second());
                }
            }
        }
    }
    registry
}

/// A comparison of two encoders is worth nothing when they write different things.
fn assert_same_text() {
    let snapshot = snapshot();
    let texts = encode(&snapshot, &options());
    let theirs = String::from_utf8(gather(&registry(&snapshot))).unwrap();
    let mut ours = String::new();
    for (family, text) in FAMILIES.iter().zip(&texts) {
        let text = std::str::from_utf8(text).unwrap();
        if text.lines().count() > 1000 {
            ours += std::str::from_utf8(&header(family.name, family.help)).unwrap();
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
