//! How many connections are served at once, and who has to go when there are too many: whoever has been waiting
//! longest without a request. So idle and slow clients cannot hold up the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// A newcomer waits so long for somebody to leave before somebody is asked to.
const PATIENCE: Duration = Duration::from_millis(250);
/// Nobody is asked to leave who was served, or came, so lately: the answer may still be on its way.
const GRACE: Duration = Duration::from_secs(1);

pub(super) struct Connections {
    limit: Arc<Semaphore>,
    open: Mutex<Vec<Arc<Connection>>>,
}

/// One client. It counts as long as this, and its guard, live.
pub(super) struct Connection {
    /// `None` while a request is being answered.
    waiting_since: Mutex<Option<Instant>>,
    leave: Notify,
}

/// Ends the connection's being counted when dropped.
pub(super) struct Guard {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Connections { limit: Arc::new(Semaphore::new(most)), open: Mutex::default() })
    }

    /// Counts a newcomer, as soon as there is room.
    pub(super) async fn admit(self: &Arc<Self>) -> Guard {
        let permit = loop {
            match timeout(PATIENCE, Arc::clone(&self.limit).acquire_owned()).await {
                Ok(permit) => break permit.expect("the semaphore is never closed"),
                Err(_) => self.ask_one_to_leave(),
            }
        };
        let waiting_since = Mutex::new(Some(Instant::now()));
        let connection = Arc::new(Connection { waiting_since, leave: Notify::new() });
        lock(&self.open).push(Arc::clone(&connection));
        Guard { connections: Arc::clone(self), connection, _permit: permit }
    }

    fn ask_one_to_leave(&self) {
        let open = lock(&self.open);
        let waiting = open.iter().filter_map(|c| lock(&c.waiting_since).map(|since| (since, c)));
        if let Some((since, connection)) = waiting.min_by_key(|(since, _)| *since)
            && since.elapsed() >= GRACE
        {
            connection.leave.notify_one();
        }
    }
}

impl Connection {
    pub(super) fn busy(&self) {
        *lock(&self.waiting_since) = None;
    }

    pub(super) fn waiting(&self) {
        *lock(&self.waiting_since) = Some(Instant::now());
    }
}

impl Guard {
    /// Ends when somebody else needs the room.
    pub(super) async fn asked_to_leave(&self) {
        self.connection.leave.notified().await;
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        lock(&self.connections.open).retain(|c| !Arc::ptr_eq(c, &self.connection));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_longest_without_a_request_makes_room() {
        let connections = Connections::new(2);
        let busy = connections.admit().await;
        busy.connection().busy();
        let idle = connections.admit().await;
        tokio::spawn(async move {
            idle.asked_to_leave().await;
            drop(idle);
        });
        let start = Instant::now();
        let newcomer = connections.admit().await;
        assert!(start.elapsed() >= GRACE, "{:?}", start.elapsed());
        assert_eq!(lock(&connections.open).len(), 2);
        drop((busy, newcomer));
        assert!(lock(&connections.open).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_sent_away_while_being_answered() {
        let connections = Connections::new(1);
        let busy = connections.admit().await;
        busy.connection().busy();
        let newcomer = tokio::time::timeout(Duration::from_secs(60), connections.admit()).await;
        assert!(newcomer.is_err());
        assert!(tokio::time::timeout(Duration::from_secs(1), busy.asked_to_leave()).await.is_err());
    }
}
