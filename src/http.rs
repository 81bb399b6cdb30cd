//! The HTTP side: accept loop and its limits, routes, the page for people.
//!
//! A request reads memory; nothing here asks AWS.

pub mod body;
pub mod client;
mod connections;
pub mod encoding;
pub mod landing;
pub mod routes;
pub mod server;

pub use server::{ListenError, Listeners, serve};

use crate::exposition::Page;
use crate::exposition::exporter::ExporterMetrics;
use crate::model::Timestamp;
use std::sync::{Arc, RwLock};
use tokio::sync::{mpsc, oneshot};

/// Answers a reload: the error's text when it failed.
pub type ReloadReply = oneshot::Sender<Result<(), String>>;

/// What is shown. Writers put something new in place; readers take it whole.
pub struct Site {
    page: RwLock<Arc<Page>>,
    status: RwLock<Status>,
    metrics: Arc<ExporterMetrics>,
    reload: mpsc::Sender<ReloadReply>,
}

/// The state of the checks, for people and for readiness.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    pub account_id: Option<String>,
    pub account_name: String,
    pub last_success: Option<Timestamp>,
    /// The last check's failure, if it failed.
    pub failure: Option<Failure>,
    pub users: u64,
    pub violations: Vec<(&'static str, Option<u64>)>,
    pub unknown_users: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub at: Timestamp,
    pub reason: &'static str,
    pub message: String,
}

impl Site {
    pub fn new(metrics: Arc<ExporterMetrics>, reload: mpsc::Sender<ReloadReply>) -> Self {
        Site { page: RwLock::default(), status: RwLock::default(), metrics, reload }
    }

    pub fn show(&self, page: Page) {
        *write(&self.page) = Arc::new(page);
    }

    pub fn update<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        change(&mut write(&self.status))
    }

    /// Ready from the first complete check on: what was known then stays, whatever fails later.
    pub fn is_ready(&self) -> bool {
        self.status().last_success.is_some()
    }

    fn page(&self) -> Arc<Page> {
        self.page.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn status(&self) -> Status {
        self.status.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Nothing is ever half written under these locks, so that a panic elsewhere does no harm.
fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}
