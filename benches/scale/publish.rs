//! What an update of one account costs until it is published, in this process: with few accounts and with many.

use super::answers;
use super::organization::Organization;
use super::rows::{Size, median};
use super::table::{Limit, Row};
use anyhow::Context as _;
use iam_key_exporter::exposition::{Options, Parts, Users};
use iam_key_exporter::model::{
    AccessKey, Collector, KeyStatus, KeysResult, LastUsed, Observation, Timestamp, UserName,
};
use iam_key_exporter::policy::Policy;
use iam_key_exporter::source::credential_report;
use iam_key_exporter::state::{AccountState, Snapshot};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// Accounts and their publication.
struct Fleet {
    states: Vec<Arc<AccountState>>,
    snapshot: Snapshot,
    parts: Parts,
    policy: Arc<Policy>,
    now: Timestamp,
    round: usize,
}

impl Fleet {
    fn new(accounts: usize, users: usize, seed: u64) -> anyhow::Result<Fleet> {
        let (policy, now) = (Arc::new(Policy::default()), Timestamp::now());
        let organization = Organization { accounts, users, violating_one_in: 100, seed, now: now.as_second() };
        let options = Options {
            users: Users::All,
            user_info: false,
            tags: Vec::new(),
            owner_tags: Vec::new(),
            access_key_id: false,
        };
        let (parts, mut snapshot, mut states) = (Parts::new(options), Snapshot::new(Arc::clone(&policy)), Vec::new());
        for account in 0..accounts {
            let csv = answers::report_csv(&organization, account, 0);
            let report = credential_report::parse(csv.as_bytes(), now, Collector::Report)?;
            let mut state = AccountState::new(report.account, Arc::clone(&policy));
            state.apply(Observation::Listing(report.listing));
            state.evaluate(&policy, now);
            let state = Arc::new(state);
            snapshot.put(Arc::clone(&state));
            parts.publish(parts.encode(&state), &snapshot, now);
            states.push(state);
        }
        parts.page();
        Ok(Fleet { states, snapshot, parts, policy, now, round: 0 })
    }

    /// A user of the next account gets a key, or loses it; the account is published.
    fn update(&mut self) {
        self.round += 1;
        let count = self.states.len();
        let state = &mut self.states[self.round * 7 % count];
        let at = self.now + Duration::from_secs(self.round as u64);
        let key = |created| AccessKey::new(None, KeyStatus::Active, Some(created), LastUsed::Never);
        let keys = KeysResult::complete((0..1 + self.round / count % 2).map(|_| key(at)).collect());
        let user = UserName::new(state.users().iter().next().map_or("", |entry| entry.user.name.as_str()));
        let changed = Arc::make_mut(state);
        changed.apply(Observation::UserKeys { user, at, keys });
        changed.evaluate(&self.policy, at);
        self.snapshot.put(Arc::clone(state));
        self.parts.publish(self.parts.encode(state), &self.snapshot, at);
        self.parts.check_succeeded(state.account.id.as_str(), Duration::from_secs(1), at, at);
    }
}

/// CPU time of this thread, in seconds.
fn thread_cpu() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().context("no time")?.parse()?;
    Ok(nanoseconds / 1e9)
}

/// CPU time of an update, and of an update with the page after it, in microseconds.
fn measure(fleet: &mut Fleet, rounds: usize) -> anyhow::Result<(f64, f64)> {
    let batches = |fleet: &mut Fleet, with_page: bool| -> anyhow::Result<f64> {
        let batches = (0..rounds.max(3)).map(|_| {
            let (begin, updates) = (thread_cpu()?, 200);
            for _ in 0..updates {
                fleet.update();
                if with_page {
                    black_box(fleet.parts.page());
                }
            }
            Ok((thread_cpu()? - begin) / f64::from(updates) * 1e6)
        });
        Ok(median(batches.collect::<anyhow::Result<_>>()?))
    };
    batches(fleet, false)?;
    Ok((batches(fleet, false)?, batches(fleet, true)?))
}

/// One user's keys change, in an organisation of many accounts and in one of few.
pub fn publish(size: &Size) -> anyhow::Result<Vec<Row>> {
    let measured = |accounts: usize| measure(&mut Fleet::new(accounts, size.users, size.seed)?, size.rounds);
    let ((few, few_page), (many, many_page)) = (measured(size.few_accounts)?, measured(size.accounts)?);
    let what = format!("publishing one account's change, {} accounts : {}", size.accounts, size.few_accounts);
    let with_page = format!("the page after a change, {} accounts : {}", size.accounts, size.few_accounts);
    let page = |with: f64, without: f64| (with - without).max(0.0);
    let (many_page, few_page) = (page(many_page, many), page(few_page, few));
    Ok(vec![
        Row::new(what, many / few, "x", Limit::AtMost(1.5), format!("{many:.0} us : {few:.0} us")),
        Row::new(with_page, many_page / few_page, "x", Limit::None, format!("{many_page:.0} us : {few_page:.0} us")),
    ])
}
