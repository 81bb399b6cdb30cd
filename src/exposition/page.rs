//! The page that a scrape gets, in pieces: plain, and as parts of one gzip member.

use super::Options;
use super::families::{FAMILIES, Family, Write};
use super::family::{Samples, header};
use crate::state::{AccountFacts, Snapshot};
use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use std::collections::HashMap;
use std::sync::Arc;

/// A stretch of the page. The compressed form ends at a byte boundary and refers to nothing before itself, so that
/// pieces can be put together in any order.
#[derive(Debug, Clone)]
pub struct Piece {
    plain: Bytes,
    deflated: Bytes,
    crc: crc32fast::Hasher,
}

impl Piece {
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }
}

/// The facts of a snapshot, encoded.
#[derive(Debug, Default, Clone)]
pub struct Page {
    pieces: Vec<Arc<Piece>>,
    plain_len: usize,
    deflated_len: usize,
    crc: crc32fast::Hasher,
}

/// RFC 1952: magic, deflate, no name, no time, no hint, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty, final block of fixed Huffman codes.
const LAST_BLOCK: [u8; 2] = [3, 0];
/// RFC 1951 counts the bytes of a stored block in sixteen bits.
const LONGEST_STORED_BLOCK: usize = 0xffff;

impl Page {
    fn new(pieces: Vec<Arc<Piece>>) -> Self {
        let mut page = Page::default();
        for piece in pieces {
            page.push(piece);
        }
        page
    }

    fn push(&mut self, piece: Arc<Piece>) {
        self.plain_len += piece.plain.len();
        self.deflated_len += piece.deflated.len();
        self.crc.combine(&piece.crc);
        self.pieces.push(piece);
    }

    /// The page with another piece at its end.
    #[must_use]
    pub fn followed_by(&self, piece: Arc<Piece>) -> Self {
        let mut page = self.clone();
        page.push(piece);
        page
    }

    /// Size of the pieces: plain, compressed.
    pub fn sizes(&self) -> (usize, usize) {
        (self.plain_len, self.deflated_len)
    }

    /// The page as plain text, `tail` at its end.
    pub fn plain(&self, tail: Vec<u8>) -> Vec<Bytes> {
        self.pieces.iter().map(|p| p.plain.clone()).chain([tail.into()]).collect()
    }

    /// The page as one gzip member, `tail` at its end. The tail is new in every scrape and short: compressing it would
    /// take longer than all the rest.
    pub fn gzip(&self, tail: &[u8]) -> Vec<Bytes> {
        let mut crc = self.crc.clone();
        crc.combine(&crc_of(tail));
        let mut end = Vec::with_capacity(tail.len() + 32);
        for block in tail.chunks(LONGEST_STORED_BLOCK) {
            end.push(0);
            end.extend_from_slice(&(block.len() as u16).to_le_bytes());
            end.extend_from_slice(&(!(block.len() as u16)).to_le_bytes());
            end.extend_from_slice(block);
        }
        end.extend_from_slice(&LAST_BLOCK);
        end.extend_from_slice(&crc.finalize().to_le_bytes());
        // RFC 1952 wants the length modulo 2^32.
        end.extend_from_slice(&((self.plain_len + tail.len()) as u32).to_le_bytes());
        let pieces = self.pieces.iter().map(|p| p.deflated.clone());
        [Bytes::from_static(&GZIP_HEADER)].into_iter().chain(pieces).chain([end.into()]).collect()
    }
}

fn crc_of(bytes: &[u8]) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes);
    crc
}

/// Makes pieces, all with the same memory: a third of a megabyte, asked for and given back for each of them, would leave
/// holes in the heap.
pub struct Compressor(Compress);

impl Compressor {
    pub fn new() -> Self {
        Compressor(Compress::new(Compression::new(5), false))
    }

    pub fn piece(&mut self, plain: Vec<u8>) -> Piece {
        Piece { deflated: self.deflate(&plain).into(), crc: crc_of(&plain), plain: plain.into() }
    }

    /// Raw deflate up to a full flush: byte-aligned, and with no reference backwards.
    fn deflate(&mut self, plain: &[u8]) -> Vec<u8> {
        let compress = &mut self.0;
        compress.reset();
        let mut out = Vec::with_capacity(plain.len() / 8 + 64);
        loop {
            let consumed = usize::try_from(compress.total_in()).expect("a piece is in memory");
            compress
                .compress_vec(&plain[consumed..], &mut out, FlushCompress::Full)
                .expect("compressing memory to memory does not fail");
            // A flush is complete when it leaves room.
            if compress.total_in() as usize == plain.len() && out.len() < out.capacity() {
                return out;
            }
            out.reserve(out.capacity().max(64));
        }
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor::new()
    }
}

/// Encodes snapshots, keeping pieces whose facts have not changed.
pub struct Encoder {
    options: Options,
    compressor: Compressor,
    headers: Vec<Arc<Piece>>,
    /// By account: the facts that were encoded, and a piece per family of accounts.
    accounts: HashMap<String, (Arc<AccountFacts>, Vec<Arc<Piece>>)>,
}

impl Encoder {
    pub fn new(options: Options) -> Self {
        let mut compressor = Compressor::new();
        let headers = FAMILIES.iter().map(|f| Arc::new(compressor.piece(header(f.name, f.help)))).collect();
        Encoder { options, compressor, headers, accounts: HashMap::new() }
    }

    /// The page of a snapshot. Families without a sample are left out.
    pub fn encode(&mut self, snapshot: &Snapshot) -> Page {
        self.accounts.retain(|id, _| snapshot.accounts.contains_key(id));
        for (id, facts) in &snapshot.accounts {
            if self.accounts.get(id).is_none_or(|(old, _)| !Arc::ptr_eq(old, facts)) {
                let texts = account_texts(facts, &self.options);
                let pieces = texts.map(|text| Arc::new(self.compressor.piece(text))).collect();
                self.accounts.insert(id.clone(), (Arc::clone(facts), pieces));
            }
        }
        let mut pieces = Vec::new();
        for (index, family) in FAMILIES.iter().enumerate() {
            let first = pieces.len();
            pieces.push(Arc::clone(&self.headers[index]));
            match family.samples {
                Write::Account(_) => pieces.extend(
                    snapshot
                        .accounts
                        .keys()
                        .map(|id| Arc::clone(&self.accounts[id].1[index]))
                        .filter(|p| !p.plain.is_empty()),
                ),
                Write::Whole(_) if snapshot.accounts.is_empty() => {}
                Write::Whole(write) => {
                    let mut text = Vec::new();
                    write(snapshot, &mut Samples::new(&mut text, family.name));
                    if !text.is_empty() {
                        pieces.push(Arc::new(self.compressor.piece(text)));
                    }
                }
            }
            if pieces.len() == first + 1 {
                pieces.pop();
            }
        }
        Page::new(pieces)
    }
}

/// One text per family; empty for families of the whole.
pub fn account_texts<'a>(facts: &'a AccountFacts, options: &'a Options) -> impl Iterator<Item = Vec<u8>> + 'a {
    FAMILIES.iter().map(|family: &Family| {
        let mut text = Vec::new();
        if let Write::Account(write) = family.samples {
            write(facts, options, &mut Samples::new(&mut text, family.name));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    proptest! {
        #[test]
        fn gzip_is_one_member_that_holds_the_plain_page(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..6),
            own in proptest::collection::vec(any::<u8>(), 0..3000),
            tail in proptest::collection::vec(any::<u8>(), 0..300),
            repeats in 0..400_usize,
        ) {
            // Longer than a stored block can be, now and then.
            let tail = tail.repeat(repeats);
            let mut compressor = Compressor::new();
            let mut piece = |text: &Vec<u8>| Arc::new(compressor.piece(text.clone()));
            let page = Page::new(texts.iter().map(&mut piece).collect()).followed_by(piece(&own));
            let plain: Vec<u8> = page.plain(tail.clone()).concat();
            prop_assert_eq!(&plain, &[texts.concat(), own, tail.clone()].concat());
            let gzip: Vec<u8> = page.gzip(&tail).concat();
            let mut unpacked = Vec::new();
            // GzDecoder reads exactly one member, and checks its sums.
            let mut decoder = GzDecoder::new(&gzip[..]);
            decoder.read_to_end(&mut unpacked).unwrap();
            prop_assert_eq!(&unpacked, &plain);
            prop_assert!(decoder.into_inner().is_empty(), "something follows the member");
        }
    }
}
