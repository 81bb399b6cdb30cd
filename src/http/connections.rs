//! How many connections are open at once, and which one is evicted for a new one.
//!
//! A connection is *silent* until its first request, *busy* from a request until the last byte of the answer is
//! written, and *idle* between two requests. At a limit the longest silent connection is evicted, and an idle one only
//! if none is silent, so that clients which send nothing take no places from scrapes and probes. A busy one is never
//! cut, unless its answer takes longer than any scrape waits for.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// No scrape waits for so long. A client that takes an answer byte by byte would otherwise keep its connection for ever.
const LONGEST_ANSWER: Duration = Duration::from_secs(120);
/// The rank of a connection changes with time only by [`LONGEST_ANSWER`]; a fraction of that is soon enough.
const RECHECK: Duration = Duration::from_secs(1);
/// One client may hold half of all connections, and so many in any case: several scrapers can share an address.
const LEAST_PER_CLIENT: usize = 8;
/// Descriptors that are left for AWS, files and name resolution: a quarter of the limit, at least these.
const LEAST_RESERVED_DESCRIPTORS: u64 = 10;

/// The open connections.
pub(super) struct Connections {
    limit: usize,
    limit_per_client: usize,
    open: Mutex<Vec<Arc<Connection>>>,
    /// A connection was closed or became idle.
    changed: Notify,
}

/// What connections are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// An IPv4 address, or an IPv6 network of 64 bits, of which one host has all addresses.
    Address(IpAddr),
    /// A user of this machine, at a Unix socket.
    User(u32),
}

/// Activity of one connection.
pub(super) struct Connection {
    client: Client,
    activity: Mutex<Activity>,
    evicted: Notify,
    connections: Arc<Connections>,
}

#[derive(Debug, Clone, Copy)]
struct Activity {
    phase: Phase,
    since: Instant,
}

/// In the order of eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Silent,
    Idle,
    /// The handler runs.
    Handling,
    /// The answer is being written.
    Writing,
    /// Evicted, or closed after its last answer: its place is free in a moment.
    Closing,
}

/// A connection's place. It is free again when this is dropped.
pub(super) struct Permit(Arc<Connection>);

impl Connections {
    /// At most `configured` connections, or as many as the limit of file descriptors allows beside those `reserved` for
    /// other listeners.
    pub(super) fn new(configured: usize, reserved: usize) -> Arc<Self> {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limit =
            descriptors.map_or(configured, |all| configured.min(room(all, open_descriptors() + reserved as u64)));
        if limit < configured {
            tracing::warn!(
                configured,
                limit,
                descriptors,
                "fewer connections than configured: the limit of open file descriptors is too low"
            );
        }
        Self::with_limit(limit)
    }

    /// At most so many connections.
    pub(super) fn with_limit(limit: usize) -> Arc<Self> {
        let limit_per_client = (limit / 2).max(LEAST_PER_CLIENT).min(limit);
        Arc::new(Connections { limit, limit_per_client, open: Mutex::default(), changed: Notify::new() })
    }

    /// Acquires a place for a new connection, evicting another one at a limit. Waits while all are busy; `None` if all
    /// of the client's own are, which must not keep other clients waiting.
    pub(super) async fn acquire(self: &Arc<Self>, client: Client) -> Option<Permit> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before the check, so that no change after it is missed.
            changed.as_mut().enable();
            {
                let mut open = lock(&self.open);
                let own = open.iter().filter(|c| c.client == client).count();
                if own < self.limit_per_client && open.len() < self.limit {
                    let connection = Arc::new(Connection::new(client, Arc::clone(self)));
                    open.push(Arc::clone(&connection));
                    return Some(Permit(connection));
                }
                let over_own_limit = own >= self.limit_per_client;
                let evicting = evict(open.iter().filter(|c| !over_own_limit || c.client == client));
                if over_own_limit && !evicting {
                    return None;
                }
            }
            let _ = timeout(RECHECK, changed).await;
        }
    }

    /// Evicts a connection because descriptors ran out, and waits for its end for a limited time.
    pub(super) async fn make_room(&self, at_most: Duration) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        evict(lock(&self.open).iter());
        let _ = timeout(at_most, changed).await;
    }
}

/// Evicts the first of these in the order of eviction, unless one of them is closing already. False if all are busy.
fn evict<'a>(connections: impl Iterator<Item = &'a Arc<Connection>>) -> bool {
    let mut first: Option<(Activity, &Arc<Connection>)> = None;
    for connection in connections {
        let activity = *lock(&connection.activity);
        let evictable = match activity.phase {
            Phase::Closing => return true,
            Phase::Silent | Phase::Idle => true,
            Phase::Handling | Phase::Writing => activity.since.elapsed() >= LONGEST_ANSWER,
        };
        if evictable && first.is_none_or(|(best, _)| (activity.phase, activity.since) < (best.phase, best.since)) {
            first = Some((activity, connection));
        }
    }
    let Some((seen, connection)) = first else { return false };
    let mut activity = lock(&connection.activity);
    // A request may have arrived meanwhile; the caller tries again.
    if activity.phase == seen.phase {
        activity.phase = Phase::Closing;
        connection.evicted.notify_one();
    }
    true
}

impl Client {
    pub(super) fn of_address(address: IpAddr) -> Self {
        Client::Address(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Client::Address(address) => address.fmt(f),
            Client::User(uid) => write!(f, "user {uid}"),
        }
    }
}

impl Connection {
    fn new(client: Client, connections: Arc<Connections>) -> Self {
        let activity = Mutex::new(Activity { phase: Phase::Silent, since: Instant::now() });
        Connection { client, activity, evicted: Notify::new(), connections }
    }

    /// Whose connection it is.
    pub(super) fn client(&self) -> Client {
        self.client
    }

    /// A request has arrived.
    pub(super) fn request(&self) {
        self.change(|phase| (phase != Phase::Closing).then_some(Phase::Handling));
    }

    /// The handler has returned an answer.
    pub(super) fn answered(&self) {
        self.change(|phase| (phase == Phase::Handling).then_some(Phase::Writing));
    }

    /// Bytes are being written. With pipelined requests this can be an answer after the flush of the one before.
    pub(super) fn writing(&self) {
        self.change(|phase| (phase == Phase::Idle).then_some(Phase::Writing));
    }

    /// Everything that was to be written has been.
    pub(super) fn flushed(&self) {
        if self.change(|phase| (phase == Phase::Writing).then_some(Phase::Idle)) {
            self.connections.changed.notify_waiters();
        }
    }

    /// The server closes the connection.
    pub(super) fn closing(&self) {
        self.change(|_| Some(Phase::Closing));
    }

    /// Whether there was a change.
    fn change(&self, to: impl FnOnce(Phase) -> Option<Phase>) -> bool {
        let mut activity = lock(&self.activity);
        let Some(phase) = to(activity.phase) else { return false };
        // An answer takes time from its request on.
        if (activity.phase, phase) != (Phase::Handling, Phase::Writing) {
            activity.since = Instant::now();
        }
        activity.phase = phase;
        true
    }
}

impl Permit {
    /// Returns when the connection has to be closed.
    pub(super) async fn evicted(&self) {
        self.0.evicted.notified().await;
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.0)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.0.connections.open).retain(|c| !Arc::ptr_eq(c, &self.0));
        self.0.connections.changed.notify_waiters();
    }
}

/// The number of connections that a limit of descriptors allows.
fn room(descriptors: u64, open: u64) -> usize {
    let reserved = (descriptors / 4).max(LEAST_RESERVED_DESCRIPTORS);
    usize::try_from(descriptors.saturating_sub(open).saturating_sub(reserved)).unwrap_or(usize::MAX).max(1)
}

fn open_descriptors() -> u64 {
    // Without /proc: about what the runtime and the listeners take.
    std::fs::read_dir("/proc/self/fd").map_or(16, |entries| entries.count() as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
