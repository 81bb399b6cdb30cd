//! Limits of connections: idle, silent and slow clients do not keep scrapes and probes out.

use crate::common::{Account, FakeIam};
use crate::exporter::{Exporter, cli, wait_until};
use crate::http::{self, connect, connect_from};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};

const ANY_SIZE: u32 = 1 << 20;

fn exporter(args: &[&str]) -> Exporter {
    exporter_of_size(300, args)
}

/// One check, of an account with so many users.
fn exporter_of_size(users: usize, args: &[&str]) -> Exporter {
    let flags = ["serve", "--check.interval=1h", "--input.inventory=i.json"];
    let exporter = cli(flags).args(args).file("i.json", Account::of_size(users).inventory().to_string()).serve();
    exporter.wait_for_success();
    exporter
}

/// One of the many addresses of the loopback interface.
fn client(number: u8) -> IpAddr {
    IpAddr::from([127, 0, 1, number])
}

fn ask(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
}

/// Asks for a short answer, and takes it whole.
#[track_caller]
fn answered(stream: &mut TcpStream) {
    ask(stream, "/livez");
    let mut buffer = [0; 1024];
    let read = stream.read(&mut buffer).unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..read]));
}

/// One fewer than the limit: some send nothing, some a part of a request, some take no answer.
#[test]
fn slow_and_idle_clients_keep_no_request_waiting() {
    let exporter = exporter(&["--web.max-connections=9"]);
    let mut held: Vec<TcpStream> = (0..8).map(|_| connect(exporter.address()).unwrap()).collect();
    for stream in &mut held[2..5] {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    }
    for stream in &mut held[5..] {
        for _ in 0..100 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        }
    }
    for _ in 0..20 {
        assert_eq!(exporter.get("/metrics").status, 200);
        assert_eq!(exporter.get("/livez").status, 200);
    }
}

/// Which one is a matter of the unit tests: the exporter can note the end of an answer after the client has taken it.
#[test]
fn at_the_limit_one_idle_connection_is_evicted() {
    let exporter = exporter(&["--web.max-connections=2"]);
    let (mut first, mut second) = (connect(exporter.address()).unwrap(), connect(exporter.address()).unwrap());
    answered(&mut first);
    answered(&mut second);
    let mut third = connect(exporter.address()).unwrap();
    answered(&mut third);
    let serves = |stream: &mut TcpStream| {
        let asked = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        asked.and_then(|()| stream.read(&mut [0; 1024])).is_ok_and(|read| read > 0)
    };
    assert_eq!([&mut first, &mut second].into_iter().filter_map(|s| serves(s).then_some(())).count(), 1);
    answered(&mut third);
}

/// A hundred idle connections with a limit of two: every request is answered.
#[test]
fn more_idle_clients_than_the_limit_keep_no_request_waiting() {
    let exporter = exporter(&["--web.max-connections=2"]);
    let idle: Vec<TcpStream> = (0..100).map(|_| connect(exporter.address()).unwrap()).collect();
    for _ in 0..20 {
        assert_eq!(exporter.get("/metrics").status, 200);
    }
    drop(idle);
}

#[test]
fn silent_connections_of_one_client_keep_no_scrape_and_no_probe_waiting() {
    let exporter = exporter(&[]);
    let silent: Vec<TcpStream> = (0..400).map(|_| connect(exporter.address()).unwrap()).collect();
    for _ in 0..5 {
        assert_eq!(exporter.get("/livez").status, 200);
        let metrics = exporter.metrics();
        let open = metrics.value("process_open_fds").unwrap();
        assert!(open < 110.0, "one client holds {open} descriptors");
    }
    drop(silent);
}

/// What a scraper holds open between two scrapes is not for strangers to take.
#[test]
fn silent_connections_of_many_clients_take_no_room_from_those_that_ask() {
    let exporter = exporter(&[]);
    let mut scraper = connect_from(client(1), exporter.address(), ANY_SIZE).unwrap();
    answered(&mut scraper);
    let mut silent = Vec::new();
    for number in 2..=250 {
        for _ in 0..2 {
            silent.push(connect_from(client(number), exporter.address(), ANY_SIZE).unwrap());
        }
        if number % 50 == 0 {
            assert_eq!(exporter.get("/livez").status, 200);
            answered(&mut scraper);
        }
    }
    assert_eq!(exporter.get("/metrics").status, 200);
    answered(&mut scraper);
    drop(silent);
}

/// One client takes none of its answers; others are served.
#[test]
fn a_client_that_takes_no_answers_keeps_no_other_client_out() {
    let exporter = exporter_of_size(10_000, &["--web.max-connections=16", "--metrics.users=all"]);
    let slow: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = connect_from(client(1), exporter.address(), 4096).unwrap();
            // At the client's limit the connection is closed, which may show here already.
            let _ = write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            stream
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(exporter.get("/livez").status, 200);
        assert_eq!(exporter.get("/metrics").status, 200);
    }
    drop(slow);
}

#[test]
fn an_answer_that_is_being_taken_is_not_cut_under_pressure() {
    let exporter = exporter_of_size(20_000, &["--web.max-connections=4"]);
    let mut slow = connect_from(client(1), exporter.address(), 4096).unwrap();
    write!(slow, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut begin = [0; 1000];
    slow.read_exact(&mut begin).unwrap();
    let others: Vec<TcpStream> = (0..40).map(|_| connect(exporter.address()).unwrap()).collect();
    for _ in 0..20 {
        assert_eq!(exporter.get("/livez").status, 200);
    }
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    let text = String::from_utf8_lossy(&begin).into_owned();
    let length: usize = text.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
    let head = text.find("\r\n\r\n").unwrap() + 4;
    assert!(length > 6_000_000, "{length} bytes fit into the kernel's buffers; the test means nothing");
    assert_eq!(begin.len() + rest.len() - head, length);
    drop(others);
}

/// Standard streams, sockets of the runtime and of AWS take their share of 32.
#[test]
fn connections_are_bounded_by_the_limit_of_descriptors() {
    let flags = ["serve", "--check.interval=1h", "--input.inventory=i.json"];
    let exporter = cli(flags).file("i.json", Account::of_size(300).inventory().to_string()).descriptors(32).serve();
    exporter.wait_for_success();
    let silent: Vec<TcpStream> = (0..100).map(|_| connect(exporter.address()).unwrap()).collect();
    for _ in 0..20 {
        assert_eq!(exporter.get("/livez").status, 200);
        assert!(exporter.metrics().value("process_open_fds").is_some(), "descriptors are left for other uses");
    }
    assert_eq!((exporter.logged("WARN"), exporter.logged("descriptor")), (1, 1), "{}", exporter.log());
    drop(silent);
}

/// Other parts of the process can use descriptors up, too.
#[test]
fn when_descriptors_run_out_idle_connections_are_evicted() {
    let exporter = exporter(&[]);
    let silent: Vec<TcpStream> = (0..40).map(|_| connect(exporter.address()).unwrap()).collect();
    let open = exporter.metrics().value("process_open_fds").unwrap() as u64;
    let pid = Pid::from_raw(exporter.pid()).unwrap();
    let limit = Rlimit { current: Some(open - 5), maximum: getrlimit(Resource::Nofile).maximum };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    for _ in 0..20 {
        assert_eq!(exporter.get("/livez").status, 200);
        assert_eq!(exporter.get("/metrics").status, 200);
    }
    wait_until("the warning", || exporter.logged("descriptor") > 0);
    assert_eq!((exporter.logged("WARN"), exporter.logged("descriptor")), (1, 1), "{}", exporter.log());
    drop(silent);
}

/// Scrapes, probes and checks go on while a flood of connections holds every descriptor that it can get, and afterwards.
#[test]
fn with_64_descriptors_it_serves_checks_and_recovers() {
    let iam = FakeIam::start(Account::of_size(60));
    let command = cli(["serve", "--collector=live", "--check.interval=200ms", "--web.probe-address=127.0.0.1:0"]);
    let exporter = command.aws(&iam).descriptors(64).serve();
    wait_until("the address of probes", || exporter.addresses().len() == 2);
    let (main, probe) = (exporter.address(), exporter.addresses()[1]);
    exporter.wait_for_success();
    for round in 0..2 {
        let mut flood = Vec::new();
        for number in 1..=60 {
            for address in [main, main, main, probe] {
                let mut stream = connect_from(client(number), address, ANY_SIZE).unwrap();
                // A part of them sends the beginning of a request. An evicted one may be closed already.
                if number % 2 == 0 {
                    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ");
                }
                flood.push(stream);
            }
            if number % 20 == 0 {
                assert_eq!(http::get(main, "/livez").status, 200);
                assert_eq!(http::get(probe, "/readyz").status, 200);
            }
        }
        let metrics = exporter.wait_for_another_check();
        assert_eq!(metrics.sum("iam_key_exporter_account_up"), 1.0, "round {round}: {}", exporter.log());
        assert_eq!(metrics.sum("iam_key_exporter_check_failures_total"), 0.0, "round {round}: {}", exporter.log());
        assert!(metrics.value("process_open_fds").unwrap() < 64.0);
        drop(flood);
        exporter.wait_for_another_check();
    }
    assert_eq!(exporter.logged("cannot accept"), 0, "there were always descriptors left: {}", exporter.log());
}
