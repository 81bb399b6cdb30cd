//! Requests to reload the configuration, merged: a reload that starts after a request answers it.

use tokio::sync::watch;

/// Passes requests to the reloader and its outcomes back, without a queue: requests are numbered, and an outcome covers
/// all numbers up to that of the last request before the reload started.
#[derive(Debug, Default)]
pub struct Reloads {
    requested: watch::Sender<u64>,
    finished: watch::Sender<(u64, ReloadOutcome)>,
}

/// How a reload ended, for clients: it contains nothing of the configuration but names of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The configuration was reloaded.
    Reloaded {
        /// Names of the settings that changed and are read at the start only, sorted; empty if there are none.
        restart_needed: Vec<String>,
    },
    /// The configuration was not reloaded, with a reason without details; those are in the log.
    Failed(&'static str),
}

impl Default for ReloadOutcome {
    fn default() -> Self {
        ReloadOutcome::Reloaded { restart_needed: Vec::new() }
    }
}

impl Reloads {
    /// Requests a reload and waits for its outcome.
    pub async fn request(&self) -> ReloadOutcome {
        let mut finished = self.finished.subscribe();
        let mut number = 0;
        self.requested.send_modify(|last| {
            *last += 1;
            number = *last;
        });
        let outcome = finished.wait_for(|(up_to, _)| *up_to >= number).await;
        outcome.expect("the sender lives as long as the receiver, both belong to self").1.clone()
    }

    /// Waits until there is a request that no outcome covers.
    pub async fn pending(&self) {
        let covered = self.finished.borrow().0;
        let mut requested = self.requested.subscribe();
        let waited = requested.wait_for(|last| *last > covered).await;
        waited.expect("the sender lives as long as the receiver, both belong to self");
    }

    /// Number of the last request. Take it before a reload starts, for [`Reloads::finish`].
    pub fn last_request(&self) -> u64 {
        *self.requested.borrow()
    }

    /// Answers all requests up to this number.
    pub fn finish(&self, up_to: u64, outcome: ReloadOutcome) {
        self.finished.send_replace((up_to, outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn an_outcome_answers_the_requests_before_its_start_only() {
        let reloads = Reloads::default();
        let (mut first, mut second) = (Box::pin(reloads.request()), Box::pin(reloads.request()));
        assert_eq!((first.as_mut().now_or_never(), second.as_mut().now_or_never()), (None, None));
        reloads.pending().await;
        let covered = reloads.last_request();
        let mut late = Box::pin(reloads.request());
        assert_eq!(late.as_mut().now_or_never(), None);
        reloads.finish(covered, ReloadOutcome::Failed("x"));
        assert_eq!((first.await, second.await), (ReloadOutcome::Failed("x"), ReloadOutcome::Failed("x")));
        assert_eq!(late.as_mut().now_or_never(), None);
        reloads.pending().await;
        reloads.finish(reloads.last_request(), ReloadOutcome::default());
        assert_eq!(late.await, ReloadOutcome::default());
        assert_eq!(reloads.pending().now_or_never(), None);
    }
}
