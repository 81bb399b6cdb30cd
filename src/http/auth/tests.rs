use super::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderValue};

fn hash(password: impl AsRef<[u8]>, cost: u32) -> PasswordHash {
    bcrypt::hash(password, cost).unwrap().parse().unwrap()
}

fn users(users: &[(&str, &PasswordHash)]) -> BTreeMap<String, PasswordHash> {
    users.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).clone())).collect()
}

fn header(name: &str, password: impl AsRef<[u8]>) -> HeaderMap {
    let credentials = [name.as_bytes(), b":", password.as_ref()].concat();
    let value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(credentials))).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}

const CLIENT: Client = Client::User(0);

fn attempt(users: &Users, name: &str, password: &str) -> Attempt {
    Attempt {
        user: users.users.get(name).map(Arc::clone),
        costs: users.lowest_cost..users.highest_cost,
        password: Zeroizing::new(password.into()),
        fingerprint: Authenticator::new().fingerprint(name.as_bytes(), b"", password.as_bytes()),
    }
}

/// Counted in rounds, for every user of a configuration with different costs and for a name that does not exist.
#[test]
fn every_refusal_takes_as_long_as_the_most_expensive_hash() {
    for costs in [&[4][..], &[4, 6, 8], &[6, 5], &[8, 8, 4]] {
        let hashes: Vec<_> = costs.iter().map(|cost| hash("right", *cost)).collect();
        let named: BTreeMap<_, _> = (0..).map(|n: u32| n.to_string()).zip(hashes.iter().cloned()).collect();
        let users = Users::new(&named, None).unwrap();
        for name in named.keys().map(String::as_str).chain(["unknown", ""]) {
            let mut rounds = named.get(name).map_or(0, |hash| 1_u64 << hash.cost());
            assert!(!attempt(&users, name, "wrong").compare(&mut |_, cost| rounds += 1 << cost));
            assert_eq!(rounds, 1 << costs.iter().max().unwrap(), "{name} of {costs:?}");
        }
        let mut wasted = 0;
        assert!(attempt(&users, "0", "right").compare(&mut |_, _| wasted += 1));
        assert_eq!(wasted, 0, "a right password needs no delay");
    }
}

#[tokio::test]
async fn names_and_passwords_are_compared_as_in_go() {
    let long = "x".repeat(72);
    let (empty, alice, bytes) = (hash("", 4), hash("secret:with:colons", 4), hash(b"\xff\xfe", 4));
    let long_hash = hash(&long, 4);
    let all = users(&[("empty", &empty), ("alice", &alice), ("bytes", &bytes), ("long", &long_hash), ("", &alice)]);
    let users = Users::new(&all, None).unwrap();
    let authenticator = Authenticator::new();
    let refused = Err(Refused::Unauthorized);
    for (name, password, expected) in [
        ("alice", &b"secret:with:colons"[..], Ok(())),
        ("alice", b"secret", refused),
        ("Alice", b"secret:with:colons", refused),
        ("alice", b"", refused),
        ("empty", b"", Ok(())),
        ("empty", b"x", refused),
        ("", b"secret:with:colons", Ok(())),
        ("bytes", b"\xff\xfe", Ok(())),
        ("bytes", b"\xff", refused),
        ("long", long.as_bytes(), Ok(())),
        // bcrypt ignores the rest, in Go's comparison as well.
        ("long", format!("{long}y").as_bytes(), Ok(())),
        ("long", &long.as_bytes()[..71], refused),
        ("nobody", b"", refused),
        ("alice", alice.expose().as_bytes(), refused),
    ] {
        // The second time from memory, where it is right.
        for _ in 0..2 {
            let found = authenticator.authenticate(&users, CLIENT, &header(name, password)).await;
            assert_eq!(found, expected, "{name} {}", String::from_utf8_lossy(password));
        }
    }
    assert_eq!(authenticator.authenticate(&users, CLIENT, &HeaderMap::new()).await, refused);
}

/// Memory does not grow with what clients send: exporter-toolkit has a cache of a hundred results instead.
#[tokio::test]
async fn one_password_of_each_user_is_remembered() {
    let users = Users::new(&users(&[("alice", &hash("right", 4))]), None).unwrap();
    let authenticator = Authenticator::new();
    let mut known = Vec::new();
    for (name, password) in [("bob", "right"), ("alice", "wrong"), ("alice", "right"), ("alice", "wrong"), ("bob", "x")]
    {
        let expected = if (name, password) == ("alice", "right") { Ok(()) } else { Err(Refused::Unauthorized) };
        assert_eq!(authenticator.authenticate(&users, CLIENT, &header(name, password)).await, expected, "{name}");
        known.push(users.users["alice"].right());
    }
    assert_eq!(users.users.len(), 1);
    let right = authenticator.fingerprint(b"alice", users.users["alice"].hash.expose().as_bytes(), b"right");
    assert_eq!(known, [None, None, Some(right), Some(right), Some(right)]);
}

/// A name and a password that run together with others are different ones (CVE-2022-46146).
#[test]
fn fingerprints_do_not_run_together() {
    let authenticator = Authenticator::new();
    let all = [("a", "b", "c"), ("ab", "", "c"), ("", "ab", "c"), ("a", "bc", ""), ("", "", "abc"), ("a", "b", "c\0")];
    let of = |a: &Authenticator, (n, h, p): (&str, &str, &str)| a.fingerprint(n.as_bytes(), h.as_bytes(), p.as_bytes());
    let distinct: std::collections::BTreeSet<_> = all.iter().map(|parts| of(&authenticator, *parts)).collect();
    assert_eq!(distinct.len(), all.len());
    assert_ne!(of(&authenticator, all[0]), of(&Authenticator::new(), all[0]), "the secret is that of the process");
}

#[tokio::test]
async fn a_reload_forgets_changed_passwords_only() {
    let (old, same, new) = (hash("old", 4), hash("same", 4), hash("new", 4));
    let authenticator = Authenticator::new();
    let before = Users::new(&users(&[("alice", &old), ("bob", &same)]), None).unwrap();
    for (name, password) in [("alice", "old"), ("bob", "same")] {
        assert_eq!(authenticator.authenticate(&before, CLIENT, &header(name, password)).await, Ok(()));
    }
    let after = Users::new(&users(&[("alice", &new), ("bob", &same), ("carol", &old)]), Some(&before)).unwrap();
    assert!(after.users["bob"].right().is_some() && after.users["alice"].right().is_none());
    let refused = Err(Refused::Unauthorized);
    assert_eq!(authenticator.authenticate(&after, CLIENT, &header("alice", "old")).await, refused);
    assert_eq!(authenticator.authenticate(&after, CLIENT, &header("alice", "new")).await, Ok(()));
    assert!(Users::new(&BTreeMap::new(), Some(&after)).is_none(), "without users there is no authentication");
}

/// One client's flood of wrong passwords: known right ones do not wait, and others' first ones wait for a turn.
#[tokio::test]
async fn a_flood_of_wrong_passwords_delays_no_right_one() {
    let (alice, bob) = (hash("right", 6), hash("first", 6));
    let users = Arc::new(Users::new(&users(&[("alice", &alice), ("bob", &bob)]), None).unwrap());
    let authenticator = Arc::new(Authenticator::new());
    assert_eq!(authenticator.authenticate(&users, Client::User(1), &header("alice", "right")).await, Ok(()));
    let flood: Vec<_> = (0..100)
        .map(|n| {
            let (users, authenticator) = (Arc::clone(&users), Arc::clone(&authenticator));
            tokio::spawn(async move {
                authenticator.authenticate(&users, Client::User(2), &header("alice", format!("wrong{n}"))).await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let known = header("alice", "right");
    let mut known = Box::pin(authenticator.authenticate(&users, Client::User(2), &known));
    assert_eq!(futures_util::FutureExt::now_or_never(known.as_mut()), Some(Ok(())), "it does not wait");
    assert_eq!(authenticator.authenticate(&users, Client::User(3), &header("bob", "first")).await, Ok(()));
    let mut full = 0;
    for wrong in flood {
        match wrong.await.unwrap() {
            Err(Refused::Full(Full::Client)) => full += 1,
            other => assert_eq!(other, Err(Refused::Unauthorized)),
        }
    }
    assert!(full >= 80, "{full} of them were refused at once");
}
