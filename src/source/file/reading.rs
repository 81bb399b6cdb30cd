//! Reads a file with bounds: its size, the time it takes, and the number of threads that wait for it.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use crate::files::{self, Bounds, ReadError};
use crate::model::Timestamp;
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A report of 5,000 users, the most that an account can hold, has about 2 MiB; an inventory with tags about 10.
const LARGEST: u64 = 64 << 20;

/// Content, and the time of the last modification.
pub(super) type Content = (Vec<u8>, Timestamp);

/// Reads one path again and again.
pub(super) struct FileReader {
    path: PathBuf,
    /// The read that an earlier check has given up. A read that blocks (on a network file system that hangs) cannot be
    /// cancelled: the next check waits for the same thread instead of starting another one.
    pending: Mutex<Option<JoinHandle<Result<Content, ReadError>>>>,
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
    pub(super) async fn read(&self, deadline: Option<Instant>) -> Result<Content, ReadError> {
        let mut pending = self.pending.lock().await;
        loop {
            let is_new = pending.is_none();
            let handle = pending.get_or_insert_with(|| {
                let path = self.path.clone();
                let until = deadline.map(Instant::into_std);
                tokio::task::spawn_blocking(move || read_file(&path, until))
            });
            let result = handle.await;
            *pending = None;
            match result {
                // That was the time limit of the check that gave the read up.
                Ok(Err(ReadError::TimedOut)) if !is_new => {}
                Ok(result) => return result,
                Err(_) => return Err(io::Error::other("reading it panicked").into()),
            }
        }
    }
}

fn read_file(path: &Path, until: Option<std::time::Instant>) -> Result<Content, ReadError> {
    let files::Content { bytes, modified } = files::read(path, Bounds { bytes: LARGEST, until })?;
    // A credential report does not contain its time; the time of modification is the best approximation.
    Ok((bytes, Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH)))
}
