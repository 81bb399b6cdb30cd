//! Connects to an account at its first check, within the time of that check.

use super::Aws;
use super::blocking::Blocking;
use super::counting::RequestObserver;
use super::transport::http_client;
use super::{Settings, load};
use crate::model::{Account, Inventory};
use crate::source::{Request, Source, SourceError};
use aws_config::SdkConfig;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// What an account's clients are made of.
pub struct Connector {
    settings: Settings,
    account_name: String,
    observer: Arc<dyn RequestObserver>,
    configuration: Blocking<SdkConfig>,
}

impl Connector {
    pub fn new(settings: Settings, account_name: String, observer: Arc<dyn RequestObserver>) -> Self {
        Connector { settings, account_name, observer, configuration: Blocking::new() }
    }

    /// Loads region, credentials and endpoints as environment and profile have them; sends nothing to IAM or STS.
    /// A caller may give up at any time.
    ///
    /// # Errors
    /// When the SDK cannot load its configuration. What is missing in it shows at the first request.
    pub async fn connect(&self) -> Result<Aws, SourceError> {
        let settings = self.settings.clone();
        let loaded = self.configuration.run(|| async move { load(&settings, http_client()).await }).await;
        let shared =
            loaded.map_err(|e| SourceError::Credentials(format!("the SDK's configuration is not loaded: {e}")))?;
        Ok(Aws::new(shared, &self.settings, self.account_name.clone(), Arc::clone(&self.observer)))
    }
}

/// A collector that needs clients, which are connected when it is first used.
pub struct LazySource {
    connector: Connector,
    collector: Box<dyn Fn(Arc<Aws>) -> Arc<dyn Source> + Send + Sync>,
    connected: OnceCell<Arc<dyn Source>>,
}

impl LazySource {
    pub fn new(connector: Connector, collector: impl Fn(Arc<Aws>) -> Arc<dyn Source> + Send + Sync + 'static) -> Self {
        LazySource { connector, collector: Box::new(collector), connected: OnceCell::new() }
    }

    async fn connected(&self) -> Result<&Arc<dyn Source>, SourceError> {
        self.connected
            .get_or_try_init(|| async { Ok((self.collector)(Arc::new(self.connector.connect().await?))) })
            .await
    }
}

impl Source for LazySource {
    fn account(&self) -> BoxFuture<'_, Result<Account, SourceError>> {
        Box::pin(async { self.connected().await?.account().await })
    }

    fn collect<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Inventory, SourceError>> {
        Box::pin(async move { self.connected().await?.collect(request).await })
    }
}
