//! The `report` collector: AWS's credential report for everybody, a live reading for the users in breach.

use super::live::LiveSource;
use super::{Request, Source, SourceError, credential_report, retain_only};
use crate::aws::{Aws, errors, timestamp};
use crate::model::{AccessKey, Account, Inventory, Keys, LastUsed, Timestamp, User};
use aws_sdk_iam::types::ReportStateType;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The pause before the second look; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Readings a check spends on rules other than the number of keys. An account can have thousands of old keys: those
/// users are read live in turn, whoever was read longest ago first.
const IN_TURN: usize = 100;

/// Users in breach of the policy that is in force, as indices into the inventory.
#[derive(Debug, Default)]
pub struct Breaches {
    /// Too many active keys: read live at every check.
    pub multiple_active_keys: BTreeSet<usize>,
    /// Any other rule: read live in turn.
    pub other: BTreeSet<usize>,
}

/// Tells who is in breach; the policy can change while the source lives.
pub type FindBreaches = Arc<dyn Fn(&Inventory) -> Breaches + Send + Sync>;

pub struct ReportSource {
    aws: Arc<Aws>,
    live: LiveSource,
    find_breaches: FindBreaches,
    /// Why live readings failed the last time, so that it is said once.
    said: Mutex<Option<&'static str>>,
}

enum Step {
    Ready { content: Vec<u8>, generated_at: Timestamp },
    Wait(&'static str),
}

impl ReportSource {
    pub fn new(aws: Arc<Aws>, live: LiveSource, find_breaches: FindBreaches) -> Self {
        ReportSource { aws, live, find_breaches, said: Mutex::new(None) }
    }

    /// Asks for a report and waits until it is there. AWS makes a new one every four hours at most and hands out the
    /// last one meanwhile; a large account's first takes minutes.
    async fn fetch(&self, request: &Request) -> Result<(Vec<u8>, Timestamp), SourceError> {
        request.progress.phase("waiting for the credential report", None);
        let give_up = last_moment(request.deadline);
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match self.try_once().await? {
                Step::Ready { content, generated_at } => return Ok((content, generated_at)),
                Step::Wait(why) => why,
            };
            if Instant::now() + pause >= give_up {
                return Err(SourceError::ReportPending(format!("{why}; the check's time is used up")));
            }
            tracing::debug!(why, pause_seconds = pause.as_secs_f64(), "the credential report is not ready");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asking again while a report is being made is free of effects, and tells how far it is.
    async fn try_once(&self) -> Result<Step, SourceError> {
        const OPERATION: &str = "GenerateCredentialReport";
        let state = match self.aws.iam.generate_credential_report().send().await {
            Ok(answer) => answer.state,
            Err(e) if code(&e) == Some("LimitExceeded") => return Ok(Step::Wait("AWS has no capacity to make it")),
            Err(e) => return Err(errors::classify(OPERATION, &e)),
        };
        match state {
            Some(ReportStateType::Complete) => self.get().await,
            Some(ReportStateType::Started | ReportStateType::Inprogress) => Ok(Step::Wait("AWS has not finished it")),
            other => Err(SourceError::UnexpectedResponse {
                operation: OPERATION,
                message: format!("the report's state is {other:?}"),
            }),
        }
    }

    async fn get(&self) -> Result<Step, SourceError> {
        const OPERATION: &str = "GetCredentialReport";
        let answer = match self.aws.iam.get_credential_report().send().await {
            Ok(answer) => answer,
            Err(e) => {
                return match code(&e) {
                    Some("ReportInProgress") => Ok(Step::Wait("AWS has not finished it")),
                    Some("ReportNotPresent") => Ok(Step::Wait("AWS has none")),
                    Some("ReportExpired") => Ok(Step::Wait("AWS has only an expired one")),
                    _ => Err(errors::classify(OPERATION, &e)),
                };
            }
        };
        let generated_at = answer.generated_time().and_then(timestamp);
        match (answer.content, generated_at) {
            (Some(content), Some(generated_at)) => Ok(Step::Ready { content: content.into_inner(), generated_at }),
            _ => Err(SourceError::UnexpectedResponse {
                operation: OPERATION,
                message: "no content, or no time of making".into(),
            }),
        }
    }

    async fn read(&self, request: &Request) -> Result<Inventory, SourceError> {
        let account = self.aws.account().await?.clone();
        let (content, generated_at) = self.fetch(request).await?;
        let mut inventory = credential_report::parse(&content, generated_at)
            .map_err(|e| SourceError::ReportMalformed(e.to_string()))?;
        drop(content);
        if inventory.account.id != account.id {
            return Err(SourceError::AccountMismatch { expected: account.id, found: inventory.account.id });
        }
        inventory.account = account;
        retain_only(&mut inventory, request.only_user.as_deref())?;
        let mut tags = self.live.tags().await?;
        for user in &mut inventory.users {
            user.tags = tags.remove(&user.name).unwrap_or_default();
        }
        let by_report = (self.find_breaches)(&inventory);
        if let Some(previous) = &request.previous {
            inventory.keep_newer(previous);
        }
        let doubtful = doubtful(&inventory, &by_report, &(self.find_breaches)(&inventory));
        self.read_live(&mut inventory, doubtful, request).await;
        Ok(inventory)
    }

    /// The report can be hours old: whoever it, or an earlier reading, shows in breach is read anew, so that a fix
    /// counts at once.
    async fn read_live(&self, inventory: &mut Inventory, doubtful: Vec<usize>, request: &Request) {
        request.progress.phase("reading users in breach", Some(doubtful.len() as u64));
        let names: Vec<(usize, String)> = doubtful.into_iter().map(|i| (i, inventory.users[i].name.clone())).collect();
        let mut readings = futures_util::stream::iter(names)
            .map(|(i, name)| async move {
                let read = self.live.read_keys(&name).await;
                request.progress.step();
                (i, read)
            })
            .buffer_unordered(self.aws.concurrency);
        let mut gone = Vec::new();
        let mut failed = None;
        while let Some((i, read)) = readings.next().await {
            match read {
                Ok(Some((observed_at, keys))) => update(&mut inventory.users[i], observed_at, keys),
                Ok(None) => gone.push(inventory.users[i].name.clone()),
                // What the report says stands: it is older, not wrong.
                Err(error) => failed = Some(error),
            }
        }
        drop(readings);
        inventory.users.retain(|u| !gone.contains(&u.name));
        self.say(failed.as_ref());
    }
}

/// Who is read live: everybody who has too many keys by the report or by what is known since, or of whom nothing is
/// known; of the others in breach those whose facts are oldest.
fn doubtful(inventory: &Inventory, by_report: &Breaches, since: &Breaches) -> Vec<usize> {
    let mut doubtful = &by_report.multiple_active_keys | &since.multiple_active_keys;
    doubtful.extend((0..inventory.users.len()).filter(|&i| inventory.users[i].keys.as_known().is_none()));
    let mut others: Vec<usize> = (&by_report.other | &since.other).difference(&doubtful).copied().collect();
    others.sort_by_key(|&i| inventory.users[i].observed_at);
    doubtful.into_iter().chain(others.into_iter().take(IN_TURN)).collect()
}

impl ReportSource {
    fn say(&self, failed: Option<&SourceError>) {
        let reason = failed.map(SourceError::reason);
        let before = std::mem::replace(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner), reason);
        if let Some(error) = failed.filter(|_| before != reason) {
            tracing::warn!(
                reason,
                message = %error,
                "users in breach could not be read live: until then a fix shows only in the next report"
            );
        }
    }
}

/// A live reading replaces the report's, which alone knows when keys were last used (without key IDs): keys are
/// the same when they were created at the same second.
fn update(user: &mut User, observed_at: Timestamp, mut keys: Vec<AccessKey>) {
    let before = user.keys.latest().unwrap_or_default();
    for key in keys.iter_mut().filter(|k| k.last_used == LastUsed::Unknown) {
        let mut same = before.iter().filter(|k| k.created.is_some() && k.created == key.created);
        if let (Some(known), None) = (same.next(), same.next()) {
            key.last_used = known.last_used;
        }
    }
    user.keys = Keys::known(keys);
    user.observed_at = observed_at;
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, aws_smithy_runtime_api::http::Response>) -> Option<&str> {
    match error {
        SdkError::ServiceError(e) => e.err().code(),
        _ => None,
    }
}

/// A little before the check's deadline, so that the error says what was waited for.
fn last_moment(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - left / 10
}

impl Source for ReportSource {
    fn account(&self) -> BoxFuture<'_, Result<Account, SourceError>> {
        Box::pin(async { self.aws.account().await.cloned() })
    }

    fn collect<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Inventory, SourceError>> {
        Box::pin(self.read(request))
    }
}
