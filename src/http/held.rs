//! Bodies and their data that keep a request counted until they are written or given up.

use super::connections::InFlight;
use bytes::Buf;
use hyper::body::{Body, Frame, SizeHint};
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A body, or a piece of its data. With HTTP/2, data can wait for the client long after the body has been taken apart.
pub(super) struct Held<T> {
    held: T,
    request: Option<Arc<InFlight>>,
}

impl<T> Held<T> {
    /// `None` is a request that is not counted.
    pub(super) fn new(held: T, request: Option<InFlight>) -> Self {
        Held { held, request: request.map(Arc::new) }
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = Held<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Held<B::Data>>, B::Error>>> {
        let request = self.request.clone();
        let frame = Pin::new(&mut self.held).poll_frame(cx);
        frame.map(|next| next.map(|frame| frame.map(|frame| frame.map_data(|held| Held { held, request }))))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.held.size_hint()
    }
}

impl<B: Buf> Buf for Held<B> {
    fn remaining(&self) -> usize {
        self.held.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.held.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.held.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.held.advance(count);
    }
}
