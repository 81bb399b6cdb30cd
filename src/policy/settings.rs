//! Small types that settings of several rules share.

use std::time::Duration;

/// Ninety days: CIS's limit for the age of a key, and our default for disuse.
pub const NINETY_DAYS: Duration = Duration::from_secs(90 * 24 * 3600);

/// Reads `90d`, `12h`, `30s`; a bare number is refused because its unit would be a guess.
///
/// # Errors
/// When the text is not a number with a unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|e| {
        format!("{text:?} is not a duration ({e}); write a number and a unit, for example 30s, 5m, 12h or 90d")
    })
}

/// The duration in the largest unit that it is a whole number of: `90d`, not months and odd seconds.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() > 0 {
        return humantime::format_duration(duration).to_string();
    }
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60)] {
        if seconds > 0 && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// For `#[serde(with)]`.
pub mod duration {
    use super::{Duration, format_duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(serde::de::Error::custom)
    }

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
            assert!(parse_duration(bad).unwrap_err().contains("for example"), "{bad}");
        }
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
