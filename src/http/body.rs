//! Response bodies: segments of memory, written without copying them, or plain text that is decompressed on the way.

use crate::exposition::page::Plain;
use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A response body.
#[derive(Debug)]
pub enum Payload {
    /// One frame, so that one vectored write hands as much of it to the socket as fits; `None` once it is taken.
    Memory(Option<Unsent>),
    /// A frame for each chunk. A client that reads slowly holds one chunk, not the text.
    Plain(Plain),
}

/// What is left to write. The segments are shared with the page, not copied.
#[derive(Debug, Default)]
pub struct Unsent {
    /// Never empty ones.
    segments: VecDeque<Bytes>,
    left: usize,
}

impl From<Vec<Bytes>> for Unsent {
    fn from(segments: Vec<Bytes>) -> Self {
        let segments: VecDeque<Bytes> = segments.into_iter().filter(|p| !p.is_empty()).collect();
        let left = segments.iter().map(Bytes::len).sum();
        Unsent { segments, left }
    }
}

impl From<Vec<Bytes>> for Payload {
    fn from(segments: Vec<Bytes>) -> Self {
        Payload::Memory(Some(segments.into()).filter(|unsent: &Unsent| unsent.left > 0))
    }
}

impl From<Plain> for Payload {
    fn from(text: Plain) -> Self {
        Payload::Plain(text)
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        vec![Bytes::from(text)].into()
    }
}

impl Body for Payload {
    type Data = Unsent;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Unsent>, Infallible>>> {
        let next = match &mut *self {
            Payload::Memory(unsent) => unsent.take(),
            Payload::Plain(text) => text.next().map(|chunk| vec![chunk].into()),
        };
        Poll::Ready(next.map(|unsent| Ok(Frame::data(unsent))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    /// Exact, so that hyper sends Content-Length instead of chunks.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Payload::Memory(unsent) => unsent.as_ref().map_or(0, |unsent| unsent.left as u64),
            Payload::Plain(text) => text.length(),
        })
    }
}

impl Buf for Unsent {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| segment)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(segment);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.left, "cannot advance by {count}, {} are left", self.left);
        self.left -= count;
        while let Some(first) = self.segments.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_bytes_arrive_in_order_however_many_each_write_takes(
            segments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8),
            steps in proptest::collection::vec((1..60_usize, 1..5_usize), 1..40),
        ) {
            let expected = segments.concat();
            let body = Payload::from(segments.into_iter().map(Bytes::from).collect::<Vec<_>>());
            prop_assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
            prop_assert_eq!(body.is_end_stream(), expected.is_empty());
            let Payload::Memory(unsent) = body else { panic!("it is in memory") };
            let mut unsent = unsent.unwrap_or_default();
            let mut arrived = Vec::new();
            for (bytes, slices) in steps.into_iter().cycle() {
                if !unsent.has_remaining() {
                    break;
                }
                let mut offered = vec![IoSlice::new(&[]); slices];
                let filled = unsent.chunks_vectored(&mut offered);
                let taken: Vec<u8> = offered[..filled].iter().flat_map(|s| s.iter().copied()).take(bytes).collect();
                prop_assert!(!taken.is_empty());
                prop_assert!(taken.starts_with(&unsent.chunk()[..1]));
                unsent.advance(taken.len());
                arrived.extend(taken);
            }
            prop_assert_eq!(arrived, expected);
        }
    }
}
