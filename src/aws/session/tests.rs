use super::*;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// An STS that counts, and whose answers take a while.
#[derive(Default)]
struct FakeSts {
    calls: Mutex<BTreeMap<AccountId, Vec<Instant>>>,
    denied: AtomicBool,
    down: AtomicBool,
    panics: AtomicBool,
    serial: AtomicUsize,
}

impl FakeSts {
    fn calls(&self) -> usize {
        self.calls.lock().unwrap().values().map(Vec::len).sum()
    }

    fn calls_of(&self, role: &RoleSession) -> Vec<Instant> {
        self.calls.lock().unwrap().get(&role.role.arn.account).cloned().unwrap_or_default()
    }
}

impl Assume for FakeSts {
    fn assume<'a>(&'a self, role: &'a Role) -> BoxFuture<'a, Result<Session, SourceError>> {
        Box::pin(async {
            self.calls.lock().unwrap().entry(role.arn.account).or_default().push(Instant::now());
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!self.panics.load(Ordering::Relaxed), "the test wants a panic");
            if self.denied.load(Ordering::Relaxed) {
                return Err(SourceError::RoleDenied { role: role.arn.clone(), message: "AccessDenied".into() });
            }
            if self.down.load(Ordering::Relaxed) {
                return Err(SourceError::ServiceFailure { operation: "AssumeRole", message: "503".into() });
            }
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            Ok(Session {
                account: role.arn.account,
                partition: role.arn.partition.clone(),
                credentials: Credentials::new(format!("ASIAKEY{serial}"), "hush", Some("token".into()), None, "test"),
                lifetime: HOUR,
            })
        })
    }
}

fn sessions(n: usize) -> (Arc<FakeSts>, Vec<Arc<RoleSession>>) {
    let sts = Arc::new(FakeSts::default());
    let role = |i: usize| Role::new(format!("arn:aws:iam::{i:012}:role/iam-key-exporter").parse().unwrap());
    let sessions = (0..n).map(|i| RoleSession::new(role(i), Arc::clone(&sts) as Arc<dyn Assume>)).collect();
    (sts, sessions)
}

fn key_id(session: &Result<Session, SourceError>) -> String {
    session.as_ref().unwrap().credentials.access_key_id().to_owned()
}

/// As a check does: several requests, of which each needs credentials.
async fn check(session: &Arc<RoleSession>) -> Result<(), SourceError> {
    for _ in 0..5 {
        session.get().await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Two hundred accounts whose checks begin every five minutes, each at its own offset, from now on for so long.
async fn checks(sessions: &[Arc<RoleSession>], minutes: u32) -> usize {
    let started = Instant::now();
    let checks = sessions.iter().enumerate().map(|(i, session)| async move {
        let offset = 5 * MINUTE / 200 * u32::try_from(i).unwrap();
        let mut failed = 0;
        for round in 0..minutes / 5 {
            tokio::time::sleep_until(started + offset + round * 5 * MINUTE).await;
            failed += usize::from(check(session).await.is_err());
        }
        failed
    });
    let failed = join_all(checks).await.into_iter().sum();
    tokio::time::sleep_until(started + minutes * MINUTE).await;
    failed
}

#[tokio::test(start_paused = true)]
async fn two_hundred_accounts_are_assumed_two_hundred_times_an_hour() {
    let (sts, sessions) = sessions(200);
    assert!(join_all(sessions.iter().map(check)).await.iter().all(Result::is_ok));
    assert_eq!(sts.calls(), 200, "at the start, each once");
    for hour in 2..=5 {
        assert_eq!(checks(&sessions, 60).await, 0);
        assert_eq!(sts.calls(), 200 * hour, "in each hour of checks, each once");
    }
    for session in &sessions {
        for two in sts.calls_of(session).windows(2) {
            let between = two[1] - two[0];
            assert!((54 * MINUTE..HOUR).contains(&between), "{between:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_requested_once_for_all_who_wait() {
    let (sts, sessions) = sessions(1);
    let waiting = join_all((0..50).map(|_| sessions[0].get())).await;
    assert!(waiting.iter().all(|session| key_id(session) == "ASIAKEY0"));
    // A caller that gives up leaves the attempt to the next one.
    tokio::time::advance(HOUR).await;
    assert!(tokio::time::timeout(Duration::from_millis(1), sessions[0].get()).await.is_err());
    assert_eq!(key_id(&sessions[0].get().await), "ASIAKEY1");
    assert_eq!(sts.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_denied_role_is_assumed_again_after_pauses_only() {
    let (sts, sessions) = sessions(200);
    sts.denied.store(true, Ordering::Relaxed);
    let session = &sessions[0];
    let started = Instant::now();
    while started.elapsed() < 2 * HOUR {
        let error = session.get().await.err().unwrap();
        assert_eq!(error.reason(), "role_denied");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let pauses: Vec<f64> = sts.calls_of(session).windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    for (i, pause) in pauses.iter().enumerate() {
        let expected = (30.0 * f64::from(1 << i.min(10))).min(240.0);
        // A call takes 0.1 s, and attempts are a second apart.
        assert!((0.9 * expected..1.1 * expected + 2.0).contains(pause), "{pauses:?}");
    }
    assert!((26..=36).contains(&pauses.len()), "{} attempts in two hours", pauses.len());
    // Repaired, it is assumed after the pause.
    sts.denied.store(false, Ordering::Relaxed);
    tokio::time::advance(5 * MINUTE).await;
    assert!(session.get().await.is_ok());
    assert!(session.get().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn sessions_are_used_to_their_end_while_sts_is_down() {
    let (sts, sessions) = sessions(200);
    assert_eq!(checks(&sessions, 50).await, 0);
    sts.down.store(true, Ordering::Relaxed);
    assert_eq!(sts.calls(), 200);
    // Renewals fail, and no check does, as long as the first session lasts.
    for _ in 0..9 {
        tokio::time::sleep(MINUTE).await;
        assert!(sessions[0].get().await.is_ok());
    }
    assert_eq!(key_id(&sessions[0].get().await), "ASIAKEY0");
    let attempts = sts.calls_of(&sessions[0]).len() - 1;
    assert!((3..=6).contains(&attempts), "{attempts} renewals in the last five minutes");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(sessions[0].get().await.err().unwrap().reason(), "service_failure");
    // It is back: the pause is at most a minute.
    sts.down.store(false, Ordering::Relaxed);
    tokio::time::sleep(67 * Duration::from_secs(1)).await;
    assert_ne!(key_id(&sessions[0].get().await), "ASIAKEY0");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_not_waited_for() {
    let (sts, sessions) = sessions(1);
    sessions[0].get().await.unwrap();
    tokio::time::advance(55 * MINUTE).await;
    let asked = Instant::now();
    assert_eq!(key_id(&sessions[0].get().await), "ASIAKEY0");
    assert_eq!(asked.elapsed(), Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(key_id(&sessions[0].get().await), "ASIAKEY1");
    assert_eq!(sts.calls(), 2);
}

#[test]
fn short_sessions_are_used_for_most_of_their_time() {
    for seconds in [1, 4, 60, 900, 3600] {
        let (_, sessions) = sessions(1);
        let lifetime = Duration::from_secs(seconds);
        let session = Session {
            account: sessions[0].role.arn.account,
            partition: Partition::default(),
            credentials: Credentials::new("a", "b", None, None, "test"),
            lifetime,
        };
        let rt = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let held = rt.block_on(async { Held::new(session, Moment::now(), 1.0) });
        assert!(held.renewed_after >= lifetime.mul_f64(0.7) && held.renewed_after < held.used_until, "{seconds}");
        assert!(held.used_until >= lifetime.mul_f64(0.89) && held.used_until < lifetime, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_session_is_in_debug_output() {
    let (_, sessions) = sessions(1);
    sessions[0].get().await.unwrap();
    let shown = format!("{:?}", RoleCredentials(Arc::clone(&sessions[0])));
    assert!(shown.contains("role/iam-key-exporter"), "{shown}");
    for secret in ["ASIAKEY", "hush", "token"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_panics_is_followed_by_others() {
    let (sts, sessions) = sessions(1);
    sts.panics.store(true, Ordering::Relaxed);
    assert_eq!(sessions[0].get().await.err(), Some(SourceError::Internal));
    sts.panics.store(false, Ordering::Relaxed);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(key_id(&sessions[0].get().await), "ASIAKEY0");
}
