//! Types of settings. Each parses its text from a flag, a variable or the file, and describes what is wrong with it.

use crate::policy::settings::{DurationError, format_duration, parse_period};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

/// A type that a setting can have. In the file it is read and written by serde.
pub trait Value: Sized {
    /// How the flag is written.
    const SHAPE: Shape;

    /// Parses the values of a flag or variable: one, or any number for a list.
    ///
    /// # Errors
    /// When a value is not in the form or range of the type.
    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue>;

    /// Whether the setting has no value, so that it is not written to a file.
    fn is_absent(&self) -> bool {
        false
    }
}

/// How a flag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `--flag` or `--flag=false`
    Switch,
    /// `--flag=VALUE`
    One,
    /// `--flag=VALUE,VALUE`, repeatable
    List,
    /// `--flag=FILE`
    Path,
    /// `--flag=NAME`, one of these.
    Choice(&'static [Possible]),
}

/// A value of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Possible {
    /// The text that is written.
    pub name: &'static str,
    /// A short description. Empty where the name is enough.
    pub help: &'static str,
}

/// Why a value is not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidValue {
    /// It is not a duration, or not in the range of an interval or timeout.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// It is not a number.
    #[error("it is not a number")]
    NotANumber,
    /// It is a number outside two bounds.
    #[error("it must be between {minimum} and {maximum}")]
    OutOfRange {
        /// The smallest value that is accepted.
        minimum: f64,
        /// The largest value that is accepted.
        maximum: f64,
    },
    /// It is a number below the only bound.
    #[error("it must be at least {minimum}")]
    TooSmall {
        /// The smallest value that is accepted.
        minimum: u16,
    },
    /// It is not a Boolean value.
    #[error("it is not true or false")]
    NotABoolean,
    /// It is not one of the names of a choice.
    #[error("there is no choice {0:?}")]
    NoSuchChoice(String),
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    NotUnicode,
    /// An address to listen on has another form.
    #[error("{0:?} is not host:port, :port or unix:///path, for example :19674 or unix:///run/exporter.sock?mode=0660")]
    ListenAddress(String),
    /// A prefix of routes is not a plain path.
    #[error("{0:?} is not a path like /iam-keys, of letters, digits and - . _ ~ without percent encoding")]
    RoutePrefix(String),
    /// An external URL has another form.
    #[error("{0:?} is not a URL like https://example.org/iam-keys, without user, query and fragment")]
    ExternalUrl(String),
    /// It is neither a number nor `auto`.
    #[error("{0:?} is not a number from 0 on, or auto")]
    Shard(String),
    /// The list of addresses to listen on is empty.
    #[error("it must name at least one address")]
    NoListenAddress,
}

/// The last value counts, as for a flag that is repeated.
pub(super) fn last<'a>(texts: &[&'a OsStr]) -> Result<&'a str, InvalidValue> {
    texts.last().and_then(|t| t.to_str()).ok_or(InvalidValue::NotUnicode)
}

impl Value for bool {
    const SHAPE: Shape = Shape::Switch;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        match last(texts)?.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
            _ => Err(InvalidValue::NotABoolean),
        }
    }
}

impl Value for u32 {
    const SHAPE: Shape = Shape::One;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        last(texts)?.parse().map_err(|_| InvalidValue::NotANumber)
    }
}

impl Value for Option<String> {
    const SHAPE: Shape = Shape::One;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        Ok(Some(last(texts)?.to_owned()))
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl Value for Option<PathBuf> {
    const SHAPE: Shape = Shape::Path;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        Ok(texts.last().map(PathBuf::from))
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl Value for Vec<String> {
    const SHAPE: Shape = Shape::List;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        texts.iter().map(|t| t.to_str().map(ToOwned::to_owned).ok_or(InvalidValue::NotUnicode)).collect()
    }
}

/// An interval or a timeout: longer than zero, at most a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

impl Period {
    /// A period of whole minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Period(Duration::from_secs(minutes.saturating_mul(60)))
    }
}

impl Value for Period {
    const SHAPE: Shape = Shape::One;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        Ok(Period(parse_period(last(texts)?)?))
    }
}

impl Value for Option<Period> {
    const SHAPE: Shape = Shape::One;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        Period::parse(texts).map(Some)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_period(&String::deserialize(deserializer)?).map(Period).map_err(D::Error::custom)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(self.0))
    }
}

/// Requests per second, from 0.01 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate(pub f64);

impl Rate {
    const MINIMUM: f64 = 0.01;
    const MAXIMUM: f64 = 10_000.0;

    fn new(rate: f64) -> Result<Self, InvalidValue> {
        if (Self::MINIMUM..=Self::MAXIMUM).contains(&rate) {
            Ok(Rate(rate))
        } else {
            Err(InvalidValue::OutOfRange { minimum: Self::MINIMUM, maximum: Self::MAXIMUM })
        }
    }
}

impl Value for Rate {
    const SHAPE: Shape = Shape::One;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        Rate::new(last(texts)?.parse().map_err(|_| InvalidValue::NotANumber)?)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Rate::new(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Requests per second as a [`Rate`], or 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RateOrOff(pub f64);

impl RateOrOff {
    fn new(rate: f64) -> Result<Self, InvalidValue> {
        if rate == 0.0 { Ok(RateOrOff(0.0)) } else { Rate::new(rate).map(|rate| RateOrOff(rate.0)) }
    }
}

impl Value for RateOrOff {
    const SHAPE: Shape = Shape::One;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        RateOrOff::new(last(texts)?.parse().map_err(|_| InvalidValue::NotANumber)?)
    }
}

impl<'de> Deserialize<'de> for RateOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RateOrOff::new(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A number between two bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count<const MINIMUM: u16, const MAXIMUM: u16>(u16);

impl<const MINIMUM: u16, const MAXIMUM: u16> Count<MINIMUM, MAXIMUM> {
    /// A constant, for defaults. Out of bounds, it does not compile.
    pub const fn new(count: u16) -> Self {
        assert!(MINIMUM <= count && count <= MAXIMUM);
        Count(count)
    }

    /// The number.
    pub fn get(self) -> usize {
        self.0.into()
    }

    fn checked(count: u16) -> Result<Self, InvalidValue> {
        match count {
            n if (MINIMUM..=MAXIMUM).contains(&n) => Ok(Count(n)),
            _ if MAXIMUM == u16::MAX => Err(InvalidValue::TooSmall { minimum: MINIMUM }),
            _ => Err(InvalidValue::OutOfRange { minimum: MINIMUM.into(), maximum: MAXIMUM.into() }),
        }
    }
}

impl<const MINIMUM: u16, const MAXIMUM: u16> Value for Count<MINIMUM, MAXIMUM> {
    const SHAPE: Shape = Shape::One;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        Count::checked(last(texts)?.parse().map_err(|_| InvalidValue::NotANumber)?)
    }
}

impl<'de, const MINIMUM: u16, const MAXIMUM: u16> Deserialize<'de> for Count<MINIMUM, MAXIMUM> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Count::checked(u16::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Defines an enum whose values are chosen by name, in flags and in the file.
macro_rules! choices {
    ($($(#[doc = $doc:literal])+ $name:ident { $($variant:ident $text:literal $help:literal)+ })+) => { $(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $(
                #[doc = concat!("The choice `", $text, "`. ", $help)]
                #[serde(rename = $text)]
                $variant,
            )+
        }

        impl $name {
            /// The name of the choice, as it is written.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }
        }

        impl Value for $name {
            const SHAPE: Shape = Shape::Choice(&[$(Possible { name: $text, help: $help }),+]);

            fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
                match last(texts)? {
                    $($text => Ok($name::$variant),)+
                    other => Err(InvalidValue::NoSuchChoice(other.to_owned())),
                }
            }
        }
    )+ };
}

choices! {
    /// Which collector reads AWS.
    CollectorChoice {
        Auto "auto" "`live` in small accounts, `report` in large ones"
        Live "live" "List users, then each user's keys"
        Report "report" "Read the credential report, and users in violation live"
    }
    /// What the demo shows.
    DemoScenario {
        Account "account" "One account"
        Organization "organization" "An organization of twelve accounts"
    }
    /// Which users have series of their own.
    UserSelection {
        All "all" "All users"
        Keyed "keyed" "Users that have a key or whose keys are not known"
        Violating "violating" "Users in violation"
        None "none" "Totals only"
    }
    /// Least severity that is logged.
    LogLevel {
        Error "error" ""
        Warn "warn" ""
        Info "info" ""
        Debug "debug" ""
        Trace "trace" ""
    }
    /// Form of a log line.
    LogFormat {
        Text "text" ""
        Json "json" ""
    }
}
