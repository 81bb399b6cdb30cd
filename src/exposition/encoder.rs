//! Encodes the inventory of one account. What has not changed since the last time is not encoded again: the unit is a
//! family of the account, or of one block of its users.

use super::Options;
use super::families::{FAMILIES, Family, Write};
use super::family::Samples;
use super::segment::{Compressor, Segment, Sum};
use crate::model::AccountId;
use crate::state::{AccountState, Block};
use std::collections::HashMap;
use std::sync::Arc;

/// The encoded inventory of one account.
#[derive(Debug)]
pub struct Inventory {
    account: AccountId,
    /// The text of each family; empty for families of users.
    texts: Vec<Box<[u8]>>,
    blocks: Vec<EncodedBlock>,
    /// Of each family, over all blocks.
    sums: Vec<Sum>,
}

/// The segments of one block of users.
#[derive(Debug)]
struct EncodedBlock {
    block: Arc<Block>,
    encoded: Arc<Segments>,
}

#[derive(Debug)]
struct Segments {
    /// One for each family; empty for families of accounts.
    families: Vec<Arc<Segment>>,
    /// The number of series.
    series: usize,
}

impl Inventory {
    /// The account.
    pub(super) fn account(&self) -> AccountId {
        self.account
    }

    /// The samples of a family of accounts.
    pub(super) fn text(&self, family: usize) -> &[u8] {
        &self.texts[family]
    }

    /// The segments of a family of users, without empty ones.
    pub(super) fn segments(&self, family: usize) -> impl Iterator<Item = &Arc<Segment>> + Clone {
        self.blocks.iter().map(move |block| &block.encoded.families[family]).filter(|segment| !segment.is_empty())
    }

    /// The sum of the segments of a family of users.
    pub(super) fn sum(&self, family: usize) -> Sum {
        self.sums[family]
    }

    /// The number of series of users.
    pub(super) fn user_series(&self) -> usize {
        self.blocks.iter().map(|block| block.encoded.series).sum()
    }

    /// Whether a family is the same in both.
    pub(super) fn is_same(&self, other: &Inventory, family: usize) -> bool {
        self.texts[family] == other.texts[family]
            && self.sums[family] == other.sums[family]
            && self.segments(family).map(Arc::as_ptr).eq(other.segments(family).map(Arc::as_ptr))
    }
}

/// Encodes an account; `old` is the result of the last time.
pub(super) fn encode(
    state: &AccountState,
    old: Option<&Inventory>,
    options: &Options,
    compressor: &mut Compressor,
) -> Inventory {
    let text = |family: &Family| {
        let mut text = Vec::new();
        write_account(family, state, options, &mut text);
        text.into_boxed_slice()
    };
    let old_blocks = old.map_or(&[][..], |old| &old.blocks);
    let by_address: HashMap<_, _> = old_blocks.iter().map(|old| (Arc::as_ptr(&old.block), old)).collect();
    let by_name: HashMap<_, _> = old_blocks.iter().map(|old| (first_name(&old.block), old)).collect();
    let mut encoder = BlockEncoder { state, options, compressor, buffer: Vec::new(), empty: Arc::default() };
    let encode_block = |block: &Arc<Block>| {
        let encoded = match by_address.get(&Arc::as_ptr(block)) {
            Some(old) => Arc::clone(&old.encoded),
            None => Arc::new(encoder.encode(block, by_name.get(first_name(block)).map(|old| &*old.encoded))),
        };
        EncodedBlock { block: Arc::clone(block), encoded }
    };
    let blocks: Vec<EncodedBlock> = state.users().blocks().iter().map(encode_block).collect();
    let mut sums = vec![Sum::default(); FAMILIES.len()];
    for block in &blocks {
        for (sum, segment) in sums.iter_mut().zip(&block.encoded.families).filter(|(_, s)| !s.is_empty()) {
            sum.append(segment.sum());
        }
    }
    Inventory { account: state.account.id, texts: FAMILIES.iter().map(text).collect(), blocks, sums }
}

fn first_name(block: &Block) -> &str {
    block.entries()[0].user.name.as_str()
}

struct BlockEncoder<'a> {
    state: &'a AccountState,
    options: &'a Options,
    compressor: &'a mut Compressor,
    /// Memory for the text that is being written.
    buffer: Vec<u8>,
    empty: Arc<Segment>,
}

impl BlockEncoder<'_> {
    /// One segment for each family. Texts are compressed unless they are empty or the same as before.
    fn encode(&mut self, block: &Block, old: Option<&Segments>) -> Segments {
        let mut series = 0;
        let segment = |(index, family): (usize, &Family)| {
            self.buffer.clear();
            write_block(family, self.state, block, self.options, &mut self.buffer);
            series += self.buffer.iter().filter(|byte| **byte == b'\n').count();
            match old.map(|old| &old.families[index]) {
                _ if self.buffer.is_empty() => Arc::clone(&self.empty),
                Some(old) if self.compressor.is_of(old, &self.buffer) => Arc::clone(old),
                _ => Arc::new(self.compressor.segment(&self.buffer)),
            }
        };
        let families = FAMILIES.iter().enumerate().map(segment).collect();
        Segments { families, series }
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
