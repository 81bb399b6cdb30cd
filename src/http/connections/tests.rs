use super::*;
use std::net::Ipv4Addr;
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

fn address(number: u8) -> Client {
    Client::Address(Ipv4Addr::new(192, 0, 2, number).into())
}

async fn acquired(connections: &Arc<Connections>, number: u8) -> Permit {
    connections.acquire(address(number)).await.expect("there is a place")
}

/// A connection that ends when it is evicted, as the server's does.
fn closes_when_evicted(permit: Permit) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { permit.evicted().await })
}

fn open(connections: &Connections) -> usize {
    lock(&connections.open).len()
}

fn idle(permit: &Permit) {
    permit.connection().request();
    permit.connection().answered();
    permit.connection().flushed();
}

#[tokio::test(start_paused = true)]
async fn silent_connections_are_evicted_at_once_and_before_idle_ones() {
    let connections = Connections::with_limit(3);
    let scraper = acquired(&connections, 1).await;
    idle(&scraper);
    let scraper = closes_when_evicted(scraper);
    advance(SECOND).await;
    let first = closes_when_evicted(acquired(&connections, 2).await);
    advance(SECOND).await;
    let second = closes_when_evicted(acquired(&connections, 3).await);
    let start = Instant::now();
    let newcomer = acquired(&connections, 4).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!((scraper.is_finished(), first.is_finished(), second.is_finished()), (false, true, false));
    newcomer.connection().request();
    let another = acquired(&connections, 5).await;
    another.connection().request();
    assert!(second.is_finished());
    let last = acquired(&connections, 6).await;
    assert!(scraper.is_finished(), "nothing else is left to evict");
    drop((newcomer, another, last));
    assert_eq!(open(&connections), 0);
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_is_waited_for() {
    let connections = Connections::with_limit(1);
    let busy = acquired(&connections, 1).await;
    let connection = busy.connection();
    connection.request();
    connection.answered();
    connection.writing();
    let busy = closes_when_evicted(busy);
    let mut newcomer = Box::pin(connections.acquire(address(2)));
    assert!(timeout(SECOND * 60, &mut newcomer).await.is_err());
    assert!(!busy.is_finished());
    connection.flushed();
    assert!(newcomer.await.is_some());
    assert!(busy.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_makes_room() {
    let connections = Connections::with_limit(1);
    let slow = acquired(&connections, 1).await;
    slow.connection().request();
    slow.connection().answered();
    closes_when_evicted(slow);
    let start = Instant::now();
    assert!(connections.acquire(address(2)).await.is_some());
    assert!((LONGEST_ANSWER..LONGEST_ANSWER + SECOND * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_has_a_limit_of_its_own() {
    let connections = Connections::with_limit(20);
    let mut busy = Vec::new();
    for _ in 0..9 {
        let permit = acquired(&connections, 1).await;
        permit.connection().request();
        busy.push(permit);
    }
    let silent = closes_when_evicted(acquired(&connections, 1).await);
    let other = acquired(&connections, 2).await;
    let newcomer = acquired(&connections, 1).await;
    assert!(silent.is_finished(), "the client's own connection is evicted, though there is room");
    newcomer.connection().request();
    assert!(connections.acquire(address(1)).await.is_none());
    assert!(connections.acquire(address(3)).await.is_some());
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn pipelined_answers_keep_a_connection_busy() {
    let connections = Connections::with_limit(1);
    let pipelining = acquired(&connections, 1).await;
    idle(&pipelining);
    pipelining.connection().writing();
    assert!(timeout(SECOND * 60, connections.acquire(address(2))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_descriptors_one_connection_is_evicted_at_a_time() {
    let connections = Connections::with_limit(10);
    for number in 0..4 {
        closes_when_evicted(acquired(&connections, number).await);
    }
    connections.make_room(SECOND).await;
    assert_eq!(open(&connections), 3);
    connections.make_room(SECOND).await;
    assert_eq!(open(&connections), 2);
}

#[tokio::test(start_paused = true)]
async fn no_other_connection_is_evicted_while_one_is_closing() {
    let connections = Connections::with_limit(2);
    let silent = closes_when_evicted(acquired(&connections, 1).await);
    let closing = acquired(&connections, 2).await;
    idle(&closing);
    closing.connection().closing();
    let mut newcomer = Box::pin(connections.acquire(address(3)));
    assert!(timeout(SECOND, &mut newcomer).await.is_err());
    drop(closing);
    assert!(newcomer.await.is_some());
    assert!(!silent.is_finished());
}

#[test]
fn limits() {
    assert_eq!(Connections::with_limit(128).limit_per_client, 64);
    assert_eq!(Connections::with_limit(9).limit_per_client, 8);
    assert_eq!(Connections::with_limit(2).limit_per_client, 2);
    assert_eq!(room(1024, 14), 754);
    assert_eq!(room(32, 12), 10);
    assert_eq!(room(8, 12), 1);
}

#[test]
fn an_ipv6_client_is_a_network() {
    let client = |text: &str| Client::of_address(text.parse().unwrap());
    assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
    assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
    assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
}
