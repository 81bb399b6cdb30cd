//! The time within each interval at which an account is checked.

use crate::model::{AccountId, Timestamp};
use std::time::Duration;

/// An account's share of every interval: a fraction from 0 to 1 that follows from the account ID alone. Intervals are
/// counted from the Unix epoch. So accounts are spread evenly, a restart or another replica checks an account at the
/// same times, and no check moves the ones that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase(u64);

impl Phase {
    /// The phase of this account, the same for ever.
    pub fn of(account: AccountId) -> Self {
        // Not one of a shard: the accounts of a shard have to be spread as evenly as all are.
        Phase(account.mixed(u16::MAX))
    }

    /// How long after `from` the account is due; less than the interval.
    pub fn wait(self, interval: Duration, from: Timestamp) -> Duration {
        let Some(period) = i128::try_from(interval.as_nanos()).ok().filter(|nanos| *nanos > 0) else {
            return Duration::ZERO;
        };
        let offset = u128::from(self.0).saturating_mul(period.unsigned_abs().min(u64::MAX.into())) >> u64::BITS;
        let wait = i128::try_from(offset).unwrap_or_default().saturating_sub(from.as_nanosecond()).rem_euclid(period);
        u64::try_from(wait).map_or(interval, Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    fn account(number: u64) -> AccountId {
        format!("{number:012}").parse().unwrap()
    }

    #[test]
    fn an_account_is_due_once_an_interval_at_the_same_time() {
        let phase = Phase::of(account(123_456_789_012));
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let first = start + phase.wait(INTERVAL, start);
        assert!(first < start + INTERVAL);
        for seconds in [0, 1, 299, 300, 3001, 86_399] {
            let from = start + Duration::from_secs(seconds);
            let due = from + phase.wait(INTERVAL, from);
            let since_first = (due.as_nanosecond() - first.as_nanosecond()).unsigned_abs();
            assert!(since_first.is_multiple_of(INTERVAL.as_nanos()), "{seconds}");
        }
        assert_eq!(phase.wait(INTERVAL, first), Duration::ZERO, "due is due");
    }

    /// Account IDs of an organisation are often neighbours.
    #[test]
    fn accounts_are_spread_evenly() {
        for (accounts, most_in_a_sixtieth) in [(60, 6), (1000, 34), (10_000, 230)] {
            for first in [0, 111_111_111_111, 999_999_980_000] {
                let mut slots = [0; 60];
                for number in first..first + accounts {
                    let wait = Phase::of(account(number)).wait(INTERVAL, Timestamp::UNIX_EPOCH);
                    slots[(wait.as_nanos() * 60 / INTERVAL.as_nanos()) as usize] += 1;
                }
                let most = slots.iter().max().unwrap();
                assert!(*most <= most_in_a_sixtieth, "{accounts} from {first}: {most}");
            }
        }
    }

    #[test]
    fn no_interval_is_out_of_range() {
        let phase = Phase::of(account(999_999_999_999));
        for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(365 * 86_400), Duration::MAX] {
            for from in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                assert!(phase.wait(interval, from) <= interval, "{interval:?} from {from}");
            }
        }
    }
}
