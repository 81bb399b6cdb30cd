//! A stream that reports writes and flushes to its [`Connection`].

use super::connections::Connection;
use super::limits::{LINGER, MAX_LINGER_BYTES};
use std::future::Future;
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// hyper flushes the stream whenever its own buffer has been written completely.
pub(super) struct Tracked<S> {
    stream: S,
    connection: Arc<Connection>,
    /// From the end of the server's side on.
    linger: Option<Linger>,
}

/// Reads and ignores what the client sends, until its end.
struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl<S> Tracked<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>) -> Self {
        Tracked { stream, connection, linger: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tracked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.connection.writing();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.connection.writing();
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.connection.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.linger.is_none() {
            // Before the client can see it, so that its next connection finds the place free.
            self.connection.finished();
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.connection.lingers() {
                return Poll::Ready(Ok(()));
            }
        }
        let Tracked { stream, linger, .. } = &mut *self;
        let linger = linger.get_or_insert_with(|| Linger { until: Box::pin(sleep(LINGER)), left: MAX_LINGER_BYTES });
        linger.poll_end(stream, cx).map(Ok)
    }
}

impl Linger {
    fn poll_end(&mut self, stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 4096];
        while self.left > 0 && self.until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)).map(|()| buffer.filled().len());
            match read {
                Ok(length @ 1..) => self.left = self.left.saturating_sub(length),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}
