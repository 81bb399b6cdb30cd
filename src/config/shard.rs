//! Which part of the accounts this process checks: `--shard` and `--total-shards`.

use super::ConfigError;
use super::settings::Settings;
use super::values::{InvalidValue, Shape, Value};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::OsStr;

/// How the shard is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardChoice {
    /// By the number at the end of the pod's name, as a StatefulSet numbers its pods.
    Auto,
    /// This one, counted from 0.
    Index(u16),
}

impl ShardChoice {
    fn new(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "auto" => Ok(ShardChoice::Auto),
            number => number.parse().map(ShardChoice::Index).map_err(|_| InvalidValue::Shard(number.to_owned())),
        }
    }
}

impl Value for Option<ShardChoice> {
    const SHAPE: Shape = Shape::One;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        let text = texts.last().and_then(|t| t.to_str()).ok_or(InvalidValue::NotUnicode)?;
        ShardChoice::new(text).map(Some)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<'de> Deserialize<'de> for ShardChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ShardChoice::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for ShardChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ShardChoice::Auto => serializer.serialize_str("auto"),
            ShardChoice::Index(index) => serializer.serialize_u16(*index),
        }
    }
}

/// A part of all accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Counted from 0, below `total`.
    pub index: u16,
    /// The number of parts.
    pub total: u16,
}

impl Shard {
    /// All accounts.
    pub const ALL: Shard = Shard { index: 0, total: 1 };

    /// The shard that the settings name, with the name of this pod for `auto`.
    pub(super) fn of(settings: &Settings, pod: impl FnOnce() -> String) -> Result<Self, ConfigError> {
        let total = settings.total_shards.get();
        let index = match settings.shard {
            None if total == 1 => 0,
            None => return Err(ConfigError::NoShard { total }),
            Some(ShardChoice::Index(index)) => index,
            Some(ShardChoice::Auto) => {
                let name = pod();
                ordinal(&name).ok_or(ConfigError::NoOrdinal { name })?
            }
        };
        match u16::try_from(total) {
            Ok(total) if index < total => Ok(Shard { index, total }),
            _ => Err(ConfigError::ShardOutOfRange { shard: index, total }),
        }
    }
}

/// The number after the last hyphen.
fn ordinal(pod: &str) -> Option<u16> {
    let (name, number) = pod.rsplit_once('-')?;
    number.parse().ok().filter(|_| !name.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The name of this pod: `POD_NAME`, else the host name, of which Kubernetes makes at most 63 characters.
pub(super) fn pod_name() -> String {
    std::env::var("POD_NAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(shard: &str, total: &str, pod: &str) -> Result<(u16, u16), String> {
        let settings = Settings::from_yaml(&format!("shard: {shard}\ntotal_shards: {total}")).unwrap();
        Shard::of(&settings, || pod.to_owned()).map(|s| (s.index, s.total)).map_err(|e| e.to_string())
    }

    #[test]
    fn a_shard_is_named_or_taken_from_the_pod() {
        assert_eq!(shard("~", "~", "x"), Ok((0, 1)));
        assert_eq!(shard("2", "3", "x"), Ok((2, 3)));
        assert_eq!(shard("auto", "12", "iam-key-exporter-11"), Ok((11, 12)));
        assert_eq!(shard("auto", "1", "iam-key-exporter-0"), Ok((0, 1)));
    }

    #[test]
    fn a_shard_that_cannot_be_is_refused() {
        for (index, total, pod, expected) in [
            ("3", "3", "", "--shard: 3 is not below --total-shards=3; shards are counted from 0"),
            ("auto", "3", "x-7", "--shard: 7 is not below --total-shards=3; shards are counted from 0"),
            ("~", "3", "", "--total-shards=3 needs --shard: a number below 3, or auto"),
            ("auto", "3", "host", "--shard=auto: the name of the pod, \"host\", does not end in a hyphen and a number"),
            ("auto", "3", "-1", "--shard=auto: the name of the pod, \"-1\", does not end in a hyphen and a number"),
            ("auto", "3", "x-+1", "--shard=auto: the name of the pod, \"x-+1\", does not end in a hyphen and a number"),
        ] {
            assert_eq!(shard(index, total, pod), Err(expected.to_owned()));
        }
        for bad in ["-1", "one", "1.5", "65536", "''"] {
            let error = Settings::from_yaml(&format!("shard: {bad}")).unwrap_err().to_string();
            assert!(error.contains("a number from 0 on, or auto"), "{error}");
        }
    }
}
