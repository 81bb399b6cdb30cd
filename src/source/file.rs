//! The `file` collector: a saved credential report, or a JSON inventory. The file is read again at each check.

mod reading;

use super::{Request, Source, SourceError, credential_report, inventory_file, retain_only};
use crate::model::{Account, Collector, Inventory};
use futures_util::future::BoxFuture;
use reading::FileReader;
use std::path::PathBuf;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CSV exactly as AWS writes it.
    CredentialReport,
    /// Our JSON, see `iam-key-exporter inventory-schema`.
    Inventory,
}

pub struct FileSource {
    reader: FileReader,
    format: Format,
    account_name: String,
}

impl FileSource {
    pub fn new(path: PathBuf, format: Format, account_name: String) -> Self {
        FileSource { reader: FileReader::new(path), format, account_name }
    }

    async fn read(&self, deadline: Option<Instant>) -> Result<Inventory, SourceError> {
        let path = || self.reader.path().display().to_string();
        let (bytes, modified) = self
            .reader
            .read(deadline)
            .await
            .map_err(|e| SourceError::FileUnreadable { path: path(), message: e.to_string() })?;
        let malformed = |message| SourceError::FileMalformed { path: path(), message };
        let mut inventory = match self.format {
            Format::CredentialReport => {
                let mut inventory = credential_report::parse(&bytes, modified).map_err(|e| malformed(e.to_string()))?;
                inventory.collector = Collector::File;
                inventory
            }
            Format::Inventory => inventory_file::parse(&bytes, modified).map_err(malformed)?,
        };
        if !self.account_name.is_empty() {
            inventory.account.name.clone_from(&self.account_name);
        }
        Ok(inventory)
    }
}

impl Source for FileSource {
    fn account(&self) -> BoxFuture<'_, Result<Account, SourceError>> {
        Box::pin(async { Ok(self.read(None).await?.account) })
    }

    fn collect<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Inventory, SourceError>> {
        Box::pin(async {
            let mut inventory = self.read(Some(request.deadline)).await?;
            retain_only(&mut inventory, request.only_user.as_deref())?;
            Ok(inventory)
        })
    }
}
