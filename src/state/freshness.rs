//! How old the observations of an account are, and what newer ones show.

use super::account::AccountState;
use super::users::Block;
use crate::model::{AccessKey, Keys, Timestamp, UserName};
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

/// A user's place among all users, the one that was not read for the longest time first.
pub type Place = (Timestamp, UserName);

impl AccountState {
    /// When the oldest observation of a user was true; without users, that of the listing.
    pub fn oldest_observation(&self) -> Option<Timestamp> {
        self.users().iter().map(|e| e.user.observed_at()).min().or(self.listed_at())
    }

    /// When the user that was not read for the longest time was last read, successfully or not.
    pub fn least_recently_read(&self) -> Option<Timestamp> {
        self.users().iter().map(|e| e.user.attempted_at()).min()
    }

    /// The users that were last read before `before`, in the order of that time; at most `most`, and of those that follow
    /// `after`.
    pub fn read_before(&self, before: Timestamp, after: Option<&Place>, most: usize) -> Vec<Place> {
        let after = after.map(|(at, name)| (*at, name));
        let mut first = BinaryHeap::new();
        for entry in self.users().iter() {
            let place = (entry.user.attempted_at(), &entry.user.name);
            if place.0 < before && after.is_none_or(|after| place > after) {
                first.push(place);
                if first.len() > most {
                    first.pop();
                }
            }
        }
        first.into_sorted_vec().into_iter().map(|(at, name)| (at, name.clone())).collect()
    }

    /// The place of one of the users that were last read before `before`; of any number, the remainder counts.
    pub fn any_read_before(&self, before: Timestamp, number: usize) -> Option<Place> {
        let users = || self.users().iter().map(|e| &e.user).filter(|user| user.attempted_at() < before);
        let user = users().nth(number.checked_rem(users().count())?)?;
        Some((user.attempted_at(), user.name.clone()))
    }

    /// Whether a user is as it was, apart from the time at which it was read, and from IDs of keys that were without one:
    /// reports have none, and users that need them are rechecked.
    pub fn shows_same(&self, old: &AccountState, name: &UserName) -> bool {
        match (self.users().get(name), old.users().get(name)) {
            (Some(new), Some(old)) => {
                have_same_keys(new.user.keys(), old.user.keys())
                    && new.verdict() == old.verdict()
                    && new.user.path == old.user.path
            }
            (None, None) => true,
            _ => false,
        }
    }

    /// When keys were created that this state shows and the old one did not; of those created since `since`. Reports have
    /// no key IDs, and may have the time of the last change in place of the creation: a key that is new by its date alone
    /// counts only if the user has more keys than before.
    pub fn new_keys(&self, old: Option<&AccountState>, since: Timestamp) -> Vec<Timestamp> {
        let is_recent = |key: &AccessKey| key.created().is_some_and(|created| created >= since);
        let same: HashSet<*const Block> = old.iter().flat_map(|old| old.users().blocks()).map(Arc::as_ptr).collect();
        let mut created = Vec::new();
        for block in self.users().blocks().iter().filter(|block| !same.contains(&Arc::as_ptr(block))) {
            for entry in block.entries() {
                let keys = entry.keys().unwrap_or_default();
                if !keys.iter().any(is_recent) {
                    continue;
                }
                let known = old.and_then(|old| old.users().get(&entry.user.name)).and_then(|e| e.user.keys().latest());
                let known = known.unwrap_or_default();
                let by_date = keys.len().saturating_sub(known.len());
                let is_new = |key: &&AccessKey| !known.iter().any(|k| is_same_key(k, key));
                let has_ids = |keys: &[AccessKey]| keys.iter().all(|k| k.id.is_some());
                let most = if has_ids(keys) && has_ids(known) { keys.len() } else { by_date };
                // The newest last: keys are sorted by creation.
                let new = keys.iter().rev().filter(is_new).take(most).filter(|key| is_recent(key));
                created.extend(new.filter_map(AccessKey::created));
            }
        }
        created
    }
}

fn have_same_keys(new: Keys<'_>, old: Keys<'_>) -> bool {
    let is_same = |new: &AccessKey, old: &AccessKey| {
        new == old || old.id.is_none() && AccessKey::new(None, new.status, new.created(), new.last_used()) == *old
    };
    match (new, old) {
        (Keys::Known(new), Keys::Known(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| is_same(new, old))
        }
        _ => new == old,
    }
}

/// By ID where both have one, else by the time of creation, which has whole seconds.
fn is_same_key(a: &AccessKey, b: &AccessKey) -> bool {
    match (&a.id, &b.id) {
        (Some(a), Some(b)) => a == b,
        _ => a.created() == b.created(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AccessKeyId, Account, Collector, KeyStatus, KeysResult, LastUsed, ListedUser, Listing, Observation, Partition,
    };
    use crate::policy::Policy;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key(id: &str, created: i64) -> AccessKey {
        let id = (!id.is_empty()).then(|| AccessKeyId::new(id));
        AccessKey::new(id, KeyStatus::Active, Some(at(created)), LastUsed::Unknown)
    }

    /// Users with the times at which they were read, and their keys.
    fn state(users: Vec<(&str, i64, Vec<AccessKey>)>) -> AccountState {
        let account =
            Account { id: "123456789012".parse().unwrap(), name: String::new(), partition: Partition::default() };
        let policy = Arc::new(Policy::default());
        let mut state = AccountState::new(account, Arc::clone(&policy));
        let listed = |(name, observed, keys): (&str, i64, Vec<AccessKey>)| ListedUser {
            name: UserName::new(name),
            path: "/".into(),
            created: None,
            observed_at: at(observed),
            keys: KeysResult::complete(keys),
        };
        let users = users.into_iter().map(listed).collect();
        state.apply(Observation::Listing(Listing::new(Collector::Live, at(5), users).unwrap()));
        state.evaluate(&policy, at(100));
        state
    }

    #[test]
    fn users_are_read_in_the_order_in_which_they_were_last_read() {
        let state = state(vec![("a", 30, vec![]), ("b", 10, vec![]), ("c", 20, vec![]), ("d", 10, vec![])]);
        let names = |before, after: Option<&Place>, most| -> Vec<String> {
            state.read_before(at(before), after, most).into_iter().map(|(_, name)| name.to_string()).collect()
        };
        assert_eq!(names(100, None, 10), ["b", "d", "c", "a"]);
        assert_eq!(names(100, None, 2), ["b", "d"]);
        assert_eq!(names(20, None, 10), ["b", "d"], "the others were read since");
        assert_eq!(names(100, Some(&(at(10), UserName::new("b"))), 2), ["d", "c"]);
        assert_eq!(names(100, Some(&(at(30), UserName::new("a"))), 2), [""; 0]);
        let any: Vec<Place> = (0..4).filter_map(|number| state.any_read_before(at(20), number)).collect();
        let (b, d) = ((at(10), UserName::new("b")), (at(10), UserName::new("d")));
        assert_eq!(any, [b.clone(), d.clone(), b, d]);
        assert_eq!(state.any_read_before(at(10), 7), None);
        assert_eq!(state.oldest_observation(), Some(at(10)));
        assert_eq!(state.least_recently_read(), Some(at(10)));
        assert_eq!(super::tests::state(vec![]).oldest_observation(), Some(at(5)), "of the listing");
    }

    #[test]
    fn a_failed_attempt_is_an_attempt() {
        let mut state = state(vec![("a", 30, vec![]), ("b", 10, vec![])]);
        state.apply(Observation::UserKeys {
            user: UserName::new("b"),
            at: at(40),
            keys: KeysResult::Failed("access_denied"),
        });
        assert_eq!(state.read_before(at(100), None, 1)[0].1, UserName::new("a"));
        assert_eq!(state.oldest_observation(), Some(at(10)), "nothing newer is known");
    }

    #[test]
    fn reading_a_user_again_shows_the_same() {
        let old = state(vec![("a", 10, vec![key("A", 1)])]);
        let name = UserName::new("a");
        let observe = |at_second, keys| {
            let mut new = old.clone();
            new.apply(Observation::UserKeys {
                user: name.clone(),
                at: at(at_second),
                keys: KeysResult::complete(keys),
            });
            new.evaluate(&Arc::new(Policy::default()), at(100));
            new
        };
        assert!(observe(20, vec![key("A", 1)]).shows_same(&old, &name));
        assert!(!observe(20, vec![key("A", 1), key("B", 2)]).shows_same(&old, &name));
        assert!(!observe(20, vec![key("B", 1)]).shows_same(&old, &name));
        let reported = state(vec![("a", 10, vec![key("", 1)])]);
        assert!(old.shows_same(&reported, &name) && !reported.shows_same(&old, &name), "an ID of a known key");
        assert!(!state(vec![("a", 10, vec![key("A", 2)])]).shows_same(&reported, &name));
        let mut gone = old.clone();
        gone.apply(Observation::UserGone { user: name.clone(), at: at(20) });
        assert!(!gone.shows_same(&old, &name) && !old.shows_same(&gone, &name));
    }

    #[test]
    fn a_new_key_is_found_once_by_id_or_by_number() {
        let none = Vec::<Timestamp>::new();
        let old = state(vec![("a", 10, vec![key("A", 50)])]);
        let find = |keys: Vec<AccessKey>| state(vec![("a", 20, keys)]).new_keys(Some(&old), at(40));
        assert_eq!(find(vec![key("A", 50)]), none);
        assert_eq!(find(vec![key("A", 50), key("B", 60)]), [at(60)]);
        assert_eq!(find(vec![key("B", 60)]), [at(60)], "replaced");
        assert_eq!(find(vec![key("A", 50), key("B", 30)]), none, "created before");
        assert_eq!(find(vec![key("", 50)]), none, "a report shows the same key");
        assert_eq!(find(vec![key("", 70)]), none, "deactivated at 70, or replaced: a report does not tell");
        assert_eq!(find(vec![key("", 50), key("", 70)]), [at(70)]);
        assert_eq!(old.new_keys(None, at(40)), [at(50)], "of an account that is new");
        assert_eq!(old.new_keys(None, at(51)), none);
        assert_eq!(state(vec![("b", 20, vec![key("", 50)])]).new_keys(Some(&old), at(40)), [at(50)], "a new user");
    }
}
