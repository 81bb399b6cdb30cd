//! Points in time in 8 bytes. A process can hold hundreds of thousands of users with several dates each; a
//! [`Timestamp`] takes twice as much, an optional one three times.

use super::Timestamp;

/// An optional point in time, in whole seconds: the resolution of AWS's dates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OptionalSecond(i64);

impl OptionalSecond {
    pub(super) const NONE: OptionalSecond = OptionalSecond(i64::MIN);
    /// A second value without a point in time, for dates that can be absent for two reasons.
    pub(super) const NEVER: OptionalSecond = OptionalSecond(i64::MIN + 1);

    pub(super) fn new(at: Option<Timestamp>) -> Self {
        at.map_or(Self::NONE, |at| OptionalSecond(at.as_second()))
    }

    pub(super) fn get(self) -> Option<Timestamp> {
        Timestamp::from_second(self.0).ok()
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
    pub fn new(at: Timestamp) -> Self {
        CompactTimestamp(at.as_microsecond())
    }

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
        for text in ["1969-12-31T23:59:59Z", "2026-03-01T12:00:00Z"] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(OptionalSecond::new(Some(at)).get(), Some(at));
            assert_eq!(CompactTimestamp::new(at).get(), at);
        }
        assert_eq!((OptionalSecond::NONE.get(), OptionalSecond::NEVER.get()), (None, None));
        assert_eq!(OptionalSecond::new(None), OptionalSecond::NONE);
        assert_eq!(CompactTimestamp::new(Timestamp::MAX).get().as_second(), Timestamp::MAX.as_second());
    }
}
