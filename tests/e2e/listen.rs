//! Where it listens: Unix sockets, sockets of systemd, the address of probes, paths; and how `healthcheck` finds it.

use crate::common::{Account, FakeIam, Fault, On};
use crate::exporter::{Cli, Exporter, cli, unused_port, wait_until};
use crate::http::{self, get_from_socket};
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// Serves an inventory without AWS.
fn command<const N: usize>(args: [&str; N]) -> Cli {
    let command = cli(["serve", "--check.interval=1h", "--input.inventory=i.json"]).args(args);
    command.file("i.json", Account::example().inventory().to_string())
}

fn socket(command: &Cli) -> (PathBuf, String) {
    let path = command.home().join("web.sock");
    let flag = format!("--web.listen-address=unix://{}", path.display());
    (path, flag)
}

fn serve_at_socket(command: Cli, flag: &str) -> Exporter {
    let exporter = command.arg(flag).spawn();
    wait_until("the exporter to listen", || exporter.logged("listening") > 0 || exporter.has_ended());
    assert!(!exporter.has_ended(), "{}", exporter.log());
    exporter
}

#[test]
fn a_unix_socket_serves_and_is_removed_at_the_end() {
    let command = command([]);
    let (path, flag) = socket(&command);
    let exporter = serve_at_socket(command, &flag);
    assert_eq!(exporter.logged(&format!("address=unix://{}", path.display())), 1, "{}", exporter.log());
    assert_eq!(get_from_socket(&path, "/livez").status, 200);
    assert!(get_from_socket(&path, "/metrics").text().contains("iam_key_exporter_build_info"));
    let metadata = fs::symlink_metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    exporter.signal("TERM");
    assert_eq!(exporter.wait_for_end().0.code(), Some(0));
    assert!(!path.exists(), "the socket is removed");
}

#[test]
fn a_unix_socket_has_the_configured_mode() {
    let command = command([]);
    let (path, flag) = socket(&command);
    let _exporter = serve_at_socket(command, &format!("{flag}?mode=0600"));
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_socket_of_a_process_that_was_killed_is_replaced() {
    let command = command([]);
    let (path, flag) = socket(&command);
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "it is stale");
    let _exporter = serve_at_socket(command, &flag);
    assert_eq!(get_from_socket(&path, "/livez").status, 200);
}

#[test]
fn the_socket_of_a_living_process_is_not_replaced() {
    let first = command([]);
    let (path, flag) = socket(&first);
    let first = serve_at_socket(first, &flag);
    let ran = command([flag.as_str()]).run().expect(2);
    assert!(ran.stderr().contains("another process listens"), "{}", ran.stderr());
    assert_eq!(get_from_socket(&path, "/livez").status, 200, "the first one serves on");
    drop(first);
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let command = command([]).file("web.sock", "precious");
    let (path, flag) = socket(&command);
    let mut command = command.arg(flag);
    let ran = command.run().expect(2);
    for words in ["--web.listen-address", "not a socket", "web.sock"] {
        assert!(ran.stderr().contains(words), "{}", ran.stderr());
    }
    assert_eq!(fs::read_to_string(path).unwrap(), "precious");
}

/// What a later process has bound in its place is not this process's to remove.
#[test]
fn only_its_own_socket_is_removed() {
    let command = command([]);
    let (path, flag) = socket(&command);
    let exporter = serve_at_socket(command, &flag);
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    exporter.signal("TERM");
    exporter.wait_for_end();
    assert!(path.exists());
}

#[test]
fn a_directory_without_permission_is_a_clear_error() {
    let ran = command(["--web.listen-address=unix:///nowhere/web.sock"]).run().expect(2);
    assert!(ran.stderr().contains("unix:///nowhere/web.sock"), "{}", ran.stderr());
}

#[test]
fn systemd_passes_a_tcp_socket() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let exporter = command(["--web.systemd-socket"]).activated(OwnedFd::from(socket)).serve_as_configured();
    assert_eq!(exporter.addresses(), [address]);
    assert_eq!(exporter.get("/metrics").status, 200);
}

/// systemd owns the file of its socket: the next start gets the same socket.
#[test]
fn systemd_passes_a_unix_socket_and_keeps_it() {
    let command = command(["--web.systemd-socket"]);
    let path = command.home().join("systemd.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let exporter = command.activated(OwnedFd::from(socket)).spawn();
    wait_until("the exporter to listen", || exporter.logged("listening") > 0 || exporter.has_ended());
    assert_eq!(get_from_socket(&path, "/livez").status, 200);
    exporter.signal("TERM");
    exporter.wait_for_end();
    assert!(path.exists());
}

#[test]
fn sockets_of_systemd_that_are_missing_wrong_or_contradicted_are_clear_errors() {
    let ran = command(["--web.systemd-socket"]).run().expect(2);
    assert!(ran.stderr().contains("LISTEN_FDS"), "{}", ran.stderr());
    let file = fs::File::open("/dev/null").unwrap();
    let ran = command(["--web.systemd-socket"]).activated(OwnedFd::from(file)).run().expect(2);
    assert!(ran.stderr().contains("socket 1 of systemd"), "{}", ran.stderr());
    for args in [["--web.systemd-socket", "--web.listen-address=:0"], ["--web.systemd-socket", "--config.file=c.yaml"]]
    {
        let ran = command(args).file("c.yaml", "web: {listen_address: '127.0.0.1:0'}\n").run().expect(2);
        assert!(ran.stderr().contains("contradict"), "{}", ran.stderr());
    }
}

#[test]
fn the_address_of_probes_has_health_and_readiness_and_nothing_else() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::EVERYTHING, Fault::ACCESS_DENIED);
    let flags = ["serve", "--collector=live", "--web.probe-address=127.0.0.1:0", "--web.enable-lifecycle"];
    let exporter = cli(flags).aws(&iam).args(["--check.interval=100ms", "--web.route-prefix=/iam"]).serve();
    wait_until("the second address", || exporter.addresses().len() == 2);
    let probe = exporter.addresses()[1];
    for path in ["/-/healthy", "/livez"] {
        assert_eq!(http::get(probe, path).status, 200, "{path}");
    }
    assert_eq!(http::get(probe, "/readyz").status, 503);
    for path in ["/metrics", "/", "/-/reload", "/iam/metrics", "/iam/livez"] {
        assert_eq!(http::get(probe, path).status, 404, "{path}");
        assert_eq!(http::request(probe, "POST", path, &[]).status, 404, "{path}");
    }
    let refused = http::request(probe, "POST", "/livez", &[]);
    assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"));
    iam.heal();
    wait_until("readiness", || http::get(probe, "/-/ready").status == 200);
}

#[test]
fn a_prefix_applies_to_all_routes_and_links() {
    let flags = ["--web.external-url=https://example.org/keys/", "--web.enable-lifecycle"];
    let exporter = command(flags).serve();
    for (path, status) in [("/keys/metrics", 200), ("/keys/livez", 200), ("/keys", 200), ("/metrics", 404), ("/", 302)]
    {
        assert_eq!(exporter.get(path).status, status, "{path}");
    }
    assert_eq!(exporter.get("/").header("location"), "/keys/");
    assert_eq!(http::request(exporter.address(), "POST", "/keys/-/reload", &[]).status, 200);
    assert!(exporter.get("/keys/").text().contains(r#"href="/keys/metrics""#));
}

/// Behind a proxy that removes its own part of the path.
#[test]
fn links_can_have_another_prefix_than_routes() {
    let exporter = command(["--web.external-url=https://example.org/keys", "--web.route-prefix=/"]).serve();
    assert_eq!(exporter.get("/metrics").status, 200);
    assert!(exporter.get("/").text().contains(r#"href="/keys/metrics""#));
}

/// As the health check of an image: the environment and the file of `serve`, and nothing else.
#[test]
fn healthcheck_finds_the_exporter_by_the_same_configuration() {
    let home = tempfile::tempdir().unwrap();
    let socket = format!("unix://{}/s", home.path().display());
    for (listen, probe, prefix) in [
        (format!(":{}", unused_port()), None, None),
        (format!("127.0.0.1:{}", unused_port()), None, Some("/iam")),
        (socket.clone(), None, Some("/iam")),
        ("127.0.0.1:0".to_owned(), Some(format!(":{}", unused_port())), Some("/iam")),
        ("127.0.0.1:0".to_owned(), Some(socket), None),
    ] {
        let configured = |mut command: Cli| {
            command = command.env("IAM_KEY_EXPORTER_WEB_LISTEN_ADDRESS", &listen);
            if let Some(probe) = &probe {
                command = command.env("IAM_KEY_EXPORTER_WEB_PROBE_ADDRESS", probe);
            }
            let prefix = prefix.map_or(String::new(), |prefix| format!("web: {{ route_prefix: {prefix} }}\n"));
            command.file("c.yaml", prefix).env("IAM_KEY_EXPORTER_CONFIG_FILE", "c.yaml")
        };
        let exporter = configured(command([])).spawn();
        wait_until("the exporter to listen", || {
            exporter.logged("listening") > usize::from(probe.is_some()) || exporter.has_ended()
        });
        configured(cli(["healthcheck"])).run().expect(0);
        exporter.signal("TERM");
        exporter.wait_for_end();
        configured(cli(["healthcheck"])).run().expect(1);
    }
}

/// A file that became invalid after the start does not make a running exporter unhealthy.
#[test]
fn healthcheck_ignores_what_is_wrong_elsewhere_in_the_file() {
    let port = unused_port();
    let _exporter = command([&format!("--web.listen-address=127.0.0.1:{port}")]).serve_as_configured();
    let file = format!("web: {{ listen_address: ':{port}' }}\npolicy: {{ no_such_rule: {{}} }}\n");
    cli(["healthcheck", "--config.file=c.yaml"]).file("c.yaml", file).run().expect(0);
    let systemd = cli(["healthcheck", "--web.systemd-socket"]).run().expect(1);
    assert!(systemd.stderr().contains("--web.probe-address"), "{}", systemd.stderr());
}

/// With TLS, the plain address of probes is what a health check of the image can ask.
#[test]
fn healthcheck_of_a_protected_exporter_names_the_address_of_probes() {
    let port = unused_port();
    // Of "x", with the least cost.
    let users = "basic_auth_users: { x: $2b$04$8lTYfsWlRuJzNhHPKCsWxOmd4r0A3v8ZPJUqQWAFZR0tWnDWmM3iC }\n";
    let configured = |command: Cli| {
        let address = format!("127.0.0.1:{port}");
        command
            .file("web.yml", users)
            .env("IAM_KEY_EXPORTER_WEB_CONFIG_FILE", "web.yml")
            .env("IAM_KEY_EXPORTER_WEB_LISTEN_ADDRESS", address)
    };
    let _exporter = configured(command([])).serve_as_configured();
    let refused = configured(cli(["healthcheck"])).run().expect(1);
    for words in ["401", "--web.probe-address"] {
        assert!(refused.stderr().contains(words), "{}", refused.stderr());
    }
}
