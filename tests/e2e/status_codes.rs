//! Requests that are refused, as bytes over a socket: the status, a text that says why, and an answer that arrives though
//! the server does not read the request to its end.

use crate::common::Account;
use crate::exporter::{Exporter, cli};
use crate::http::{Response, connect, read_to_end};
use std::io::{Read, Write};

fn exporter() -> Exporter {
    let command = cli(["serve", "--check.interval=1h", "--input.inventory=i.json"]);
    command.file("i.json", Account::example().inventory().to_string()).serve()
}

/// Sends all of it, or as much as is taken, and returns the answer.
#[track_caller]
fn answer(exporter: &Exporter, request: impl AsRef<[u8]>) -> Response {
    let mut stream = connect(exporter.address()).unwrap();
    let request = request.as_ref();
    let _ = stream.write_all(request);
    let start = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
    read_to_end(stream).unwrap_or_else(|e| panic!("{start}: {e}"))
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
}

#[test]
fn refusals_have_their_status_and_a_reason() {
    let exporter = exporter();
    let long = "x".repeat(200_000);
    let many: String = (0..100).map(|number| format!("X-{number}: v\r\n")).collect();
    let chunk = format!("4000\r\n{}\r\n", "y".repeat(0x4000));
    for (request, status, word) in [
        (get("/nowhere", ""), 404, "/metrics"),
        (get("/livez", "").replace("GET", "DELETE"), 405, "GET, HEAD"),
        (get("/-/reload", "").replace("GET", "POST"), 403, "--web.enable-lifecycle"),
        (get(&format!("/{long}"), ""), 414, "path too long"),
        (get(&format!("/livez?{long}"), ""), 414, "path too long"),
        (get("/livez", &format!("X-Large: {long}\r\n")), 431, "headers too large"),
        (get("/livez", &many), 431, "headers too large"),
        (get("/livez", &format!("Content-Length: 200000\r\n\r\n{long}")), 413, "body too large"),
        (get("/nowhere", "Content-Length: 99999999999\r\n"), 413, "body too large"),
        (
            get("/livez", &format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(2))),
            413,
            "body too large",
        ),
        (get("/livez", "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"), 400, "bad request"),
        ("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n".into(), 400, "Host"),
        ("GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n".into(), 400, "Host"),
        ("GET /livez HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n".into(), 400, "bad request"),
        ("GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".into(), 400, "bad request"),
        (
            "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello".into(),
            400,
            "bad request",
        ),
        ("\x16\x03\x01\x02 the beginning of TLS\r\n\r\n".into(), 400, "bad request"),
        ("nonsense\r\n\r\n".into(), 400, "bad request"),
    ] {
        let answer = answer(&exporter, &request);
        let start: String = request.chars().take(60).collect();
        assert_eq!(answer.status, status, "{start}: {answer:?}");
        assert!(answer.text().contains(word), "{start}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store", "{start}");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "{start}");
        assert_eq!(answer.header("allow").is_empty(), status != 405, "{start}");
        assert!(!answer.header("date").is_empty(), "{start}");
    }
    assert_eq!(exporter.get("/livez").status, 200);
}

/// What is sent after a request that was refused is not read. If that made the connection end with a reset, the answer
/// could be lost.
#[test]
fn a_refusal_arrives_however_much_is_sent() {
    let exporter = exporter();
    let long = "x".repeat(150_000);
    for (request, status) in [
        (get("/livez", &format!("X-Large: {long}\r\n")), 431),
        (get(&format!("/{long}"), ""), 414),
        (get("/livez", &format!("Content-Length: 150000\r\n\r\n{long}")), 413),
    ] {
        for _ in 0..30 {
            assert_eq!(answer(&exporter, &request).status, status);
        }
    }
}

/// HTTP/1.0 knows no header Host.
#[test]
fn an_old_client_is_served() {
    assert_eq!(answer(&exporter(), "GET /livez HTTP/1.0\r\n\r\n").status, 200);
}

#[test]
fn a_small_body_is_ignored_and_the_connection_serves_on() {
    let exporter = exporter();
    let mut stream = connect(exporter.address()).unwrap();
    let bodies = [
        "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        "GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
        format!("POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 16384\r\n\r\n{}", "x".repeat(16_384)),
        get("/livez", ""),
    ];
    for request in bodies {
        stream.write_all(request.as_bytes()).unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!((text.matches("HTTP/1.1 200").count(), text.matches("HTTP/1.1 405").count()), (3, 1), "{text}");
}

/// A client that asks before it sends a large body need not send it.
#[test]
fn a_large_body_is_refused_before_it_is_sent() {
    let exporter = exporter();
    let answer = answer(&exporter, get("/livez", "Expect: 100-continue\r\nContent-Length: 1000000\r\n"));
    assert_eq!(answer.status, 413);
}
