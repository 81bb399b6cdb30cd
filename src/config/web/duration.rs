//! Durations as Go writes them.

use super::WrongValue;
use std::time::Duration;

/// Parses `1s`, `1m30s`, `1.5h` or `0`.
pub(super) fn parse(text: &str) -> Result<Duration, WrongValue> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let wrong = || WrongValue::Duration(text.into());
    let (mut total, mut rest) = (Duration::ZERO, text);
    loop {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        if after.is_empty() {
            return Ok(total);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, milliseconds) in
            [("0", 0), ("0s", 0), ("1s", 1000), ("100ms", 100), ("1m30s", 90_000), ("1.5h", 5_400_000), ("2000us", 2)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "1", "s", "1d", "-1s", "1 s", "1s2", ".s", "1e3s", "99999999999999999999h"] {
            assert_eq!(parse(bad), Err(WrongValue::Duration(bad.into())), "{bad}");
        }
    }
}
