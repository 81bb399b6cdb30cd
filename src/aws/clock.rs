//! How far the local clock is from AWS's, by the `Date` header of its answers. Verdicts compare AWS's dates with the
//! local time, so that a clock that is off makes them wrong.

use super::counting::RequestObserver;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// From so many seconds on the skew is warned about. AWS itself refuses signatures from 15 minutes on.
const WARN_FROM_SECONDS: u64 = 300;

/// Measures the skew, reports it, and logs when it becomes large and when it no longer is.
pub(super) struct ClockSkew {
    observer: Arc<dyn RequestObserver>,
    seconds: AtomicI64,
    large: AtomicBool,
}

impl ClockSkew {
    pub(super) fn new(observer: Arc<dyn RequestObserver>) -> Self {
        ClockSkew { observer, seconds: AtomicI64::new(0), large: AtomicBool::new(false) }
    }

    /// AWS's clock minus the local one, by the latest answer; 0 before the first.
    pub(super) fn seconds(&self) -> i64 {
        self.seconds.load(Ordering::Relaxed)
    }

    /// Takes note of the `Date` of an answer to a request that was sent and answered at these local times. A header that
    /// is not a date is ignored.
    pub(super) fn observe(&self, date: &str, sent_at: SystemTime, received_at: SystemTime) {
        let Ok(date) = DateTime::from_str(date, Format::HttpDate) else { return };
        let clock_skew_seconds = skew(date.secs(), seconds(sent_at), seconds(received_at));
        self.seconds.store(clock_skew_seconds, Ordering::Relaxed);
        self.observer.clock_skew(clock_skew_seconds);
        let large = clock_skew_seconds.unsigned_abs() >= WARN_FROM_SECONDS;
        match (self.large.swap(large, Ordering::Relaxed), large) {
            (false, true) => {
                tracing::warn!(clock_skew_seconds, "the local clock differs from AWS's, verdicts may be wrong");
            }
            (true, false) => tracing::info!(clock_skew_seconds, "the local clock agrees with AWS's"),
            _ => {}
        }
    }
}

impl fmt::Debug for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockSkew").finish_non_exhaustive()
    }
}

fn seconds(at: SystemTime) -> f64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// AWS's time minus the local time, in whole seconds towards zero. AWS read its clock between sending and receiving, and
/// wrote whole seconds: what that explains is no skew.
fn skew(date: i64, sent_at: f64, received_at: f64) -> i64 {
    let earliest = date as f64 - received_at;
    let latest = date as f64 + 1.0 - sent_at;
    if earliest > 0.0 {
        earliest as i64
    } else if latest < 0.0 {
        latest as i64
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Duration;

    #[test]
    fn what_the_measurement_explains_is_no_skew() {
        assert_eq!(skew(1000, 1000.9, 1000.95), 0, "AWS wrote 1000 for 1000.9");
        assert_eq!(skew(1000, 995.0, 1010.0), 0, "the answer took 15 s");
        assert_eq!(skew(1000, 1001.5, 1001.6), 0, "half a second is rounded to 0");
    }

    #[test]
    fn the_skew_is_awss_time_minus_the_local_time() {
        assert_eq!(skew(4600, 1000.0, 1000.1), 3599);
        assert_eq!(skew(1000, 4600.0, 4600.1), -3599);
        assert_eq!(skew(0, f64::MAX, f64::MAX), i64::MIN, "no date is out of range");
    }

    #[derive(Default)]
    struct Recorder(Mutex<Vec<i64>>);

    impl RequestObserver for Recorder {
        fn request(&self, _: &'static str, _: &str, _: Option<&'static str>) {}
        fn clock_skew(&self, seconds: i64) {
            self.0.lock().unwrap().push(seconds);
        }
    }

    #[test]
    fn dates_are_observed_and_anything_else_is_ignored() {
        let recorder = Arc::new(Recorder::default());
        let clock = ClockSkew::new(Arc::clone(&recorder) as Arc<dyn RequestObserver>);
        let local = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for date in ["Tue, 14 Nov 2023 23:13:20 GMT", "yesterday", "", "Tue, 14 Nov 2023 22:13:20 GMT"] {
            clock.observe(date, local, local);
        }
        assert_eq!(*recorder.0.lock().unwrap(), [3600, 0]);
    }
}
