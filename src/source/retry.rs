//! Pauses before a further attempt.

use std::time::Duration;

/// The pause after so many failures in a row: `first`, doubled for each further one, at most `longest`.
pub fn backoff(first: Duration, longest: Duration, failures_in_a_row: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures_in_a_row.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(doubled).min(longest)
}

/// The pause, up to 10 % shorter or longer: accounts and processes must not call AWS in step. `jitter` from 0 to 1 stands
/// for -10 % to +10 %.
pub fn spread(pause: Duration, jitter: f64) -> Duration {
    let factor = 0.9 + 0.2 * jitter.clamp(0.0, 1.0);
    Duration::try_from_secs_f64(pause.as_secs_f64() * factor).unwrap_or(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [0, 1, 2, 3, 4, 5, 33, u32::MAX].map(|n| backoff(SECOND, SECOND * 10, n).as_secs());
        assert_eq!(pauses, [1, 1, 2, 4, 8, 10, 10, 10]);
        assert_eq!(backoff(Duration::MAX, Duration::MAX, u32::MAX), Duration::MAX);
    }

    #[test]
    fn jitter_is_a_tenth_at_most() {
        assert_eq!([-1.0, 0.0, 0.5, 1.0, 9.0].map(|j| spread(SECOND * 10, j).as_secs()), [9, 9, 10, 11, 11]);
        assert_eq!(spread(Duration::MAX, 1.0), Duration::MAX);
    }
}
