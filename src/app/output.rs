//! Writes a result to standard output or to a file.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Mode of a new file: node_exporter, which reads it, runs as another user.
const NEW_FILE: u32 = 0o644;

/// Writes to standard output. A reader that has closed it does not need the rest: `check | head`.
///
/// # Errors
/// Any other error of standard output.
pub(super) fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    match io::stdout().lock().write_all(bytes) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes to `path`. A regular file is replaced atomically and keeps its mode and owner; symbolic links are followed;
/// devices, FIFOs and sockets are written to.
///
/// # Errors
/// When the file cannot be created or written; a regular file is then unchanged.
pub(super) fn write_file(bytes: &[u8], path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(existing) if existing.is_file() => replace(bytes, &fs::canonicalize(path)?, Some(&existing)),
        Ok(_) => File::options().write(true).open(path)?.write_all(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => replace(bytes, &missing_target(path)?, None),
        Err(e) => Err(e),
    }
}

/// The path that does not exist yet behind a chain of symbolic links. The chain ends: a loop is another error.
fn missing_target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    while fs::symlink_metadata(&path).is_ok_and(|m| m.is_symlink()) {
        path = directory(&path).join(fs::read_link(&path)?);
    }
    Ok(path)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A reader sees the old file or the new one, never a part: node_exporter reads at any time.
fn replace(bytes: &[u8], path: &Path, existing: Option<&Metadata>) -> io::Result<()> {
    // node_exporter reads files that end in .prom only, and so ignores the temporary one.
    let mut file = tempfile::Builder::new().prefix(".iam-key-exporter").suffix(".tmp").tempfile_in(directory(path))?;
    file.write_all(bytes)?;
    if let Some(existing) = existing {
        // Only root may give files away; without the right to, the new file belongs to this process's user.
        let _ = fchown(file.as_file(), Some(existing.uid()), Some(existing.gid()));
    }
    let mode = existing.map_or(NEW_FILE, |e| e.permissions().mode() & 0o7777);
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
