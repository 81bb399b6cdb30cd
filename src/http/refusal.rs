//! What hyper answers by itself to a request that it cannot parse, completed.
//!
//! hyper answers without a body, and with 431 also where not the headers but the path is too long. Its answers do not
//! pass the routes, so they are recognised in the stream.

use super::connections::Connection;
use super::limits::{MAX_HEADER_BYTES, MAX_HEADERS};
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream on which HTTP/1 is served.
pub(super) struct Refusing<S> {
    stream: S,
    connection: Arc<Connection>,
    /// Bytes read since the last answer that are without the end of a line.
    first_line: Option<usize>,
    /// What is left to write of a completed answer.
    answer: Vec<u8>,
}

impl<S> Refusing<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>) -> Self {
        Refusing { stream, connection, first_line: Some(0), answer: Vec::new() }
    }

    /// Whether these bytes were an answer of hyper, which is then written in its completed form.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        if self.connection.is_busy() {
            self.first_line = Some(0);
            return false;
        }
        let long_line = self.first_line.is_some_and(|length| length >= MAX_HEADER_BYTES / 2);
        let Some(answer) = complete(bytes, long_line) else { return false };
        self.answer = answer;
        // The rest of the request is not read, and closing the connection would take the answer back.
        self.connection.set_lingers();
        true
    }
}

/// The answer with a text as its body; `None` if it is not an answer of hyper's own, all of which are errors of clients
/// without a body.
fn complete(bytes: &[u8], long_line: bool) -> Option<Vec<u8>> {
    let head = std::str::from_utf8(bytes).ok()?;
    let (status_line, headers) = head.split_once("\r\n")?;
    let (before, after) = headers.strip_suffix("\r\n\r\n").unwrap_or(headers).split_once("content-length: 0")?;
    if !head.ends_with("\r\n\r\n") || headers.contains("cache-control:") {
        return None;
    }
    let (status, text) = match status_line.strip_prefix("HTTP/1.1 ")?.get(..3)? {
        "431" if !long_line => {
            (status_line, format!("headers too large: a request has at most {MAX_HEADERS} headers and {} KiB", KIB))
        }
        "431" | "414" => ("HTTP/1.1 414 URI Too Long", format!("path too long: a request has at most {} KiB", KIB)),
        "400" => (status_line, "bad request: it is not HTTP/1.1".to_owned()),
        _ => return None,
    };
    let length = text.len() + 1;
    Some(
        format!(
            "{status}\r\n{before}content-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n\
             content-length: {length}{after}\r\n\r\n{text}\n"
        )
        .into_bytes(),
    )
}

const KIB: usize = MAX_HEADER_BYTES / 1024;

impl<S: AsyncRead + Unpin> AsyncRead for Refusing<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.first_line = self.first_line.filter(|_| !read.contains(&b'\n')).map(|length| length + read.len());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Refusing<S> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.answer.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.answer))?;
            if written == 0 {
                return Poll::Ready(Err(Error::from(ErrorKind::WriteZero)));
            }
            self.answer.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Refusing<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        ready!(self.poll_answer(cx))?;
        if self.takes(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        ready!(self.poll_answer(cx))?;
        if let [only] = slices
            && self.takes(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(head: &str, long_line: bool) -> Option<String> {
        complete(head.as_bytes(), long_line).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn answers_of_hyper_get_a_body_and_others_stay() {
        let rest = "\r\nconnection: close\r\ncontent-length: 0\r\ndate: Thu\r\n\r\n";
        let large = completed(&format!("HTTP/1.1 431 Request Header Fields Too Large{rest}"), false).unwrap();
        let (head, body) = large.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 ") && head.ends_with("\r\ndate: Thu"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        let long = completed(&format!("HTTP/1.1 431 Request Header Fields Too Large{rest}"), true).unwrap();
        assert!(long.starts_with("HTTP/1.1 414 URI Too Long\r\n") && long.contains("path too long"), "{long}");
        assert!(completed(&format!("HTTP/1.1 400 Bad Request{rest}"), true).unwrap().contains("bad request"));
        for other in [
            format!("HTTP/1.1 200 OK{rest}"),
            format!("HTTP/1.1 404 Not Found\r\ncache-control: no-store{rest}"),
            "HTTP/1.1 100 Continue\r\n\r\n".into(),
            "HTTP/1.1 400 is how a page begins".into(),
            String::new(),
        ] {
            assert_eq!(completed(&other, false), None, "{other}");
        }
    }
}
