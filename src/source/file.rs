//! The `file` collector: a saved credential report, or a JSON inventory. The file is read again at each check.

use super::{Request, Source, SourceError, credential_report, inventory_file, retain_only};
use crate::model::{Account, Collector, Inventory, Timestamp};
use futures_util::future::BoxFuture;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CSV exactly as AWS writes it.
    CredentialReport,
    /// Our JSON, see `iam-key-exporter inventory-schema`.
    Inventory,
}

pub struct FileSource {
    path: PathBuf,
    format: Format,
    account_name: String,
}

impl FileSource {
    pub fn new(path: PathBuf, format: Format, account_name: String) -> Self {
        FileSource { path, format, account_name }
    }

    async fn read(&self) -> Result<Inventory, SourceError> {
        let path = self.path.clone();
        let (bytes, modified) = tokio::task::spawn_blocking(move || read_file(&path))
            .await
            .map_err(|e| self.unreadable(&e))?
            .map_err(|e| self.unreadable(&e))?;
        let malformed = |message| SourceError::FileMalformed { path: self.path.display().to_string(), message };
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

    fn unreadable(&self, error: &dyn std::fmt::Display) -> SourceError {
        SourceError::FileUnreadable { path: self.path.display().to_string(), message: error.to_string() }
    }
}

/// A credential report does not say when it was made; its modification time is the nearest thing.
fn read_file(path: &Path) -> std::io::Result<(Vec<u8>, Timestamp)> {
    let bytes = std::fs::read(path)?;
    let modified = std::fs::metadata(path)?.modified().unwrap_or_else(|_| SystemTime::now());
    Ok((bytes, Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH)))
}

impl Source for FileSource {
    fn account(&self) -> BoxFuture<'_, Result<Account, SourceError>> {
        Box::pin(async { Ok(self.read().await?.account) })
    }

    fn collect<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Inventory, SourceError>> {
        Box::pin(async {
            let mut inventory = self.read().await?;
            retain_only(&mut inventory, request.only_user.as_deref())?;
            Ok(inventory)
        })
    }
}
