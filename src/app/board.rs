//! Where the scheduler's news become pages, metrics and log lines.

use crate::exposition::exporter::{ExporterMetrics, UNKNOWN_ACCOUNT};
use crate::exposition::{Encoder, Options};
use crate::http::{AppState, Failure};
use crate::model::Timestamp;
use crate::policy::{ExemptionState, Status};
use crate::schedule::Board;
use crate::source::SourceError;
use crate::state::Snapshot;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) struct PublicBoard {
    metrics: Arc<ExporterMetrics>,
    state: Arc<AppState>,
    memory: Mutex<Memory>,
}

/// What was said already, so that it is said once.
struct Memory {
    encoder: Encoder,
    failure: Option<String>,
    notes: Vec<String>,
}

impl PublicBoard {
    pub(super) fn new(options: Options, metrics: Arc<ExporterMetrics>, state: Arc<AppState>) -> Self {
        let memory = Memory { encoder: Encoder::new(options), failure: None, notes: Vec::new() };
        PublicBoard { metrics, state, memory: Mutex::new(memory) }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board for PublicBoard {
    fn account_known(&self, account_id: &str) {
        self.metrics.account_known(account_id);
        self.state.update(|s| {
            s.remove(UNKNOWN_ACCOUNT);
            s.account(account_id, |_| ());
        });
        tracing::info!(account_id, "account known");
    }

    fn check_succeeded(&self, account_id: &str, took: Duration, facts_at: Timestamp) {
        let now = Timestamp::now();
        self.metrics.check_succeeded(account_id, took, now, facts_at);
        let first = self.state.update(|s| {
            s.account(account_id, |account| {
                account.failure = None;
                account.last_success.replace(now).is_none()
            })
        });
        let duration_seconds = took.as_secs_f64();
        if self.memory().failure.take().is_some() || first {
            tracing::info!(account_id, duration_seconds, "check succeeded");
        } else {
            tracing::debug!(account_id, duration_seconds, "check succeeded");
        }
    }

    fn check_failed(&self, account_id: Option<&str>, took: Duration, error: &SourceError) {
        let account_id = account_id.unwrap_or(UNKNOWN_ACCOUNT);
        let (reason, message) = (error.reason(), error.to_string());
        self.metrics.check_failed(account_id, took, reason);
        let failure = Failure { at: Timestamp::now(), reason };
        self.state.update(|s| s.account(account_id, |account| account.failure = Some(failure)));
        let duration_seconds = took.as_secs_f64();
        // Messages carry request IDs and such; the reason is what makes a change.
        if self.memory().failure.replace(reason.to_owned()).as_deref() == Some(reason) {
            tracing::debug!(account_id, reason, message, duration_seconds, "check failed again");
        } else {
            tracing::warn!(account_id, reason, message, duration_seconds, "check failed; what was known before stays");
        }
    }

    fn publish(&self, snapshot: &Arc<Snapshot>) {
        let mut memory = self.memory();
        let page = memory.encoder.encode(snapshot);
        let notes = notes(snapshot);
        for note in notes.iter().filter(|n| !memory.notes.contains(n)) {
            tracing::warn!("{note}");
        }
        memory.notes = notes;
        let (plain, gzip) = page.sizes();
        self.state.show(page);
        self.metrics.published(plain, gzip);
        self.state.update(|status| {
            for (id, facts) in &snapshot.accounts {
                let evaluation = &facts.evaluation;
                status.account(id, |account| {
                    account.name.clone_from(&facts.inventory.account.name);
                    account.users = facts.inventory.users.len() as u64;
                    account.unknown_users = evaluation.count(Status::Unknown);
                    account.violations = evaluation.totals.iter().map(|t| (t.rule.name, t.violations)).collect();
                });
            }
        });
    }
}

/// What somebody should look at, one line each.
fn notes(snapshot: &Snapshot) -> Vec<String> {
    let mut notes = Vec::new();
    for (exemption, state) in snapshot.policy.exemptions.iter().zip(&snapshot.exemptions) {
        match state {
            ExemptionState::Used => {}
            ExemptionState::Expired => notes.push(format!("the exemption of {:?} has expired", exemption.user)),
            ExemptionState::Unmatched => notes.push(format!("the exemption of {:?} matches no user", exemption.user)),
        }
    }
    for (id, facts) in &snapshot.accounts {
        for total in facts.evaluation.totals.iter().filter(|t| t.violations.is_none()) {
            notes.push(format!("account {id}: the facts do not suffice to judge the rule {}", total.rule.name));
        }
        let unknown = facts.evaluation.count(Status::Unknown);
        if unknown > 0 {
            notes.push(format!("account {id}: the keys of {unknown} users could not be read"));
        }
    }
    notes
}
