//! Which users an exemption matches, as it is written.

use std::collections::BTreeMap;
use std::fmt;

/// Patterns with the wildcards `*` and `?`. A user has to match all that are there, and at least one is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Selector {
    /// User name or ARN; compared without regard to case, as IAM's names are.
    pub user: Option<String>,
    /// Path; compared without regard to case.
    pub path: Option<String>,
    /// Name of an IAM group that the user is in; compared without regard to case.
    pub group: Option<String>,
    /// Keys of tags, compared without regard to case, with the patterns of their values, which are compared with regard
    /// to case.
    pub tag: BTreeMap<String, String>,
}

impl Selector {
    /// The tags as one text: `key=value`, separated by commas, which values of tags cannot contain; `None` without one.
    pub fn tag_text(&self) -> Option<String> {
        let tags: Vec<String> = self.tag.iter().map(|(key, value)| format!("{key}={value}")).collect();
        (!tags.is_empty()).then(|| tags.join(","))
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        *self == Selector::default()
    }
}

impl From<&str> for Selector {
    /// By the name or ARN of the user alone.
    fn from(user: &str) -> Self {
        Selector { user: Some(user.into()), ..Selector::default() }
    }
}

/// `user "ci-*", tag "team=web"`
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = self.tag_text();
        let parts = [("user", &self.user), ("path", &self.path), ("group", &self.group), ("tag", &tag)];
        let parts = parts.iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value)));
        for (number, (name, value)) in parts.enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {value:?}")?;
        }
        Ok(())
    }
}
