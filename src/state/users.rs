//! The users of an account, sorted by name, in blocks of some hundreds.
//!
//! A block is the unit of copying, evaluating, encoding and compressing: a change of one user costs one block. Where a
//! block ends depends on the names alone, so that a new user changes the block that it is in and no other.

use super::entry::Entry;
use super::totals::BlockTotals;
use crate::model::{Account, Timestamp, UserName};
use crate::policy::{Policy, Subject, Verdict, evaluate_user};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The average number of users in a block.
const AVERAGE: u64 = 256;
/// The largest number of users in a block.
const MOST: usize = 1024;

/// Neighbouring users.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub(super) entries: Vec<Entry>,
    /// Sums over the entries; `None` after a change, until the block is evaluated.
    pub(super) totals: Option<BlockTotals>,
}

impl Block {
    /// Sorted by name; never empty.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Evaluates the users without a verdict, those whose verdict can have changed by `now`, or all.
    fn evaluate(&mut self, account: &Account, policy: &Policy, now: Timestamp, all: bool) {
        let mut matched = Vec::new();
        for entry in &mut self.entries {
            let exemptions = if policy.exemptions.is_empty() {
                Vec::new()
            } else {
                policy.exemptions.matching(account, &Subject::of(&entry.user, &entry.user.arn(account)))
            };
            let is_due = |v: &Verdict| v.next_change().is_some_and(|at| at <= now);
            let kept = entry.verdict.take().filter(|v| !all && !is_due(v));
            let verdict = kept.unwrap_or_else(|| evaluate_user(&entry.user, policy, &exemptions, now));
            // Also for a verdict that is kept: a new listing resets the flag.
            entry.flagged = entry.flagged.max(verdict.findings.iter().map(|f| f.rule.recheck).max());
            entry.verdict = Some(verdict);
            matched.extend(exemptions);
        }
        self.totals = Some(BlockTotals::of(&self.entries, matched));
    }

    fn needs_evaluation(&self, now: Timestamp) -> bool {
        self.totals.as_ref().is_none_or(|t| t.next_change.is_some_and(|at| at <= now))
    }

    fn entries_mut(&mut self) -> &mut Vec<Entry> {
        self.totals = None;
        &mut self.entries
    }
}

/// All users of an account.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Users {
    blocks: Vec<Arc<Block>>,
}

/// Where an entry of a new list of users comes from.
pub(super) enum Slot {
    /// Unchanged: its block and index.
    Kept(usize, usize),
    New(Entry),
}

impl Users {
    /// In the order of names.
    pub fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    /// In the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.blocks.iter().flat_map(|block| &block.entries)
    }

    /// The number of users.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.entries.len()).sum()
    }

    /// Whether there are no users.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The user of exactly that name.
    pub fn get(&self, name: &UserName) -> Option<&Entry> {
        let (block, index) = self.find(name)?;
        Some(&self.blocks[block].entries[index])
    }

    pub(super) fn get_mut(&mut self, name: &UserName) -> Option<&mut Entry> {
        let (block, index) = self.find(name)?;
        Some(&mut Arc::make_mut(&mut self.blocks[block]).entries_mut()[index])
    }

    fn find(&self, name: &UserName) -> Option<(usize, usize)> {
        let block = self.blocks.partition_point(|b| b.entries[0].user.name <= *name).checked_sub(1)?;
        let index = self.blocks[block].entries.binary_search_by(|e| e.user.name.cmp(name)).ok()?;
        Some((block, index))
    }

    pub(super) fn remove(&mut self, name: &UserName) -> bool {
        let Some((block, index)) = self.find(name) else { return false };
        let entries = Arc::make_mut(&mut self.blocks[block]).entries_mut();
        entries.remove(index);
        if entries.is_empty() {
            self.blocks.remove(block);
        }
        true
    }

    /// Adds a user, or replaces the user of that name.
    pub(super) fn put(&mut self, entry: Entry) {
        if let Some(old) = self.get_mut(&entry.user.name) {
            *old = entry;
            return;
        }
        let mut slots: Vec<Slot> = self.positions().map(|(block, index, _)| Slot::Kept(block, index)).collect();
        let before = self.iter().take_while(|e| e.user.name < entry.user.name).count();
        slots.insert(before, Slot::New(entry));
        *self = self.rebuilt(slots);
    }

    /// Entries with their positions, to be referred to by [`Slot::Kept`].
    pub(super) fn positions(&self) -> impl Iterator<Item = (usize, usize, &Entry)> {
        let blocks = self.blocks.iter().enumerate();
        blocks.flat_map(|(b, block)| block.entries.iter().enumerate().map(move |(i, entry)| (b, i, entry)))
    }

    /// The users of a new list, which is sorted by name. Blocks that are the same as before are shared with `self`.
    pub(super) fn rebuilt(&self, slots: Vec<Slot>) -> Users {
        let mut blocks = Vec::new();
        let mut group: Vec<Slot> = Vec::new();
        for slot in slots {
            let begins = {
                let name = match &slot {
                    Slot::Kept(block, index) => &self.blocks[*block].entries[*index].user.name,
                    Slot::New(entry) => &entry.user.name,
                };
                begins_block(name)
            };
            if !group.is_empty() && (begins || group.len() == MOST) {
                blocks.push(self.block(std::mem::take(&mut group)));
            }
            group.push(slot);
        }
        if !group.is_empty() {
            blocks.push(self.block(group));
        }
        blocks.shrink_to_fit();
        Users { blocks }
    }

    fn block(&self, slots: Vec<Slot>) -> Arc<Block> {
        if let Some(Slot::Kept(block, 0)) = slots.first() {
            let kept = |(i, slot): (usize, &Slot)| matches!(slot, Slot::Kept(b, index) if b == block && *index == i);
            if self.blocks[*block].entries.len() == slots.len() && slots.iter().enumerate().all(kept) {
                return Arc::clone(&self.blocks[*block]);
            }
        }
        let entry = |slot| match slot {
            Slot::Kept(block, index) => self.blocks[block].entries[index].clone(),
            Slot::New(entry) => entry,
        };
        let mut entries = Vec::with_capacity(slots.len());
        entries.extend(slots.into_iter().map(entry));
        Arc::new(Block { entries, totals: None })
    }

    /// Limits the times of observations to `latest`.
    pub(super) fn limit_times(&mut self, latest: Timestamp) {
        for block in &mut self.blocks {
            if block.entries.iter().any(|e| e.user.attempted_at() > latest) {
                for entry in Arc::make_mut(block).entries_mut() {
                    entry.user.limit_times(latest);
                }
            }
        }
    }

    /// Evaluates what has changed or can have changed by `now`, or all users.
    pub(super) fn evaluate(&mut self, account: &Account, policy: &Policy, now: Timestamp, all: bool) {
        for block in &mut self.blocks {
            if all || block.needs_evaluation(now) {
                Arc::make_mut(block).evaluate(account, policy, now, all);
            }
        }
    }
}

fn begins_block(name: &UserName) -> bool {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish().is_multiple_of(AVERAGE)
}
