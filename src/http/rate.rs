//! The rate limit of requests: one token bucket for all clients, as in exporter-toolkit.

use crate::config::web::RateLimit;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::time::Duration;

/// The bucket; it is full at first.
pub(super) struct Limiter {
    limit: RateLimit,
    bucket: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl Limiter {
    pub(super) fn new(limit: RateLimit) -> Self {
        let quota = Quota::with_period(limit.interval).expect("an interval of 0 is no limit");
        Limiter { limit, bucket: RateLimiter::direct(quota.allow_burst(limit.burst)), clock: DefaultClock::default() }
    }

    /// Whether this is the bucket of this limit, so that a reload does not fill it again.
    pub(super) fn has(&self, limit: RateLimit) -> bool {
        self.limit == limit
    }

    /// Takes a token for a request.
    ///
    /// # Errors
    /// Without a token, the time until there is one.
    pub(super) fn admit(&self) -> Result<(), Duration> {
        self.bucket.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_admitted_and_then_one_request_per_interval() {
        let limit = RateLimit { interval: Duration::from_secs(3600), burst: 3.try_into().unwrap() };
        let limiter = Limiter::new(limit);
        for _ in 0..3 {
            assert_eq!(limiter.admit(), Ok(()));
        }
        let wait = limiter.admit().unwrap_err();
        assert!(wait > Duration::from_secs(3000) && wait <= Duration::from_secs(3600), "{wait:?}");
        let largest = RateLimit { interval: Duration::from_secs(3600), burst: 1_000_000.try_into().unwrap() };
        assert_eq!(Limiter::new(largest).admit(), Ok(()));
    }
}
