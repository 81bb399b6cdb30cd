//! Spreads requests evenly: IAM's rate limits are not published, and shared with everybody else in the account.

use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};

pub struct Pacer {
    interval: Mutex<Interval>,
}

impl Pacer {
    /// At most `per_second` turns a second, no bursts.
    pub fn new(per_second: f64) -> Self {
        let mut interval = interval(Duration::from_secs_f64(1.0 / per_second));
        // What was not used is lost: after a pause no burst makes up for it.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pacer { interval: Mutex::new(interval) }
    }

    /// Waits for the next turn; waiting calls are served in order.
    pub async fn turn(&self) {
        self.interval.lock().await.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn turns_keep_the_rate_and_a_pause_gives_no_burst() {
        let pacer = Pacer::new(10.0);
        let start = Instant::now();
        for _ in 0..11 {
            pacer.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..11 {
            pacer.turn().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    }
}
