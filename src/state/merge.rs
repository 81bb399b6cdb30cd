//! Merges observations into the state of an account.

use super::account::{AccountState, Change};
use super::entry::Entry;
use super::users::Slot;
use crate::model::{Keys, KeysResult, ListedUser, Listing, Observation, Timestamp, User, UserName};
use std::collections::HashMap;

impl AccountState {
    /// The users of the newest listing, each with its newest keys. Users that are not listed are removed, unless they
    /// were seen later than the listing. `is_newer` distinguishes a new listing from a repetition. Returns the number
    /// of users that changed.
    pub(super) fn merge_listing(&mut self, listing: Listing, is_newer: bool) -> usize {
        let at = listing.at();
        let mut gone: HashMap<UserName, Entry> = HashMap::new();
        self.hidden.retain(|name, hidden| {
            gone.extend(hidden.user.take().map(|user| (name.clone(), Entry::new(user))));
            hidden.observations.retain(|o| observed_at(o) > at);
            !hidden.observations.is_empty()
        });
        let users = std::mem::take(&mut self.users);
        let mut old = users.positions().peekable();
        let mut slots = Vec::with_capacity(listing.users().len());
        let mut changed = 0;
        for listed in listing.into_users() {
            while old.next_if(|(_, _, e)| e.user.name < listed.name).is_some() {
                changed += 1;
            }
            let slot = match old.next_if(|(_, _, e)| e.user.name == listed.name) {
                Some((block, index, entry)) => match merged(entry, listed) {
                    Some(mut merged) => {
                        merged.user.set_details(self.details.of(&merged.user));
                        Slot::New(Entry { flagged: entry.flagged.filter(|_| !is_newer), ..merged })
                    }
                    None if is_newer && entry.flagged.is_some() => Slot::New(Entry::new(entry.user.clone())),
                    None => Slot::Kept(block, index),
                },
                // Listed again after an answer that it does not exist: what was known stays known.
                None => Slot::New(match gone.remove(&listed.name) {
                    Some(entry) => {
                        let mut entry = merged(&entry, listed).unwrap_or(entry);
                        entry.user.set_details(self.details.of(&entry.user));
                        entry
                    }
                    None => self.new_entry(listed),
                }),
            };
            changed += usize::from(matches!(slot, Slot::New(_)));
            slots.push(slot);
        }
        changed += old.count();
        self.users = users.rebuilt(slots);
        let hidden: Vec<UserName> = self.hidden.keys().cloned().collect();
        for name in &hidden {
            self.settle(name);
        }
        changed
    }

    fn new_entry(&self, listed: ListedUser) -> Entry {
        let mut user = User::new(listed.name, listed.path, listed.created, listed.observed_at);
        user.observe(listed.observed_at, listed.keys);
        user.set_details(self.details.of(&user));
        Entry::new(user)
    }

    /// Of a listing that is older than the newest one, only the observations of keys count.
    pub(super) fn apply_older_listing(&mut self, listing: Listing) -> Change {
        let mut users = 0;
        for listed in listing.into_users() {
            if self.users.get(&listed.name).is_some() {
                users += usize::from(self.apply_keys(listed.name, listed.observed_at, listed.keys));
            }
        }
        Change { users, account: false }
    }

    pub(super) fn apply_keys(&mut self, name: UserName, at: Timestamp, keys: KeysResult) -> bool {
        let Some(entry) = self.users.get(&name) else {
            self.hide(Observation::UserKeys { user: name.clone(), at, keys }, &name);
            return self.settle(&name);
        };
        let mut user = entry.user.clone();
        let (changed, flagged) = (user.observe(at, keys), entry.flagged);
        if let (true, Some(entry)) = (changed, self.users.get_mut(&name)) {
            *entry = Entry { flagged, ..Entry::new(user) };
        }
        changed
    }

    pub(super) fn apply_gone(&mut self, name: &UserName, at: Timestamp) -> bool {
        self.hide(Observation::UserGone { user: name.clone(), at }, name);
        self.settle(name)
    }

    /// Keeps an observation that is newer than the newest listing for the time when it can be applied.
    fn hide(&mut self, observation: Observation, name: &UserName) {
        if self.listed_at().is_none_or(|listed| observed_at(&observation) > listed) {
            self.hidden.entry(name.clone()).or_default().observations.push(observation);
        }
    }

    /// Makes a listed user visible or hidden, by the newest observation since the listing. Returns whether that
    /// changed.
    fn settle(&mut self, name: &UserName) -> bool {
        let Some(hidden) = self.hidden.get_mut(name) else { return false };
        let visible = self.users.get(name).map(|entry| entry.user.clone());
        let was_visible = visible.is_some();
        let Some(mut user) = visible.or_else(|| hidden.user.take()) else { return false };
        let mut gone_at = None;
        for observation in &hidden.observations {
            match observation {
                Observation::UserKeys { at, keys, .. } => {
                    user.observe(*at, keys.clone());
                }
                other => gone_at = gone_at.max(Some(observed_at(other))),
            }
        }
        let seen_at = user.keys().latest().map(|_| user.observed_at());
        if gone_at > seen_at {
            hidden.user = Some(user);
            return self.users.remove(name);
        }
        // The observations of keys are part of the user from here on.
        hidden.observations.retain(|o| matches!(o, Observation::UserGone { .. }));
        if hidden.observations.is_empty() {
            self.hidden.remove(name);
        }
        user.set_details(self.details.of(&user));
        self.users.put(Entry::new(user));
        !was_visible
    }
}

fn observed_at(observation: &Observation) -> Timestamp {
    match observation {
        Observation::Listing(listing) => listing.at(),
        Observation::UserKeys { at, .. }
        | Observation::UserGone { at, .. }
        | Observation::Root { at, .. }
        | Observation::Details { at, .. } => *at,
    }
}

/// The entry with the data of a newer listing; `None` when that changes nothing.
fn merged(entry: &Entry, listed: ListedUser) -> Option<Entry> {
    let same_created = entry.user.created() == listed.created;
    let same_profile = entry.user.path == listed.path && same_created;
    if entry.user.path != listed.path && !(same_created && listed.created.is_some()) {
        // Deleted and created again under another path, not moved: what was known is of another user.
        let mut user = User::new(listed.name, listed.path, listed.created, listed.observed_at);
        user.observe(listed.observed_at, listed.keys);
        return Some(Entry::new(user));
    }
    let same_report = entry.user.observed_at() == listed.observed_at
        && matches!(&listed.keys, KeysResult::Complete(keys) if entry.user.keys() == Keys::Known(keys));
    if same_profile && same_report {
        return None;
    }
    let mut user = entry.user.clone();
    user.path = listed.path;
    user.set_created(listed.created);
    if !user.observe(listed.observed_at, listed.keys) && same_profile {
        return None;
    }
    let same_keys = user.keys() == entry.user.keys() && user.created().is_some() && same_profile;
    // The verdict depends on the keys, not on when they were read.
    let verdict = entry.verdict.clone().filter(|_| same_keys);
    Some(Entry { user, verdict, flagged: None })
}
