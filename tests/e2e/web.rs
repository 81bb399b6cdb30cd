//! HTTP as clients see it: methods, encodings, malformed requests, addresses.

use crate::common::{Account, FakeIam};
use crate::exporter::{Exporter, cli, serve, wait_until};
use crate::http::{self, connect, read_to_end, request, send_and_close, try_request};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

/// An account whose page is worth compressing; one check.
fn exporter(args: &[&str]) -> Exporter {
    let flags = ["serve", "--check.interval=1h", "--input.inventory=i.json"];
    let exporter = cli(flags).args(args).file("i.json", Account::of_size(300).inventory().to_string()).serve();
    exporter.wait_for_success();
    exporter
}

#[test]
fn methods_and_paths() {
    let exporter = exporter(&["--web.enable-lifecycle"]);
    let address = exporter.address();
    for path in ["/metrics", "/", "/livez", "/readyz", "/-/healthy", "/-/ready", "/metrics?name[]=x"] {
        let get = request(address, "GET", path, &[]);
        let head = request(address, "HEAD", path, &[]);
        assert_eq!((get.status, head.status), (200, 200), "{path}");
        assert!(!get.body.is_empty() && head.body.is_empty(), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert_eq!(get.header("content-length"), get.body.len().to_string(), "{path}");
        if !path.starts_with("/metrics") {
            assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let refused = request(address, method, path, &[]);
            assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"), "{method} {path}");
        }
    }
    let refused = request(address, "GET", "/-/reload", &[]);
    assert_eq!((refused.status, refused.header("allow")), (405, "POST, PUT"));
    for path in ["/nowhere", "/metrics/", "/-/", "/../etc/passwd", "/-/quit", "//metrics"] {
        assert_eq!(request(address, "GET", path, &[]).status, 404, "{path}");
    }
    assert_eq!(exporter.get("/metrics").header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let page = exporter.get("/").text();
    assert!(
        page.contains(env!("CARGO_PKG_VERSION")) && page.contains("href=\"/metrics\"") && page.contains("succeeded")
    );
}

#[test]
fn gzip_is_one_member_and_only_for_those_who_take_it() {
    let exporter = exporter(&[]);
    let plain = exporter.get("/metrics");
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "Accept-Encoding"));
    for accept in ["gzip", "gzip, deflate", "deflate;q=0.5, GZIP;q=0.8", "*"] {
        let packed = request(exporter.address(), "GET", "/metrics", &[("Accept-Encoding", accept)]);
        assert_eq!(packed.header("content-encoding"), "gzip", "{accept}");
        assert!(packed.body.len() * 5 < plain.body.len(), "{} of {}", packed.body.len(), plain.body.len());
        let mut decoder = flate2::bufread::GzDecoder::new(&packed.body[..]);
        let mut unpacked = String::new();
        decoder.read_to_string(&mut unpacked).unwrap();
        assert!(decoder.into_inner().is_empty(), "one member, and nothing after it: curl refuses more");
        let inventory = |text: String| crate::metrics::Metrics::new(text).inventory();
        assert_eq!(inventory(unpacked), inventory(plain.text()), "{accept}");
    }
    for accept in ["identity", "gzip;q=0", "br", "", "gzip;q=0.1, identity;q=0.9"] {
        let response = request(exporter.address(), "GET", "/metrics", &[("Accept-Encoding", accept)]);
        assert_eq!(response.header("content-encoding"), "", "{accept:?}");
    }
    let head = request(exporter.address(), "HEAD", "/metrics", &[("Accept-Encoding", "gzip")]);
    assert_eq!((head.status, head.header("content-encoding"), head.body.len()), (200, "gzip", 0));
}

#[test]
fn the_reported_sizes_are_the_sizes() {
    let exporter = exporter(&[]);
    let metrics = exporter.metrics();
    let size = |encoding| metrics.value(&format!(r#"iam_key_exporter_exposition_size_bytes{{encoding="{encoding}"}}"#));
    assert_eq!(size("identity"), Some(metrics.inventory().len() as f64));
    assert!(size("gzip").unwrap() * 5.0 < size("identity").unwrap());
}

#[test]
fn a_connection_serves_many_requests() {
    let exporter = exporter(&[]);
    let mut stream = connect(exporter.address()).unwrap();
    let ask = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", exporter.address());
    // Sent at once, answered in order.
    stream.write_all(ask.repeat(3).as_bytes()).unwrap();
    stream.write_all(ask.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 4, "{text}");
}

#[test]
fn what_is_too_large_or_no_http_is_refused_and_serving_goes_on() {
    let exporter = exporter(&[]);
    let long = "x".repeat(40_000);
    let large = try_request(exporter.address(), "GET", "/livez", &[("X-Large", &long)]);
    assert!(large.as_ref().map_or(true, |r| r.status == 431), "{large:?}");
    let many: Vec<(String, String)> = (0..200).map(|i| (format!("X-{i}"), "v".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let many = try_request(exporter.address(), "GET", "/livez", &many);
    assert!(many.as_ref().map_or(true, |r| r.status == 431), "{many:?}");
    let path = try_request(exporter.address(), "GET", &format!("/{long}"), &[]);
    assert!(path.as_ref().map_or(true, |r| r.status >= 400), "{path:?}");
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let answer = read_to_end(send_and_close(exporter.address(), nonsense));
        assert!(answer.as_ref().map_or(true, |r| r.status >= 400), "{nonsense:?}: {answer:?}");
    }
    assert_eq!(exporter.get("/livez").status, 200);
    // An unexpected body is not read to its end.
    let headers = [("Content-Length", "1000000000")];
    let mut stream = connect(exporter.address()).unwrap();
    write!(stream, "POST /metrics HTTP/1.1\r\nHost: x\r\n{}: {}\r\n\r\nsome", headers[0].0, headers[0].1).unwrap();
    assert_eq!(read_to_end(stream).unwrap().status, 413);
    assert_eq!(exporter.get("/livez").status, 200);
}

#[test]
fn it_listens_at_the_configured_addresses_on_ipv4_and_ipv6() {
    let iam = FakeIam::start(Account::example());
    let exporter = cli(["serve", "--web.listen-address=127.0.0.1:0", "--web.listen-address=[::1]:0"]).aws(&iam);
    let exporter = exporter.serve_as_configured();
    wait_until("two addresses", || exporter.addresses().len() == 2);
    for address in exporter.addresses() {
        assert_eq!(http::get(address, "/livez").status, 200, "{address}");
    }
    let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = exporter.addresses().into_iter().partition(SocketAddr::is_ipv4);
    assert_eq!((v4.len(), v6.len()), (1, 1));
}

#[test]
fn a_port_alone_is_every_interface_of_both_kinds() {
    let iam = FakeIam::start(Account::example());
    let exporter = cli(["serve", "--web.listen-address=:0"]).aws(&iam).serve_as_configured();
    let port = exporter.address().port();
    for address in [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))] {
        assert_eq!(http::get(address, "/livez").status, 200, "{address}");
    }
}

#[test]
fn a_port_that_is_taken_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let iam = FakeIam::start(Account::example());
    let ran = cli(["serve", &format!("--web.listen-address={address}")]).aws(&iam).run().expect(2);
    for word in ["--web.listen-address", &address, "in use"] {
        assert!(ran.stderr().contains(word), "{word} is not in {}", ran.stderr());
    }
    assert_eq!(iam.calls(), [], "AWS is not asked by a process that cannot serve");
    let ran = cli(["serve", "--web.listen-address=192.0.2.1:0"]).run().expect(2);
    assert!(ran.stderr().contains("192.0.2.1"), "{}", ran.stderr());
}

#[test]
fn many_scrapes_at_once() {
    let iam = FakeIam::start(Account::example());
    let exporter = serve(&iam, ["--collector=live", "--check.interval=20ms"]);
    let inventory = exporter.wait_for_success().inventory();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(exporter.metrics().inventory(), inventory, "whole at every moment, though checks go on");
                }
            });
        }
    });
}
