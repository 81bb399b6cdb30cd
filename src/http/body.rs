//! A response body made of pieces that are in memory already.

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

/// One frame, so that one system call hands as much of it to the socket as fits.
#[derive(Debug, Default)]
pub struct Pieces(Option<Row>);

/// Pieces in a row, to be written from where they are.
#[derive(Debug, Default)]
pub struct Row {
    /// None of them is empty.
    pieces: VecDeque<Bytes>,
    left: usize,
}

impl From<Vec<Bytes>> for Pieces {
    fn from(pieces: Vec<Bytes>) -> Self {
        let pieces: VecDeque<Bytes> = pieces.into_iter().filter(|p| !p.is_empty()).collect();
        let left = pieces.iter().map(Bytes::len).sum();
        Pieces((left > 0).then_some(Row { pieces, left }))
    }
}

impl From<String> for Pieces {
    fn from(text: String) -> Self {
        vec![Bytes::from(text)].into()
    }
}

impl Body for Pieces {
    type Data = Row;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Row>, Infallible>>> {
        Poll::Ready(self.0.take().map(|row| Ok(Frame::data(row))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    /// Exact, so that hyper sends Content-Length instead of chunks.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |row| row.left as u64))
    }
}

impl Buf for Row {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.left, "cannot advance by {count}, {} are left", self.left);
        self.left -= count;
        while let Some(first) = self.pieces.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_the_socket_takes_at_a_time_all_arrives_in_order(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8),
            steps in proptest::collection::vec((1..60_usize, 1..5_usize), 1..40),
        ) {
            let expected = pieces.concat();
            let body = Pieces::from(pieces.into_iter().map(Bytes::from).collect::<Vec<_>>());
            prop_assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
            prop_assert_eq!(body.is_end_stream(), expected.is_empty());
            let mut row = body.0.unwrap_or_default();
            let mut arrived = Vec::new();
            for (bytes, slices) in steps.into_iter().cycle() {
                if !row.has_remaining() {
                    break;
                }
                let mut offered = vec![IoSlice::new(&[]); slices];
                let filled = row.chunks_vectored(&mut offered);
                let taken: Vec<u8> = offered[..filled].iter().flat_map(|s| s.iter().copied()).take(bytes).collect();
                prop_assert!(!taken.is_empty());
                prop_assert!(taken.starts_with(&row.chunk()[..1]));
                row.advance(taken.len());
                arrived.extend(taken);
            }
            prop_assert_eq!(arrived, expected);
        }
    }
}
