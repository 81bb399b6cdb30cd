//! Compressed text in segments that can be joined to one gzip member. The text itself is not kept.

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use std::sync::{Mutex, PoisonError};

/// Length and checksum of a text. Those of two texts give those of both, without the texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    crc: u32,
    /// In bytes.
    length: u64,
}

impl Sum {
    pub(super) fn of(text: &[u8]) -> Self {
        Sum { crc: crc32fast::hash(text), length: text.len() as u64 }
    }

    /// The sum of this text followed by another one.
    pub(super) fn append(&mut self, next: Sum) {
        let hasher = |sum: &Sum| crc32fast::Hasher::new_with_initial_len(sum.crc, sum.length);
        let mut crc = hasher(self);
        crc.combine(&hasher(&next));
        *self = Sum { crc: crc.finalize(), length: self.length + next.length };
    }

    pub(super) fn crc(self) -> u32 {
        self.crc
    }

    pub(super) fn length(self) -> u64 {
        self.length
    }
}

/// A part of the page. The compressed form ends at a byte boundary and refers to nothing before itself, so that
/// segments can be joined in any order.
#[derive(Debug, Clone, Default)]
pub struct Segment {
    deflated: Bytes,
    sum: Sum,
}

impl Segment {
    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.sum.length == 0
    }

    /// The text, decompressed.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(usize::try_from(self.sum.length).unwrap_or_default());
        let mut inflate = Decompress::new(false);
        while (text.len() as u64) < self.sum.length {
            let consumed = usize::try_from(inflate.total_in()).expect("a segment is in memory");
            text.reserve(1024);
            inflate.decompress_vec(&self.deflated[consumed..], &mut text, FlushDecompress::None).expect(INTACT);
        }
        text
    }

    pub(super) fn sum(&self) -> Sum {
        self.sum
    }

    pub(super) fn deflated(&self) -> &Bytes {
        &self.deflated
    }

    /// Segments in one piece, whose sum is known.
    pub(super) fn joined<'a>(sum: Sum, segments: impl Iterator<Item = &'a Segment> + Clone) -> Self {
        let mut first = segments.clone();
        if let (Some(only), None) = (first.next(), first.next()) {
            return only.clone();
        }
        let mut joined = Vec::with_capacity(segments.clone().map(|s| s.deflated.len()).sum());
        segments.for_each(|s| joined.extend_from_slice(&s.deflated));
        Segment { deflated: joined.into(), sum }
    }
}

/// Measured on series of users: half the time of levels 4 to 6, and 2 % longer; level 1 is 50 % longer than this.
const LEVEL: Compression = Compression::new(2);

pub(super) const INTACT: &str = "compressed text in memory is intact";

/// Makes segments, all with the same memory: allocating a third of a megabyte for each of them would fragment the heap.
pub struct Compressor {
    compress: Compress,
    /// Made when it is needed.
    decompress: Option<Decompress>,
}

impl Compressor {
    /// A compressor with its memory allocated.
    pub fn new() -> Self {
        Compressor { compress: Compress::new(LEVEL, false), decompress: None }
    }

    /// Compresses a text.
    pub fn segment(&mut self, text: &[u8]) -> Segment {
        if text.is_empty() {
            return Segment::default();
        }
        // A copy, so that no segment keeps more memory than it needs.
        Segment { deflated: Bytes::copy_from_slice(&self.deflate(text)), sum: Sum::of(text) }
    }

    /// Raw deflate from an empty window up to a flush: byte-aligned, and with no reference backwards.
    fn deflate(&mut self, text: &[u8]) -> Vec<u8> {
        let compress = &mut self.compress;
        compress.reset();
        let mut out = Vec::with_capacity(text.len() / 8 + 64);
        loop {
            let consumed = usize::try_from(compress.total_in()).expect("a segment is in memory");
            compress
                .compress_vec(&text[consumed..], &mut out, FlushCompress::Sync)
                .expect("compressing memory to memory does not fail");
            // A flush is complete when it leaves room.
            if compress.total_in() as usize == text.len() && out.len() < out.capacity() {
                return out;
            }
            out.reserve(out.capacity().max(64));
        }
    }

    /// Whether the text of a segment is this one. Different texts mostly differ in their sums; equal ones are
    /// compared, which takes a fraction of the time of compressing.
    pub fn is_of(&mut self, segment: &Segment, text: &[u8]) -> bool {
        if segment.sum != Sum::of(text) {
            return false;
        }
        let inflate = self.decompress.get_or_insert_with(|| Decompress::new(false));
        inflate.reset(false);
        let (mut buffer, mut compared) = ([0; 4096], 0);
        while compared < text.len() {
            let consumed = usize::try_from(inflate.total_in()).expect("a segment is in memory");
            inflate.decompress(&segment.deflated[consumed..], &mut buffer, FlushDecompress::None).expect(INTACT);
            let written = usize::try_from(inflate.total_out()).expect("a segment is in memory") - compared;
            if written == 0 || !text[compared..].starts_with(&buffer[..written]) {
                return false;
            }
            compared += written;
        }
        true
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor::new()
    }
}

/// Compressors, as many as were ever needed at once.
#[derive(Default)]
pub(super) struct Compressors(Mutex<Vec<Compressor>>);

impl Compressors {
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Compressor) -> T) -> T {
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = free().pop();
        let mut compressor = idle.unwrap_or_default();
        let result = work(&mut compressor);
        free().push(compressor);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_segment_holds_its_text_and_no_other(
            text in proptest::collection::vec(any::<u8>(), 0..20_000),
            other in proptest::collection::vec(any::<u8>(), 0..300),
            position in any::<proptest::sample::Index>(),
        ) {
            let mut compressor = Compressor::new();
            compressor.segment(&other);
            let segment = compressor.segment(&text);
            prop_assert_eq!(segment.text(), text.clone());
            prop_assert!(compressor.is_of(&segment, &text));
            prop_assert!(text == other || !compressor.is_of(&segment, &other));
            if !text.is_empty() {
                let mut changed = text.clone();
                changed[position.index(text.len())] ^= 1;
                prop_assert!(!compressor.is_of(&segment, &changed));
                // Also when the sums are the same.
                let forged = Segment { sum: Sum::of(&changed), ..segment };
                prop_assert!(!compressor.is_of(&forged, &changed));
            }
        }

        #[test]
        fn sums_of_parts_give_the_sum_of_the_whole(texts in proptest::collection::vec(any::<Vec<u8>>(), 0..6)) {
            let mut sum = Sum::default();
            for text in &texts {
                sum.append(Sum::of(text));
            }
            prop_assert_eq!(sum, Sum::of(&texts.concat()));
        }
    }
}
