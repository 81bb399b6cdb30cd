//! The web configuration and its files are reloaded when their content changes, and broken ones are not.

use super::client::{Client, Offer, Tls, basic, client, client_with, send};
use super::pki::{Authority, PKI};
use super::{HASHES, SERVER, accepted, configure, install, serve, wait_for_log, web};
use crate::exporter::{Exporter, cli, wait_until};
use crate::http::{self, request};
use crate::metrics::Metrics;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;

const SUCCESSFUL: &str = "iam_key_exporter_web_config_last_reload_successful";
const RELOADED_AT: &str = "iam_key_exporter_web_config_last_reload_success_timestamp_seconds";
const EXPIRES: &str = "iam_key_exporter_web_certificate_expiry_timestamp_seconds";
const KEPT: &str = "web configuration not reloaded, the previous one stays in effect";

fn year(year: i32) -> f64 {
    let date = jiff::civil::date(year as i16, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    date.timestamp().as_second() as f64
}

fn metrics(exporter: &Exporter) -> Metrics {
    client().metrics(exporter.address())
}

/// As Kubernetes mounts a Secret: files are links into a directory that is a link itself, and that one is replaced.
#[test]
fn certificates_are_reloaded_when_a_symbolic_link_changes() {
    let command = cli(["serve", "--demo", "--web.config.file=mount/web.yml"]);
    let home = command.home().to_owned();
    let mount = home.join("mount");
    std::fs::create_dir(&mount).unwrap();
    let version = |name: &str, certificate: &str, key: &str| {
        std::fs::create_dir(mount.join(name)).unwrap();
        for (file, content) in [("web.yml", SERVER), ("server.crt", certificate), ("server.key", key)] {
            std::fs::write(mount.join(name).join(file), content).unwrap();
        }
        symlink(name, mount.join("..new")).unwrap();
        std::fs::rename(mount.join("..new"), mount.join("..data")).unwrap();
    };
    version("..1", &PKI.server.pem(), &PKI.server.key_pem());
    for file in ["web.yml", "server.crt", "server.key"] {
        symlink(format!("..data/{file}"), mount.join(file)).unwrap();
    }
    let exporter = command.serve();
    let first = metrics(&exporter);
    assert_eq!((first.value(SUCCESSFUL), first.value(EXPIRES)), (Some(1.0), Some(year(2090))));

    let renewed = PKI.authority.server(2091);
    version("..2", &renewed.pem(), &renewed.key_pem());
    wait_for_log(&exporter, "web configuration reloaded", 1);
    let second = metrics(&exporter);
    assert_eq!((second.value(SUCCESSFUL), second.value(EXPIRES)), (Some(1.0), Some(year(2091))));
    assert!(second.value(RELOADED_AT) > first.value(RELOADED_AT));
    let shown = client().connect(exporter.address()).unwrap();
    assert_eq!(shown.conn.peer_certificates().unwrap()[0], *renewed.certificate.der());

    // A key that does not fit: the old pair stays, and that is logged once.
    version("..3", &PKI.server.pem(), &renewed.key_pem());
    wait_for_log(&exporter, KEPT, 1);
    assert_eq!(exporter.logged("the key does not fit the certificate"), 1);
    let third = metrics(&exporter);
    assert_eq!((third.value(SUCCESSFUL), third.value(EXPIRES)), (Some(0.0), Some(year(2091))));
    assert_eq!(third.value(RELOADED_AT), second.value(RELOADED_AT), "the time of the last success");
    // The link is missing for a while: another reason, logged once.
    std::fs::remove_file(mount.join("..data")).unwrap();
    wait_for_log(&exporter, KEPT, 2);
    assert!(accepted(&client(), &exporter));
    symlink("..1", mount.join("..data")).unwrap();
    wait_for_log(&exporter, "web configuration reloaded", 2);
    assert_eq!(metrics(&exporter).value(EXPIRES), Some(year(2090)));
    assert_eq!(exporter.logged(KEPT), 2, "{}", exporter.log());
}

#[test]
fn a_broken_file_keeps_the_old_one_and_a_signal_reports_it() {
    let command = web("serve").arg("--web.enable-lifecycle").file("web.yml", HASHES.as_str());
    let exporter = command.serve();
    let login = basic("alice", "alice123");
    let authorized = [("Content-Length", "0"), ("Authorization", login.as_str())];
    let reload = || request(exporter.address(), "POST", "/-/reload", &authorized);
    assert_eq!((reload().status, reload().text().as_str()), (200, "configuration reloaded\n"));
    assert_eq!(request(exporter.address(), "POST", "/-/reload", &[("Content-Length", "0")]).status, 401);
    for broken in ["basic_auth_users: [\n", "nonsense: 1\n", "basic_auth_users: {alice: secret-word}\n"] {
        configure(&exporter, broken);
        let answer = reload();
        assert_eq!(answer.status, 500, "{broken}");
        assert_eq!(
            answer.text(),
            "configuration not reloaded: the web configuration is invalid; the log has the details\n"
        );
        assert_eq!(request(exporter.address(), "GET", "/", &[]).status, 401, "{broken}");
    }
    assert_eq!(exporter.logged("secret-word"), 0, "{}", exporter.log());
    let metrics = Metrics::new(request(exporter.address(), "GET", "/metrics", &authorized).text());
    assert_eq!(metrics.value(SUCCESSFUL), Some(0.0));
    assert_eq!(metrics.value(EXPIRES), None, "there is no certificate");
    assert_eq!(metrics.value("iam_key_exporter_config_last_reload_successful"), Some(1.0), "the other file is valid");
    // The old content again.
    configure(&exporter, &HASHES);
    wait_for_log(&exporter, "web configuration is again the one in effect", 1);
    let metrics = Metrics::new(request(exporter.address(), "GET", "/metrics", &authorized).text());
    assert_eq!(metrics.value(SUCCESSFUL), Some(1.0));
}

/// A file that is truncated before it is written, a mistake: the server does not open.
#[test]
fn a_reload_does_not_turn_off_protection() {
    let verified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let names = "  client_allowed_sans: [client]\n";
    let exporter = serve(&format!("{SERVER}{verified}{names}{}", *HASHES));
    let authorized = client_with(&PKI.client);
    let status = |client: &Client, header: &[(&str, &str)]| {
        client.request(exporter.address(), "/metrics", header).map(|answer| answer.status).ok()
    };
    let login = basic("alice", "alice123");
    for (times, (weaker, lost)) in (1..).zip([
        (String::new(), "without TLS"),
        (format!("{SERVER}{verified}{names}"), "without basic_auth_users"),
        (format!("{SERVER}{verified}{}", *HASHES), "without client_allowed_sans"),
        (HASHES.clone(), "without TLS"),
        (format!("{SERVER}{}", *HASHES), "without the requirement of client certificates"),
        (
            format!("{SERVER}  client_auth_type: RequireAnyClientCert\n{}", *HASHES),
            "without the verification of client certificates",
        ),
    ]) {
        configure(&exporter, &weaker);
        wait_for_log(&exporter, KEPT, times);
        assert!(exporter.log().lines().last().unwrap().contains(lost), "{}", exporter.log());
        assert_eq!(status(&authorized, &[]), Some(401), "{weaker}");
        assert_eq!(status(&client(), &[("Authorization", &login)]), None, "{weaker}");
        assert_eq!(status(&authorized, &[("Authorization", &login)]), Some(200), "{weaker}");
    }
    // A restart does.
    exporter.signal("TERM");
    exporter.wait_for_end();
    assert_eq!(serve("").get("/metrics").status, 200);
}

#[test]
fn users_change_with_a_reload() {
    let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
    let kept = hash("kept");
    let exporter = serve(&format!("basic_auth_users:\n  alice: {}\n  bob: {kept}\n", hash("old")));
    let login = |name: &str, password: &str| {
        request(exporter.address(), "GET", "/", &[("Authorization", &basic(name, password))]).status
    };
    assert_eq!([login("alice", "old"), login("bob", "kept"), login("carol", "new")], [200, 200, 401]);
    configure(&exporter, &format!("basic_auth_users:\n  alice: {}\n  carol: {}\n", hash("new"), hash("new")));
    wait_for_log(&exporter, "web configuration reloaded", 1);
    let after = [login("alice", "old"), login("alice", "new"), login("bob", "kept"), login("carol", "new")];
    assert_eq!(after, [401, 200, 401, 200]);
}

/// One request that leaves the connection open.
fn ask(stream: &mut Tls) -> std::io::Result<u16> {
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !answer.ends_with(b"healthy\n") {
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => answer.extend_from_slice(&chunk[..n]),
        }
    }
    Ok(String::from_utf8_lossy(&answer)[9..12].parse().unwrap())
}

/// The old client has open connections and TLS sessions. It has nothing of them after the change.
#[test]
fn nothing_of_a_client_survives_a_change_of_the_client_ca() {
    let new = Authority::new("new authority");
    let verified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let exporter = serve(&format!("{SERVER}{verified}"));
        let old = Offer { identity: Some(&PKI.client), versions, ..Offer::default() }.client();
        assert!(accepted(&old, &exporter));
        let mut open = old.connect(exporter.address()).unwrap();
        assert_eq!(ask(&mut open).unwrap(), 200);
        assert_eq!(open.conn.handshake_kind(), Some(rustls::HandshakeKind::Resumed), "sessions are resumed before");
        std::fs::write(exporter.home().join("ca.crt"), new.pem()).unwrap();
        wait_for_log(&exporter, "web configuration reloaded", 1);
        let closed = open.read(&mut [0; 100]).map_or(true, |read| read == 0);
        assert!(closed, "the open connection is closed by the server");
        for _ in 0..3 {
            assert!(!accepted(&old, &exporter), "{versions:?}");
        }
        let identity = new.client(&[]);
        let allowed = Offer { identity: Some(&identity), versions, ..Offer::default() }.client();
        assert!(accepted(&allowed, &exporter));
    }
}

/// A renewed certificate needs no new connections.
#[test]
fn a_renewed_certificate_closes_nothing() {
    let exporter = serve(SERVER);
    let mut open = client().connect(exporter.address()).unwrap();
    assert_eq!(ask(&mut open).unwrap(), 200);
    install(&exporter, &PKI.authority.server(2091));
    wait_for_log(&exporter, "web configuration reloaded", 1);
    assert_eq!(ask(&mut open).unwrap(), 200);
    assert_eq!(metrics(&exporter).value(EXPIRES), Some(year(2091)));
}

/// TLS can be turned on by a reload. Connections without it are closed.
#[test]
fn tls_is_turned_on_by_a_reload() {
    let exporter = serve("");
    let mut open = http::connect(exporter.address()).unwrap();
    open.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    open.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    configure(&exporter, SERVER);
    wait_for_log(&exporter, "web configuration reloaded", 1);
    open.read_to_end(&mut Vec::new()).unwrap();
    assert!(accepted(&client(), &exporter));
    assert_eq!(exporter.get("/metrics").status, 400);
}

/// A FIFO is not read, a file that is too large neither, and scrapes go on.
#[test]
fn files_of_other_kinds_are_refused() {
    let exporter = serve(&format!("{SERVER}{}", *HASHES));
    let path = exporter.home().join("server.crt");
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    wait_for_log(&exporter, KEPT, 1);
    assert_eq!(exporter.logged("it is not a regular file"), 1);
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    wait_until("the size", || exporter.logged("it is larger than 1 MiB") == 1);
    let mut stream = client().connect(exporter.address()).unwrap();
    send(&mut stream, "GET", "/metrics", &[]).unwrap();
    assert_eq!(http::read_to_end(stream).unwrap().status, 401);
}
