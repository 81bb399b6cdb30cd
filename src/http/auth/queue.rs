//! Where slow comparisons wait: one runs at a time, clients take turns, and nothing waits without end.
//!
//! A client that sends one wrong password after another delays another client's first right one by the comparison that
//! is running and by its own turn, however many it sends.

use crate::http::connections::Client;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A few scrapers behind one address that start at once.
const MOST_PER_CLIENT: usize = 8;
const MOST: usize = 64;

/// Why nothing more can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Full {
    /// The client has too many waiting.
    Client,
    /// All clients together have.
    All,
}

type Work = Box<dyn FnOnce() -> bool + Send>;

struct Job {
    work: Work,
    done: oneshot::Sender<bool>,
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// In the order of their turns; none is without jobs.
    clients: VecDeque<(Client, VecDeque<Job>)>,
    running: bool,
}

impl Waiting {
    fn add(&mut self, client: Client, job: Job) -> Result<(), Full> {
        let total: usize = self.clients.iter().map(|(_, jobs)| jobs.len()).sum();
        match self.clients.iter_mut().find(|(address, _)| *address == client) {
            Some((_, jobs)) if jobs.len() >= MOST_PER_CLIENT => Err(Full::Client),
            _ if total >= MOST => Err(Full::All),
            Some((_, jobs)) => {
                jobs.push_back(job);
                Ok(())
            }
            None => {
                self.clients.push_back((client, VecDeque::from([job])));
                Ok(())
            }
        }
    }

    fn take(&mut self) -> Option<Job> {
        let (client, mut jobs) = self.clients.pop_front()?;
        let job = jobs.pop_front();
        if !jobs.is_empty() {
            self.clients.push_back((client, jobs));
        }
        job
    }
}

impl Queue {
    /// The result of `work`, which runs on a thread for blocking calls when it is the client's turn. A caller that goes
    /// away takes its work with it, unless that has started.
    ///
    /// # Errors
    /// [`Full`], at once, if it would have to wait for too many others.
    pub(super) async fn run(
        self: &Arc<Self>,
        client: Client,
        work: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<bool, Full> {
        let (done, result) = oneshot::channel();
        let start = {
            let mut waiting = self.lock();
            waiting.add(client, Job { work: Box::new(work), done })?;
            !std::mem::replace(&mut waiting.running, true)
        };
        if start {
            let queue = Arc::clone(self);
            tokio::task::spawn_blocking(move || queue.work());
        }
        // There is no result at the end of the process.
        Ok(result.await.unwrap_or(false))
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            if !job.done.is_closed() {
                // A panic ends the comparison, not those that wait. What cannot be compared is not let in.
                let _ = job.done.send(catch_unwind(AssertUnwindSafe(job.work)).unwrap_or(false));
            }
        }
    }

    /// The next job, or else the end of the thread's work, in one step: a job that is added later starts it again.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        let job = waiting.take();
        waiting.running = job.is_some();
        job
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn address(last: u8) -> Client {
        Client::of_address([127, 0, 0, last].into())
    }

    /// A queue whose first job waits until `release` is dropped or sent to.
    async fn blocked() -> (Arc<Queue>, mpsc::Sender<()>) {
        let (release, released) = mpsc::channel();
        let (started, start) = oneshot::channel();
        let queue = Arc::new(Queue::default());
        let busy = Arc::clone(&queue);
        tokio::spawn(async move {
            let work = move || {
                let _ = started.send(());
                let _ = released.recv();
                true
            };
            busy.run(address(1), work).await
        });
        start.await.unwrap();
        (queue, release)
    }

    /// Adds a job that notes its number.
    fn add(queue: &Arc<Queue>, order: &Arc<Mutex<Vec<u8>>>, client: u8, number: u8) -> Adding {
        let (queue, order) = (Arc::clone(queue), Arc::clone(order));
        let mut adding: Adding = Box::pin(async move {
            queue
                .run(address(client), move || {
                    order.lock().unwrap().push(number);
                    true
                })
                .await
        });
        assert!(futures_util::FutureExt::now_or_never(adding.as_mut()).is_none(), "it waits");
        adding
    }

    type Adding = std::pin::Pin<Box<dyn Future<Output = Result<bool, Full>>>>;

    #[tokio::test]
    async fn clients_take_turns() {
        let (queue, release) = blocked().await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let flood: Vec<_> = (10..10 + MOST_PER_CLIENT as u8).map(|n| add(&queue, &order, 1, n)).collect();
        let other = [add(&queue, &order, 2, 20), add(&queue, &order, 3, 30), add(&queue, &order, 2, 21)];
        drop(release);
        for job in flood.into_iter().chain(other) {
            assert_eq!(job.await, Ok(true));
        }
        assert_eq!(order.lock().unwrap()[..6], [10, 20, 30, 11, 21, 12]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (queue, release) = blocked().await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut jobs: Vec<_> = (0..MOST_PER_CLIENT as u8).map(|n| add(&queue, &order, 1, n)).collect();
        assert_eq!(queue.run(address(1), || true).await, Err(Full::Client));
        let others = MOST - MOST_PER_CLIENT;
        jobs.extend((0..others as u8).map(|n| add(&queue, &order, 2 + n / MOST_PER_CLIENT as u8, n)));
        assert_eq!(queue.run(address(99), || true).await, Err(Full::All));
        assert_eq!(queue.run(address(1), || true).await, Err(Full::Client));
        // Clients that go away make room in their turn.
        drop(jobs);
        release.send(()).unwrap();
        let last = async {
            loop {
                match queue.run(address(99), || true).await {
                    Err(_) => tokio::task::yield_now().await,
                    done => return done,
                }
            }
        };
        assert_eq!(last.await, Ok(true));
        assert!(order.lock().unwrap().is_empty(), "what is no longer awaited does not run");
    }

    #[tokio::test]
    async fn a_panic_lets_nothing_in_and_stops_nothing() {
        let queue = Arc::new(Queue::default());
        assert_eq!(queue.run(Client::User(0), || panic!("injected")).await, Ok(false));
        assert_eq!(queue.run(Client::User(0), || true).await, Ok(true));
        assert_eq!(queue.run(Client::User(0), || false).await, Ok(false));
    }
}
