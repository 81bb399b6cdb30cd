//! Reads a file with bounds: its size, the time it takes, and the number of threads that wait for it.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use crate::model::Timestamp;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A report of 5,000 users, the most that an account can hold, has about 2 MiB; an inventory with tags about 10.
const LARGEST: u64 = 64 << 20;

/// After the deadline the check has ended; a read that continues is of no use. The margin lets the check report a
/// timeout.
const MARGIN: Duration = Duration::from_secs(1);

/// Content, and the time of the last modification.
pub(super) type Content = (Vec<u8>, Timestamp);

/// Reads one path again and again.
pub(super) struct FileReader {
    path: PathBuf,
    /// The read that an earlier check has given up. A read that blocks (a FIFO without a writer, a network filesystem)
    /// cannot be cancelled: the next check waits for the same thread instead of starting another one.
    pending: Mutex<Option<JoinHandle<io::Result<Content>>>>,
}

impl FileReader {
    pub(super) fn new(path: PathBuf) -> Self {
        FileReader { path, pending: Mutex::new(None) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// # Errors
    /// When the file cannot be read, is larger than [`LARGEST`], or does not end before the deadline.
    pub(super) async fn read(&self, deadline: Option<Instant>) -> io::Result<Content> {
        let mut pending = self.pending.lock().await;
        let handle = pending.get_or_insert_with(|| {
            let path = self.path.clone();
            let give_up = deadline.and_then(|d| d.into_std().checked_add(MARGIN));
            tokio::task::spawn_blocking(move || read_file(&path, give_up))
        });
        let result = handle.await;
        *pending = None;
        result.unwrap_or_else(|e| Err(io::Error::other(e)))
    }
}

fn read_file(path: &Path, give_up: Option<std::time::Instant>) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let n = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        bytes.extend_from_slice(chunk.get(..n).unwrap_or_default());
        if bytes.len() as u64 > LARGEST {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {} MiB, the maximum", LARGEST >> 20),
            ));
        }
        if give_up.is_some_and(|at| std::time::Instant::now() > at) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not end within the time of the check"));
        }
    }
    // A credential report does not contain its time; the time of modification is the best approximation.
    let modified = file.metadata()?.modified().unwrap_or_else(|_| SystemTime::now());
    Ok((bytes, Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH)))
}
