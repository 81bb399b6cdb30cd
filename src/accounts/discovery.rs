//! When the organisation is listed: a pure function of what happened and the time.

use super::Shrunken;
use crate::source::SourceError;
use crate::source::organization::SHRUNKEN;
use crate::source::retry::backoff;
use std::time::Duration;

/// The first pause after a failure; it doubles up to the refresh interval.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Why there is no new list of accounts. The last one stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// AWS did not answer, or not completely.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Too many accounts are missing to believe the list.
    #[error(
        "{} of {} accounts are missing from the list of the organisation; another list has to confirm that",
        .0.missing,
        .0.known
    )]
    Shrunken(Shrunken),
}

impl DiscoveryError {
    /// One of [`REASONS`](crate::source::REASONS), or [`SHRUNKEN`]: the only error text that may become a label.
    pub fn reason(&self) -> &'static str {
        match self {
            DiscoveryError::Source(error) => error.reason(),
            DiscoveryError::Shrunken(_) => SHRUNKEN,
        }
    }

    /// How long to wait for the next listing after so many failures in a row, of which this is the last one.
    pub fn pause(&self, failures_in_a_row: u32, refresh_interval: Duration) -> Duration {
        match self {
            // Two listings within seconds can share a mistake.
            DiscoveryError::Shrunken(_) => refresh_interval,
            DiscoveryError::Source(_) => backoff(FIRST_RETRY, refresh_interval, failures_in_a_row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_retried_soon_and_then_less_and_less_often() {
        let error = DiscoveryError::Source(SourceError::Credentials(String::new()));
        let pauses = [1, 2, 3, 8, 9, 40].map(|n| error.pause(n, Duration::from_secs(900)).as_secs());
        assert_eq!(pauses, [5, 10, 20, 640, 900, 900]);
        let shrunken = DiscoveryError::Shrunken(Shrunken { missing: 5, known: 6 });
        assert_eq!(shrunken.pause(1, Duration::from_secs(900)), Duration::from_secs(900));
    }
}
