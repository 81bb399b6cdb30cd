//! The binary as a process, with an environment of its own.

use crate::common::FakeIam;
use crate::http::{self, Response};
use crate::metrics::Metrics;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Long, because test machines are busy; a passing test never waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The user and group without privileges on every Linux system.
pub const NOBODY: u32 = 65534;

/// A port without a listener. The system chooses the ports of connections from a higher range, so that no other test takes it
/// meanwhile.
pub fn unused_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000));
    let is_unused = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    ports.find(is_unused).expect("the iterator has no end")
}

/// Polls until there is a value, or fails the test.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        pause();
    }
}

/// The interval of polling.
#[allow(clippy::disallowed_methods, reason = "a test has a thread of its own")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// A command line of the exporter: without the developer's environment, home and instance metadata.
pub struct Cli {
    command: Command,
    home: TempDir,
}

pub fn cli<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Cli {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_iam-key-exporter"));
    command.env_clear().env("HOME", home.path()).env("AWS_EC2_METADATA_DISABLED", "true").args(args);
    command.current_dir(home.path()).stdin(Stdio::null());
    Cli { command, home }
}

impl Cli {
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Uses this AWS, with credentials and a high request rate.
    pub fn aws(self, iam: &FakeIam) -> Self {
        self.credentials()
            .env("AWS_ENDPOINT_URL", iam.url())
            .env("IAM_KEY_EXPORTER_AWS_MAX_REQUESTS_PER_SECOND", "5000")
    }

    pub fn credentials(self) -> Self {
        self.env("AWS_ACCESS_KEY_ID", "AKIAFAKEFAKEFAKEFAKE").env("AWS_SECRET_ACCESS_KEY", "a-secret-that-is-none")
    }

    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// With this limit of open file descriptors (RLIMIT_NOFILE).
    pub fn descriptors(self, limit: u32) -> Self {
        self.through_shell(r#"ulimit -n "$0" && exec "$@""#, &limit.to_string(), Stdio::null())
    }

    /// With this socket as systemd passes it, by number and environment.
    pub fn activated(self, socket: OwnedFd) -> Self {
        let script = r#"LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&0 </dev/null"#;
        self.through_shell(script, "sh", socket.into())
    }

    fn through_shell(mut self, script: &str, argument: &str, stdin: Stdio) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, argument]).arg(self.command.get_program()).args(self.command.get_args());
        let set = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        shell.env_clear().envs(set).current_dir(self.home.path()).stdin(stdin);
        self.command = shell;
        self
    }

    /// As a user without privileges, if the tests run as root. The home then belongs to that user.
    pub fn without_privileges(mut self) -> Self {
        use std::os::unix::fs::chown;
        use std::os::unix::process::CommandExt;
        if rustix::process::geteuid().is_root() {
            // The directory of the build can be closed to other users.
            let program = self.home.path().join("program");
            std::fs::copy(self.command.get_program(), &program).unwrap();
            chown(self.home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            let mut command = Command::new(program);
            command.args(self.command.get_args()).env_clear().current_dir(self.home.path()).stdin(Stdio::null());
            command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.uid(NOBODY).gid(NOBODY);
            self.command = command;
        }
        self
    }

    /// Run by a shell script, which finds the command and its arguments in `"$@"`; the script itself by a command like
    /// `unshare`.
    pub fn wrapped(mut self, by: &[&str], script: &str) -> Self {
        let set = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let words = by
            .iter()
            .map(|word| OsString::from(*word))
            .chain(["/bin/sh", "-c", script, "sh", "env", "-i"].map(OsString::from));
        let settings = set.map(|(name, value)| [name, value].join(OsStr::new("=")));
        let command = std::iter::once(self.command.get_program()).chain(self.command.get_args()).map(OsStr::to_owned);
        let mut words = words.chain(settings).chain(command);
        let mut wrapped = Command::new(words.next().unwrap());
        wrapped.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        wrapped.current_dir(self.home.path()).stdin(Stdio::null());
        self.command = wrapped;
        self
    }

    /// A file in the directory that the command runs in, which is its home as well.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// To its end; a command that does not come to one is killed, and fails the test.
    pub fn run(&mut self) -> Ran {
        let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (drain(child.stdout.take().unwrap()), drain(child.stderr.take().unwrap()));
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("{:?} does not end", self.command.get_args().collect::<Vec<_>>());
            }
            pause();
        };
        Ran(Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() })
    }

    /// To its end, with standard error going to this file. The exit code and standard output.
    pub fn run_with_stderr(&mut self, path: &str) -> (i32, String) {
        let stderr = std::fs::File::options().append(true).open(path).unwrap();
        let mut child = self.command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = drain(child.stdout.take().unwrap());
        let status = child.wait().unwrap();
        (status.code().unwrap_or(-1), String::from_utf8(stdout.join().unwrap()).unwrap())
    }

    /// To its end, with standard output on a terminal that is so wide. What the terminal received.
    pub fn run_on_terminal(&mut self, columns: u16) -> String {
        let terminal = Terminal::open(columns);
        let slave = std::fs::File::options().read(true).write(true).open(&terminal.path).unwrap();
        let mut child = self.command.stdout(slave).stderr(Stdio::null()).spawn().unwrap();
        // The command keeps a handle, and with it the terminal open.
        self.command.stdout(Stdio::null());
        let received = terminal.receive();
        child.wait().unwrap();
        received
    }

    /// Starts `serve` on a free port of 127.0.0.1, and waits until the log contains the port.
    pub fn serve(self) -> Exporter {
        self.arg("--web.listen-address=127.0.0.1:0").serve_as_configured()
    }

    pub fn serve_as_configured(self) -> Exporter {
        let exporter = self.spawn();
        wait_until("the exporter to listen", || !exporter.addresses().is_empty() || exporter.has_ended());
        assert!(!exporter.addresses().is_empty(), "it does not serve:\n{}", exporter.log());
        exporter
    }

    /// Standard error goes to this pipe. The caller ends the process.
    pub fn spawn_with_stderr(&mut self, stderr: std::io::PipeWriter) -> Child {
        self.command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
    }

    pub fn spawn(mut self) -> Exporter {
        let mut child = self.command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let closed = Arc::new(AtomicBool::new(false));
        let close = Arc::clone(&closed);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if close.load(Ordering::Relaxed) {
                    break;
                }
                let mut log = lines.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        Exporter { child: Mutex::new(child), log, reader: Mutex::new(Some(reader)), closed, home: self.home }
    }
}

/// A terminal of its own.
pub struct Terminal {
    master: std::os::fd::OwnedFd,
    /// The device that programs write to.
    pub path: String,
}

impl Terminal {
    pub fn open(columns: u16) -> Terminal {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = rustix::termios::Winsize { ws_col: columns, ws_row: 50, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        Terminal { master, path }
    }

    /// Everything that is written until the last writer closes it.
    pub fn receive(&self) -> String {
        let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
        // Reading fails when the last writer has closed the terminal.
        while let Ok(n @ 1..) = rustix::io::read(&self.master, &mut chunk) {
            received.extend_from_slice(&chunk[..n]);
        }
        String::from_utf8(received).unwrap().replace("\r\n", "\n")
    }
}

/// Reads to the end, so that a full pipe blocks no process.
fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// `serve`, with a default check interval of a fifth of a second.
pub fn serve<S: AsRef<OsStr>>(iam: &FakeIam, args: impl IntoIterator<Item = S>) -> Exporter {
    cli(["serve"]).aws(iam).env("IAM_KEY_EXPORTER_CHECK_INTERVAL", "200ms").args(args).serve()
}

/// `check`, to its end.
pub fn check<S: AsRef<OsStr>>(iam: &FakeIam, args: impl IntoIterator<Item = S>) -> Ran {
    cli(["check"]).aws(iam).args(args).run()
}

/// A command that has ended.
pub struct Ran(Output);

impl Ran {
    pub fn code(&self) -> i32 {
        self.0.status.code().expect("it was not killed")
    }

    pub fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// Fails the test, showing everything, unless it ended so.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.stdout(), self.stderr());
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout()).unwrap_or_else(|e| panic!("{e}:\n{}\n{}", self.stdout(), self.stderr()))
    }
}

/// `serve`, running. It is killed with the test.
pub struct Exporter {
    child: Mutex<Child>,
    log: Arc<Mutex<String>>,
    reader: Mutex<Option<JoinHandle<()>>>,
    closed: Arc<AtomicBool>,
    home: TempDir,
}

impl Exporter {
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Log lines that contain this.
    pub fn logged(&self, text: &str) -> usize {
        self.log().lines().filter(|l| l.contains(text)).count()
    }

    /// Closes the pipe that the log is written to, at the next line.
    pub fn close_log(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            reader.join().unwrap();
        }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        let log = self.log();
        let listening = log.lines().filter(|l| l.contains("listening"));
        let value = |line: &str| {
            let text = line.split("address=").nth(1).and_then(|l| l.split_whitespace().next());
            let json = line.split("\"address\":\"").nth(1).and_then(|l| l.split('"').next());
            text.or(json)?.parse().ok()
        };
        listening.filter_map(value).collect()
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    pub fn get(&self, path: &str) -> Response {
        http::get(self.address(), path)
    }

    pub fn metrics(&self) -> Metrics {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200);
        Metrics::new(response.text())
    }

    /// Waits until a sample has this value.
    #[track_caller]
    pub fn wait_for_sample(&self, series: &str, value: f64) -> Metrics {
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let metrics = self.metrics();
            if metrics.value(series) == Some(value) {
                return metrics;
            }
            last = Some(metrics);
            pause();
        }
        let text = last.map(|m| m.without_help()).unwrap_or_default();
        panic!("{series} did not become {value}; log:\n{}\nmetrics:\n{text}", self.log());
    }

    /// Waits for a check that succeeded.
    #[track_caller]
    pub fn wait_for_success(&self) -> Metrics {
        self.wait_for_sample(r#"iam_key_exporter_account_up{account_id="123456789012"}"#, 1.0)
    }

    /// Waits until one more check has begun and ended than at this moment, failed or not.
    pub fn wait_for_another_check(&self) -> Metrics {
        let ended = |m: &Metrics| m.sum("iam_key_exporter_checks_total");
        // The check under way may have begun before: its end does not count.
        let enough = ended(&self.metrics()) + 2.0;
        wait_for("another check", || Some(self.metrics()).filter(|m| ended(m) >= enough))
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child().id().to_string();
        let sent = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub fn pid(&self) -> i32 {
        self.child().id().cast_signed()
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn has_ended(&self) -> bool {
        self.child().try_wait().unwrap().is_some()
    }

    /// Waits for the process to end; how, and after how long. The log is then whole.
    pub fn wait_for_end(&self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        let status = wait_for("the exporter to end", || self.child().try_wait().unwrap());
        let took = started.elapsed();
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            reader.join().unwrap();
        }
        (status, took)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
        drop(child);
        if std::thread::panicking() {
            eprintln!("--- log of the exporter ---\n{}", self.log());
        }
    }
}
