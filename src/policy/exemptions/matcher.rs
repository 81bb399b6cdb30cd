//! Finds the exemptions of one user in one pass over what the user's selectors are compared with.
//!
//! A wildcard pattern can only match a text that contains each of the pattern's literal parts. One part of each exemption
//! is searched for in the user's texts, for all exemptions at once (Aho-Corasick); the few exemptions whose part occurs
//! are then matched one by one. The cost per user therefore does not grow with the number of exemptions of other users.

use super::{Exemption, Selector, Subject};
use crate::model::{Account, DetailsScope, Timestamp};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// All exemptions of a policy, indexed by the users that they match. Cheap to clone.
#[derive(Clone, Default)]
pub struct Exemptions(Arc<Index>);

#[derive(Default)]
struct Index {
    exemptions: Vec<Exemption>,
    /// Names and ARNs without wildcards, in lower case.
    literal: HashMap<String, Vec<usize>>,
    /// Selectors without any literal part, for example `*`.
    unconditional: Vec<usize>,
    /// Finds literal parts; `by_part` holds the exemptions that need the part with that number.
    parts: Option<AhoCorasick>,
    by_part: Vec<Vec<usize>>,
    /// Tags and groups that any exemption needs.
    needs: DetailsScope,
}

impl Exemptions {
    /// Builds the index, once per policy.
    pub fn new(exemptions: Vec<Exemption>) -> Self {
        let mut index = Index { exemptions, ..Index::default() };
        let mut with_parts: Vec<(usize, Vec<String>)> = Vec::new();
        for (i, exemption) in index.exemptions.iter().enumerate() {
            index.needs.add(&exemption.needs());
            if let Some(user) = exemption.selector.user.as_ref().filter(|user| !user.contains(WILDCARDS)) {
                index.literal.entry(fold(user)).or_default().push(i);
                continue;
            }
            let parts = parts(&exemption.selector);
            if parts.is_empty() {
                index.unconditional.push(i);
            } else {
                with_parts.push((i, parts));
            }
        }
        let by_part = by_rarest_part(&with_parts);
        index.parts = automaton(by_part.keys());
        match index.parts {
            Some(_) => index.by_part = by_part.into_values().collect(),
            // Too large for an automaton: correct, only slower.
            None => index.unconditional.extend(by_part.into_values().flatten()),
        }
        Exemptions(Arc::new(index))
    }

    /// Indices of the exemptions that match this user, expired or not and for any rule, in ascending order.
    pub fn matching(&self, account: &Account, subject: &Subject<'_>) -> Vec<usize> {
        let mut matching = self.candidates(subject);
        matching.retain(|i| self[*i].matches(account, subject));
        matching
    }

    /// The tags and groups that exemptions need which are in force at that time.
    pub fn needs(&self, now: Timestamp) -> DetailsScope {
        let mut needs = DetailsScope::default();
        if !self.0.needs.is_empty() {
            self.iter().filter(|exemption| !exemption.expired(now)).for_each(|e| needs.add(&e.needs()));
        }
        needs
    }

    /// Indices of the exemptions whose selector can match, in ascending order: a superset of those that do.
    fn candidates(&self, subject: &Subject<'_>) -> Vec<usize> {
        let index = &self.0;
        let mut candidates = index.unconditional.clone();
        for text in [fold(subject.name), fold(subject.arn)] {
            candidates.extend(index.literal.get(&text).into_iter().flatten());
            index.add_by_part(&text, &mut candidates);
        }
        if !index.needs.is_empty() {
            let tags = subject.details.tags.iter().filter(|tag| index.needs.has_tag(&tag.key));
            tags.flat_map(|tag| [&tag.key, &tag.value])
                .chain(subject.details.groups.iter().filter(|_| index.needs.groups))
                .for_each(|text| index.add_by_part(&fold(text), &mut candidates));
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }
}

impl Index {
    /// Adds the exemptions that need a part of this text, which is in lower case.
    fn add_by_part(&self, text: &str, candidates: &mut Vec<usize>) {
        if let Some(parts) = &self.parts {
            let found = parts.find_overlapping_iter(text).map(|m| m.pattern().as_usize());
            candidates.extend(found.flat_map(|part| &self.by_part[part]));
        }
    }
}

/// The literal parts of a selector, in lower case. Each of them is in one of the texts of a user that it matches: the
/// path is in the ARN.
fn parts(selector: &Selector) -> Vec<String> {
    let patterns = [&selector.user, &selector.path, &selector.group].into_iter().flatten();
    let patterns = patterns.chain(selector.tag.iter().flat_map(|(key, value)| [key, value]));
    let mut parts = Vec::new();
    for pattern in patterns {
        parts.extend(fold(pattern).split(WILDCARDS).filter(|part| !part.is_empty()).map(ToOwned::to_owned));
    }
    parts
}

const WILDCARDS: [char; 2] = ['*', '?'];

/// Lower case, character by character, as the patterns compare.
fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Each exemption under the part that the fewest patterns share, so that `arn:aws:iam::` does not select them all.
/// Of parts that are equally rare, the longest occurs in the fewest names.
fn by_rarest_part(patterns: &[(usize, Vec<String>)]) -> BTreeMap<&str, Vec<usize>> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for part in patterns.iter().flat_map(|(_, parts)| parts) {
        let uses = uses.entry(part).or_default();
        *uses = uses.saturating_add(1);
    }
    let mut by_part: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, parts) in patterns {
        let rarest = parts.iter().min_by_key(|part| (uses[part.as_str()], std::cmp::Reverse(part.len())));
        by_part.entry(rarest.map_or("", String::as_str)).or_default().push(*i);
    }
    by_part
}

fn automaton<'a>(parts: impl Iterator<Item = &'a &'a str>) -> Option<AhoCorasick> {
    AhoCorasick::builder()
        .match_kind(MatchKind::Standard)
        // A DFA of thousands of patterns takes hundreds of megabytes.
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(parts)
        .ok()
}

impl Deref for Exemptions {
    type Target = [Exemption];

    fn deref(&self) -> &[Exemption] {
        &self.0.exemptions
    }
}

impl From<Vec<Exemption>> for Exemptions {
    fn from(exemptions: Vec<Exemption>) -> Self {
        Exemptions::new(exemptions)
    }
}

impl FromIterator<Exemption> for Exemptions {
    fn from_iter<T: IntoIterator<Item = Exemption>>(iter: T) -> Self {
        Exemptions::new(iter.into_iter().collect())
    }
}

impl PartialEq for Exemptions {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self[..] == other[..]
    }
}

impl fmt::Debug for Exemptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
