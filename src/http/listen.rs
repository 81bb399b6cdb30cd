//! Binding of addresses: TCP, Unix sockets, and sockets that systemd passes.

use super::stream::Listener;
use crate::config::addresses::ListenAddress;
use crate::config::settings::WebSection;
use listenfd::ListenFd;
use std::fs::{File, Metadata, Permissions, symlink_metadata};
use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};

/// As many connections wait to be accepted, as for TCP sockets.
const BACKLOG: u32 = 1024;

/// Bound sockets.
pub struct Listeners {
    pub(super) main: Vec<Bound>,
    pub(super) probe: Option<Bound>,
}

/// A bound socket. Dropping it closes the socket and removes its file.
pub(super) struct Bound {
    pub(super) listener: Listener,
    address: String,
    _file: Option<SocketFile>,
}

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address cannot be bound.
    #[error("--{flag}: cannot listen on {address}: {source}")]
    Bind {
        /// The flag of the address.
        flag: &'static str,
        /// The address, as it is configured.
        address: String,
        /// What failed.
        source: Error,
    },
    /// A socket of systemd is not a listening stream socket.
    #[error("--web.systemd-socket: cannot use socket {number} of systemd: {source}")]
    Passed {
        /// The position of the socket, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: Error,
    },
    /// systemd passed no socket.
    #[error(
        "--web.systemd-socket: systemd passed no socket (LISTEN_FDS); start the socket unit, which starts the service"
    )]
    NonePassed,
}

impl Listeners {
    /// Binds all addresses, or takes the sockets that systemd passed, and binds the address of probes.
    ///
    /// # Errors
    /// [`ListenError`] for the first one that cannot be bound.
    pub async fn bind(web: &WebSection) -> std::result::Result<Self, ListenError> {
        let main = if web.systemd_socket {
            passed()?
        } else {
            let mut main = Vec::with_capacity(web.listen_address.0.len());
            for address in &web.listen_address.0 {
                main.push(bind("web.listen-address", address).await?);
            }
            main
        };
        let probe = match &web.probe_address {
            Some(address) => Some(bind("web.probe-address", address).await?),
            None => None,
        };
        Ok(Listeners { main, probe })
    }

    /// The bound addresses, with the actual port where 0 was given.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.main.iter().map(|bound| bound.address.as_str())
    }

    /// The address of probes.
    pub fn probe_address(&self) -> Option<&str> {
        self.probe.as_ref().map(|bound| bound.address.as_str())
    }
}

async fn bind(flag: &'static str, address: &ListenAddress) -> std::result::Result<Bound, ListenError> {
    let bound = match address {
        ListenAddress::Tcp(address) => bind_tcp(address).await.and_then(Bound::tcp),
        ListenAddress::Unix { path, mode } => bind_unix(path, *mode).await,
    };
    bound.map_err(|source| ListenError::Bind { flag, address: address.to_string(), source })
}

impl Bound {
    fn tcp(listener: TcpListener) -> Result<Self> {
        let address = listener.local_addr()?.to_string();
        Ok(Bound { listener: Listener::Tcp(listener), address, _file: None })
    }

    fn unix(listener: UnixListener, file: Option<SocketFile>) -> Result<Self> {
        let path = listener.local_addr()?.as_pathname().map(|path| path.display().to_string());
        let address = format!("unix://{}", path.unwrap_or_default());
        Ok(Bound { listener: Listener::Unix(listener), address, _file: file })
    }
}

async fn bind_tcp(address: &str) -> Result<TcpListener> {
    let Some(port) = address.strip_prefix(':') else { return TcpListener::bind(address).await };
    let port: u16 = port.parse().map_err(Error::other)?;
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        // No IPv6 on this machine.
        Err(e) if e.kind() != ErrorKind::AddrInUse => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        bound => bound,
    }
}

/// Replaces the socket of a process that has ended, and nothing else.
async fn bind_unix(path: &Path, mode: u32) -> Result<Bound> {
    // Two processes that start at the same time must not remove each other's socket.
    let _lock = lock_directory_of(path).await?;
    match symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::new(ErrorKind::AlreadyExists, "the file exists and is not a socket"));
        }
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => return Err(Error::new(ErrorKind::AddrInUse, "another process listens on this socket")),
        },
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile::new(path)?;
    // Before the socket listens, so that no client can connect before the mode is set.
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    Bound::unix(socket.listen(BACKLOG)?, Some(file))
}

async fn lock_directory_of(path: &Path) -> Result<File> {
    let directory = File::open(path.parent().unwrap_or(Path::new("/")))?;
    let locked = tokio::task::spawn_blocking(move || directory.lock().map(|()| directory));
    locked.await.map_err(Error::other)?
}

/// The file of a socket. Dropping this removes it, unless it is another one by now.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> Result<Self> {
        Ok(SocketFile { path: path.to_owned(), identity: identity(&symlink_metadata(path)?) })
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn passed() -> std::result::Result<Vec<Bound>, ListenError> {
    let mut sockets = ListenFd::from_env();
    let bound: Vec<Bound> = (0..sockets.len())
        .map(|index| take(&mut sockets, index).map_err(|source| ListenError::Passed { number: index + 1, source }))
        .collect::<std::result::Result<_, _>>()?;
    if bound.is_empty() { Err(ListenError::NonePassed) } else { Ok(bound) }
}

fn take(sockets: &mut ListenFd, index: usize) -> Result<Bound> {
    let gone = || Error::from(ErrorKind::NotFound);
    match sockets.take_unix_listener(index) {
        Ok(listener) => {
            let listener = listener.ok_or_else(gone)?;
            listener.set_nonblocking(true)?;
            Bound::unix(UnixListener::from_std(listener)?, None)
        }
        Err(_) => {
            let listener = sockets.take_tcp_listener(index)?.ok_or_else(gone)?;
            listener.set_nonblocking(true)?;
            Bound::tcp(TcpListener::from_std(listener)?)
        }
    }
}
