//! The parts of the page, by account. An update replaces the parts of its account; the page is put together when a scrape
//! asks for it and something has changed since, and is shared by later scrapes.
//!
//! The cost of an update does not depend on the number of accounts: accounts stand in groups of limited size, and what
//! accounts have in common (compressed text of the small families, checksums) is kept by group.

mod group;

use super::Options;
use super::encoder::{Inventory, encode};
use super::exporter::{ACCOUNT_FAMILIES, AccountMetrics};
use super::families::{FAMILIES, Write};
use super::family::{Kind, Samples, header};
use super::page::{Builder, Page};
use super::segment::{Compressor, Compressors, Segment};
use crate::model::Timestamp;
use crate::state::{AccountState, Snapshot};
use compact_str::CompactString;
use group::Group;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The parts of the page. One update is in the next page as a whole, or not at all.
pub struct Parts {
    options: Options,
    compressors: Compressors,
    store: Mutex<Store>,
}

/// A label value: an account ID, or the placeholder of an account whose ID is not known.
type AccountKey = CompactString;

struct Store {
    /// `# HELP` and `# TYPE` of each column.
    headers: Vec<Segment>,
    /// By the first account that can be in the group.
    groups: BTreeMap<AccountKey, Group>,
    /// Samples of the families that describe the snapshot as a whole, with their text; by column.
    whole: Vec<(Vec<u8>, Segment)>,
    /// The number of series of users.
    user_series: usize,
    /// The page, unless something has changed since.
    page: Option<Arc<Page>>,
}

/// The families of accounts, in the order of the exposition: those of the inventory, then those about the exporter.
const fn columns() -> std::ops::Range<usize> {
    0..FAMILIES.len() + ACCOUNT_FAMILIES.len()
}

/// What a column consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Short text of each account.
    Texts,
    /// Segments of each account.
    Segments,
    /// One text, not of accounts.
    Whole,
}

fn shape(column: usize) -> Shape {
    match FAMILIES.get(column).map(|family| &family.samples) {
        None | Some(Write::Account(_)) => Shape::Texts,
        Some(Write::Users(_)) => Shape::Segments,
        Some(Write::Whole(_)) => Shape::Whole,
    }
}

impl Parts {
    /// No account yet.
    pub fn new(options: Options) -> Self {
        let compressors = Compressors::default();
        let headers = compressors.with(|compressor| {
            let of_inventory = FAMILIES.iter().map(|f| header(f.name, f.help, Kind::Gauge));
            let of_exporter = ACCOUNT_FAMILIES.iter().map(|f| header(f.name, f.help, f.kind));
            of_inventory.chain(of_exporter).map(|text| compressor.segment(&text)).collect()
        });
        let whole = vec![Default::default(); FAMILIES.len()];
        let store = Store { headers, groups: BTreeMap::new(), whole, user_series: 0, page: None };
        Parts { options, compressors, store: Mutex::new(store) }
    }

    /// Encodes the inventory of an account. Other accounts can be updated meanwhile; nothing is published yet.
    pub fn encode(&self, state: &AccountState) -> Inventory {
        let old = self.store().inventory(state.account.id.as_str());
        self.compressors.with(|compressor| encode(state, old.as_deref(), &self.options, compressor))
    }

    /// Publishes the inventory of an account together with what it changes in the snapshot as a whole.
    pub fn publish(&self, inventory: Inventory, snapshot: &Snapshot, now: Timestamp) {
        self.update(|store, compressor| {
            store.put(&Arc::new(inventory), compressor);
            store.set_whole(snapshot, now, compressor);
        });
    }

    /// Publishes what describes the snapshot as a whole.
    pub fn publish_whole(&self, snapshot: &Snapshot, now: Timestamp) {
        self.update(|store, compressor| store.set_whole(snapshot, now, compressor));
    }

    /// Changes the metrics about the exporter of an account, which is added unless it is there.
    pub fn change(&self, account_id: &str, change: impl FnOnce(&mut AccountMetrics)) {
        self.update(|store, compressor| {
            store.group(account_id).change(account_id, compressor, change);
            store.changed(account_id, compressor);
        });
    }

    /// Removes every series of an account, together with what that changes in the snapshot as a whole.
    pub fn remove(&self, account_id: &str, snapshot: &Snapshot, now: Timestamp) {
        self.update(|store, compressor| {
            store.remove(account_id, compressor);
            store.set_whole(snapshot, now, compressor);
        });
    }

    /// The number of series of users.
    pub fn user_series(&self) -> usize {
        self.store().user_series
    }

    /// The page with all updates until now.
    pub fn page(&self) -> Arc<Page> {
        let mut store = self.store();
        let page = store.page.take().unwrap_or_else(|| Arc::new(store.assemble()));
        store.page = Some(Arc::clone(&page));
        page
    }

    /// The compressor is taken last: threads that wait for the store need none.
    fn update(&self, update: impl FnOnce(&mut Store, &mut Compressor)) {
        let mut store = self.store();
        self.compressors.with(|compressor| update(&mut store, compressor));
    }

    /// An update that panics leaves parts of one account that do not belong together, and other accounts as they are.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn inventory(&self, account_id: &str) -> Option<Arc<Inventory>> {
        self.groups.range(..=AccountKey::from(account_id)).next_back()?.1.inventory(account_id)
    }

    fn put(&mut self, inventory: &Arc<Inventory>, compressor: &mut Compressor) {
        let account = inventory.account();
        let old = self.group(account.as_str()).put(inventory, compressor);
        let series = self.user_series.saturating_add(inventory.user_series());
        // After an update that panicked, the sum can lack what the old inventory has.
        self.user_series = series.saturating_sub(old.map_or(0, |old| old.user_series()));
        self.changed(account.as_str(), compressor);
    }

    fn remove(&mut self, account_id: &str, compressor: &mut Compressor) {
        let Some((key, group)) = self.groups.range_mut(..=AccountKey::from(account_id)).next_back() else { return };
        let old = group.remove(account_id, compressor);
        self.user_series = self.user_series.saturating_sub(old.map_or(0, |old| old.user_series()));
        if group.is_empty() {
            let key = key.clone();
            self.groups.remove(&key);
        }
        self.page = None;
    }

    fn set_whole(&mut self, snapshot: &Snapshot, now: Timestamp, compressor: &mut Compressor) {
        for (family, (text, segment)) in FAMILIES.iter().zip(&mut self.whole) {
            let Write::Whole(write) = family.samples else { continue };
            let mut new = Vec::with_capacity(text.len());
            if !snapshot.is_empty() {
                write(snapshot, now, &mut Samples::new(&mut new, family.name));
            }
            if new != *text {
                *segment = compressor.segment(&new);
                *text = new;
                self.page = None;
            }
        }
    }

    /// The group that the account is in, or belongs to.
    fn group(&mut self, account_id: &str) -> &mut Group {
        let key = self.groups.range(..=AccountKey::from(account_id)).next_back().map(|(key, _)| key.clone());
        self.groups.entry(key.unwrap_or_default()).or_default()
    }

    /// A group that has become too large is divided.
    fn changed(&mut self, account_id: &str, compressor: &mut Compressor) {
        self.page = None;
        if let Some((first, half)) = self.group(account_id).split(compressor) {
            self.groups.insert(first, half);
        }
    }

    fn assemble(&mut self) -> Page {
        let mut page = Builder::default();
        self.groups.values_mut().for_each(Group::join);
        for column in columns() {
            let of_inventory = column < FAMILIES.len();
            let mut push = |segments: &mut dyn Iterator<Item = &Segment>| {
                for (index, segment) in segments.filter(|s| !s.is_empty()).enumerate() {
                    if index == 0 {
                        page.push(&self.headers[column], of_inventory);
                    }
                    page.push(segment, of_inventory);
                }
            };
            match shape(column) {
                Shape::Whole => push(&mut std::iter::once(&self.whole[column].1)),
                Shape::Texts | Shape::Segments => push(&mut self.groups.values().map(|group| group.segment(column))),
            }
        }
        page.finish()
    }
}

#[cfg(test)]
mod tests;
