//! One account's access to AWS. The clients are made at the first check, within the time of that check.

use super::blocking::Blocking;
use super::counting::RequestObserver;
use super::transport::http_client;
use super::{Clients, Settings, errors, load};
use crate::model::{Account, Partition};
use crate::source::SourceError;
use aws_config::SdkConfig;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// One account's access to AWS.
pub struct Aws {
    /// The largest number of concurrent requests to IAM.
    pub concurrency: usize,
    settings: Settings,
    account_name: String,
    observer: Arc<dyn RequestObserver>,
    configuration: Blocking<SdkConfig>,
    clients: OnceCell<Clients>,
}

impl Aws {
    /// Nothing is read or called yet.
    pub fn new(settings: Settings, account_name: String, observer: Arc<dyn RequestObserver>) -> Self {
        Aws {
            concurrency: settings.concurrency,
            settings,
            account_name,
            observer,
            configuration: Blocking::new(),
            clients: OnceCell::new(),
        }
    }

    /// Loads region, credentials and endpoints from environment and profile at the first call; a caller may give up at
    /// any time.
    async fn clients(&self) -> Result<&Clients, SourceError> {
        self.clients.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Clients, SourceError> {
        let settings = self.settings.clone();
        let loaded = self.configuration.run(|| async move { load(&settings, http_client()).await }).await;
        let shared =
            loaded.map_err(|e| SourceError::Credentials(format!("the SDK's configuration is not loaded: {e}")))?;
        Ok(Clients::new(shared, &self.settings, &self.account_name, Arc::clone(&self.observer)))
    }

    /// The IAM client, made at the first call.
    ///
    /// # Errors
    /// [`SourceError::Credentials`] when the SDK cannot load its configuration. What the configuration lacks shows at
    /// the first request.
    pub async fn iam(&self) -> Result<&aws_sdk_iam::Client, SourceError> {
        Ok(&self.clients().await?.iam)
    }

    /// The account that the credentials belong to now. GetCallerIdentity needs no permission (STS API Reference,
    /// GetCallerIdentity).
    ///
    /// # Errors
    /// When AWS does not answer; [`SourceError::UnexpectedResponse`] when the answer names no account.
    pub async fn account(&self) -> Result<Account, SourceError> {
        const OPERATION: &str = "GetCallerIdentity";
        let sts = &self.clients().await?.sts;
        let answer = sts.get_caller_identity().send().await.map_err(|e| errors::classify(OPERATION, &e))?;
        let id = answer.account().and_then(|id| id.parse().ok());
        let partition = answer.arn().and_then(|arn| Partition::parse(arn.split(':').nth(1)?));
        let (Some(id), Some(partition)) = (id, partition) else {
            return Err(SourceError::UnexpectedResponse {
                operation: OPERATION,
                message: "it names no account of twelve digits".into(),
            });
        };
        Ok(Account { id, name: self.account_name.clone(), partition })
    }

    /// Confirms that the credentials still belong to this account.
    ///
    /// # Errors
    /// [`SourceError::AccountMismatch`] when they do not, and those of [`account`](Self::account).
    pub async fn confirm(&self, account: &Account) -> Result<(), SourceError> {
        let found = self.account().await?.id;
        if found == account.id { Ok(()) } else { Err(SourceError::AccountMismatch { expected: account.id, found }) }
    }
}
