//! A group of accounts, whose segments of a family are kept in one piece.

use super::super::encoder::Inventory;
use super::super::exporter::{ACCOUNT_FAMILIES, AccountMetrics};
use super::super::families::FAMILIES;
use super::super::segment::{Compressor, Segment, Sum};
use super::{AccountKey, Shape, columns, shape};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest number of accounts in a group. An update compresses the small families of so many accounts again.
const MOST: usize = 32;

/// Neighbouring accounts.
#[derive(Default)]
pub(super) struct Group {
    accounts: BTreeMap<AccountKey, Account>,
    columns: Vec<Column>,
}

/// A family of all accounts of a group.
#[derive(Default, Clone)]
struct Column {
    segment: Segment,
    /// Whether something has changed since.
    is_stale: bool,
}

/// The parts of one account.
#[derive(Default)]
struct Account {
    inventory: Option<Arc<Inventory>>,
    exporter: Option<AccountMetrics>,
    /// The text of each of [`ACCOUNT_FAMILIES`].
    texts: Vec<Box<[u8]>>,
}

impl Account {
    fn text(&self, column: usize) -> &[u8] {
        match column.checked_sub(FAMILIES.len()) {
            None => self.inventory.as_ref().map_or(&[], |inventory| inventory.text(column)),
            Some(index) => self.texts.get(index).map_or(&[], |text| text),
        }
    }

    /// Whether the account has samples in this column.
    fn has(&self, column: usize) -> bool {
        match shape(column) {
            Shape::Texts => !self.text(column).is_empty(),
            Shape::Segments => self.inventory.as_ref().is_some_and(|inventory| inventory.sum(column).length() > 0),
            Shape::Whole => false,
        }
    }
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    pub(super) fn inventory(&self, account_id: &str) -> Option<Arc<Inventory>> {
        self.accounts.get(account_id)?.inventory.clone()
    }

    /// All samples of a column, once they are [joined](Self::join).
    pub(super) fn segment(&self, column: usize) -> &Segment {
        &self.columns[column].segment
    }

    /// Replaces the inventory of an account; returns the old one.
    pub(super) fn put(&mut self, new: &Arc<Inventory>, compressor: &mut Compressor) -> Option<Arc<Inventory>> {
        let account = self.accounts.entry(new.account().as_str().into()).or_default();
        let old = account.inventory.replace(Arc::clone(new));
        self.mark(|column| column < FAMILIES.len() && old.as_ref().is_none_or(|old| !new.is_same(old, column)));
        self.compress(compressor);
        old
    }

    pub(super) fn change(
        &mut self,
        account_id: &str,
        compressor: &mut Compressor,
        change: impl FnOnce(&mut AccountMetrics),
    ) {
        let account = self.accounts.entry(account_id.into()).or_default();
        let metrics = account.exporter.get_or_insert_default();
        change(metrics);
        let new: Vec<Box<[u8]>> =
            ACCOUNT_FAMILIES.iter().map(|family| family.text(account_id, metrics).into()).collect();
        let old = std::mem::replace(&mut account.texts, new.clone());
        self.mark(|column| column.checked_sub(FAMILIES.len()).is_some_and(|index| old.get(index) != Some(&new[index])));
        self.compress(compressor);
    }

    pub(super) fn remove(&mut self, account_id: &str, compressor: &mut Compressor) -> Option<Arc<Inventory>> {
        let account = self.accounts.remove(account_id)?;
        self.mark(|column| account.has(column));
        self.compress(compressor);
        account.inventory
    }

    /// The second half of a group that is too large, with its first account.
    pub(super) fn split(&mut self, compressor: &mut Compressor) -> Option<(AccountKey, Group)> {
        let middle = self.accounts.keys().nth(MOST / 2).filter(|_| self.accounts.len() > MOST)?.clone();
        let mut half = Group { accounts: self.accounts.split_off(&middle), columns: Vec::new() };
        for group in [&mut *self, &mut half] {
            group.mark(|_| true);
            group.compress(compressor);
        }
        Some((middle, half))
    }

    fn mark(&mut self, is_changed: impl Fn(usize) -> bool) {
        self.columns.resize(columns().len(), Column::default());
        for (index, column) in self.columns.iter_mut().enumerate() {
            column.is_stale |= is_changed(index);
        }
    }

    /// Compresses the small families that have changed, so that no scrape has to.
    fn compress(&mut self, compressor: &mut Compressor) {
        let mut text = Vec::new();
        for (index, column) in self.columns.iter_mut().enumerate() {
            if column.is_stale && shape(index) == Shape::Texts {
                text.clear();
                self.accounts.values().for_each(|account| text.extend_from_slice(account.text(index)));
                *column = Column { segment: compressor.segment(&text), is_stale: false };
            }
        }
    }

    /// Joins the segments that have changed.
    pub(super) fn join(&mut self) {
        for (index, column) in self.columns.iter_mut().enumerate() {
            if column.is_stale && shape(index) == Shape::Segments {
                let inventories = self.accounts.values().filter_map(|account| account.inventory.as_deref());
                let mut sum = Sum::default();
                inventories.clone().for_each(|inventory| sum.append(inventory.sum(index)));
                let segments = inventories.flat_map(|inventory| inventory.segments(index)).map(|segment| &**segment);
                *column = Column { segment: Segment::joined(sum, segments), is_stale: false };
            }
        }
    }
}
