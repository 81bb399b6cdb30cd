//! Reads files that others write, with bounds on size and time.
//!
//! A path can come to name anything: a directory, a device without an end, a FIFO without a writer. None of them may block a
//! thread for ever or fill the memory. Only a file system that hangs (an NFS server that is gone) still blocks the caller.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use zeroize::Zeroizing;

/// Bounds of a read.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// A larger file is refused.
    pub bytes: u64,
    /// When to give up; `None` for never.
    pub until: Option<Instant>,
}

impl Bounds {
    /// At most so many bytes, within this time from now on.
    pub fn within(bytes: u64, time: Duration) -> Self {
        Bounds { bytes, until: Instant::now().checked_add(time) }
    }
}

/// A file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// The time of the last modification.
    pub modified: SystemTime,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It has more bytes than the bounds allow.
    #[error("it is larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    /// It is a directory, a FIFO or a device.
    #[error("it is not a regular file")]
    NotRegular,
    /// The end did not come in time.
    #[error("its end did not come in time")]
    TimedOut,
    /// It changed meanwhile: what was read can be a part of the old content and a part of the new one.
    #[error("it was changed while it was read")]
    Changed,
    /// A pipe was closed before anything was written to it: its writer failed, or it was read before.
    #[error("it is a pipe that contains nothing")]
    EmptyPipe,
}

/// Reads a file to its end. Pipes and devices are waited for, but not longer than the bounds allow.
///
/// # Errors
/// [`ReadError`]; nothing of a file is returned that was not read to its end.
pub fn read(path: &Path, bounds: Bounds) -> Result<Content, ReadError> {
    read_open(&open(path)?, bounds)
}

/// Reads a regular file of at most so many bytes, which are overwritten when the result is dropped. Anything else than a
/// regular file is refused at once.
///
/// # Errors
/// [`ReadError`]; nothing of a file is returned that was not read to its end.
pub fn read_secret(path: &Path, bytes: u64) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ReadError::NotRegular);
    }
    Ok(Zeroizing::new(read_open(&file, Bounds { bytes, until: None })?.bytes))
}

fn open(path: &Path) -> io::Result<File> {
    // Otherwise the opening of a FIFO waits for its writer, and that of a terminal makes it the process's own.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn read_open(mut file: &File, bounds: Bounds) -> Result<Content, ReadError> {
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_file() && metadata.len() > bounds.bytes {
        return Err(ReadError::TooLarge(bounds.bytes));
    }
    // The content can be a secret: a vector that grows leaves copies behind, and a failed read what it has read.
    let size = if kind.is_file() { usize::try_from(metadata.len()).unwrap_or_default() } else { 0 };
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    let mut chunk = Zeroizing::new(vec![0; 64 << 10]);
    loop {
        if can_wait(kind) {
            wait(file, bounds.until)?;
        }
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(e) => return Err(e.into()),
        }
        if bytes.len() as u64 > bounds.bytes {
            return Err(ReadError::TooLarge(bounds.bytes));
        }
        if bounds.until.is_some_and(|until| Instant::now() > until) {
            return Err(ReadError::TimedOut);
        }
    }
    if kind.is_fifo() && bytes.is_empty() {
        return Err(ReadError::EmptyPipe);
    }
    let after = file.metadata()?;
    if kind.is_file() && is_changed(&metadata, &after, bytes.len() as u64) {
        return Err(ReadError::Changed);
    }
    Ok(Content { bytes: std::mem::take(&mut *bytes), modified: after.modified().unwrap_or_else(|_| SystemTime::now()) })
}

/// Whether the file was written to between the two moments. Files of `/proc` have the size 0 whatever they contain.
fn is_changed(before: &Metadata, after: &Metadata, read: u64) -> bool {
    let same_size = before.len() == after.len() && (after.len() == read || after.len() == 0);
    let same_time = before.modified().ok() == after.modified().ok();
    !(same_size && same_time)
}

/// Whether data can arrive later. Files and directories are always ready.
fn can_wait(kind: FileType) -> bool {
    kind.is_fifo() || kind.is_char_device()
}

/// Waits for data, or for the end. A FIFO has none of them before its first writer.
fn wait(file: &File, until: Option<Instant>) -> Result<(), ReadError> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(timespec);
        match poll(&mut [PollFd::new(file, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Err(ReadError::TimedOut),
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

/// `None`, which stands for no limit, if it is too long.
fn timespec(duration: Duration) -> Option<Timespec> {
    Timespec::try_from(duration).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;

    const BYTES: u64 = 1 << 20;

    fn soon() -> Bounds {
        Bounds::within(BYTES, Duration::from_millis(50))
    }

    /// Time enough for what comes.
    fn later() -> Bounds {
        Bounds::within(BYTES, Duration::from_secs(60))
    }

    fn fifo(directory: &tempfile::TempDir) -> PathBuf {
        let path = directory.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// As a shell passes `<(command)`.
    fn path_of(reader: &impl AsRawFd) -> PathBuf {
        format!("/dev/fd/{}", reader.as_raw_fd()).into()
    }

    #[test]
    fn a_file_is_read_with_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(read(&path, soon()).unwrap(), Content { bytes: b"content".into(), modified });
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(&path, soon()).unwrap().bytes, b"", "an empty file is one");
        assert_eq!(read(Path::new("/dev/null"), soon()).unwrap().bytes, b"");
    }

    #[test]
    fn what_is_not_a_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let error = |path: &Path| read(path, soon()).unwrap_err().to_string();
        assert!(error(directory.path()).contains("directory"), "{}", error(directory.path()));
        assert!(error(&directory.path().join("missing")).contains("No such file"));
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(read(&socket, soon()), Err(ReadError::System(_))));
    }

    #[test]
    fn secrets_are_read_from_regular_files_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "content").unwrap();
        assert_eq!(**read_secret(&path, 7).unwrap(), *b"content");
        assert!(matches!(read_secret(&path, 6), Err(ReadError::TooLarge(6))));
        for other in [fifo(&directory), directory.path().into(), "/dev/null".into()] {
            assert!(matches!(read_secret(&other, 7), Err(ReadError::NotRegular)), "{}", other.display());
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create(&path).unwrap();
        file.set_len(BYTES).unwrap();
        assert_eq!(read(&path, later()).unwrap().bytes.len() as u64, BYTES);
        file.set_len(1 << 40).unwrap();
        assert!(matches!(read(&path, later()), Err(ReadError::TooLarge(BYTES))));
        assert!(matches!(read(Path::new("/dev/zero"), later()), Err(ReadError::TooLarge(BYTES))));
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let before = path.metadata().unwrap();
        assert!(!is_changed(&before, &path.metadata().unwrap(), 7));
        assert!(is_changed(&before, &before, 6), "it was longer for a moment");
        File::options().append(true).open(&path).unwrap().write_all(b" and more").unwrap();
        assert!(is_changed(&before, &path.metadata().unwrap(), 7));
        std::fs::write(&path, "CONTENT").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(is_changed(&before, &path.metadata().unwrap(), 7));
        let proc = read(Path::new("/proc/self/status"), later()).unwrap();
        assert!(proc.bytes.starts_with(b"Name:"));
    }

    #[test]
    fn a_fifo_without_a_writer_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(&directory);
        assert!(matches!(read(&path, soon()), Err(ReadError::TimedOut)));
        // Nor does one that writes nothing keep a reader for ever.
        let writer = File::options().read(true).write(true).open(&path).unwrap();
        assert!(matches!(read(&path, soon()), Err(ReadError::TimedOut)));
        drop(writer);
    }

    #[test]
    fn a_fifo_is_read_until_its_writer_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(&directory);
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || read(&path, later()))
        };
        let mut writer = File::options().write(true).open(&path).unwrap();
        writer.write_all(&[b'x'; 100_000]).unwrap();
        drop(writer);
        assert_eq!(reader.join().unwrap().unwrap().bytes.len(), 100_000);
    }

    #[test]
    fn a_pipe_is_read_also_after_its_writer_is_gone() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"content").unwrap();
        drop(writer);
        assert_eq!(read(&path_of(&reader), later()).unwrap().bytes, b"content");
        assert!(matches!(read(&path_of(&reader), later()), Err(ReadError::EmptyPipe)), "a second read has nothing");
    }
}
