//! The `report` collector: the credential report for all users, live reads of single users for rechecks.

use super::users::UserReader;
use crate::aws::reception::Turn;
use crate::aws::{errors, timestamp};
use crate::model::{Account, Collector, Observation, RootKeys, Timestamp, UserName};
use crate::source::{KnownReport, Request, SourceError, credential_report};
use crate::text::redact::redact_ids;
use aws_sdk_iam::types::ReportStateType;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::SignedDuration;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The pause before the state is requested a second time; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// AWS generates a report when the last one is this old (IAM User Guide, "Getting credential reports").
const VALID_FOR: Duration = Duration::from_secs(4 * 3600);

/// AWS refuses requests whose time is further off, so that its clock cannot be further ahead. The users of a report that is
/// taken for newer than it is would hide the changes of the reports that follow.
const MOST_AHEAD: SignedDuration = SignedDuration::from_mins(15);

pub(super) struct ReportCollector {
    reader: Arc<UserReader>,
    /// Why rechecks failed at the last check, so that a lasting failure is logged once.
    last_recheck_failure: Mutex<Option<&'static str>>,
}

/// What a check by report reads.
pub(super) struct Answer {
    /// The number of users of the report.
    pub(super) reported: usize,
    /// Without a listing if the report is the known one.
    pub(super) observations: Vec<Observation>,
}

enum Step {
    Ready {
        content: Vec<u8>,
        generated_at: Timestamp,
        /// Until the content is parsed.
        turn: Turn,
    },
    /// AWS has no newer report than the known one.
    Known(KnownReport),
    Wait(&'static str),
}

impl ReportCollector {
    pub(super) fn new(reader: Arc<UserReader>) -> Self {
        ReportCollector { reader, last_recheck_failure: Mutex::new(None) }
    }

    /// Requests a report and waits until it is complete. AWS generates one every four hours at most and returns the
    /// last one until then; the first one of a large account takes minutes.
    ///
    /// A known report is not transferred again before AWS can have a newer one. GenerateCredentialReport is called
    /// all the same: one small answer, which shows that credentials and permission are still there (a check without a
    /// call must not succeed), and whether AWS is generating a new one against expectation.
    async fn fetch(&self, request: &Request) -> Result<Step, SourceError> {
        request.progress.phase("waiting for the credential report", None);
        let give_up = before_deadline(request.deadline);
        let mut pause = FIRST_PAUSE;
        let mut known = request.known_report.filter(|known| is_newest(*known, Timestamp::now()));
        loop {
            let why = match self.try_once(known).await? {
                Step::Wait(why) => why,
                done => return Ok(done),
            };
            // AWS was generating one.
            known = None;
            if Instant::now().checked_add(pause).is_none_or(|at| at >= give_up) {
                return Err(SourceError::ReportPending(format!("{why}; the time of the check is used up")));
            }
            tracing::debug!(why, pause_seconds = pause.as_secs_f64(), "the credential report is not ready");
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Requesting a report while one is being generated has no effect, and returns its state.
    async fn try_once(&self, known: Option<KnownReport>) -> Result<Step, SourceError> {
        const OPERATION: &str = "GenerateCredentialReport";
        let iam = self.reader.aws.iam().await?;
        let state = match iam.generate_credential_report().send().await {
            Ok(answer) => answer.state,
            Err(e) if code(&e) == Some("LimitExceeded") => return Ok(Step::Wait("AWS has no capacity to generate it")),
            Err(e) => return Err(errors::classify(OPERATION, &e)),
        };
        match state {
            Some(ReportStateType::Complete) => match known {
                Some(known) => Ok(Step::Known(known)),
                None => self.get().await,
            },
            Some(ReportStateType::Started | ReportStateType::Inprogress) => Ok(Step::Wait("AWS has not finished it")),
            other => Err(SourceError::UnexpectedResponse {
                operation: OPERATION,
                message: format!("the state of the report is {other:?}"),
            }),
        }
    }

    async fn get(&self) -> Result<Step, SourceError> {
        const OPERATION: &str = "GetCredentialReport";
        let iam = self.reader.aws.iam().await?;
        let (config, reception) = self.reader.aws.large_answer().await?;
        let answer = match iam.get_credential_report().customize().config_override(config).send().await {
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
            (Some(content), Some(generated_at)) => {
                Ok(Step::Ready { content: content.into_inner(), generated_at, turn: reception.turn() })
            }
            _ => Err(SourceError::UnexpectedResponse {
                operation: OPERATION,
                message: "the content or the time of generation is missing".into(),
            }),
        }
    }

    pub(super) async fn read(&self, account: &Account, request: &Request) -> Result<Answer, SourceError> {
        let (content, generated_at, turn) = match self.fetch(request).await? {
            Step::Ready { content, generated_at, turn } => (content, generated_at, turn),
            Step::Known(known) => {
                let details = self.reader.details(account, request).await;
                return Ok(Answer { reported: known.users, observations: details.into_iter().collect() });
            }
            Step::Wait(why) => return Err(SourceError::ReportPending(why.into())),
        };
        let now = Timestamp::now();
        if generated_at.duration_since(now) > MOST_AHEAD {
            return Err(SourceError::ReportMalformed(format!("it was generated at {generated_at}, in the future")));
        }
        // A report from the future would be newer than all that follows.
        let at = generated_at.min(now);
        let report = credential_report::parse(&content, at, Collector::Report)
            .map_err(|e| SourceError::ReportMalformed(redact_ids(&e.to_string())))?;
        drop((content, turn));
        if report.account.id != account.id {
            return Err(SourceError::AccountMismatch { expected: account.id, found: report.account.id });
        }
        let reported = report.listing.users().len();
        // AWS's reports have a row of the root user.
        let root = report.root_active_keys.map_or(RootKeys::Failed("unexpected_response"), RootKeys::Active);
        let details = self.reader.details(account, request).await;
        let listing = Observation::Listing(report.listing);
        let observations = [listing, Observation::Root { at, keys: root }].into_iter().chain(details).collect();
        Ok(Answer { reported, observations })
    }

    /// The report can be hours old: reads users live, so that fixes show at the next check. What is known of a user that
    /// cannot be read is older, not wrong.
    pub(super) async fn recheck(
        &self,
        account: &Account,
        users: Vec<UserName>,
        request: &Request,
    ) -> Result<Vec<Observation>, SourceError> {
        request.progress.phase("rechecking users", Some(users.len() as u64));
        let rechecked = users.len();
        let until = before_deadline(request.deadline);
        let mut observations = Vec::with_capacity(rechecked);
        let mut gone = Vec::new();
        let mut failure = None;
        let users = users.into_iter().map(|name| (name, ())).collect();
        self.reader
            .read_all(users, request, Some(until), |name, (), read| match read {
                Ok(observation) => {
                    if matches!(observation, Observation::UserGone { .. }) {
                        gone.push(name);
                    }
                    observations.push(observation);
                }
                Err(error) => failure = Some(error),
            })
            .await;
        self.log_failure(failure.as_ref());
        if gone.is_empty() {
            return Ok(observations);
        }
        let confirmed = timeout_at(until, self.reader.confirm_gone(account, &gone, rechecked)).await;
        let too_late = |_| Err(SourceError::Timeout("ListUsers was not answered in the time of the check".into()));
        match confirmed.unwrap_or_else(too_late) {
            Ok(()) => {}
            // The collector has no need of ListUsers otherwise. Without it the users stay until the next report.
            Err(error @ (SourceError::AccessDenied { .. } | SourceError::Timeout(_))) => {
                tracing::debug!(%error, users = gone.len(), "deleted users are not confirmed");
                observations.retain(|o| !matches!(o, Observation::UserGone { .. }));
            }
            Err(error) => return Err(error),
        }
        Ok(observations)
    }

    fn log_failure(&self, failure: Option<&SourceError>) {
        let reason = failure.map(SourceError::reason);
        let mut last = self.last_recheck_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failure.filter(|_| *last != reason) {
            tracing::warn!(
                reason,
                %error,
                "rechecks failed; fixes of the users concerned show with the next report"
            );
        }
        *last = reason;
    }
}

/// Whether AWS can have no newer report. A clock that was set back shows nothing.
fn is_newest(known: KnownReport, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(known.generated_at)).is_ok_and(|age| age < VALID_FOR)
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, aws_smithy_runtime_api::http::Response>) -> Option<&str> {
    match error {
        SdkError::ServiceError(e) => e.err().code(),
        _ => None,
    }
}

/// A little before the deadline of the check, so that what is known by then can be used.
fn before_deadline(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    left.checked_div(10).and_then(|reserve| deadline.checked_sub(reserve)).unwrap_or(deadline)
}
