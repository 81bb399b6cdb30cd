//! What AWS knows about a user beside its keys: tags, and the groups that it is in.

use super::AccessKeyId;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

/// A tag of an IAM user, of which it has at most 50 (IAM User Guide, "IAM and AWS STS quotas").
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag {
    /// At most 128 characters; unique in a user without regard to case.
    pub key: Arc<str>,
    /// At most 256 characters.
    pub value: Arc<str>,
}

impl Tag {
    /// `None` for a tag whose key is the ID of an access key, as the console makes them: it would show key IDs where
    /// they are not requested.
    pub fn new(key: &str, value: &str) -> Option<Self> {
        (!AccessKeyId::is_prefix_of(key)).then(|| Tag { key: key.into(), value: value.into() })
    }

    /// Whether this is the tag with that key. IAM compares the keys of tags without regard to case (IAM User Guide,
    /// "Rules for tagging in IAM and AWS STS").
    pub fn has_key(&self, key: &str) -> bool {
        self.key.eq_ignore_ascii_case(key)
    }
}

/// The tags and groups of a user that are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct UserDetails {
    /// The tags that were requested.
    pub tags: Box<[Tag]>,
    /// The names of the IAM groups that the user is in, if they were requested.
    pub groups: Box<[Arc<str>]>,
}

impl UserDetails {
    /// Of a user of which nothing is known.
    pub fn empty() -> &'static UserDetails {
        static EMPTY: LazyLock<UserDetails> = LazyLock::new(UserDetails::default);
        &EMPTY
    }

    /// Whether there is neither a tag nor a group.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.groups.is_empty()
    }
}

/// Which tags are read, and whether groups are: what is not needed takes no memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DetailsScope {
    tags: TagKeys,
    /// Whether the groups of users are included.
    pub groups: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TagKeys {
    All,
    /// In lower case.
    Some(BTreeSet<String>),
}

impl Default for TagKeys {
    fn default() -> Self {
        TagKeys::Some(BTreeSet::new())
    }
}

impl DetailsScope {
    /// The tags with these keys, and the groups, or not.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a String>, groups: bool) -> Self {
        let keys = keys.into_iter().map(|key| key.to_ascii_lowercase()).collect();
        DetailsScope { tags: TagKeys::Some(keys), groups }
    }

    /// All tags.
    pub fn all_tags(groups: bool) -> Self {
        DetailsScope { tags: TagKeys::All, groups }
    }

    /// Whether it includes nothing.
    pub fn is_empty(&self) -> bool {
        self.tags == TagKeys::default() && !self.groups
    }

    /// Whether tags with this key are included.
    pub fn has_tag(&self, key: &str) -> bool {
        match &self.tags {
            TagKeys::All => true,
            TagKeys::Some(keys) => keys.contains(&key.to_ascii_lowercase()),
        }
    }

    /// Whether it includes all that `other` does.
    pub fn covers(&self, other: &DetailsScope) -> bool {
        let tags = match (&self.tags, &other.tags) {
            (TagKeys::All, _) => true,
            (TagKeys::Some(_), TagKeys::All) => false,
            (TagKeys::Some(all), TagKeys::Some(some)) => some.is_subset(all),
        };
        tags && (self.groups || !other.groups)
    }

    /// Adds what `other` includes.
    pub fn add(&mut self, other: &DetailsScope) {
        match (&mut self.tags, &other.tags) {
            (TagKeys::Some(keys), TagKeys::Some(more)) => keys.extend(more.iter().cloned()),
            (tags, TagKeys::All) => *tags = TagKeys::All,
            (TagKeys::All, _) => {}
        }
        self.groups |= other.groups;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(keys: &[&str]) -> DetailsScope {
        DetailsScope::new(&keys.iter().map(ToString::to_string).collect::<Vec<_>>(), false)
    }

    #[test]
    fn tags_named_after_access_keys_are_dropped() {
        assert_eq!(Tag::new("AKIAIOSFODNN7EXAMPLE", "laptop"), None);
        assert_eq!(Tag::new("ASIAIOSFODNN7EXAMPLE", "laptop"), None);
        assert_eq!(&*Tag::new("owner", "payments").unwrap().value, "payments");
    }

    #[test]
    fn keys_of_tags_are_compared_as_iam_does() {
        assert!(Tag::new("Owner", "x").unwrap().has_key("oWNER"));
        assert!(tags(&["Owner"]).has_tag("owner") && !tags(&["Owner"]).has_tag("team"));
    }

    #[test]
    fn a_scope_covers_what_it_was_made_of() {
        let groups = DetailsScope::new([], true);
        let mut sum = tags(&["a"]);
        assert!(!sum.covers(&groups) && sum.covers(&DetailsScope::default()) && !sum.covers(&tags(&["b"])));
        sum.add(&groups);
        sum.add(&tags(&["B"]));
        assert!(sum.covers(&tags(&["A", "b"])) && sum.covers(&groups) && !sum.covers(&DetailsScope::all_tags(false)));
        assert!(DetailsScope::all_tags(true).covers(&sum));
        assert!(DetailsScope::default().is_empty() && !groups.is_empty() && !sum.is_empty());
        sum.add(&DetailsScope::all_tags(false));
        assert_eq!(sum, DetailsScope::all_tags(true));
    }
}
