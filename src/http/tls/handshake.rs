//! TLS handshakes with a time limit, and the answer to clients that use plain HTTP.

use super::ServerTls;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A handshake takes a few round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The type of the first record of a handshake.
const HANDSHAKE_RECORD: u8 = 0x16;
const PLAIN: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    this server requires HTTPS, the request was HTTP\n";

/// Why a connection has no TLS. It is the client's fault or the network's.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client sent nothing, or not enough.
    #[error("the TLS handshake took longer than {} seconds", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    /// The client uses another protocol.
    #[error("the client does not use TLS")]
    NotTls,
    /// The handshake failed, or the connection.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// Accepts a TLS connection.
pub(in crate::http) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tls: &ServerTls,
) -> Result<TlsStream<FirstByte<S>>, HandshakeError> {
    timeout(HANDSHAKE_TIMEOUT, accept(stream, tls)).await.map_err(|_| HandshakeError::Timeout)?
}

async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    tls: &ServerTls,
) -> Result<TlsStream<FirstByte<S>>, HandshakeError> {
    let first = stream.read_u8().await?;
    if first != HANDSHAKE_RECORD {
        if first.is_ascii_uppercase() {
            stream.write_all(PLAIN).await?;
            stream.shutdown().await?;
        }
        return Err(HandshakeError::NotTls);
    }
    let stream = FirstByte { first: Some(first), stream };
    Ok(TlsAcceptor::from(std::sync::Arc::clone(&tls.config)).accept(stream).await?)
}

/// A stream of which the first byte was taken to see what it is.
pub(in crate::http) struct FirstByte<S> {
    first: Option<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstByte<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstByte<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
