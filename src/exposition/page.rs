//! The page that a scrape returns, in segments: plain, and as parts of one gzip member.

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use std::sync::{Arc, OnceLock};

/// A part of the page. The compressed form ends at a byte boundary and refers to nothing before itself, so that
/// segments can be joined in any order.
#[derive(Debug, Clone, Default)]
pub struct Segment {
    plain: Bytes,
    deflated: Bytes,
    crc: crc32fast::Hasher,
}

impl Segment {
    /// The uncompressed text.
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }
}

/// An encoded snapshot.
#[derive(Debug, Default)]
pub struct Page {
    segments: Vec<Arc<Segment>>,
    /// The compressed segments in one piece, joined at the first scrape that needs it: a system call writes few pieces.
    deflated: OnceLock<Bytes>,
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
    pub(super) fn new(segments: Vec<Arc<Segment>>) -> Self {
        let mut page = Page::default();
        for segment in segments {
            page.push(segment);
        }
        page
    }

    fn push(&mut self, segment: Arc<Segment>) {
        self.plain_len += segment.plain.len();
        self.deflated_len += segment.deflated.len();
        self.crc.combine(&segment.crc);
        self.segments.push(segment);
    }

    /// The size of all segments in bytes: as plain text, and compressed.
    pub fn sizes(&self) -> (usize, usize) {
        (self.plain_len, self.deflated_len)
    }

    /// The page as plain text, followed by a segment and a tail; the pieces share the memory of the segments.
    pub fn plain(&self, last: &Segment, tail: Vec<u8>) -> Vec<Bytes> {
        self.segments.iter().map(|p| p.plain.clone()).chain([last.plain.clone(), tail.into()]).collect()
    }

    /// The page as one gzip member (RFC 1952), followed by a segment and a tail. The tail is new in every scrape and
    /// short: compressing it would take longer than everything else.
    pub fn gzip(&self, last: &Segment, tail: &[u8]) -> Vec<Bytes> {
        let mut crc = self.crc.clone();
        crc.combine(&last.crc);
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
        let length = self.plain_len + last.plain.len() + tail.len();
        // RFC 1952 wants the length modulo 2^32.
        end.extend_from_slice(&(length as u32).to_le_bytes());
        vec![self.deflated().clone(), last.deflated.clone(), end.into()]
    }

    /// The gzip header and the compressed segments.
    fn deflated(&self) -> &Bytes {
        self.deflated.get_or_init(|| {
            let mut joined = Vec::with_capacity(GZIP_HEADER.len() + self.deflated_len);
            joined.extend_from_slice(&GZIP_HEADER);
            for segment in &self.segments {
                joined.extend_from_slice(&segment.deflated);
            }
            joined.into()
        })
    }
}

fn crc_of(bytes: &[u8]) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes);
    crc
}

/// Makes segments, all with the same memory: allocating a third of a megabyte for each of them would fragment the heap.
pub struct Compressor(Compress);

impl Compressor {
    /// A compressor with its memory allocated.
    pub fn new() -> Self {
        Compressor(Compress::new(Compression::new(5), false))
    }

    /// Compresses a text.
    pub fn segment(&mut self, plain: &[u8]) -> Segment {
        // Copies, so that no segment keeps more memory than it needs.
        let deflated = Bytes::copy_from_slice(&self.deflate(plain));
        Segment { deflated, crc: crc_of(plain), plain: Bytes::copy_from_slice(plain) }
    }

    /// Raw deflate up to a full flush: byte-aligned, and with no reference backwards.
    fn deflate(&mut self, plain: &[u8]) -> Vec<u8> {
        let compress = &mut self.0;
        compress.reset();
        let mut out = Vec::with_capacity(plain.len() / 8 + 64);
        loop {
            let consumed = usize::try_from(compress.total_in()).expect("a segment is in memory");
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
            let mut segment = |text: &Vec<u8>| Arc::new(compressor.segment(text));
            let page = Page::new(texts.iter().map(&mut segment).collect());
            let last = segment(&own);
            let plain: Vec<u8> = page.plain(&last, tail.clone()).concat();
            prop_assert_eq!(&plain, &[texts.concat(), own, tail.clone()].concat());
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
