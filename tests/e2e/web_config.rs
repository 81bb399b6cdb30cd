//! `--web.config.file`: TLS, client certificates, authentication, limits, headers, and their reload.

mod auth;
mod client;
mod pki;
mod reload;
mod toolkit;

use crate::exporter::{Cli, Exporter, cli, wait_until};
use crate::http;
use client::{Client, Offer, client, client_with, send};
use pki::{Authority, Identity, PKI, dns, self_signed};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use std::io::{Read, Write};
use std::sync::LazyLock;

const SERVER: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

/// Users by their names, each with the password NAME123.
static HASHES: LazyLock<String> = LazyLock::new(|| {
    let hash = |name: &str| format!("  {name}: {}\n", bcrypt::hash(format!("{name}123"), 4).unwrap());
    format!("basic_auth_users:\n{}", ["alice", "bob", "carol", "dave"].map(hash).concat())
});

/// With the certificates of [`PKI`] beside a web configuration that is still to be written.
fn web(subcommand: &str) -> Cli {
    cli([subcommand, "--demo", "--web.config.file=web.yml"])
        .file("server.crt", PKI.server.pem())
        .file("server.key", PKI.server.key_pem())
        .file("ca.crt", PKI.authority.pem())
        .file("client_selfsigned.pem", PKI.client_selfsigned.pem())
        .file("client2_selfsigned.pem", PKI.client2_selfsigned.pem())
}

fn serve(text: &str) -> Exporter {
    web("serve").file("web.yml", text).serve()
}

fn accepted(client: &Client, exporter: &Exporter) -> bool {
    client.status(exporter.address()).is_ok_and(|status| status == 200)
}

/// Each kind of client authentication with each kind of certificate, in both versions of TLS.
#[test]
fn kinds_of_client_authentication() {
    let other = Authority::new("other").client(&[]);
    let identities = [None, Some(&PKI.client_selfsigned), Some(&other), Some(&PKI.client)];
    for (kind, expected) in [
        ("NoClientCert", [true, true, true, true]),
        ("''", [true, true, true, true]),
        ("RequestClientCert", [true, true, true, true]),
        ("RequireAnyClientCert", [false, true, true, true]),
        ("RequireClientCert", [false, true, true, true]),
        ("VerifyClientCertIfGiven", [true, false, false, true]),
        ("RequireAndVerifyClientCert", [false, false, false, true]),
    ] {
        let ca = if kind == "NoClientCert" || kind == "''" { "" } else { "  client_ca_file: ca.crt\n" };
        let exporter = serve(&format!("{SERVER}  client_auth_type: {kind}\n{ca}"));
        for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
            let served = identities.map(|identity| {
                let client = Offer { identity, versions, ..Offer::default() }.client();
                accepted(&client, &exporter)
            });
            assert_eq!(served, expected, "{kind} {versions:?}");
        }
    }
}

/// Without a client CA no certificate is trusted, not even one of a public authority.
#[test]
fn without_a_client_ca_no_certificate_is_trusted() {
    let exporter = serve(&format!("{SERVER}  client_auth_type: VerifyClientCertIfGiven\n"));
    assert!(accepted(&client(), &exporter));
    assert!(!accepted(&client_with(&PKI.client), &exporter));
}

#[test]
fn a_client_certificate_has_to_be_valid_and_for_clients() {
    let client_auth = ExtendedKeyUsagePurpose::ClientAuth;
    let verified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file";
    let exporter = serve(&format!("{SERVER}{verified}: ca.crt\n"));
    let expired = PKI.authority.issue(&[], client_auth, 2020);
    let for_servers = PKI.authority.issue(&[], ExtendedKeyUsagePurpose::ServerAuth, 4000);
    for identity in [&expired, &for_servers, &PKI.server] {
        assert!(!accepted(&client_with(identity), &exporter));
    }
    // One that is trusted itself, too.
    let (expired, valid) = (self_signed(&[], 2020), self_signed(&[], 4000));
    let exporter = web("serve")
        .file("both.crt", expired.pem() + &valid.pem())
        .file("web.yml", format!("{SERVER}{verified}: both.crt\n"))
        .serve();
    assert!(!accepted(&client_with(&expired), &exporter) && accepted(&client_with(&valid), &exporter));
}

#[test]
fn names_of_all_kinds_are_allowed_and_others_are_not() {
    let uri = SanType::URI("spiffe://example.com/prometheus".try_into().unwrap());
    let mail = SanType::Rfc822Name("prometheus@example.com".try_into().unwrap());
    let names = [
        (dns("prometheus.example.com"), "prometheus.example.com"),
        (SanType::IpAddress([192, 0, 2, 1].into()), "192.0.2.1"),
        (SanType::IpAddress("2001:db8::1".parse().unwrap()), "2001:0db8:0::1"),
        (uri, "spiffe://example.com/prometheus"),
        (mail, "prometheus@example.com"),
    ];
    let verified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    for (index, (name, allowed)) in names.iter().enumerate() {
        let exporter = serve(&format!("{SERVER}{verified}  client_allowed_sans: [nothing, '{allowed}']\n"));
        for (other, (certified, _)) in names.iter().enumerate() {
            let client = client_with(&PKI.authority.client(&[dns("x"), certified.clone()]));
            assert_eq!(accepted(&client, &exporter), index == other, "{certified:?} where {name:?} is allowed");
        }
        let (unsigned, nameless) = (self_signed(std::slice::from_ref(name), 4000), PKI.authority.client(&[]));
        for identity in [&unsigned, &nameless] {
            assert!(!accepted(&client_with(identity), &exporter));
        }
    }
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_named() {
    let other = Authority::new("other").server(2090);
    let broken = PKI.server.pem().replace("MII", "!!!");
    for (file, content, error) in [
        (
            "server.crt",
            String::new(),
            "line 2 column 14: tls_server_config.cert_file: server.crt: none found; it must have at least one",
        ),
        ("server.crt", broken, "tls_server_config.cert_file: server.crt: "),
        (
            "server.crt",
            "-----BEGIN CERTIFICATE-----\naGk=\n-----END CERTIFICATE-----\n".into(),
            "server.crt: it is not an X.509 certificate",
        ),
        (
            "server.key",
            String::new(),
            "line 3 column 13: tls_server_config.key_file: server.key: none found; it must have one private key",
        ),
        (
            "server.key",
            other.key_pem(),
            "line 3 column 13: tls_server_config.key_file: server.key: the key does not fit the certificate",
        ),
        ("ca.crt", "nothing".into(), "line 5 column 19: tls_server_config.client_ca_file: ca.crt: none found"),
    ] {
        let text = format!("{SERVER}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n");
        for subcommand in ["serve", "verify-config"] {
            let ran = web(subcommand).file("web.yml", &text).file(file, &content).run().expect(2);
            assert!(ran.stderr().contains("web.yml: line") && ran.stderr().contains(error), "{}", ran.stderr());
        }
    }
}

#[test]
fn a_request_without_tls_is_answered_so_that_people_understand() {
    let exporter = serve(SERVER);
    let answer = exporter.get("/metrics");
    assert_eq!((answer.status, answer.text().as_str()), (400, "this server requires HTTPS, the request was HTTP\n"));
    // Other protocols get nothing, and nothing stops.
    for noise in [&b"\0\0\0"[..], &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3], &[0x80; 100]] {
        let mut answer = Vec::new();
        let _ = http::send_and_close(exporter.address(), noise).read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert!(accepted(&client(), &exporter));
    assert_eq!(exporter.logged("connection") + exporter.logged("TLS"), 0, "{}", exporter.log());
}

/// Handshakes that do not come to an end take no place from scrapes.
#[test]
fn unfinished_handshakes_are_evicted_for_new_connections() {
    let exporter = web("serve").arg("--web.max-connections=10").file("web.yml", SERVER).serve();
    let silent: Vec<_> = (0..30)
        .map(|number| {
            let mut stream = http::connect(exporter.address()).unwrap();
            // Half of them have begun a handshake.
            let _ = stream.write_all(&[0x16, 3, 1][..number % 2 * 3]);
            stream
        })
        .collect();
    for _ in 0..5 {
        assert!(accepted(&client(), &exporter));
    }
    drop(silent);
}

#[test]
fn unfinished_handshakes_do_not_delay_the_end() {
    let exporter = serve(SERVER);
    let silent = http::connect(exporter.address()).unwrap();
    assert!(accepted(&client(), &exporter), "connections are accepted in their order");
    exporter.signal("TERM");
    assert_eq!(exporter.wait_for_end().0.code(), Some(0));
    assert_eq!(exporter.logged("drain timeout"), 0, "{}", exporter.log());
    drop(silent);
}

#[test]
fn http_2_is_negotiated_unless_it_is_off() {
    let chosen = |exporter: &Exporter, alpn: &[&str]| {
        let mut connection = Offer { alpn, ..Offer::default() }.client().connect(exporter.address()).ok()?;
        connection.flush().unwrap();
        connection.conn.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap())
    };
    let exporter = serve(SERVER);
    assert_eq!(chosen(&exporter, &["h2", "http/1.1"]).as_deref(), Some("h2"));
    assert_eq!(chosen(&exporter, &["http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(chosen(&exporter, &[]), None);
    let responses = http2(&exporter, &Offer { alpn: &["h2"], ..Offer::default() }.client(), 3);
    assert_eq!(responses, [200; 3]);
    let off = serve(&format!("{SERVER}http_server_config: {{http2: false}}\n"));
    assert_eq!(chosen(&off, &["h2", "http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(chosen(&off, &["h2"]), None);
    // Without TLS there is none.
    let plain = serve("http_server_config: {http2: true}\n");
    let mut stream = http::connect(plain.address()).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
}

/// The statuses of this many requests at the same time on one connection with HTTP/2.
fn http2(exporter: &Exporter, client: &Client, requests: usize) -> Vec<u16> {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(exporter.address()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(client.config());
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let answers = (0..requests).map(|_| {
            let mut sender = sender.clone();
            async move {
                let request = hyper::Request::get("https://localhost/metrics").body(Empty::<bytes::Bytes>::new());
                let response = sender.send_request(request.unwrap()).await.unwrap();
                let status = response.status().as_u16();
                assert!(response.into_body().collect().await.unwrap().to_bytes().starts_with(b"# HELP"));
                status
            }
        });
        futures_util::future::join_all(answers).await
    })
}

#[test]
fn configured_headers_are_on_every_answer() {
    let headers = [
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "deny"),
        ("X-XSS-Protection", "1"),
        ("Content-Security-Policy", "default-src 'self' *.test.example.net"),
    ];
    let lines: String = headers.iter().map(|(name, value)| format!("    {name}: \"{value}\"\n")).collect();
    let exporter =
        serve(&format!("http_server_config:\n  headers:\n{lines}{}rate_limit: {{interval: 1h, burst: 4}}\n", *HASHES));
    let authorization = client::basic("alice", "alice123");
    let authorized = [("Authorization", authorization.as_str())];
    for (path, authorization, status) in [
        ("/metrics", &authorized[..], 200),
        ("/nowhere", &authorized, 404),
        ("/-/reload", &authorized, 403),
        ("/metrics", &[], 401),
        ("/metrics", &authorized, 429),
    ] {
        let answer = http::request(exporter.address(), "GET", path, authorization);
        assert_eq!(answer.status, status);
        for (name, value) in headers {
            assert_eq!(answer.header(&name.to_lowercase()), value, "{name} of {status}");
        }
    }
}

#[test]
fn the_connection_ends_properly() {
    let exporter = serve(SERVER);
    let mut stream = client().connect(exporter.address()).unwrap();
    send(&mut stream, "GET", "/metrics", &[]).unwrap();
    let mut answer = Vec::new();
    // An end without the closing alert would be an error: an answer that was cut off could not be told from a whole one.
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    exporter.signal("TERM");
    assert_eq!(exporter.wait_for_end().0.code(), Some(0));
}

/// Certificates of an identity in the files of the exporter.
fn install(exporter: &Exporter, identity: &Identity) {
    std::fs::write(exporter.home().join("server.crt"), identity.pem()).unwrap();
    std::fs::write(exporter.home().join("server.key"), identity.key_pem()).unwrap();
}

fn configure(exporter: &Exporter, text: &str) {
    std::fs::write(exporter.home().join("web.yml"), text).unwrap();
}

fn wait_for_log(exporter: &Exporter, text: &str, times: usize) {
    wait_until(text, || exporter.logged(text) >= times);
    assert_eq!(exporter.logged(text), times, "{}", exporter.log());
}
