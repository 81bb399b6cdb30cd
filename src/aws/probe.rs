//! Tries the operations that a collector needs in an account, with as few requests as possible.

use super::collect::Choice;
use super::{Aws, errors};
use crate::model::Account;
use crate::source::SourceError;
use aws_sdk_iam::types::EntityType;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error;

/// A user that does not exist: AWS checks the permission first, and then answers `NoSuchEntity`.
const NO_USER: &str = "iam-key-exporter.no-such-user";

/// What a collector reads.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// How the account is read.
    pub choice: Choice,
    /// Whether the last use of keys is read.
    pub last_used: bool,
    /// Whether tags or groups of users are read.
    pub details: bool,
}

/// Tries the operations. The result is the account, and the operations that AWS denies with its text.
///
/// # Errors
/// When the account cannot be reached, or an operation fails for another reason than lack of permission.
pub async fn probe(aws: &Aws, needs: Needs) -> Result<(Account, Vec<SourceError>), SourceError> {
    let account = aws.account().await?;
    let mut probe = Probe { iam: aws.iam().await?, denied: Vec::new() };
    if probe.reads_report(needs.choice).await? {
        probe.report().await?;
        // Without ListUsers no user is known.
        probe.keys(NO_USER, false).await?;
    } else {
        probe.users(needs.last_used).await?;
    }
    if needs.details {
        let request = probe.iam.get_account_authorization_details().filter(EntityType::User).max_items(1);
        let answer = request.send().await;
        probe.note("GetAccountAuthorizationDetails", answer, &[])?;
    }
    aws.confirm(&account).await?;
    Ok((account, probe.denied))
}

struct Probe {
    iam: aws_sdk_iam::Client,
    denied: Vec<SourceError>,
}

impl Probe {
    /// Whether the collector reads the report; with `auto` the number of users decides.
    async fn reads_report(&mut self, choice: Choice) -> Result<bool, SourceError> {
        if matches!(choice, Choice::Report) {
            return Ok(true);
        }
        let answer = self.iam.get_account_summary().send().await;
        let summary = self.note("GetAccountSummary", answer, &[])?;
        let Choice::Auto { report_above } = choice else { return Ok(false) };
        let numbers = summary.and_then(|answer| answer.summary_map).unwrap_or_default();
        let users = numbers.iter().find(|(name, _)| name.as_str() == "Users").map(|(_, users)| *users);
        Ok(users.is_some_and(|users| i64::from(users) > i64::from(report_above)))
    }

    async fn report(&mut self) -> Result<(), SourceError> {
        let answer = self.iam.generate_credential_report().send().await;
        self.note("GenerateCredentialReport", answer, &["LimitExceeded"])?;
        let answer = self.iam.get_credential_report().send().await;
        self.note("GetCredentialReport", answer, &["ReportInProgress", "ReportNotPresent", "ReportExpired"])?;
        Ok(())
    }

    async fn users(&mut self, last_used: bool) -> Result<(), SourceError> {
        let answer = self.iam.list_users().max_items(1).send().await;
        let users = self.note("ListUsers", answer, &[])?;
        let user = users.and_then(|answer| answer.users.into_iter().next());
        self.keys(user.as_ref().map_or(NO_USER, |user| user.user_name()), last_used).await
    }

    /// The last use of a key is tried if the user has one: AWS denies it for keys that do not exist.
    async fn keys(&mut self, user: &str, last_used: bool) -> Result<(), SourceError> {
        let answer = self.iam.list_access_keys().user_name(user).max_items(1).send().await;
        let keys = self.note("ListAccessKeys", answer, &["NoSuchEntity"])?;
        let keys = keys.map(|answer| answer.access_key_metadata).unwrap_or_default();
        let Some(id) = keys.first().and_then(|key| key.access_key_id()).filter(|_| last_used) else { return Ok(()) };
        let answer = self.iam.get_access_key_last_used().access_key_id(id).send().await;
        self.note("GetAccessKeyLastUsed", answer, &["NoSuchEntity"])?;
        Ok(())
    }

    /// The answer; `None` if it is a denial, which is noted, or one of the codes that a permitted request can have.
    fn note<T, E>(
        &mut self,
        operation: &'static str,
        answer: Result<T, SdkError<E, Response>>,
        permitted: &[&str],
    ) -> Result<Option<T>, SourceError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let error = match answer {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => error,
        };
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        if code.is_some_and(|code| permitted.contains(&code)) {
            return Ok(None);
        }
        match errors::classify(operation, &error) {
            denied @ SourceError::AccessDenied { .. } => {
                self.denied.push(denied);
                Ok(None)
            }
            other => Err(other),
        }
    }
}
