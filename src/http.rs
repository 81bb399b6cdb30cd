//! HTTP server: accept loop and its limits, routes, status page; and the client of `healthcheck`.
//!
//! A request reads memory; no handler calls AWS.

pub mod body;
pub mod client;
mod connections;
pub mod encoding;
pub mod landing;
mod lifecycle;
pub mod routes;
pub mod server;
mod status;
mod tracked;

pub use lifecycle::{ReloadOutcome, Reloads};
pub use server::{ListenError, Listeners, serve};
pub use status::{AccountStatus, Failure, Status};

use crate::exposition::Page;
use crate::exposition::exporter::ExporterMetrics;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

/// What the handlers read. The publisher replaces its parts as a whole; a handler clones a pointer.
pub struct AppState {
    page: RwLock<Arc<Page>>,
    status: RwLock<Status>,
    metrics: Arc<ExporterMetrics>,
    lifecycle: Option<Arc<Reloads>>,
}

impl AppState {
    /// Without `lifecycle`, requests to reload are refused.
    pub fn new(metrics: Arc<ExporterMetrics>, lifecycle: Option<Arc<Reloads>>) -> Self {
        AppState { page: RwLock::default(), status: RwLock::default(), metrics, lifecycle }
    }

    /// Replaces the page that `/metrics` serves.
    pub fn show(&self, page: Page) {
        *write(&self.page) = Arc::new(page);
    }

    /// Changes the status of the accounts, see [`Status`], and returns the result of `change`.
    pub fn update<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        change(&mut write(&self.status))
    }

    /// Whether `/-/ready` answers 200, see [`Status::is_ready`].
    pub fn is_ready(&self) -> bool {
        self.read_status(Status::is_ready)
    }

    fn page(&self) -> Arc<Page> {
        self.page.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read_status<T>(&self, read: impl FnOnce(&Status) -> T) -> T {
        read(&self.status.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Values under these locks are replaced in one step, so a poisoned lock still holds a valid value.
fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
