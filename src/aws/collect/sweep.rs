//! Reads users live between checks, with what is left of the account's request budget.

use super::users::{Retries, UserReader};
use crate::model::{Account, Observation, UserName};
use crate::source::{SourceError, Swept};
use futures_util::StreamExt;

/// So many users in a row without an answer are no exception.
const MOST_DENIED: usize = 3;

impl UserReader {
    /// Reads users in their order, each once: requests of the sweep are not repeated, since there is no hurry, and a
    /// repetition would take from the budget of checks.
    pub(super) async fn sweep(&self, account: &Account, users: Vec<UserName>, at_once: usize) -> Swept {
        let mut swept = Swept::default();
        let mut gone = Vec::new();
        let reads = futures_util::stream::iter(users).map(|name| async move {
            let read = self.user_keys(&name, Retries::None, false).await;
            (name, read)
        });
        let mut reads = std::pin::pin!(reads.buffered(at_once));
        while let Some((name, read)) = reads.next().await {
            swept.attempted = swept.attempted.saturating_add(1);
            match read {
                Ok(observation) => {
                    if matches!(observation, Observation::UserGone { .. }) {
                        gone.push(name);
                    }
                    swept.observations.push(observation);
                }
                Err(error) => {
                    let ends =
                        concerns_others(&error) || swept.observations.is_empty() && swept.attempted >= MOST_DENIED;
                    swept.failure = Some(error);
                    if ends {
                        break;
                    }
                }
            }
        }
        if !gone.is_empty()
            && let Err(error) = self.confirm_gone(account, &gone, swept.attempted).await
        {
            // Without ListUsers, or against it, the users stay until the next report.
            swept.observations.retain(|o| !matches!(o, Observation::UserGone { .. }));
            tracing::debug!(%error, users = gone.len(), "deleted users are not confirmed");
            if !matches!(error, SourceError::AccessDenied { .. }) {
                swept.failure = Some(error);
            }
        }
        swept
    }
}

/// One user's keys can be denied by a policy of that user; the other reasons are not about a user.
fn concerns_others(error: &SourceError) -> bool {
    !matches!(error, SourceError::AccessDenied { .. } | SourceError::UnexpectedResponse { .. })
}
