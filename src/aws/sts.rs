//! AssumeRole and GetCallerIdentity.

use super::errors;
use super::process::Process;
use super::session::{Assume, RoleSession, Session};
use crate::model::{AccountId, Partition, Role};
use crate::source::SourceError;
use aws_credential_types::Credentials;
use aws_sdk_sts::types::{AssumedRoleUser, Credentials as StsCredentials};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What every role allows; a chained session cannot be longer (IAM User Guide, "Methods to assume a role").
const SESSION_SECONDS: i32 = 3600;

const ASSUME_ROLE: &str = "AssumeRole";
const GET_CALLER_IDENTITY: &str = "GetCallerIdentity";

/// Assumes a role with the credentials of the process, or with those of another role's session.
pub(super) struct Sts {
    pub(super) process: Arc<Process>,
    pub(super) base: Option<Arc<RoleSession>>,
}

impl Assume for Sts {
    fn assume<'a>(&'a self, role: &'a Role) -> BoxFuture<'a, Result<Session, SourceError>> {
        Box::pin(self.request(role))
    }
}

impl Sts {
    async fn request(&self, role: &Role) -> Result<Session, SourceError> {
        let sts = self.process.sts(self.base.as_ref()).await?;
        let request = sts
            .assume_role()
            .role_arn(role.arn.to_string())
            .role_session_name(role.session_name.as_str())
            .duration_seconds(SESSION_SECONDS)
            .set_external_id(role.external_id.as_ref().map(|id| id.expose().to_owned()));
        let answer = request.send().await.map_err(|e| errors::not_assumed(role, &e))?;
        let (Some(user), Some(credentials)) = (answer.assumed_role_user(), answer.credentials()) else {
            return Err(unexpected("it has no credentials, or not the ARN of the session".into()));
        };
        self.session(role, user, credentials)
    }

    fn session(&self, role: &Role, user: &AssumedRoleUser, sts: &StsCredentials) -> Result<Session, SourceError> {
        let Some((account, partition)) = identity(user.arn()) else {
            return Err(unexpected(format!("the ARN of the session is {:?}", user.arn())));
        };
        if account != role.arn.account {
            return Err(SourceError::AccountMismatch { expected: role.arn.account, found: account });
        }
        // The end of the session is by AWS's clock.
        let end = sts.expiration().secs().saturating_sub(self.process.clock_skew_seconds());
        let end = UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(end).unwrap_or(0)));
        let lifetime = end.and_then(|end| end.duration_since(SystemTime::now()).ok()).unwrap_or_default();
        if lifetime.is_zero() {
            return Err(unexpected("the session is over already".into()));
        }
        let token = Some(sts.session_token().to_owned());
        // Without its end: the SDK would compare that with the local clock.
        let credentials = Credentials::new(sts.access_key_id(), sts.secret_access_key(), token, None, ASSUME_ROLE);
        Ok(Session { account, partition, credentials, lifetime })
    }
}

/// The account that the credentials belong to now. GetCallerIdentity needs no permission (STS API Reference,
/// GetCallerIdentity).
pub(super) async fn caller_identity(process: &Process) -> Result<(AccountId, Partition), SourceError> {
    let sts = process.sts(None).await?;
    let answer = sts.get_caller_identity().send().await.map_err(|e| errors::classify(GET_CALLER_IDENTITY, &e))?;
    let id = answer.account().and_then(|id| id.parse().ok());
    let partition = answer.arn().and_then(|arn| Partition::parse(arn.split(':').nth(1)?));
    id.zip(partition).ok_or(SourceError::UnexpectedResponse {
        operation: GET_CALLER_IDENTITY,
        message: "it names no account of twelve digits".into(),
    })
}

/// Account and partition of an ARN of STS: `arn:PARTITION:sts::ACCOUNT:assumed-role/NAME/SESSION`.
fn identity(arn: &str) -> Option<(AccountId, Partition)> {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "sts", "", account, resource] = fields[..] else { return None };
    resource.starts_with("assumed-role/").then_some((account.parse().ok()?, Partition::parse(partition)?))
}

fn unexpected(message: String) -> SourceError {
    SourceError::UnexpectedResponse { operation: ASSUME_ROLE, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_of_a_session_names_its_account() {
        let (account, partition) = identity("arn:aws-cn:sts::123456789012:assumed-role/x/y").unwrap();
        assert_eq!((account.as_str(), partition.as_str()), ("123456789012", "aws-cn"));
        for arn in
            ["", "arn:aws:iam::123456789012:role/x", "arn:aws:sts::1:assumed-role/x/y", "arn:aws:sts::123456789012:x"]
        {
            assert_eq!(identity(arn), None, "{arn}");
        }
    }
}
