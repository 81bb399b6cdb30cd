//! Which key to keep and which to deactivate. Advice only: the exporter changes nothing.

use super::after;
use crate::model::{AccessKey, LastUsed, Timestamp};
use std::time::Duration;

/// What to do about a finding. Keys are numbered from 1 in the order of creation, as in the label `key`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advice {
    /// Keys to keep, ascending.
    pub keep: Vec<usize>,
    /// Keys to deactivate, ascending.
    pub deactivate: Vec<usize>,
    /// Why, and what to do first; one line.
    pub reason: String,
}

/// Keeps the `limit` best active keys: younger than `max_age` if one is, then used most recently, then newest.
pub(super) fn keep_best(keys: &[AccessKey], limit: usize, max_age: Duration, now: Timestamp) -> Advice {
    let young = |k: &AccessKey| k.created().is_some_and(|c| after(c, max_age) > now);
    let mut active: Vec<(usize, &AccessKey)> = numbered_active(keys).collect();
    active.sort_by_key(|(_, k)| std::cmp::Reverse((young(k), used(k), k.created())));
    let (kept, rest) = active.split_at(limit.min(active.len()));
    let Some(&(_, best)) = kept.first() else { return Advice::default() };

    let unknown = active.iter().filter(|(_, k)| k.last_used() == LastUsed::Unknown).count();
    let reason = match (best.last_used(), rest.iter().map(|(_, k)| used(k)).max()) {
        _ if unknown == active.len() => {
            "last use is not known, so the newest is kept: check what uses the other one first"
        }
        _ if unknown > 0 => "the last use of some keys is not known: check first what uses them",
        (LastUsed::At(mine), Some(Some(other))) if other > mine => {
            "the kept key is within the age limit, but the other one was used more recently: move what uses it first"
        }
        (LastUsed::At(_), _) if young(best) => "the kept key was used most recently and is within the age limit",
        (LastUsed::At(_), _) => "the kept key was used most recently; it is past the age limit, so rotate it next",
        (LastUsed::Never, Some(Some(_))) => {
            "the kept key is within the age limit but was never used: move the application to it first"
        }
        (LastUsed::Never | LastUsed::Unknown, _) => "no key was ever used: the newest is kept",
    };
    Advice { keep: numbers(kept), deactivate: numbers(rest), reason: reason.into() }
}

pub(super) fn rotate_old(keys: &[AccessKey], max_age: Duration, now: Timestamp) -> Advice {
    let (old, young): (Vec<_>, Vec<_>) =
        numbered_active(keys).partition(|(_, k)| k.created().is_some_and(|c| after(c, max_age) <= now));
    let reason = if young.is_empty() {
        "create a new key, move the application to it, then deactivate the old one"
    } else {
        "move the application to the younger key, then deactivate the old one"
    };
    Advice { keep: numbers(&young), deactivate: numbers(&old), reason: reason.into() }
}

pub(super) fn deactivate_unused(keys: &[AccessKey], is_unused: impl Fn(&AccessKey) -> bool) -> Advice {
    let (unused, in_use): (Vec<_>, Vec<_>) = numbered_active(keys).partition(|(_, k)| is_unused(k));
    Advice {
        keep: numbers(&in_use),
        deactivate: numbers(&unused),
        reason: "nothing has used it for longer than the limit: deactivate it, and delete it later if nothing breaks"
            .into(),
    }
}

fn numbered_active(keys: &[AccessKey]) -> impl Iterator<Item = (usize, &AccessKey)> {
    (1..).zip(keys).filter(|(_, k)| k.is_active())
}

fn numbers(keys: &[(usize, &AccessKey)]) -> Vec<usize> {
    let mut numbers: Vec<usize> = keys.iter().map(|(n, _)| *n).collect();
    numbers.sort_unstable();
    numbers
}

fn used(key: &AccessKey) -> Option<Timestamp> {
    match key.last_used() {
        LastUsed::At(at) => Some(at),
        LastUsed::Never | LastUsed::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KeyStatus;

    #[test]
    fn the_reason_claims_no_last_use_that_is_not_known() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let key = |created, last_used| AccessKey::new(None, KeyStatus::Active, Some(at(created)), last_used);
        let reason =
            |first, second| keep_best(&[key(1, first), key(2, second)], 1, Duration::from_secs(100), at(50)).reason;
        for (first, second, words) in [
            (LastUsed::Never, LastUsed::Never, "no key was ever used"),
            (LastUsed::Unknown, LastUsed::Never, "of some keys is not known"),
            (LastUsed::At(at(3)), LastUsed::Unknown, "of some keys is not known"),
            (LastUsed::Unknown, LastUsed::Unknown, "last use is not known"),
            (LastUsed::At(at(3)), LastUsed::Never, "used most recently"),
        ] {
            assert!(reason(first, second).contains(words), "{first:?} {second:?}: {}", reason(first, second));
        }
    }
}
