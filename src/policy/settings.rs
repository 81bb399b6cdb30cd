//! Small types that settings of several rules share.

use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// Ninety days: the limit of the CIS AWS Foundations Benchmark for the age of a key, and the default for disuse.
pub const NINETY_DAYS: Duration = Duration::from_secs(90 * 24 * 3600);

/// The longest duration that a setting accepts: a hundred years. Added to a date of AWS, it stays a date.
pub const LONGEST: Duration = Duration::from_secs(36_500 * 24 * 3600);

/// The longest interval or timeout: 365 days.
pub const LONGEST_PERIOD: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a text is not accepted as a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text is not a number with a unit.
    #[error("{text:?} is not a duration ({message}); write a number and a unit, for example 30s, 5m, 12h or 90d")]
    Malformed {
        /// The text.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// An interval or a timeout is zero.
    #[error("it must be longer than zero")]
    Zero,
    /// The duration is longer than the maximum.
    #[error("{text:?} is too long, the maximum is {}", format_duration(*.maximum))]
    TooLong {
        /// The text.
        text: String,
        /// The longest duration that is accepted.
        maximum: Duration,
    },
}

/// Parses `90d`, `12h`, `30s`. A number without a unit is an error, because its unit would be a guess.
///
/// # Errors
/// [`DurationError::Malformed`] when the text is not a number with a unit, [`DurationError::TooLong`] beyond
/// [`LONGEST`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration = humantime::parse_duration(text)
        .map_err(|e| DurationError::Malformed { text: text.to_owned(), message: e.to_string() })?;
    at_most(LONGEST, duration, text)
}

/// Parses an interval or a timeout.
///
/// # Errors
/// Those of [`parse_duration`], [`DurationError::Zero`], and [`DurationError::TooLong`] beyond [`LONGEST_PERIOD`].
pub fn parse_period(text: &str) -> Result<Duration, DurationError> {
    match parse_duration(text)? {
        Duration::ZERO => Err(DurationError::Zero),
        duration => at_most(LONGEST_PERIOD, duration, text),
    }
}

fn at_most(maximum: Duration, duration: Duration, text: &str) -> Result<Duration, DurationError> {
    if duration > maximum { Err(DurationError::TooLong { text: text.to_owned(), maximum }) } else { Ok(duration) }
}

/// The duration in the largest unit that it is a whole number of: `90d`, not months and odd seconds.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() > 0 {
        return humantime::format_duration(duration).to_string();
    }
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60)] {
        if let Some(count @ 1..) = seconds.checked_div(length)
            && seconds.is_multiple_of(length)
        {
            return format!("{count}{unit}");
        }
    }
    format!("{seconds}s")
}

/// For `#[serde(deserialize_with)]`: a key with nothing after it is like an absent one.
///
/// # Errors
/// Those of the type.
pub fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// For `#[serde(with)]`: a [`Duration`] as text with a unit, for example `90d`.
pub mod duration {
    use super::{Duration, format_duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer};

    /// Parses text as [`parse_duration`] does.
    ///
    /// # Errors
    /// When the value is not text, and those of [`parse_duration`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(serde::de::Error::custom)
    }

    /// Writes text as [`format_duration`] does.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("90d"), Ok(NINETY_DAYS));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for bad in ["90", "-5m", "soon", "", "5 parsecs"] {
            assert!(parse_duration(bad).unwrap_err().to_string().contains("for example"), "{bad}");
        }
    }

    #[test]
    fn durations_have_a_maximum() {
        assert_eq!(parse_duration("36500d"), Ok(LONGEST));
        assert_eq!(parse_period("365d"), Ok(LONGEST_PERIOD));
        for bad in ["36501d", "18446744073709551615s"] {
            assert!(parse_duration(bad).unwrap_err().to_string().contains("the maximum is 36500d"), "{bad}");
        }
        assert!(parse_period("366d").unwrap_err().to_string().contains("the maximum is 365d"));
        assert_eq!(parse_period("0"), Err(DurationError::Zero));
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for (seconds, text) in [(0, "0s"), (90, "90s"), (120, "2m"), (5400, "90m"), (7200, "2h"), (90 * 86_400, "90d")]
        {
            let duration = Duration::from_secs(seconds);
            assert_eq!(format_duration(duration), text);
            assert_eq!(parse_duration(text), Ok(duration));
        }
        let odd = Duration::from_millis(1500);
        assert_eq!(parse_duration(&format_duration(odd)), Ok(odd));
    }
}
