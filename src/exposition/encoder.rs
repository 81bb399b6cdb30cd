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
    /// Memory for the text that is being written.
    buffer: Vec<u8>,
    empty: Arc<Segment>,
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
        let headers = FAMILIES.iter().map(|f| Arc::new(compressor.segment(&header(f.name, f.help)))).collect();
        Encoder { options, compressor, headers, accounts: HashMap::new(), buffer: Vec::new(), empty: Arc::default() }
    }

    /// The page of a snapshot at that time, in the order of [`FAMILIES`]. Families without a sample are left out.
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
                vec![Arc::new(self.compressor.segment(&text))]
            }
        };
        samples.retain(|segment| !segment.plain().is_empty());
        samples
    }

    fn account(&mut self, state: &Arc<AccountState>, old: Option<EncodedAccount>) -> EncodedAccount {
        let (old_account, old_blocks) = old.map_or_else(Default::default, |old| (old.account, old.blocks));
        let options = self.options.clone();
        let account = self.segments(|family, out| write_account(family, state, &options, out), &old_account);
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
                    self.segments(|family, out| write_block(family, state, block, &options, out), old)
                }
            };
            blocks.push(EncodedBlock { block: Arc::clone(block), families });
        }
        EncodedAccount { state: Arc::clone(state), account, blocks }
    }

    /// One segment for each family. Texts are compressed unless they are empty or the same as before.
    fn segments(&mut self, write: impl Fn(&Family, &mut Vec<u8>), old: &[Arc<Segment>]) -> Vec<Arc<Segment>> {
        let Encoder { compressor, buffer, empty, .. } = self;
        let segment = |(index, family): (usize, &Family)| {
            buffer.clear();
            write(family, buffer);
            match old.get(index) {
                _ if buffer.is_empty() => Arc::clone(empty),
                Some(old) if old.plain() == buffer => Arc::clone(old),
                _ => Arc::new(compressor.segment(buffer)),
            }
        };
        FAMILIES.iter().enumerate().map(segment).collect()
    }
}

/// Appends the samples of a family of accounts; nothing for other families.
pub fn write_account(family: &Family, state: &AccountState, options: &Options, out: &mut Vec<u8>) {
    if let Write::Account(write) = family.samples {
        write(state, options, &mut Samples::new(out, family.name));
    }
}

/// Appends the samples of a family of users in one block; nothing for other families.
pub fn write_block(family: &Family, state: &AccountState, block: &Block, options: &Options, out: &mut Vec<u8>) {
    if let Write::Users(write) = family.samples {
        write(state, block.entries(), options, &mut Samples::new(out, family.name));
    }
}
