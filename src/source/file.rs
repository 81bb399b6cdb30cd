//! The `file` collector: a saved credential report, or a JSON inventory. The file is read again at each check.

mod reading;

use super::{Request, Source, SourceError, credential_report, inventory_file};
use crate::files::ReadError;
use crate::model::{Account, Collector, Observation, RootKeys, Timestamp};
use crate::text::redact::redact_ids;
use futures_util::future::BoxFuture;
use reading::FileReader;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Formats of input files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CSV exactly as GetCredentialReport returns it.
    CredentialReport,
    /// The JSON format of `iam-key-exporter inventory-schema`.
    Inventory,
}

/// A file as a source of observations.
pub struct FileSource {
    reader: FileReader,
    format: Format,
    account_name: String,
    /// What [`Source::account`] read, for [`Source::collect`]: the file is read once a check.
    read: Mutex<Option<Vec<Observation>>>,
}

impl FileSource {
    /// Nothing is read yet; a name replaces that of the file unless it is empty.
    pub fn new(path: PathBuf, format: Format, account_name: String) -> Self {
        FileSource { reader: FileReader::new(path), format, account_name, read: Mutex::new(None) }
    }

    async fn read(&self, deadline: Instant) -> Result<(Account, Vec<Observation>), SourceError> {
        let path = || self.reader.path().display().to_string();
        let (bytes, modified) = self.reader.read(Some(deadline)).await.map_err(|e| match e {
            ReadError::TimedOut => SourceError::Timeout(format!("cannot read {}: {e}", path())),
            _ => SourceError::FileUnreadable { path: path(), message: e.to_string() },
        })?;
        let (mut account, observations) = parse(self.format, &bytes, modified)
            .map_err(|e| SourceError::FileMalformed { path: path(), message: redact_ids(&e.to_string()) })?;
        if !self.account_name.is_empty() {
            account.name.clone_from(&self.account_name);
        }
        Ok((account, observations))
    }

    fn store(&self, observations: Option<Vec<Observation>>) -> Option<Vec<Observation>> {
        std::mem::replace(&mut *self.read.lock().unwrap_or_else(PoisonError::into_inner), observations)
    }
}

/// Why a file could not be parsed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum ParseError {
    Report(#[from] credential_report::ReportError),
    Inventory(#[from] inventory_file::InventoryError),
}

fn parse(format: Format, bytes: &[u8], modified: Timestamp) -> Result<(Account, Vec<Observation>), ParseError> {
    let now = Timestamp::now();
    let (account, listing, root, details) = match format {
        Format::CredentialReport => {
            let report = credential_report::parse(bytes, modified.min(now), Collector::File)?;
            (report.account, report.listing, report.root_active_keys, None)
        }
        Format::Inventory => {
            let inventory = inventory_file::parse(bytes, modified, now)?;
            (inventory.account, inventory.listing, inventory.root_active_keys, Some(inventory.details))
        }
    };
    let at = listing.at();
    let root = Observation::Root { at, keys: root.map_or(RootKeys::NotIncluded, RootKeys::Active) };
    let details = details.map(|details| Observation::Details { at, details });
    Ok((account, [Observation::Listing(listing), root].into_iter().chain(details).collect()))
}

impl Source for FileSource {
    fn account<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>> {
        Box::pin(async {
            let (account, observations) = self.read(request.deadline).await?;
            self.store(Some(observations));
            Ok(account)
        })
    }

    fn collect<'a>(
        &'a self,
        _: &'a Account,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(async {
            match self.store(None) {
                Some(observations) => Ok(observations),
                None => Ok(self.read(request.deadline).await?.1),
            }
        })
    }
}
