//! Tasks that run as long as the process.

use super::ServeError;
use futures_util::future::select_all;
use tokio::task::JoinHandle;

/// Tasks without which data would go stale and still be served as current. They end when this is dropped.
#[derive(Default)]
pub(super) struct Tasks(Vec<(&'static str, JoinHandle<()>)>);

impl Tasks {
    /// Starts a task that has no end; the name is for the error message if it ends all the same.
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push((name, tokio::spawn(task)));
    }

    /// Waits for the server.
    ///
    /// # Errors
    /// When one of the tasks ends before, or the server panics. A panic is logged by then.
    pub(super) async fn run_until<T>(&mut self, server: JoinHandle<T>) -> Result<T, ServeError> {
        let ends = self.0.iter_mut().map(|(name, task)| {
            Box::pin(async move {
                let _ = task.await;
                *name
            })
        });
        tokio::select! {
            served = server => served.map_err(|_| ServeError::TaskEnded("the HTTP server")),
            (name, ..) = select_all(ends) => Err(ServeError::TaskEnded(name)),
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, task)| task.abort());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    fn with(task: impl Future<Output = ()> + Send + 'static) -> Tasks {
        let mut tasks = Tasks::default();
        tasks.spawn("the first", pending());
        tasks.spawn("the second", task);
        tasks
    }

    #[tokio::test]
    async fn the_process_ends_with_its_server() {
        let mut tasks = with(pending());
        assert_eq!(tasks.run_until(tokio::spawn(async { 7 })).await.unwrap(), 7);
        let panics = tokio::spawn(async { panic!("the test wants a panic") });
        let error = tasks.run_until::<()>(panics).await.unwrap_err();
        assert!(error.to_string().starts_with("the HTTP server ended unexpectedly"), "{error}");
    }

    #[tokio::test]
    async fn the_process_ends_with_a_task_that_it_needs() {
        for mut tasks in [with(async {}), with(async { panic!("the test wants a panic") })] {
            let error = tasks.run_until(tokio::spawn(pending::<()>())).await.unwrap_err();
            assert!(error.to_string().starts_with("the second ended unexpectedly"), "{error}");
            assert!(!error.is_usage());
        }
    }

    #[tokio::test]
    async fn tasks_end_when_they_are_dropped() {
        let (held, mut ended) = tokio::sync::oneshot::channel::<()>();
        let tasks = with(async move {
            let _held = held;
            pending().await
        });
        drop(tasks);
        assert!((&mut ended).await.is_err());
    }
}
