//! One check of one account: confirm the identity, collect, apply, evaluate, recheck, confirm the identity again.

use crate::model::{Account, AccountId, Observation, Timestamp};
use crate::policy::Policy;
use crate::policy::settings::format_duration;
use crate::source::{Request, Source, SourceError};
use crate::state::AccountState;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout_at;

/// Rechecks of a check for violations of rules that are rechecked in turn: an account can have thousands of old keys.
const RECHECKS_IN_TURN: usize = 100;

/// What a check needs besides its [`Source`] and [`Request`].
pub struct Check<'a> {
    /// Where observations come from.
    pub source: &'a dyn Source,
    /// The account that the source has to be of; `None` for that of the credentials or the file.
    pub expected: Option<AccountId>,
    /// The state after the last successful check.
    pub previous: Option<&'a AccountState>,
    /// The policy in force.
    pub policy: &'a Arc<Policy>,
    /// The wall clock.
    pub now: fn() -> Timestamp,
    /// Called when the account is known, before its data are read.
    pub identified: &'a (dyn Fn(&Account) + Send + Sync),
}

/// Checks an account within the deadline of the request. The state is new, and the previous one unchanged. `limit` is
/// the configured time limit, for the text of the error.
///
/// # Errors
/// When the account could not be read as a whole; nothing of a failed check is kept. [`SourceError::Timeout`] when the
/// deadline passes.
pub async fn check_account(check: Check<'_>, request: &Request, limit: Duration) -> Result<AccountState, SourceError> {
    match timeout_at(request.deadline, run(check, request)).await {
        Ok(result) => result,
        Err(_) => {
            Err(SourceError::Timeout(format!("the check took longer than --check.timeout={}", format_duration(limit))))
        }
    }
}

async fn run(check: Check<'_>, request: &Request) -> Result<AccountState, SourceError> {
    let Check { source, expected, previous, policy, now, identified } = check;
    let account = source.account(request).await?;
    let expected = expected.or_else(|| previous.map(|p| p.account.id));
    if let Some(expected) = expected.filter(|id| *id != account.id) {
        return Err(SourceError::AccountMismatch { expected, found: account.id });
    }
    identified(&account);

    let started = now();
    let observations = source.collect(&account, request).await?;
    let mut state = match previous {
        Some(previous) if !is_replaced(source, previous, &observations) => previous.clone(),
        _ => AccountState::new(account.clone(), Arc::clone(policy)),
    };
    state.account = account;
    state.limit_times(started);
    for observation in observations {
        state.apply(only(observation, request)?);
    }
    state.evaluate(policy, now());

    if source.can_recheck() {
        let candidates = state.recheck_candidates(started, RECHECKS_IN_TURN);
        if !candidates.is_empty() {
            for observation in source.recheck(&state.account, candidates, request).await? {
                state.apply(observation);
            }
            state.evaluate(policy, now());
        }
    }
    source.confirm(&state.account).await?;
    Ok(state)
}

/// Whether a file was replaced by an older one. What cannot be rechecked is taken as it is, also when it is older.
fn is_replaced(source: &dyn Source, previous: &AccountState, observations: &[Observation]) -> bool {
    let is_older = |o: &Observation| matches!(o, Observation::Listing(l) if previous.listed_at() > Some(l.at()));
    !source.can_recheck() && observations.iter().any(is_older)
}

/// Reduces a listing to the user that the request is for.
fn only(observation: Observation, request: &Request) -> Result<Observation, SourceError> {
    match (observation, &request.only_user) {
        (Observation::Listing(mut listing), Some(name)) => {
            if listing.retain_user(name) {
                Ok(Observation::Listing(listing))
            } else {
                Err(SourceError::NoSuchUser(name.clone()))
            }
        }
        (observation, _) => Ok(observation),
    }
}
