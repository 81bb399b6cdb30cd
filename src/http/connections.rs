//! How many connections are open and how many requests are in flight, and which connection is evicted for a new one.
//!
//! A connection is *silent* until its first request, *busy* from a request until the last byte of the answer is
//! written, and *idle* between two requests. At a limit the longest silent connection is evicted, and an idle one only
//! if none is silent, so that clients which send nothing take no places from scrapes and probes. A busy one is never
//! cut, unless its answer takes longer than any scrape waits for.
//!
//! There can be as many requests in flight as connections, in all and of one client. HTTP/1 never has more; HTTP/2, which
//! has several in one connection, gets no more by it.

use super::limits::{LONGEST_ANSWER, MAX_IDLE};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Nothing else ends the wait for a place when an answer becomes too old; a fraction of [`LONGEST_ANSWER`] is soon enough.
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
    /// Requests in flight, by client; none of them is zero.
    in_flight: Mutex<HashMap<Client, usize>>,
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
    /// Whether bytes of the client can be unread when the server closes the connection.
    lingers: AtomicBool,
    evicted: Notify,
    connections: Arc<Connections>,
}

#[derive(Debug)]
struct Activity {
    /// Since when the connection is silent, idle or closing.
    since: Instant,
    asked: bool,
    /// Whether a request has arrived since the last flush. The pings of HTTP/2 are written, too, and are no use of a connection.
    fresh: bool,
    /// The beginnings of requests in flight. A number tells requests apart that began at the same time.
    in_flight: Vec<(u64, Instant)>,
    next_number: u64,
    /// Since when there are bytes to be written.
    unflushed: Option<Instant>,
    closing: Option<Phase>,
}

/// In the order of eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The server has finished; it waits for the client to close the connection.
    Lingering,
    Silent,
    Idle,
    Busy,
    /// Evicted: its place is free in a moment.
    Evicted,
}

impl Activity {
    /// And since when.
    fn phase(&self) -> (Phase, Instant) {
        let oldest = self.in_flight.iter().map(|(_, began)| *began).chain(self.unflushed).min();
        match (self.closing, oldest) {
            (Some(phase), _) => (phase, self.since),
            (None, Some(began)) => (Phase::Busy, began),
            (None, None) if self.asked => (Phase::Idle, self.since),
            (None, None) => (Phase::Silent, self.since),
        }
    }
}

/// A request from its arrival until the last byte of its answer is written, or until it is given up.
pub(super) struct InFlight {
    connection: Arc<Connection>,
    number: u64,
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
        Arc::new(Connections {
            limit,
            limit_per_client,
            open: Mutex::default(),
            in_flight: Mutex::default(),
            changed: Notify::new(),
        })
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

    /// Counts one more request of the client; false if there are too many.
    fn add_request(&self, client: Client) -> bool {
        let mut in_flight = lock(&self.in_flight);
        let own = in_flight.get(&client).copied().unwrap_or_default();
        let free = own < self.limit_per_client && in_flight.values().sum::<usize>() < self.limit;
        if free {
            in_flight.insert(client, own + 1);
        }
        free
    }

    fn remove_request(&self, client: Client) {
        let mut in_flight = lock(&self.in_flight);
        let left = in_flight.get(&client).map_or(0, |own| own - 1);
        if left == 0 {
            in_flight.remove(&client)
        } else {
            in_flight.insert(client, left)
        };
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

/// Evicts the first of these in the order of eviction, unless one of them is evicted already. False if all are busy.
fn evict<'a>(connections: impl Iterator<Item = &'a Arc<Connection>>) -> bool {
    let mut first: Option<((Phase, Instant), &Arc<Connection>)> = None;
    for connection in connections {
        let rank = lock(&connection.activity).phase();
        let evictable = match rank.0 {
            Phase::Evicted => return true,
            Phase::Lingering | Phase::Silent | Phase::Idle => true,
            Phase::Busy => rank.1.elapsed() >= LONGEST_ANSWER,
        };
        if evictable && first.is_none_or(|(best, _)| rank < best) {
            first = Some((rank, connection));
        }
    }
    let Some((seen, connection)) = first else { return false };
    let mut activity = lock(&connection.activity);
    // A request may have arrived meanwhile; the caller tries again.
    if activity.phase().0 == seen.0 {
        activity.closing = Some(Phase::Evicted);
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
        let activity = Activity {
            since: Instant::now(),
            asked: false,
            fresh: false,
            in_flight: Vec::new(),
            next_number: 0,
            unflushed: None,
            closing: None,
        };
        let lingers = AtomicBool::new(false);
        Connection { client, activity: Mutex::new(activity), lingers, evicted: Notify::new(), connections }
    }

    /// Whose connection it is.
    pub(super) fn client(&self) -> Client {
        self.client
    }

    /// A request has arrived. `None` if too many requests are in flight.
    pub(super) fn request(self: &Arc<Self>) -> Option<InFlight> {
        let free = self.connections.add_request(self.client);
        let mut activity = lock(&self.activity);
        (activity.asked, activity.fresh) = (true, true);
        if !free {
            return None;
        }
        let number = activity.next_number;
        activity.next_number = number.wrapping_add(1);
        activity.in_flight.push((number, Instant::now()));
        Some(InFlight { connection: Arc::clone(self), number })
    }

    /// There are bytes to be written: an answer, or the rest of one.
    pub(super) fn writing(&self) {
        lock(&self.activity).unflushed.get_or_insert_with(Instant::now);
    }

    /// Everything that was to be written has been.
    pub(super) fn flushed(&self) {
        self.settle(|activity| activity.unflushed.take().is_some() && std::mem::take(&mut activity.fresh));
    }

    fn settle(&self, change: impl FnOnce(&mut Activity) -> bool) {
        let mut activity = lock(&self.activity);
        if change(&mut activity) && activity.phase().0 != Phase::Busy {
            activity.since = Instant::now();
            drop(activity);
            self.connections.changed.notify_waiters();
        }
    }

    /// Whether an answer is under way.
    pub(super) fn is_busy(&self) -> bool {
        lock(&self.activity).phase().0 == Phase::Busy
    }

    /// The client may be sending what is not read.
    pub(super) fn set_lingers(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    /// See [`Connection::set_lingers`].
    pub(super) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Relaxed)
    }

    /// The server has closed its side: the place is there for others at once.
    pub(super) fn finished(&self) {
        self.settle(|activity| {
            activity.unflushed = None;
            activity.closing.is_none() && activity.closing.replace(Phase::Lingering).is_none()
        });
    }

    /// Returns when an answer takes too long.
    pub(super) async fn overdue(&self) {
        self.lasting(LONGEST_ANSWER, |phase| phase == Phase::Busy).await;
    }

    /// Returns when no request has come for too long.
    pub(super) async fn unused(&self) {
        self.lasting(MAX_IDLE, |phase| phase < Phase::Busy).await;
    }

    async fn lasting(&self, limit: Duration, counts: impl Fn(Phase) -> bool) {
        loop {
            let (phase, since) = lock(&self.activity).phase();
            match since.checked_add(limit) {
                // A phase that begins during the sleep is not over before its end.
                _ if !counts(phase) => sleep(limit).await,
                Some(end) if end > Instant::now() => sleep_until(end).await,
                _ => return,
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.connection.connections.remove_request(self.connection.client);
        self.connection.settle(|activity| {
            activity.in_flight.retain(|(number, _)| *number != self.number);
            // The end of the answer can be in the buffer that is written next.
            activity.fresh = activity.unflushed.is_some();
            true
        });
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
