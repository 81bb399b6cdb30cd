//! Limits of the server, in one place. `docs/configuration.md` lists them for users.

use std::time::Duration;

/// A connection that is idle for longer, or takes longer for the headers of a request, is closed.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection on which nothing of an answer can be written for so long is closed.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// An answer that takes longer is cut. No scrape waits for so long, and a client that takes an answer byte by byte would
/// otherwise keep its connection, and an old page in memory, for ever.
pub(super) const LONGEST_ANSWER: Duration = Duration::from_secs(120);
/// A connection without a request is closed after so long. HTTP/1 has [`HEADER_TIMEOUT`] in addition.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(30);
/// Bodies of requests are read, so that the connection can be used again, and ignored.
pub(super) const MAX_BODY_BYTES: u64 = 16 * 1024;
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// After an answer to a request that is not read to its end, what else the client sends is read for so long: closing the
/// connection with unread bytes would take the answer back before the client sees it.
pub(super) const LINGER: Duration = Duration::from_secs(1);
pub(super) const MAX_LINGER_BYTES: usize = 256 * 1024;
/// Prometheus sends well under a kilobyte. Both apply to each request.
pub(super) const MAX_HEADERS: usize = 64;
pub(super) const MAX_HEADER_BYTES: usize = 16 * 1024;
/// HTTP/2: requests of one connection at the same time. A scraper needs one.
pub(super) const MAX_STREAMS: u32 = 16;
/// HTTP/2: streams that the client has reset and that are not cleaned up yet; with more, the connection is closed.
/// Otherwise a client could begin and cancel requests without end (CVE-2023-44487).
pub(super) const MAX_RESET_STREAMS: usize = 16;
/// HTTP/2: a client that does not answer a ping is gone.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(30);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2: bodies are not read, so no client needs a large window.
pub(super) const RECEIVE_WINDOW: u32 = 16 * 1024;
/// HTTP/2: copied answer bytes of a stream that wait for the client's window.
pub(super) const MAX_SEND_BUFFER: usize = 64 * 1024;
/// Connections at the address of probes. A kubelet opens one for each probe.
pub(super) const MAX_PROBE_CONNECTIONS: usize = 8;
/// Pause between two attempts to accept while that fails, for example without file descriptors. It ends early when a
/// connection is closed.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// At shutdown, unfinished answers have so much time.
pub(super) const DRAIN: Duration = Duration::from_secs(3);
