//! Basic authentication and the rate limit, from outside.

use super::client::basic;
use super::{HASHES, configure, serve, wait_for_log, web};
use crate::exporter::{Exporter, wait_until};
use crate::http::{self, Response, request};
use std::net::SocketAddr;

fn login(address: SocketAddr, name: &str, password: &str) -> u16 {
    request(address, "GET", "/-/healthy", &[("Authorization", &basic(name, password))]).status
}

#[test]
fn every_path_needs_authentication() {
    let exporter = serve(&HASHES);
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/livez", "/readyz", "/-/reload", "/nowhere"] {
        for method in ["GET", "HEAD", "POST", "BREW"] {
            let answer = request(exporter.address(), method, path, &[("Content-Length", "0")]);
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Basic"), "{method} {path}");
        }
    }
    for wrong in ["Basic", "Basic x", "Bearer abc", "Basic YWxpY2U=", ""] {
        let answer = request(exporter.address(), "GET", "/metrics", &[("Authorization", wrong)]);
        assert_eq!(answer.status, 401, "{wrong:?}");
    }
    assert_eq!(login(exporter.address(), "alice", "alice123"), 200);
    assert_eq!(exporter.logged("alice"), 0, "names are not logged: {}", exporter.log());
}

/// 150 right ones and as many wrong ones at once. Those that are wrong are refused or sent away, never let in.
#[test]
fn many_requests_with_right_and_wrong_passwords() {
    let exporter = web("serve").arg("--web.max-connections=1000").file("web.yml", HASHES.as_str()).serve();
    let address = exporter.address();
    assert_eq!((login(address, "alice", "alice123"), login(address, "alice", "alice1234")), (200, 401));
    std::thread::scope(|scope| {
        let right: Vec<_> = (0..150).map(|_| scope.spawn(move || login(address, "alice", "alice123"))).collect();
        let wrong: Vec<_> = (0..150).map(|_| scope.spawn(move || login(address, "alice", "alice1234"))).collect();
        for status in right {
            assert_eq!(status.join().unwrap(), 200);
        }
        for status in wrong {
            assert!(matches!(status.join().unwrap(), 401 | 429));
        }
    });
}

#[test]
fn there_is_no_password_of_unknown_users() {
    let exporter = serve(&HASHES);
    let hash = HASHES.lines().find_map(|line| line.strip_prefix("  alice: ")).unwrap();
    for (name, password) in [
        ("fakeuser", "fakepassword"),
        (&format!("alice{hash}"), "fakepassword"),
        ("alice", &format!("{hash}fakepassword")),
        ("alice", hash),
        ("", ""),
        ("alice", ""),
        ("alice", "bob123"),
    ] {
        for _ in 0..2 {
            assert_eq!(login(exporter.address(), name, password), 401, "{name} {password}");
        }
    }
}

/// From an address of this machine.
fn login_from(exporter: &Exporter, source: [u8; 4], name: &str, password: &str) -> Response {
    let mut stream = http::connect_from(source.into(), exporter.address(), 4096).unwrap();
    super::send(&mut stream, "GET", "/-/healthy", &[("Authorization", &basic(name, password))]).unwrap();
    http::read_to_end(stream).unwrap()
}

/// Comparisons that take a second or more each, from one address: others are served meanwhile.
#[test]
fn a_flood_of_wrong_passwords_delays_no_right_one() {
    let hash = bcrypt::hash("right", 4).unwrap();
    let slow = format!("$2y$13${}", &hash[7..]);
    // A refusal costs as much as the slow hash, of which the password is not known.
    let exporter = serve(&format!("basic_auth_users:\n  fast: {hash}\n  other: {hash}\n  slow: {slow}\n"));
    assert_eq!(login(exporter.address(), "fast", "right"), 200);
    std::thread::scope(|scope| {
        let flood: Vec<_> = (0..24)
            .map(|n| {
                scope.spawn({
                    let exporter = &exporter;
                    move || login_from(exporter, [127, 0, 0, 2], "slow", &format!("wrong{n}"))
                })
            })
            .collect();
        wait_until("the flood to be refused", || flood.iter().filter(|request| request.is_finished()).count() >= 12);
        for _ in 0..20 {
            assert_eq!(login(exporter.address(), "fast", "right"), 200);
            assert_eq!(login_from(&exporter, [127, 0, 0, 2], "fast", "right").status, 200, "known there as well");
        }
        assert_eq!(login_from(&exporter, [127, 0, 0, 3], "other", "right").status, 200, "its first request");
        let waiting = flood.iter().filter(|request| !request.is_finished()).count();
        assert!(waiting >= 4, "only {waiting} comparisons still wait, so nothing was shown");
        // The rest of the flood ends with the exporter.
        exporter.signal("KILL");
        let refused: Vec<_> = flood.into_iter().filter_map(|request| request.join().ok()).collect();
        assert!(refused.iter().all(|r| matches!(r.status, 401 | 429)));
        let at_once: Vec<_> = refused.iter().filter(|r| r.status == 429).collect();
        assert!(at_once.len() >= 12 && at_once.iter().all(|r| r.header("retry-after") == "5"));
    });
}

#[test]
fn the_rate_limit_is_before_authentication() {
    let exporter = serve(&format!("{}rate_limit: {{interval: 1h, burst: 2}}\n", *HASHES));
    assert_eq!(
        (login(exporter.address(), "alice", "wrong"), login(exporter.address(), "alice", "alice123")),
        (401, 200)
    );
    let limited = exporter.get("/metrics");
    assert_eq!((limited.status, limited.text().as_str()), (429, "Too Many Requests\n"));
    let retry: u32 = limited.header("retry-after").parse().unwrap();
    assert!((3000..=3600).contains(&retry), "{retry}");
    assert_eq!(login(exporter.address(), "alice", "alice123"), 429);
}

#[test]
fn limits_follow_a_reload() {
    let exporter = serve("rate_limit: {interval: 0, burst: 0}\n");
    assert!((0..20).all(|_| exporter.get("/metrics").status == 200));
    let limit = "rate_limit: {interval: 1h, burst: 2}\n";
    configure(&exporter, limit);
    wait_for_log(&exporter, "web configuration reloaded", 1);
    let statuses: Vec<_> = (0..4).map(|_| exporter.get("/metrics").status).collect();
    assert_eq!(statuses, [200, 200, 429, 429]);
    // The same limit: a reload does not fill the bucket.
    configure(&exporter, &format!("# changed\n{limit}"));
    wait_for_log(&exporter, "web configuration reloaded", 2);
    assert_eq!(exporter.get("/metrics").status, 429);
    configure(&exporter, "");
    wait_for_log(&exporter, "web configuration reloaded", 3);
    assert!((0..20).all(|_| exporter.get("/metrics").status == 200));
}
