//! Points in time in 5 and 8 bytes. A process can hold hundreds of thousands of users with several dates each; a
//! [`Timestamp`] takes 16 bytes, an optional one 24.

use super::Timestamp;

/// An optional point in time in whole seconds, the resolution of AWS's dates, in 5 bytes: enough for all timestamps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OptionalSecond([u8; 5]);

impl OptionalSecond {
    pub(super) const NONE: OptionalSecond = OptionalSecond([0, 0, 0, 0, 0x80]);
    /// A second value without a point in time, for dates that can be absent for two reasons.
    pub(super) const NEVER: OptionalSecond = OptionalSecond([1, 0, 0, 0, 0x80]);

    pub(super) fn new(at: Option<Timestamp>) -> Self {
        let Some(at) = at else { return Self::NONE };
        let [a, b, c, d, e, ..] = at.as_second().to_le_bytes();
        OptionalSecond([a, b, c, d, e])
    }

    pub(super) fn get(self) -> Option<Timestamp> {
        let [a, b, c, d, e] = self.0;
        let sign = if e & 0x80 == 0 { 0 } else { 0xff };
        // Neither of the two constants is in the range of timestamps.
        Timestamp::from_second(i64::from_le_bytes([a, b, c, d, e, sign, sign, sign])).ok()
    }
}

impl std::fmt::Debug for OptionalSecond {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

/// A point in time in microseconds, fine enough to order observations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompactTimestamp(i64);

impl CompactTimestamp {
    /// Truncates to whole microseconds.
    pub fn new(at: Timestamp) -> Self {
        CompactTimestamp(at.as_microsecond())
    }

    /// The time as a [`Timestamp`].
    pub fn get(self) -> Timestamp {
        // The largest timestamps are not whole microseconds.
        Timestamp::from_microsecond(self.0).unwrap_or(if self.0 > 0 { Timestamp::MAX } else { Timestamp::MIN })
    }
}

impl std::fmt::Debug for CompactTimestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_times_are_read_back() {
        for text in ["-009999-01-02T01:59:59Z", "1969-12-31T23:59:59Z", "2026-03-01T12:00:00Z", "9999-12-30T21:59:59Z"]
        {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(OptionalSecond::new(Some(at)).get(), Some(at));
            assert_eq!(CompactTimestamp::new(at).get(), at);
        }
        assert_eq!((OptionalSecond::NONE.get(), OptionalSecond::NEVER.get()), (None, None));
        assert_eq!(OptionalSecond::new(None), OptionalSecond::NONE);
        assert_eq!(CompactTimestamp::new(Timestamp::MAX).get(), Timestamp::MAX);
    }
}
