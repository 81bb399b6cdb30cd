//! The page that a scrape returns: as one gzip member, or as plain text, which is decompressed while it is written.

use super::segment::{INTACT, Segment, Sum};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress};
use std::collections::VecDeque;

/// The metrics of all accounts at one moment, compressed.
#[derive(Debug, Default)]
pub struct Page {
    /// Together they are raw deflate without a last block.
    pieces: Vec<Bytes>,
    sum: Sum,
    /// The size of the inventory metrics in bytes: as plain text, and compressed.
    sizes: (u64, u64),
}

/// RFC 1952: magic, deflate, no name, no time, no hint, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty, final block of fixed Huffman codes.
const LAST_BLOCK: [u8; 2] = [3, 0];
/// RFC 1951 counts the bytes of a stored block in sixteen bits.
const LONGEST_STORED_BLOCK: usize = 0xffff;
/// Shorter segments are copied into common pieces: a system call writes few pieces.
const SHORTEST_SHARED: usize = 8192;

impl Page {
    /// The size of the inventory metrics in bytes: as plain text, and compressed.
    pub fn sizes(&self) -> (u64, u64) {
        self.sizes
    }

    /// The page as plain text, followed by a segment and a tail.
    pub fn plain(&self, last: &Segment, tail: Vec<u8>) -> Plain {
        let mut pieces = VecDeque::with_capacity(self.pieces.len() + 1);
        pieces.extend(self.pieces.iter().cloned());
        pieces.push_back(last.deflated().clone());
        let compressed = self.sum.length() + last.sum().length();
        Plain { inflate: Decompress::new(false), pieces, compressed, tail: tail.into() }
    }

    /// The page as one gzip member (RFC 1952), followed by a segment and a tail. The pieces share the memory of the
    /// page. The tail is new in every scrape and short: compressing it would take longer than everything else.
    pub fn gzip(&self, last: &Segment, tail: &[u8]) -> Vec<Bytes> {
        let mut sum = self.sum;
        sum.append(last.sum());
        sum.append(Sum::of(tail));
        let mut end = Vec::with_capacity(tail.len() + 32);
        for block in tail.chunks(LONGEST_STORED_BLOCK) {
            end.push(0);
            end.extend_from_slice(&(block.len() as u16).to_le_bytes());
            end.extend_from_slice(&(!(block.len() as u16)).to_le_bytes());
            end.extend_from_slice(block);
        }
        end.extend_from_slice(&LAST_BLOCK);
        end.extend_from_slice(&sum.crc().to_le_bytes());
        // RFC 1952 wants the length modulo 2^32.
        end.extend_from_slice(&(sum.length() as u32).to_le_bytes());
        let mut pieces = Vec::with_capacity(self.pieces.len() + 3);
        pieces.push(Bytes::from_static(&GZIP_HEADER));
        pieces.extend(self.pieces.iter().cloned());
        pieces.extend([last.deflated().clone(), end.into()]);
        pieces
    }
}

/// Puts a page together.
#[derive(Debug, Default)]
pub(super) struct Builder {
    page: Page,
    /// Short segments since the last piece.
    joined: Vec<u8>,
}

impl Builder {
    /// Adds a segment; `of_inventory` is whether it counts for the size of the inventory metrics.
    pub(super) fn push(&mut self, segment: &Segment, of_inventory: bool) {
        let deflated = segment.deflated();
        self.page.sum.append(segment.sum());
        if of_inventory {
            self.page.sizes.0 += segment.sum().length();
            self.page.sizes.1 += deflated.len() as u64;
        }
        if deflated.len() < SHORTEST_SHARED {
            self.joined.extend_from_slice(deflated);
        } else {
            self.end_piece();
            self.page.pieces.push(deflated.clone());
        }
    }

    pub(super) fn finish(mut self) -> Page {
        self.end_piece();
        self.page
    }

    fn end_piece(&mut self) {
        if !self.joined.is_empty() {
            self.page.pieces.push(Bytes::copy_from_slice(&self.joined));
            self.joined.clear();
        }
    }
}

/// The page as plain text, in chunks that are decompressed one by one: it is never in memory as a whole.
#[derive(Debug)]
pub struct Plain {
    inflate: Decompress,
    /// What is left to decompress.
    pieces: VecDeque<Bytes>,
    /// The length of the text that is left in them.
    compressed: u64,
    tail: Bytes,
}

/// The size of a chunk in bytes.
const CHUNK: usize = 64 * 1024;

impl Plain {
    /// The number of bytes that are left.
    pub fn length(&self) -> u64 {
        self.compressed + self.tail.len() as u64
    }

    /// All that is left, in memory.
    pub fn into_text(self) -> Vec<u8> {
        let mut text = Vec::with_capacity(usize::try_from(self.length()).unwrap_or_default());
        self.for_each(|chunk| text.extend_from_slice(&chunk));
        text
    }
}

impl Iterator for Plain {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.compressed == 0 {
            return (!self.tail.is_empty()).then(|| std::mem::take(&mut self.tail));
        }
        let size = CHUNK.min(usize::try_from(self.compressed).unwrap_or(CHUNK));
        let mut chunk = Vec::with_capacity(size);
        while chunk.len() < size {
            let piece = self.pieces.front_mut().expect(INTACT);
            let (before, length) = (self.inflate.total_in(), chunk.len());
            self.inflate.decompress_vec(piece, &mut chunk, FlushDecompress::None).expect(INTACT);
            let consumed = usize::try_from(self.inflate.total_in() - before).expect("a piece is in memory");
            assert!(consumed > 0 || chunk.len() > length, "{INTACT}");
            if consumed == piece.len() {
                // What the decompressor still holds of it comes with the next call.
                *piece = Bytes::new();
                if self.pieces.len() > 1 {
                    self.pieces.pop_front();
                }
            } else {
                *piece = piece.slice(consumed..);
            }
        }
        self.compressed -= chunk.len() as u64;
        Some(chunk.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::Compressor;
    use super::*;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    proptest! {
        #[test]
        fn gzip_is_one_member_that_holds_the_plain_page(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30_000), 0..6),
            own in proptest::collection::vec(any::<u8>(), 0..3000),
            tail in proptest::collection::vec(any::<u8>(), 0..300),
            repeats in 0..400_usize,
        ) {
            // Longer than a stored block can be, now and then.
            let tail = tail.repeat(repeats);
            let mut compressor = Compressor::new();
            let mut page = Builder::default();
            for text in &texts {
                page.push(&compressor.segment(text), true);
            }
            let page = page.finish();
            let last = compressor.segment(&own);
            let plain = page.plain(&last, tail.clone());
            let length = plain.length();
            let plain = plain.into_text();
            prop_assert_eq!(plain.len() as u64, length);
            prop_assert_eq!(&plain, &[texts.concat(), own, tail.clone()].concat());
            prop_assert_eq!(page.sizes().0, texts.concat().len() as u64);
            let gzip: Vec<u8> = page.gzip(&last, &tail).concat();
            let mut unpacked = Vec::new();
            // GzDecoder reads exactly one member, and checks its sums.
            let mut decoder = GzDecoder::new(&gzip[..]);
            decoder.read_to_end(&mut unpacked).unwrap();
            prop_assert_eq!(&unpacked, &plain);
            prop_assert!(decoder.into_inner().is_empty(), "something follows the member");
        }
    }
}
