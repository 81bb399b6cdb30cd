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

/// A request whose answer is being written.
fn answering(permit: &Permit) -> InFlight {
    let request = permit.connection().request().expect("few requests are in flight");
    permit.connection().writing();
    request
}

fn idle(permit: &Permit) {
    drop(answering(permit));
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
    let _first_request = newcomer.connection().request();
    let another = acquired(&connections, 5).await;
    let _second_request = another.connection().request();
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
    let request = answering(&busy);
    let busy = closes_when_evicted(busy);
    let mut newcomer = Box::pin(connections.acquire(address(2)));
    assert!(timeout(SECOND * 60, &mut newcomer).await.is_err());
    assert!(!busy.is_finished());
    drop(request);
    assert!(timeout(SECOND, &mut newcomer).await.is_err(), "the last bytes are not written");
    connection.flushed();
    assert!(newcomer.await.is_some());
    assert!(busy.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_makes_room() {
    let connections = Connections::with_limit(1);
    let slow = acquired(&connections, 1).await;
    let _request = answering(&slow);
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
        let request = permit.connection().request();
        busy.push((permit, request));
    }
    let silent = closes_when_evicted(acquired(&connections, 1).await);
    let other = acquired(&connections, 2).await;
    let newcomer = acquired(&connections, 1).await;
    assert!(silent.is_finished(), "the client's own connection is evicted, though there is room");
    let _request = newcomer.connection().request();
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
    let evicted = acquired(&connections, 2).await;
    idle(&evicted);
    // It is told once, and ends later.
    evicted.connection().finished();
    let mut newcomer = Box::pin(connections.acquire(address(3)));
    assert!(timeout(SECOND, &mut newcomer).await.is_err());
    drop(evicted);
    assert!(newcomer.await.is_some());
    assert!(!silent.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_for_its_client_to_close_makes_room_first() {
    let connections = Connections::with_limit(2);
    let silent = closes_when_evicted(acquired(&connections, 1).await);
    advance(SECOND).await;
    let lingering = acquired(&connections, 2).await;
    lingering.connection().finished();
    let lingering = closes_when_evicted(lingering);
    let start = Instant::now();
    assert!(connections.acquire(address(3)).await.is_some());
    assert_eq!((start.elapsed(), lingering.is_finished(), silent.is_finished()), (Duration::ZERO, true, false));
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_are_limited_like_connections() {
    let connections = Connections::with_limit(20);
    let (first, second) = (acquired(&connections, 1).await, acquired(&connections, 2).await);
    let mut requests: Vec<InFlight> = (0..10).map(|_| first.connection().request().unwrap()).collect();
    assert!(first.connection().request().is_none(), "one client has half of them");
    requests.extend((0..10).map(|_| second.connection().request().unwrap()));
    let third = acquired(&connections, 3).await;
    assert!(third.connection().request().is_none(), "there are no more in all");
    requests.remove(0);
    assert!(third.connection().request().is_some());
    drop(requests);
    assert!(lock(&connections.in_flight).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_overdue_from_its_oldest_request_on() {
    let connections = Connections::with_limit(2);
    let permit = acquired(&connections, 1).await;
    let connection = permit.connection();
    let start = Instant::now();
    let watch = tokio::spawn({
        let connection = Arc::clone(&connection);
        async move { connection.overdue().await }
    });
    advance(SECOND * 7).await;
    let stuck = connection.request();
    for _ in 0..5 {
        advance(SECOND).await;
        idle(&permit);
    }
    watch.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), (SECOND * 7 + LONGEST_ANSWER).as_secs());
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_unused_after_a_time_without_requests() {
    let connections = Connections::with_limit(1);
    let permit = acquired(&connections, 1).await;
    advance(MAX_IDLE - SECOND).await;
    let request = answering(&permit);
    let connection = permit.connection();
    assert!(timeout(MAX_IDLE * 3, connection.unused()).await.is_err());
    drop(request);
    connection.flushed();
    let start = Instant::now();
    connection.unused().await;
    assert_eq!(start.elapsed().as_secs(), MAX_IDLE.as_secs());
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
