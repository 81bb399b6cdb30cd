//! An AWS with one account: IAM and STS on a port of 127.0.0.1, by the query protocol (a form in, XML out). With an
//! [`Organization`] it has many, and answers AssumeRole and the Organizations API, too.
//!
//! It answers from an [`Account`] that a test can change at any time, injects faults ([`Fault`]), and records every
//! call, so that a test can assert the number of calls.

use super::account::{Account, now};
use super::fake_org::{Organization, Session};
use super::{answers, form};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A request that arrived, whatever was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub operation: String,
    /// The form, `Action` and `Version` included.
    pub parameters: BTreeMap<String, String>,
    /// The region that the request was signed for.
    pub region: String,
    /// The account whose credentials signed the request.
    pub account: String,
    /// Whether it came by the JSON protocol, as requests to Organizations do.
    pub json: bool,
}

/// The fault of a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// No fault: the correct response, even if a later fault matches the call.
    Right,
    /// An error document.
    Error { status: u16, code: &'static str, message: &'static str },
    /// Anything else instead of an answer.
    Instead { status: u16, content_type: &'static str, body: String },
    /// The correct response up to the first occurrence of this text, and nothing after it; empty without an occurrence.
    CutAfter(&'static str),
    /// The correct response is announced, but the connection ends after half of it.
    HalfSent,
    /// Status 200 with a body that has no end.
    Endless,
    /// No answer, ever.
    Hang,
    /// Half of the correct response, and nothing after it, ever.
    HangInside,
    /// The correct response, split into pages in this way.
    Paged(Pages),
    /// The correct response of an account with this credential report.
    Reported(Report),
    /// The correct response, changed by a function.
    Rewritten(fn(String) -> String),
    /// The correct response with this content type.
    Labelled(&'static str),
    /// The correct response; then the account changes.
    Then(fn(&mut Account)),
    /// The fault for so many of 100 requests, evenly distributed over those that are the same; otherwise the correct
    /// response.
    Sometimes(u32, Box<Fault>),
    /// The connection is closed without an answer.
    Close,
}

impl Fault {
    pub const THROTTLED: Fault = Fault::Error { status: 400, code: "Throttling", message: "Rate exceeded" };
    pub const ACCESS_DENIED: Fault =
        Fault::Error { status: 403, code: "AccessDenied", message: "User: arn is not authorized to perform this" };
    pub const NO_SUCH_ENTITY: Fault =
        Fault::Error { status: 404, code: "NoSuchEntity", message: "The user cannot be found." };
    pub const BAD_TOKEN: Fault = Fault::Error {
        status: 403,
        code: "InvalidClientTokenId",
        message: "The security token included in the request is invalid",
    };
    pub const EXPIRED_TOKEN: Fault = Fault::Error {
        status: 403,
        code: "ExpiredToken",
        message: "The security token included in the request is expired",
    };
    pub const REPORT_NOT_PRESENT: Fault =
        Fault::Error { status: 410, code: "ReportNotPresent", message: "No report is present" };
    pub const REPORT_EXPIRED: Fault =
        Fault::Error { status: 410, code: "ReportExpired", message: "The report has expired" };
    pub const REPORT_IN_PROGRESS: Fault =
        Fault::Error { status: 404, code: "ReportInProgress", message: "The report is being made" };
    pub const LIMIT_EXCEEDED: Fault = Fault::Error { status: 409, code: "LimitExceeded", message: "No more capacity" };
    pub const SERVICE_FAILURE: Fault =
        Fault::Error { status: 500, code: "ServiceFailure", message: "The request processing has failed" };

    /// A status and a body of plain text, as a load balancer in between would answer.
    pub fn status(status: u16) -> Fault {
        Fault::Instead { status, content_type: "text/plain", body: "upstream is not available".into() }
    }

    /// Status 200 with a body of another kind.
    pub fn instead(content_type: &'static str, body: impl Into<String>) -> Fault {
        Fault::Instead { status: 200, content_type, body: body.into() }
    }
}

/// The calls that a fault matches.
#[derive(Debug, Clone)]
pub struct On {
    operation: Option<&'static str>,
    user_name: Option<&'static str>,
    account: Option<String>,
    assumed: Option<String>,
}

impl On {
    pub const EVERYTHING: On = On { operation: None, user_name: None, account: None, assumed: None };

    pub fn operation(operation: &'static str) -> On {
        On { operation: Some(operation), ..On::EVERYTHING }
    }

    /// AssumeRole of a role in this account.
    pub fn assuming(account: &str) -> On {
        On { assumed: Some(account.to_owned()), ..On::operation("AssumeRole") }
    }

    /// With the credentials of this account only.
    #[must_use]
    pub fn in_account(self, account: &str) -> On {
        On { account: Some(account.to_owned()), ..self }
    }

    /// ListAccessKeys of one user.
    pub fn keys_of(user_name: &'static str) -> On {
        On { user_name: Some(user_name), ..On::operation("ListAccessKeys") }
    }

    fn meets(&self, call: &Call) -> bool {
        self.operation.is_none_or(|o| o == call.operation)
            && self.user_name.is_none_or(|u| call.parameters.get("UserName").is_some_and(|n| n == u))
            && self.account.as_ref().is_none_or(|a| *a == call.account)
            && self.assumed.as_ref().is_none_or(|a| {
                call.parameters.get("RoleArn").is_some_and(|arn| arn.split(':').nth(4) == Some(a.as_str()))
            })
    }
}

/// How lists are split into pages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pages {
    /// Pages of this many members, regardless of a higher `MaxItems`.
    Of(usize),
    /// Pages of two members; each page begins with the last member of the one before.
    Overlapping,
    /// Every other page is empty and marked as truncated.
    WithEmptyOnes,
    /// Another page always follows, with a marker of its own.
    Endless,
    /// Another page always follows, each with a thousand members that no other has.
    EndlessAndFull,
    /// Every page has the marker of the first page.
    RepeatedMarker,
    /// Marked as truncated, but without a marker.
    NoMarker,
    /// All members, `IsTruncated` is false, but with a marker.
    MarkerThoughWhole,
    /// All members, no `IsTruncated`, but with a marker.
    MarkerAlone,
}

/// The credential report that AWS has.
#[derive(Debug, Clone)]
pub enum Report {
    /// Generated from the current account at each request, with a time this long ago.
    Fresh {
        age: SignedDuration,
    },
    /// These bytes.
    Fixed {
        content: Vec<u8>,
        generated_at: Timestamp,
    },
    /// Not ready before this many requests.
    ReadyAfter(usize),
    Never,
}

struct State {
    account: Account,
    pages: Pages,
    report: Report,
    /// How far AWS's clock is ahead of the local one.
    clock_ahead: SignedDuration,
    /// In order of precedence; `None` means without limit.
    faults: Vec<(On, Fault, Option<usize>)>,
    calls: Vec<Call>,
    /// By account.
    generate_calls: BTreeMap<String, usize>,
    organization: Option<Organization>,
    sessions: Vec<Session>,
    /// For [`Fault::Sometimes`], by request: a hundredth of the way to the next fault.
    shares: BTreeMap<String, u32>,
}

pub struct FakeIam {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    runtime: Option<Runtime>,
}

impl FakeIam {
    pub fn start(account: Account) -> FakeIam {
        let state = Arc::new(Mutex::new(State {
            account,
            pages: Pages::Of(1000),
            report: Report::Fresh { age: SignedDuration::ZERO },
            clock_ahead: SignedDuration::ZERO,
            faults: Vec::new(),
            calls: Vec::new(),
            generate_calls: BTreeMap::new(),
            organization: None,
            sessions: Vec::new(),
            shares: BTreeMap::new(),
        }));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // Not asynchronously: a test may have a runtime of its own.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&state);
        runtime.spawn(async move { serve(TcpListener::from_std(listener).unwrap(), shared).await });
        FakeIam { address, state, runtime: Some(runtime) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the account, as a user of the console would.
    pub fn change(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.state().account);
    }

    pub fn account(&self) -> Account {
        self.state().account.clone()
    }

    #[must_use]
    pub fn pages(self, pages: Pages) -> Self {
        self.state().pages = pages;
        self
    }

    /// Other accounts, and the Organizations API.
    #[must_use]
    pub fn organization(self, organization: Organization) -> Self {
        self.state().organization = Some(organization);
        self
    }

    pub fn change_organization(&self, change: impl FnOnce(&mut Organization)) {
        change(self.state().organization.as_mut().expect("there is an organisation"));
    }

    /// Changes an account other than the own one.
    pub fn change_member(&self, id: &str, change: impl FnOnce(&mut Account)) {
        self.change_organization(|organization| change(&mut organization.member(id).account));
    }

    /// The number of calls with the credentials of this account.
    pub fn calls_in(&self, account: &str) -> usize {
        self.state().calls.iter().filter(|c| c.account == account).count()
    }

    /// The number of AssumeRole calls for a role in this account, whatever was answered.
    pub fn assumed(&self, account: &str) -> usize {
        let on = On::assuming(account);
        self.state().calls.iter().filter(|c| on.meets(c)).count()
    }

    /// The `Date` header of answers says so; dates of keys and reports stay as they are.
    pub fn set_clock_ahead(&self, clock_ahead: SignedDuration) {
        self.state().clock_ahead = clock_ahead;
    }

    pub fn set_report(&self, report: Report) {
        self.state().report = report;
    }

    /// Generates the report now; it does not change afterwards.
    pub fn freeze_report(&self) {
        let content = self.account().credential_report().into_bytes();
        self.set_report(Report::Fixed { content, generated_at: now() });
    }

    /// From now on, until [`FakeIam::heal`].
    pub fn fail(&self, on: On, fault: Fault) {
        self.state().faults.push((on, fault, None));
    }

    /// For a number of calls; faults injected earlier take precedence.
    pub fn fail_times(&self, times: usize, on: On, fault: Fault) {
        self.state().faults.push((on, fault, Some(times)));
    }

    /// No fault any more.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub fn calls_of(&self, operation: &str) -> usize {
        self.state().calls.iter().filter(|c| c.operation == operation).count()
    }

    /// Calls of ListAccessKeys for this user.
    pub fn reads_of(&self, user_name: &str) -> usize {
        let reads =
            |c: &&Call| c.operation == "ListAccessKeys" && c.parameters.get("UserName").is_some_and(|n| n == user_name);
        self.state().calls.iter().filter(reads).count()
    }

    pub fn forget_calls(&self) {
        self.state().calls.clear();
    }
}

impl Drop for FakeIam {
    fn drop(&mut self) {
        // Each hanging response has its own thread, which is not joined.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Body = BoxBody<Bytes, io::Error>;

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| respond(request, &state));
            // An error closes the connection, which is the purpose of some faults.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(request: Request<Incoming>, state: &Mutex<State>) -> io::Result<Response<Body>> {
    let mut response = answered(request, state).await?;
    let clock_ahead = state.lock().unwrap_or_else(PoisonError::into_inner).clock_ahead;
    let date = (now() + clock_ahead).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    response.headers_mut().insert("date", date.parse().unwrap());
    response.headers_mut().insert("x-amzn-requestid", answers::REQUEST_ID.parse().unwrap());
    Ok(response)
}

async fn answered(request: Request<Incoming>, state: &Mutex<State>) -> io::Result<Response<Body>> {
    let region = signed(&request, 2).unwrap_or_default();
    let key_id = signed(&request, 0).unwrap_or_default();
    let target = request.headers().get("x-amz-target").and_then(|t| t.to_str().ok()).map(str::to_owned);
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let (operation, parameters) = match &target {
        Some(target) => (target.rsplit('.').next().unwrap_or_default().to_owned(), json_parameters(&body)),
        None => {
            let parameters = form::parse(&String::from_utf8_lossy(&body));
            (parameters.get("Action").cloned().unwrap_or_default(), parameters)
        }
    };
    let (call, fault, right) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let session = state.sessions.iter().rfind(|s| s.key_id == key_id).cloned();
        let account = session.as_ref().map_or(&state.account.id, |s| &s.account).clone();
        let call = Call { operation, parameters, region, account, json: target.is_some() };
        state.calls.push(call.clone());
        let over = session.is_some_and(|s| s.until <= now()).then_some(Fault::EXPIRED_TOKEN);
        let fault = over.or_else(|| state.next_fault(&call));
        let right = state.answer(&call, fault.as_ref());
        if let Some(Fault::Then(change)) = fault {
            change(state.account_mut(&call.account));
        }
        (call, fault, right)
    };
    let content_type = if call.json { "application/x-amz-json-1.1" } else { "text/xml" };
    let error = |status, code: &str, message: &str| {
        let body = if call.json { answers::json_error(code, message) } else { answers::error(code, message) };
        whole(status, content_type, body)
    };
    match fault {
        None | Some(Fault::Right | Fault::Paged(_) | Fault::Reported(_) | Fault::Then(_) | Fault::Sometimes(..)) => {
            match right {
                Ok(body) => Ok(whole(200, content_type, body)),
                Err(Fault::Error { status, code, message }) => Ok(error(status, code, message)),
                Err(other) => unreachable!("answers fail by error documents only, not by {other:?}"),
            }
        }
        Some(Fault::Error { status, code, message }) => Ok(error(status, code, message)),
        Some(Fault::Instead { status, content_type, body }) => Ok(whole(status, content_type, body)),
        Some(Fault::CutAfter(end)) => {
            let xml = right.unwrap_or_default();
            let cut = xml.find(end).map_or(0, |at| at + end.len());
            Ok(whole(200, content_type, xml[..cut].to_owned()))
        }
        Some(Fault::Labelled(content_type)) => Ok(whole(200, content_type, right.unwrap_or_default())),
        Some(Fault::Rewritten(rewrite)) => Ok(whole(200, content_type, rewrite(right.unwrap_or_default()))),
        Some(Fault::HalfSent) => Ok(half(&right.unwrap_or_default(), Half::Cut)),
        Some(Fault::HangInside) => Ok(half(&right.unwrap_or_default(), Half::Hanging)),
        Some(Fault::Endless) => Ok(endless()),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Close) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// A part of the credential's scope: `Credential=AKIA.../20260101/us-east-1/iam/aws4_request`.
fn signed(request: &Request<Incoming>, part: usize) -> Option<String> {
    let authorization = request.headers().get("authorization")?.to_str().ok()?;
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split('/').nth(part).map(str::to_owned)
}

/// The members of a JSON object, as text.
fn json_parameters(body: &[u8]) -> BTreeMap<String, String> {
    let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let object: serde_json::Map<_, _> = serde_json::from_slice(body).unwrap_or_default();
    object.into_iter().map(|(name, value)| (name, text(value))).collect()
}

fn whole(status: u16, content_type: &str, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
    let response = Response::builder().status(status).header("content-type", content_type);
    // The SDK waits for seconds between attempts; AWS can request a shorter delay, as the fake does.
    response.header("x-amz-retry-after", "1").body(body).unwrap()
}

fn endless() -> Response<Body> {
    let chunk = Bytes::from("<member><UserName>x</UserName></member>".repeat(20_000));
    let frames = futures_util::stream::repeat_with(move || Ok(Frame::data(chunk.clone())));
    Response::builder().header("content-type", "text/xml").body(BodyExt::boxed(StreamBody::new(frames))).unwrap()
}

/// What follows the first half of a response.
enum Half {
    Cut,
    Hanging,
}

fn half(xml: &str, then: Half) -> Response<Body> {
    let (first, _) = xml.split_at(xml.len() / 2);
    let first = Ok(Frame::data(Bytes::from(first.to_owned())));
    let end = futures_util::stream::once(async move {
        // The server flushes what it has when there is nothing more for the moment.
        tokio::task::yield_now().await;
        match then {
            Half::Cut => Err(io::Error::other("cut off")),
            Half::Hanging => std::future::pending().await,
        }
    });
    let frames = futures_util::StreamExt::chain(futures_util::stream::iter([first]), end);
    let body = BodyExt::boxed(StreamBody::new(frames));
    Response::builder().header("content-type", "text/xml").header("content-length", xml.len()).body(body).unwrap()
}

impl State {
    fn next_fault(&mut self, call: &Call) -> Option<Fault> {
        let index = self.faults.iter().position(|(on, ..)| on.meets(call))?;
        let (_, fault, left) = &mut self.faults[index];
        let fault = fault.clone();
        if let Some(left) = left {
            *left -= 1;
            if *left == 0 {
                self.faults.remove(index);
            }
        }
        match fault {
            Fault::Sometimes(percent, fault) => self.is_turn_of(call, percent).then_some(*fault),
            fault => Some(fault),
        }
    }

    /// Whether a request is one of those that fail.
    fn is_turn_of(&mut self, call: &Call, percent: u32) -> bool {
        // Requests of different kinds do not fail at once.
        let first = self.shares.len() as u32 * 37 % 100;
        let share = self.shares.entry(format!("{} {:?}", call.operation, call.parameters)).or_insert(first);
        *share += percent;
        let fails = *share >= 100;
        *share %= 100;
        fails
    }

    fn account_mut(&mut self, id: &str) -> &mut Account {
        let members = self.organization.iter_mut().flat_map(|o| &mut o.members);
        members.map(|m| &mut m.account).find(|a| a.id == id).unwrap_or(&mut self.account)
    }

    fn answer(&mut self, call: &Call, fault: Option<&Fault>) -> Result<String, Fault> {
        let (mut pages, mut report) = (self.pages, &self.report);
        match fault {
            Some(Fault::Paged(other)) => pages = *other,
            Some(Fault::Reported(other)) => report = other,
            _ => {}
        }
        let operation = call.operation.as_str();
        if call.json {
            let organization = self.organization.as_ref().ok_or(Fault::Error {
                status: 400,
                code: "AWSOrganizationsNotInUseException",
                message: "Your account is not a member of an organization.",
            })?;
            return organization.answer(&self.account, call).map(|json| json.to_string());
        }
        if operation == "AssumeRole" {
            let organization = self.organization.as_ref().ok_or(Fault::ACCESS_DENIED)?;
            let (answer, session) = organization.assume(&self.account, call, self.sessions.len())?;
            self.sessions.push(session);
            return Ok(answers::answer(operation, &answer));
        }
        let member = self.organization.as_ref().and_then(|o| o.members.iter().find(|m| m.account.id == call.account));
        let account = member.map_or(&self.account, |member| &member.account);
        if operation == "GenerateCredentialReport" {
            *self.generate_calls.entry(account.id.clone()).or_default() += 1;
        }
        let generate_calls = self.generate_calls.get(&account.id).copied().unwrap_or_default();
        let result = match operation {
            "ListAccountAliases" => answers::aliases(account),
            "GetCallerIdentity" => answers::caller_identity(account),
            "GetAccountSummary" => answers::account_summary(account),
            "ListUsers" => {
                let users = account.users.iter().map(|u| answers::user(account, u)).collect();
                page(pages, call, "Users", users)
            }
            "GetAccountAuthorizationDetails" => {
                let users = account.users.iter().map(|u| answers::user_detail(account, u)).collect();
                page(pages, call, "UserDetailList", users)
            }
            "ListAccessKeys" => {
                // Without a name AWS lists the caller's keys; a role has none.
                let name = call.parameters.get("UserName").ok_or(Fault::NO_SUCH_ENTITY)?;
                let user =
                    account.users.iter().find(|u| u.name.eq_ignore_ascii_case(name)).ok_or(Fault::NO_SUCH_ENTITY)?;
                let keys = user.keys.iter().map(|k| answers::access_key(user, k)).collect();
                page(pages, call, "AccessKeyMetadata", keys)
            }
            "GetAccessKeyLastUsed" => {
                let id = call.parameters.get("AccessKeyId").ok_or(Fault::NO_SUCH_ENTITY)?;
                let all = account.users.iter().flat_map(|u| u.keys.iter().map(move |k| (u, k)));
                let (user, key) = all.into_iter().find(|(_, k)| k.id == *id).ok_or(Fault::NO_SUCH_ENTITY)?;
                answers::last_used(user, key)
            }
            "GenerateCredentialReport" => {
                let state = match report {
                    Report::Never => "INPROGRESS",
                    Report::ReadyAfter(n) if generate_calls == 1 && *n > 0 => "STARTED",
                    Report::ReadyAfter(n) if generate_calls <= *n => "INPROGRESS",
                    _ => "COMPLETE",
                };
                format!("<State>{state}</State>\n")
            }
            "GetCredentialReport" => match report {
                Report::Fresh { age } => answers::report(account.credential_report().as_bytes(), now() - *age),
                Report::Fixed { content, generated_at } => answers::report(content, *generated_at),
                Report::ReadyAfter(n) if generate_calls > *n => {
                    answers::report(account.credential_report().as_bytes(), now())
                }
                Report::ReadyAfter(_) | Report::Never => return Err(Fault::REPORT_IN_PROGRESS),
            },
            _ => return Err(Fault::Error { status: 400, code: "InvalidAction", message: "No such action" }),
        };
        Ok(answers::answer(operation, &result))
    }
}

fn page(pages: Pages, call: &Call, list: &str, members: Vec<String>) -> String {
    let marker = call.parameters.get("Marker").map(String::as_str);
    let turn: usize = marker.and_then(|m| m.rsplit('-').next()?.parse().ok()).unwrap_or(0);
    let max_items = call.parameters.get("MaxItems").and_then(|m| m.parse().ok()).unwrap_or(100);
    let cut = |from: usize, size: usize| {
        let to = (from + size).min(members.len());
        (members.get(from..to).unwrap_or_default().concat(), to < members.len(), to)
    };
    match pages {
        Pages::Of(size) => {
            let (members, more, to) = cut(turn, size.min(max_items));
            answers::page(list, &members, more.then_some(format!("marker-{to}")).as_deref())
        }
        Pages::Overlapping => {
            let (members, more, to) = cut(turn, 2);
            answers::page(list, &members, more.then_some(format!("marker-{}", to - 1)).as_deref())
        }
        Pages::WithEmptyOnes => {
            let (members, more, _) = if turn.is_multiple_of(2) { (String::new(), true, 0) } else { cut(turn / 2, 1) };
            answers::page(list, &members, more.then_some(format!("marker-{}", turn + 1)).as_deref())
        }
        Pages::Endless => {
            let members = if turn == 0 { members.concat() } else { String::new() };
            answers::page(list, &members, Some(&format!("marker-{}", turn + 1)))
        }
        Pages::EndlessAndFull => {
            let template = members.first().cloned().unwrap_or_default();
            let name = template.split(['<', '>']).skip_while(|part| *part != "UserName").nth(1).unwrap_or_default();
            let member = |i: usize| template.replace(name, &format!("{name}-{turn}-{i}"));
            let members: String = (0..1000).map(member).collect();
            answers::page(list, &members, Some(&format!("marker-{}", turn + 1)))
        }
        Pages::RepeatedMarker => {
            answers::page(list, &if turn == 0 { members.concat() } else { String::new() }, Some("marker-1"))
        }
        Pages::NoMarker => {
            answers::page(list, &members.concat(), None).replace("<IsTruncated>false", "<IsTruncated>true")
        }
        Pages::MarkerThoughWhole => {
            answers::page(list, &members.concat(), Some("marker-1")).replace("<IsTruncated>true", "<IsTruncated>false")
        }
        Pages::MarkerAlone => {
            answers::page(list, &members.concat(), Some("marker-1")).replace("<IsTruncated>true</IsTruncated>", "")
        }
    }
}
