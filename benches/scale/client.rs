//! A minimal HTTP client for the exporter and the fake.

use anyhow::{Context as _, ensure};
use flate2::read::MultiGzDecoder;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The body of an answer with status 200.
pub fn get(port: u16, path: &str, gzip: bool) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let encoding = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n{encoding}\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("no end of the headers")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 200"), "{path}: {}", head.lines().next().unwrap_or_default());
    let length: Option<usize> =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let body = answer.split_off(end + 4);
    ensure!(length.is_none_or(|length| length == body.len()), "{path}: the answer is cut off");
    Ok(body)
}

/// Samples of a scrape.
pub struct Samples(String);

impl Samples {
    pub fn scrape(port: u16) -> anyhow::Result<Samples> {
        // Compressed, which costs the exporter least.
        let compressed = get(port, "/metrics", true)?;
        let mut text = String::new();
        MultiGzDecoder::new(compressed.as_slice()).read_to_string(&mut text)?;
        Ok(Samples(text))
    }

    /// The values of a metric with their labels.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then_some(())?;
            Some((labels, value.parse().ok()?))
        })
    }

    pub fn sum(&self, name: &str) -> f64 {
        self.of(name).map(|(_, value)| value).sum()
    }
}

/// Polls until there is a value.
#[allow(clippy::disallowed_methods, reason = "no runtime runs in this process")]
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    pause: Duration,
    mut poll: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = poll()? {
            return Ok(value);
        }
        ensure!(started.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(pause);
    }
}

/// Waits for a time.
#[allow(clippy::disallowed_methods, reason = "no runtime runs in this process")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
