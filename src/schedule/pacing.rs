//! The limits that all accounts of the process share.

use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How much may happen at once, over all accounts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest number of accounts whose check is running.
    pub accounts: usize,
    /// The largest number of requests in flight.
    pub requests: usize,
}

/// Permits for checks and for requests of the sweep, shared by all workers; each kind is given out in the order of demand.
#[derive(Debug)]
pub struct Pacing {
    checks: Semaphore,
    /// Those of them for accounts whose last check hung.
    hung: Semaphore,
    sweeps: Semaphore,
    most_sweeps: u32,
}

impl Pacing {
    /// The sweep has half of the requests in flight. At least one of each is admitted.
    pub fn new(limits: Limits) -> Arc<Self> {
        let most = |permits: usize| permits.clamp(1, Semaphore::MAX_PERMITS);
        let most_sweeps = u32::try_from(most(limits.requests / 2)).unwrap_or(u32::MAX);
        Arc::new(Pacing {
            checks: Semaphore::new(most(limits.accounts)),
            hung: Semaphore::new(most(limits.accounts / 4)),
            sweeps: Semaphore::new(most_sweeps as usize),
            most_sweeps,
        })
    }

    /// Waits until another check may run; the permit is to be held until it ends.
    pub(super) async fn check(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.checks.acquire().await.ok()
    }

    /// As [`check`](Self::check), for an account whose last check took long and failed: a quarter of all checks at most, so
    /// that accounts that hang do not hold up the others.
    pub(super) async fn check_again(&self) -> Option<(SemaphorePermit<'_>, SemaphorePermit<'_>)> {
        let hung = self.hung.acquire().await.ok()?;
        Some((hung, self.checks.acquire().await.ok()?))
    }

    /// Whether no further check may run now: the sweep does not compete with checks.
    pub(super) fn is_busy(&self) -> bool {
        self.checks.available_permits() == 0
    }

    /// So many requests, or all that the sweep may have in flight.
    pub(super) fn sweep_at_once(&self, wanted: u32) -> u32 {
        wanted.min(self.most_sweeps)
    }

    /// Waits until the sweep may have so many requests in flight; the permits are to be held until they are answered.
    pub(super) async fn sweep(&self, requests: u32) -> Option<SemaphorePermit<'_>> {
        self.sweeps.acquire_many(requests).await.ok()
    }
}

#[cfg(test)]
mod tests;
