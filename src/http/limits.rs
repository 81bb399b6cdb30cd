//! Limits of the server, in one place. `docs/configuration.md` lists them for users.

use std::time::Duration;

/// A connection that is idle for longer, or takes longer for the headers of a request, is closed.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection on which nothing of an answer can be written for so long is closed.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
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
