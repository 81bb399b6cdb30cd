//! Spreads requests evenly: IAM's rate limits are not published, and are shared with every other client of the account.

use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Between two requests, at the lowest rate.
const LONGEST_PERIOD: Duration = Duration::from_secs(24 * 3600);

/// Admits requests at a constant rate, without bursts.
#[derive(Debug)]
pub struct RateLimiter {
    interval: Mutex<Interval>,
}

impl RateLimiter {
    /// Admits at most `per_second` requests a second. Needs a Tokio runtime with a timer.
    pub fn new(per_second: f64) -> Self {
        let mut interval = interval(period(per_second));
        // Unused capacity is lost: no burst follows a pause.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        RateLimiter { interval: Mutex::new(interval) }
    }

    /// Waits until another request may be sent; callers are served in order.
    pub async fn acquire(&self) {
        self.interval.lock().await.tick().await;
    }
}

/// The longest time that one of `requests` under way waits for its turn.
pub fn longest_wait(per_second: f64, requests: usize) -> Duration {
    let requests = u32::try_from(requests).unwrap_or(u32::MAX);
    period(per_second).saturating_mul(requests).min(LONGEST_PERIOD)
}

fn period(per_second: f64) -> Duration {
    let period = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(LONGEST_PERIOD);
    period.clamp(Duration::from_micros(1), LONGEST_PERIOD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_and_a_pause_gives_no_burst() {
        let limiter = RateLimiter::new(10.0);
        let start = Instant::now();
        for _ in 0..11 {
            limiter.acquire().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..11 {
            limiter.acquire().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    }

    #[test]
    fn no_rate_is_out_of_range() {
        for rate in [0.0, -1.0, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY, f64::NAN] {
            assert!((Duration::from_micros(1)..=LONGEST_PERIOD).contains(&period(rate)), "{rate}");
            assert!(longest_wait(rate, usize::MAX) <= LONGEST_PERIOD, "{rate}");
        }
        assert_eq!(longest_wait(10.0, 20), Duration::from_secs(2));
    }
}
