//! Finds the exemptions of one user in one pass over the user's name and ARN.
//!
//! A wildcard pattern can only match a text that contains each of the pattern's literal parts. One part of each pattern
//! is searched for in all patterns at once (Aho-Corasick); the few patterns whose part occurs are then matched one by
//! one. The cost per user therefore does not grow with the number of exemptions of other users.

use super::Exemption;
use crate::model::Account;
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
    /// Patterns without wildcards, in lower case.
    literal: HashMap<String, Vec<usize>>,
    /// Patterns without any literal part, for example `*`.
    unconditional: Vec<usize>,
    /// Finds literal parts; `by_part` holds the exemptions that need the part with that number.
    parts: Option<AhoCorasick>,
    by_part: Vec<Vec<usize>>,
}

impl Exemptions {
    /// Builds the index, once per policy.
    pub fn new(exemptions: Vec<Exemption>) -> Self {
        let mut index = Index { exemptions, ..Index::default() };
        let mut with_parts: Vec<(usize, Vec<String>)> = Vec::new();
        for (i, exemption) in index.exemptions.iter().enumerate() {
            let folded = fold(&exemption.user);
            if !folded.contains(WILDCARDS) {
                index.literal.entry(folded).or_default().push(i);
                continue;
            }
            let parts: Vec<String> =
                folded.split(WILDCARDS).filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect();
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
    pub fn matching(&self, account: &Account, user_name: &str, user_arn: &str) -> Vec<usize> {
        let mut matching = self.candidates(user_name, user_arn);
        matching.retain(|i| self[*i].matches(account, user_name, user_arn));
        matching
    }

    /// Indices of the exemptions whose pattern can match, in ascending order: a superset of those that do.
    fn candidates(&self, user_name: &str, user_arn: &str) -> Vec<usize> {
        let index = &self.0;
        let mut candidates = index.unconditional.clone();
        for text in [fold(user_name), fold(user_arn)] {
            candidates.extend(index.literal.get(&text).into_iter().flatten());
            if let Some(parts) = &index.parts {
                let found = parts.find_overlapping_iter(&text).map(|m| m.pattern().as_usize());
                candidates.extend(found.flat_map(|part| &index.by_part[part]));
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }
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
