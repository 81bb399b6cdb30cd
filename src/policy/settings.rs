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

/// For `#[serde(with)]`.
pub mod duration {
    use super::{Duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(serde::de::Error::custom)
    }

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
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
}
