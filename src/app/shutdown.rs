//! SIGTERM and SIGINT: the first one starts a graceful shutdown, the second one ends the process. SIGXFSZ ends nothing.

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Writing beyond the limit of file sizes (`ulimit -f`) then fails, as it does on a full disk, instead of ending the
/// process: the limit can be that of the log.
///
/// # Errors
/// When the system refuses to register a handler.
pub fn keep_running_at_file_size_limit() -> std::io::Result<()> {
    // The handler stays when its receiver is gone.
    signal(SignalKind::from_raw(Number::XFSZ.as_raw())).map(drop)
}

/// The signals that end the process.
#[must_use = "the signals keep their default action until they are installed and received"]
pub struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl ShutdownSignals {
    /// Takes over SIGTERM and SIGINT.
    ///
    /// # Errors
    /// When the system refuses to register a handler.
    pub fn install() -> std::io::Result<Self> {
        Ok(ShutdownSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns at the next signal.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Returns at the first signal. From then on a second one ends the process.
    pub(super) async fn first(&mut self) {
        self.recv().await;
        tracing::info!("stopping");
        let mut second = match ShutdownSignals::install() {
            Ok(second) => second,
            Err(_) => return,
        };
        tokio::spawn(async move {
            second.recv().await;
            tracing::warn!("stopping at once");
            #[expect(clippy::disallowed_methods, reason = "a second signal asks for an end without destructors")]
            std::process::exit(130);
        });
    }
}
