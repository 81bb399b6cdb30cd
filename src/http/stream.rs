//! Accepted streams: TCP or a Unix socket.

use super::connections::Client;
use std::io::Result;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

/// A socket that accepts streams.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted stream: TCP on the left, a Unix socket on the right.
pub(super) type Stream = Either<TcpStream, UnixStream>;

impl Listener {
    /// The next stream, and the client that it counts for.
    pub(super) async fn accept(&self) -> Result<(Stream, Client)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are written whole; waiting to fill a packet only delays the last one.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Left(stream), Client::of_address(peer.ip())))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let client = Client::User(stream.peer_cred()?.uid());
                Ok((Stream::Right(stream), client))
            }
        }
    }
}
