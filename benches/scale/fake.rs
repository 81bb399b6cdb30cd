//! A fake AWS for load: STS, Organizations and IAM for any number of accounts, on one port of 127.0.0.1.
//!
//! It is a process of its own, so that its CPU time can be separated from the exporter's, and it has to be far cheaper than the
//! exporter: one thread, reports and pages rendered beforehand. A request is routed by the access key ID that AssumeRole
//! issued. The driver controls it through paths below `/fake/`.

use super::answers;
use super::organization::{Organization, number};
use anyhow::Context as _;
use bytes::{Buf, Bytes, buf::Chain};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

/// The operations that are counted.
const OPERATIONS: [&str; 14] = [
    "AssumeRole",
    "GetCallerIdentity",
    "DescribeOrganization",
    "ListAccounts",
    "ListTagsForResource",
    "GenerateCredentialReport",
    "GetCredentialReport",
    "GetAccountSummary",
    "GetAccountAuthorizationDetails",
    "ListAccountAliases",
    "ListUsers",
    "ListAccessKeys",
    "GetAccessKeyLastUsed",
    "other",
];

/// The behaviour of the fake.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    pub organization: Organization,
    /// The time that every answer takes.
    pub latency: Duration,
    /// Whether every report differs from the last one of its account, and is as old as a report can be. Otherwise reports
    /// never change.
    pub changing: bool,
}

/// Age of a report after which AWS makes a new one.
const REPORT_LIFETIME: i64 = 4 * 3600;

type Body = Full<Chain<Bytes, Bytes>>;

struct Account {
    generation: usize,
    /// Reports of even and of odd generations.
    reports: [Bytes; 2],
    /// Pages of lists, by operation and first member, of the present generation.
    pages: HashMap<(&'static str, usize), Bytes>,
    bucket: Option<Bucket>,
    counts: [u64; OPERATIONS.len()],
    throttled: u64,
}

/// Admits `rate` requests per second, and `burst` at once.
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn admits(&mut self, now: Instant) -> bool {
        let refill = now.duration_since(self.at).as_secs_f64() * self.rate;
        (self.tokens, self.at) = ((self.tokens + refill).min(self.burst), now);
        let admitted = self.tokens >= 1.0;
        if admitted {
            self.tokens -= 1.0;
        }
        admitted
    }
}

struct Fake {
    settings: Settings,
    accounts: Vec<Account>,
    /// When the first and the last request arrived.
    first_at: Option<Instant>,
    last_at: Option<Instant>,
    in_flight: usize,
}

/// Serves until its standard input ends. The first line of the standard output is the port.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fake = Rc::new(RefCell::new(Fake::new(settings)));
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        println!("{}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        let serving = spawn_local(serve(listener, fake));
        let parent_ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        parent_ended.await??;
        serving.abort();
        Ok(())
    })
}

async fn serve(listener: TcpListener, fake: Rc<RefCell<Fake>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let fake = Rc::clone(&fake);
        spawn_local(async move {
            let service = service_fn(|request| respond(request, &fake));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(request: Request<Incoming>, fake: &RefCell<Fake>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    if let Some(command) = head.uri.path().strip_prefix("/fake/") {
        let query = form(head.uri.query().unwrap_or_default().as_bytes());
        let answer = fake.borrow_mut().control(command, &query);
        return Ok(response(200, "application/json", answer.to_string().into(), Bytes::new()));
    }
    let (answer, latency) = {
        let mut fake = fake.borrow_mut();
        fake.in_flight += 1;
        (fake.answer(&head.headers, &body), fake.settings.latency)
    };
    // An answer that takes no time gives others a turn, too.
    tokio::time::sleep(latency).await;
    fake.borrow_mut().in_flight -= 1;
    Ok(answer)
}

fn response(status: u16, content_type: &str, first: Bytes, rest: Bytes) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", content_type);
    let response = response.header("x-amzn-requestid", "00000000-0000-4000-8000-000000000000");
    response.body(Full::new(first.chain(rest))).expect("constant headers are valid")
}

fn xml(operation: &str, result: &str) -> Response<Body> {
    response(200, "text/xml", answers::answer(operation, result).into(), Bytes::new())
}

fn error(status: u16, code: &str, message: &str) -> Response<Body> {
    response(status, "text/xml", answers::error(code, message).into(), Bytes::new())
}

/// The account of `Credential=ASIA.../20260101/us-east-1/iam/aws4_request`; the management account's for other IDs.
fn account_of(headers: &HeaderMap) -> usize {
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let id = authorization.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
    let account = id.strip_prefix("ASIA").and_then(number).unwrap_or_default();
    usize::try_from(account).unwrap_or_default()
}

impl Fake {
    fn new(settings: Settings) -> Self {
        let organization = settings.organization;
        let report = |account, generation| Bytes::from(answers::report(&organization, account, generation));
        let account = |account| Account {
            generation: 0,
            reports: [report(account, 0), if settings.changing { report(account, 1) } else { Bytes::new() }],
            pages: HashMap::new(),
            bucket: None,
            counts: [0; OPERATIONS.len()],
            throttled: 0,
        };
        let accounts = (0..organization.accounts).map(account).collect();
        Fake { settings, accounts, first_at: None, last_at: None, in_flight: 0 }
    }

    fn answer(&mut self, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
        let now = Instant::now();
        self.first_at.get_or_insert(now);
        self.last_at = Some(now);
        if let Some(target) = headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
            let operation = target.rsplit('.').next().unwrap_or_default();
            self.count(0, operation);
            return self.organizations(operation, body);
        }
        let parameters = form(body);
        let operation = parameters.get("Action").map(String::as_str).unwrap_or_default();
        let role = parameters.get("RoleArn").map(String::as_str).unwrap_or_default();
        let account = match role.split(':').nth(4) {
            Some(id) => self.settings.organization.account_of(id),
            None => Some(account_of(headers)).filter(|index| *index < self.accounts.len()),
        };
        let Some(account) = account else { return error(403, "InvalidClientTokenId", "The account does not exist") };
        self.count(account, operation);
        // STS limits by the account of the caller.
        let is_limited = !matches!(operation, "AssumeRole" | "GetCallerIdentity");
        let state = &mut self.accounts[account];
        if is_limited && state.bucket.as_mut().is_some_and(|bucket| !bucket.admits(now)) {
            state.throttled += 1;
            return error(400, "Throttling", "Rate exceeded");
        }
        match operation {
            "AssumeRole" => {
                let (id, name) = (Organization::account_id(account), role.rsplit('/').next().unwrap_or_default());
                xml(operation, &answers::assumed_role(account, &id, name, unix_now() + 3600))
            }
            "GetCallerIdentity" => xml(operation, &answers::caller_identity(&Organization::account_id(account))),
            _ => self.iam(account, operation, &parameters),
        }
    }

    fn count(&mut self, account: usize, operation: &str) {
        let index = OPERATIONS.iter().position(|known| *known == operation).unwrap_or(OPERATIONS.len() - 1);
        self.accounts[account].counts[index] += 1;
    }

    fn organizations(&self, operation: &str, body: &[u8]) -> Response<Body> {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let from = request["NextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
        let (status, answer) = match operation {
            "DescribeOrganization" => (200, answers::organization()),
            "ListAccounts" => (200, answers::accounts(&self.settings.organization, from)),
            "ListTagsForResource" => (200, r#"{"Tags":[]}"#.to_owned()),
            _ => (400, r#"{"__type":"UnknownOperationException"}"#.to_owned()),
        };
        response(status, "application/x-amz-json-1.1", answer.into(), Bytes::new())
    }

    fn iam(&mut self, account: usize, operation: &str, parameters: &HashMap<String, String>) -> Response<Body> {
        let organization = self.settings.organization;
        let state = &mut self.accounts[account];
        let parameter = |name: &str| parameters.get(name).map(String::as_str);
        match operation {
            "GenerateCredentialReport" => {
                if self.settings.changing {
                    state.generation += 1;
                    state.pages.clear();
                }
                xml(operation, "<State>COMPLETE</State>\n")
            }
            "GetCredentialReport" => {
                let age = if self.settings.changing { REPORT_LIFETIME } else { 0 };
                let at = if self.settings.changing { unix_now() } else { organization.now };
                let report = &state.reports[if self.settings.changing { state.generation % 2 } else { 0 }];
                response(200, "text/xml", report.clone(), answers::report_end(at - age).into())
            }
            "GetAccountSummary" => xml(operation, &answers::account_summary(organization.users)),
            "ListAccountAliases" => {
                xml(operation, &answers::page("AccountAliases", &format!("<member>alias-{account}</member>"), None))
            }
            "ListUsers" => self.page(account, "ListUsers", "Users", parameter("Marker"), answers::user),
            "GetAccountAuthorizationDetails" => {
                let list = "UserDetailList";
                self.page(account, "GetAccountAuthorizationDetails", list, parameter("Marker"), answers::user_detail)
            }
            "ListAccessKeys" => {
                let name = parameter("UserName").unwrap_or_default();
                let Some(user) = organization.user_named(account, name, state.generation % 2) else {
                    return error(404, "NoSuchEntity", "The user cannot be found");
                };
                let keys: String = user.keys.iter().map(|key| answers::access_key(&user, key)).collect();
                xml(operation, &answers::page("AccessKeyMetadata", &keys, None))
            }
            "GetAccessKeyLastUsed" => {
                let id = parameter("AccessKeyId").and_then(|id| number(id.strip_prefix("AKIA")?)).unwrap_or_default();
                let user = organization.user(account, id as usize / 2, state.generation % 2);
                match user.keys.get(id as usize % 2) {
                    Some(key) => xml(operation, &answers::last_used(&user, key)),
                    None => error(404, "NoSuchEntity", "The key cannot be found"),
                }
            }
            _ => error(400, "InvalidAction", "No such action"),
        }
    }

    /// A page of up to 1,000 users, rendered at its first request.
    fn page(
        &mut self,
        account: usize,
        operation: &'static str,
        list: &str,
        marker: Option<&str>,
        member: fn(&str, &super::organization::User) -> String,
    ) -> Response<Body> {
        let organization = self.settings.organization;
        let state = &mut self.accounts[account];
        let generation = state.generation % 2;
        let from: usize = marker.and_then(|marker| marker.parse().ok()).unwrap_or(0);
        let page = state.pages.entry((operation, from)).or_insert_with(|| {
            let (id, to) = (Organization::account_id(account), (from + 1000).min(organization.users));
            let members: String =
                (from..to).map(|index| member(&id, &organization.user(account, index, generation))).collect();
            let next = (to < organization.users).then_some(to);
            answers::answer(operation, &answers::page(list, &members, next)).into()
        });
        response(200, "text/xml", page.clone(), Bytes::new())
    }

    /// `stats`; `reset` of the counts; `throttle?account=INDEX&rate=R&burst=B`; `latency?ms=N`; `changing?on=BOOL`.
    fn control(&mut self, command: &str, query: &HashMap<String, String>) -> Value {
        let number = |name: &str| query.get(name).and_then(|value| value.parse::<f64>().ok());
        match command {
            "stats" => self.stats(),
            "reset" => {
                for account in &mut self.accounts {
                    (account.counts, account.throttled) = ([0; OPERATIONS.len()], 0);
                }
                (self.first_at, self.last_at) = (None, None);
                json!({})
            }
            "throttle" => {
                let (rate, burst) = (number("rate").unwrap_or(1.0), number("burst").unwrap_or(1.0));
                let account = number("account").map(|index| index as usize).and_then(|i| self.accounts.get_mut(i));
                if let Some(account) = account {
                    account.bucket = Some(Bucket { rate, burst, tokens: burst, at: Instant::now() });
                }
                json!({})
            }
            "latency" => {
                self.settings.latency = Duration::from_secs_f64(number("ms").unwrap_or(0.0) / 1000.0);
                json!({})
            }
            _ => json!({ "error": "no such command" }),
        }
    }

    /// Requests by operation, and by account and operation; both without zeros.
    fn stats(&self) -> Value {
        let named = |counts: &[u64]| -> HashMap<&str, u64> {
            OPERATIONS.iter().copied().zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
        };
        let mut total = [0; OPERATIONS.len()];
        for account in &self.accounts {
            total.iter_mut().zip(account.counts).for_each(|(total, count)| *total += count);
        }
        let accounts: HashMap<String, Value> = (self.accounts.iter().enumerate())
            .map(|(index, account)| (Organization::account_id(index), json!(named(&account.counts))))
            .collect();
        let idle = self.last_at.map(|at| at.elapsed().as_secs_f64());
        json!({
            "requests": total.iter().sum::<u64>(),
            "operations": named(&total),
            "throttled": self.accounts.iter().map(|account| account.throttled).sum::<u64>(),
            "in_flight": self.in_flight,
            "seconds_since_last": idle,
            "accounts": accounts,
        })
    }
}

fn unix_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Names and values of an HTML form. Only the escapes occur that names of users and ARNs need.
fn form(body: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body);
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        decoded.push(u8::from_str_radix(hex, 16).map_or('?', char::from));
        decoded.push_str(rest);
    }
    decoded
}
