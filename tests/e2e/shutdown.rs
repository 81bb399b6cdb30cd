//! SIGTERM and SIGINT: the first ends the process in good order, soon; the second at once.

use crate::common::{Account, FakeIam, Fault, On};
use crate::exporter::{Exporter, cli, serve, wait_until};
use crate::http;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

/// What a container runtime or a service manager is promised.
const SOON: Duration = Duration::from_secs(5);

fn ends_in_good_order(exporter: &Exporter, signal: &str) {
    exporter.signal(signal);
    let (status, took) = exporter.wait_for_end();
    assert_eq!(status.code(), Some(0), "{}", exporter.log());
    assert!(took < SOON, "it took {took:?}");
    assert_eq!(exporter.logged("stopped"), 1);
}

#[test]
fn sigterm_and_sigint_end_it() {
    for signal in ["TERM", "INT"] {
        let iam = FakeIam::start(Account::example());
        let exporter = serve(&iam, [""; 0]);
        exporter.wait_for_success();
        ends_in_good_order(&exporter, signal);
        assert!(http::try_request(exporter.address(), "GET", "/livez", &[]).is_err(), "the port is closed");
    }
}

/// Clients that are idle, slow to ask or slow to take keep nothing alive.
#[test]
fn sigterm_ends_it_whatever_clients_do() {
    let iam = FakeIam::start(Account::of_size(2000));
    let exporter = serve(&iam, ["--collector=report"]);
    exporter.wait_for_success();
    let idle = http::connect(exporter.address()).unwrap();
    let mut half_asked = http::connect(exporter.address()).unwrap();
    half_asked.write_all(b"GET /metrics HTT").unwrap();
    let mut takes_nothing = http::connect(exporter.address()).unwrap();
    for _ in 0..50 {
        takes_nothing.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    assert_eq!(exporter.get("/livez").status, 200);
    ends_in_good_order(&exporter, "TERM");
    drop((idle, half_asked, takes_nothing));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let iam = FakeIam::start(Account::of_size(2000));
    let exporter = serve(&iam, ["--collector=report"]);
    exporter.wait_for_success();
    // An answer that is not taken keeps the first signal busy, once it has filled what lies between the two.
    let mut takes_nothing = http::connect(exporter.address()).unwrap();
    for _ in 0..200 {
        takes_nothing.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    let (mut buffer, mut arrived, mut unchanged) = (vec![0; 64 << 20], 0, 0);
    wait_until("the answers to fill all buffers", || {
        let before = std::mem::replace(&mut arrived, takes_nothing.peek(&mut buffer).unwrap());
        exporter.get("/metrics");
        // Once is no proof on a busy machine.
        unchanged = if arrived > 100_000 && arrived == before { unchanged + 1 } else { 0 };
        unchanged >= 20
    });
    exporter.signal("TERM");
    wait_until("the first signal", || exporter.logged("stopping") == 1);
    assert!(!exporter.has_ended(), "there is nothing to cut short; the test means nothing");
    exporter.signal("TERM");
    let (status, took) = exporter.wait_for_end();
    assert!(status.code() == Some(130) || status.signal().is_some(), "{status}");
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    assert_eq!(exporter.logged("stopped"), 0, "{}", exporter.log());
}

#[test]
fn an_interrupted_check_writes_nothing() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("ListUsers"), Fault::Hang);
    let check = cli(["check", "--collector=live", "--output-file=out.prom", "--output=prometheus"]).aws(&iam);
    let check = check.file("out.prom", "old\n").spawn();
    wait_until("the call that hangs", || iam.calls_of("ListUsers") > 0);
    check.signal("TERM");
    let (status, _) = check.wait_for_end();
    assert_ne!(status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(check.home().join("out.prom")).unwrap(), "old\n");
}
