//! Lines on their way to standard error. A thread of its own writes them: a pipe that is not read (a log driver that hangs,
//! a terminal that is paused) blocks that thread, and none that serves, checks, or receives signals.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Lines beyond so many waiting bytes are dropped.
const MOST_BYTES: usize = 1 << 20;
/// How long the end of the process waits for lines that are not written yet.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// A line is being written.
    writing: bool,
    dropped: u64,
}

static QUEUE: Queue = Queue { waiting: Mutex::new(Waiting::new()), changed: Condvar::new() };

/// Writes a whole line some time, or drops it.
pub(super) fn write(line: &[u8]) {
    static WRITER: OnceLock<bool> = OnceLock::new();
    let writer = || std::thread::Builder::new().name("log".into()).spawn(|| QUEUE.run(&mut io::stderr())).is_ok();
    if *WRITER.get_or_init(writer) {
        QUEUE.push(line);
    } else {
        // No thread can be started: better slow than silent.
        let _ = io::stderr().write_all(line);
    }
}

/// Waits until all lines are written, for a limited time.
pub fn flush() {
    QUEUE.flush(FLUSH_TIMEOUT);
}

impl Waiting {
    const fn new() -> Self {
        Waiting { lines: VecDeque::new(), bytes: 0, writing: false, dropped: 0 }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(line.len());
        if bytes > MOST_BYTES {
            waiting.dropped = waiting.dropped.saturating_add(1);
            return;
        }
        waiting.bytes = bytes;
        waiting.lines.push_back(line.into());
        self.changed.notify_all();
    }

    fn run(&self, out: &mut impl Write) {
        loop {
            let dropped = self.write_next(out);
            if dropped > 0 {
                tracing::warn!(dropped, "log lines dropped, standard error was blocked");
            }
        }
    }

    /// Waits for a line and writes it. How many lines were dropped before.
    fn write_next(&self, out: &mut impl Write) -> u64 {
        let waiting = self.changed.wait_while(self.lock(), |w| w.lines.is_empty());
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let line = waiting.lines.pop_front().unwrap_or_default();
        waiting.bytes = waiting.bytes.saturating_sub(line.len());
        waiting.writing = true;
        drop(waiting);
        // What cannot be written is dropped.
        let _ = out.write_all(&line);
        let mut waiting = self.lock();
        waiting.writing = false;
        self.changed.notify_all();
        std::mem::take(&mut waiting.dropped)
    }

    fn flush(&self, at_most: Duration) {
        let _ = self.changed.wait_timeout_while(self.lock(), at_most, |w| w.writing || !w.lines.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_dropped_and_counted() {
        let queue = Queue { waiting: Mutex::new(Waiting::new()), changed: Condvar::new() };
        let line = [b'x'; 1 << 18];
        for _ in 0..6 {
            queue.push(&line);
        }
        let mut out = Vec::new();
        assert_eq!(queue.write_next(&mut out), 2);
        for _ in 0..3 {
            assert_eq!(queue.write_next(&mut out), 0);
        }
        queue.push(b"later");
        assert_eq!(queue.write_next(&mut out), 0);
        assert_eq!(out.len(), MOST_BYTES + 5);
        queue.flush(Duration::MAX);
    }
}
