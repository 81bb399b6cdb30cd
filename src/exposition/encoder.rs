//! Encodes snapshots. What has not changed since the last snapshot is not encoded again: the unit is a family of one
//! account, or of one block of its users.

use super::Options;
use super::families::{FAMILIES, Family, Write};
use super::family::{Samples, header};
use super::page::{Compressor, Page, Segment};
use crate::model::{AccountId, Timestamp};
use crate::state::{AccountState, Block, Snapshot};
use std::collections::HashMap;
use std::sync::Arc;

/// Encodes snapshots and keeps the segments of the last one.
pub struct Encoder {
    options: Options,
    compressor: Compressor,
    /// One for each family.
    headers: Vec<Arc<Segment>>,
    accounts: HashMap<AccountId, EncodedAccount>,
}

/// The segments of one account.
struct EncodedAccount {
    state: Arc<AccountState>,
    /// One for each family; empty for families of users.
    account: Vec<Arc<Segment>>,
    blocks: Vec<EncodedBlock>,
}

/// The segments of one block of users.
struct EncodedBlock {
    block: Arc<Block>,
    /// One for each family; empty for families of accounts.
    families: Vec<Arc<Segment>>,
}

impl Encoder {
    /// Encodes with these options; nothing is cached yet.
    pub fn new(options: Options) -> Self {
        let mut compressor = Compressor::new();
        let headers = FAMILIES.iter().map(|f| Arc::new(compressor.segment(header(f.name, f.help)))).collect();
        Encoder { options, compressor, headers, accounts: HashMap::new() }
    }

    /// The page of a snapshot. Families without a sample are left out.
    pub fn encode(&mut self, snapshot: &Snapshot, now: Timestamp) -> Page {
        self.accounts.retain(|id, _| snapshot.accounts.contains_key(id));
        for (id, state) in &snapshot.accounts {
            let old = self.accounts.remove(id);
            let encoded = match old {
                Some(old) if Arc::ptr_eq(&old.state, state) => old,
                old => self.account(state, old),
            };
            self.accounts.insert(*id, encoded);
        }
        let mut segments = Vec::new();
        for (index, family) in FAMILIES.iter().enumerate() {
            let samples = self.samples(index, family, snapshot, now);
            if !samples.is_empty() {
                segments.push(Arc::clone(&self.headers[index]));
                segments.extend(samples);
            }
        }
        Page::new(segments)
    }

    /// The segments of one family, without empty ones.
    fn samples(&mut self, index: usize, family: &Family, snapshot: &Snapshot, now: Timestamp) -> Vec<Arc<Segment>> {
        let accounts = snapshot.accounts.keys().map(|id| &self.accounts[id]);
        let mut samples: Vec<Arc<Segment>> = match family.samples {
            Write::Account(_) => accounts.map(|account| Arc::clone(&account.account[index])).collect(),
            Write::Users(_) => {
                accounts.flat_map(|a| &a.blocks).map(|block| Arc::clone(&block.families[index])).collect()
            }
            Write::Whole(_) if snapshot.accounts.is_empty() => Vec::new(),
            Write::Whole(write) => {
                let mut text = Vec::new();
                write(snapshot, now, &mut Samples::new(&mut text, family.name));
                vec![Arc::new(self.compressor.segment(text))]
            }
        };
        samples.retain(|segment| !segment.plain().is_empty());
        samples
    }

    fn account(&mut self, state: &Arc<AccountState>, old: Option<EncodedAccount>) -> EncodedAccount {
        let (old_account, old_blocks) = old.map_or_else(Default::default, |old| (old.account, old.blocks));
        let texts: Vec<Vec<u8>> = FAMILIES.iter().map(|family| account_text(family, state, &self.options)).collect();
        let account = self.segments(texts, &old_account);
        let mut by_address = HashMap::with_capacity(old_blocks.len());
        let mut by_name = HashMap::with_capacity(old_blocks.len());
        for old in &old_blocks {
            by_address.insert(Arc::as_ptr(&old.block), old);
            by_name.insert(&old.block.entries()[0].user.name, old);
        }
        let mut blocks = Vec::with_capacity(state.users().blocks().len());
        for block in state.users().blocks() {
            let families = match by_address.get(&Arc::as_ptr(block)) {
                Some(old) => old.families.clone(),
                None => {
                    let old = by_name.get(&block.entries()[0].user.name).map_or(&[][..], |old| &old.families);
                    let text = |family| block_text(family, state, block, &self.options);
                    let texts: Vec<Vec<u8>> = FAMILIES.iter().map(text).collect();
                    self.segments(texts, old)
                }
            };
            blocks.push(EncodedBlock { block: Arc::clone(block), families });
        }
        EncodedAccount { state: Arc::clone(state), account, blocks }
    }

    /// Compresses texts, except those that are the same as before.
    fn segments(&mut self, texts: Vec<Vec<u8>>, old: &[Arc<Segment>]) -> Vec<Arc<Segment>> {
        let segment = |(index, text): (usize, Vec<u8>)| match old.get(index) {
            Some(old) if old.plain() == text => Arc::clone(old),
            _ => Arc::new(self.compressor.segment(text)),
        };
        texts.into_iter().enumerate().map(segment).collect()
    }
}

/// The samples of a family of accounts; empty for other families.
pub fn account_text(family: &Family, state: &AccountState, options: &Options) -> Vec<u8> {
    let mut text = Vec::new();
    if let Write::Account(write) = family.samples {
        write(state, options, &mut Samples::new(&mut text, family.name));
    }
    text
}

/// The samples of a family of users in one block; empty for other families.
pub fn block_text(family: &Family, state: &AccountState, block: &Block, options: &Options) -> Vec<u8> {
    let mut text = Vec::new();
    if let Write::Users(write) = family.samples {
        write(state, block.entries(), options, &mut Samples::new(&mut text, family.name));
    }
    text
}
