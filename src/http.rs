//! HTTP server, and the client of `healthcheck`. A request reads memory; no handler calls AWS.
//!
//! The way of a connection: `listen` binds addresses, `server` accepts streams, `connections` counts them and their requests
//! against `limits`, and `tls` secures them. The way of a request: `pipeline`, then `routes`. `web` is the web
//! configuration in force, with the users of `auth` and the rate limit of `rate`.

mod auth;
pub mod body;
pub mod client;
mod connections;
pub mod encoding;
mod held;
pub mod landing;
mod lifecycle;
mod limits;
mod listen;
mod pipeline;
mod rate;
mod refusal;
pub mod routes;
pub mod server;
mod status;
mod stream;
mod tls;
mod tracked;
mod web;

pub use lifecycle::{ReloadOutcome, Reloads};
pub use listen::{ListenError, Listeners};
pub use server::{AcceptError, serve};
pub use status::{AccountStatus, Failure, Status};
pub use tls::{HandshakeError, TlsError};
pub use web::{Web, WebLoadError};

use crate::config::addresses::Paths;
use crate::exposition::Parts;
use crate::exposition::exporter::ExporterMetrics;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

/// What the handlers read.
pub struct AppState {
    parts: Arc<Parts>,
    status: RwLock<Status>,
    metrics: Arc<ExporterMetrics>,
    lifecycle: Option<Arc<Reloads>>,
    paths: Paths,
    web: Arc<Web>,
}

impl AppState {
    /// Without `lifecycle`, requests to reload are refused.
    pub fn new(
        parts: Arc<Parts>,
        metrics: Arc<ExporterMetrics>,
        lifecycle: Option<Arc<Reloads>>,
        paths: Paths,
    ) -> Self {
        AppState { parts, status: RwLock::default(), metrics, lifecycle, paths, web: Arc::new(Web::open()) }
    }

    /// With this web configuration, instead of none.
    #[must_use]
    pub fn secured(self, web: Arc<Web>) -> Self {
        AppState { web, ..self }
    }

    /// Changes the status of the accounts, see [`Status`], and returns the result of `change`.
    pub fn update<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        change(&mut write(&self.status))
    }

    /// Whether `/-/ready` answers 200, see [`Status::is_ready`].
    pub fn is_ready(&self) -> bool {
        self.read_status(Status::is_ready)
    }

    fn read_status<T>(&self, read: impl FnOnce(&Status) -> T) -> T {
        read(&self.status.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Values under these locks are replaced in one step, so a poisoned lock still holds a valid value.
fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
