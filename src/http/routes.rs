//! Routes, all of them:
//!
//! * `GET /metrics`: all metrics, Prometheus text format 0.0.4, plain or gzip;
//! * `GET /`: the status page;
//! * `GET /-/healthy`, `/livez`: 200 while the process serves;
//! * `GET /-/ready`, `/readyz`: 200 once the first checks are complete (see [`super::Status::is_ready`]), 503 before;
//! * `POST /-/reload` (or PUT): reloads the configuration; 200, or 500 if it is invalid. 403 unless
//!   `--web.enable-lifecycle` is set, and for requests that a web page can send.
//!
//! HEAD works wherever GET does. Another method gets 405 with `Allow`, another path 404. All paths are below the route
//! prefix; with one, `/` redirects to the status page. The address of probes has health and readiness, without a prefix.

use super::body::Payload;
use super::lifecycle::{ReloadOutcome, Reloads};
use super::{AppState, encoding, landing};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, LOCATION, ORIGIN, VARY,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const NO_STORE: &str = "no-store";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The response to a request; it reads memory only.
pub async fn respond<B>(state: &AppState, request: Request<B>) -> Response<Payload> {
    let prefix = &state.paths.routes;
    match request.uri().path().strip_prefix(prefix.as_str()) {
        Some(path) if path.is_empty() || path.starts_with('/') => below_prefix(state, path, &request).await,
        _ if request.uri().path() == "/" => redirect(&format!("{prefix}/")),
        _ => not_found(prefix),
    }
}

async fn below_prefix<B>(state: &AppState, path: &str, request: &Request<B>) -> Response<Payload> {
    let method = request.method();
    match path {
        "/-/reload" => match &state.lifecycle {
            None => text(StatusCode::FORBIDDEN, "the lifecycle API is disabled; --web.enable-lifecycle enables it"),
            Some(_) if method != Method::POST && method != Method::PUT => not_allowed("POST, PUT"),
            Some(_) if is_from_web_page(request.headers()) => {
                text(StatusCode::FORBIDDEN, "requests of web pages are refused; send a POST without Origin and form")
            }
            Some(reloads) => reload(reloads).await,
        },
        "/metrics" | "/" | "" if !reads(method) => not_allowed("GET, HEAD"),
        "/metrics" => metrics(state, request.headers()),
        "/" | "" => answer(StatusCode::OK, HTML, state.read_status(|status| landing::page(status, &state.paths.links))),
        _ => health(state, path, method).unwrap_or_else(|| not_found(&state.paths.routes)),
    }
}

/// The response at the address of probes, which has neither TLS nor authentication.
pub fn probe<B>(state: &AppState, request: &Request<B>) -> Response<Payload> {
    let answer = health(state, request.uri().path(), request.method());
    answer.unwrap_or_else(|| {
        text(StatusCode::NOT_FOUND, "not found; this address has /-/healthy, /-/ready, /livez and /readyz only")
    })
}

fn health(state: &AppState, path: &str, method: &Method) -> Option<Response<Payload>> {
    Some(match path {
        "/-/healthy" | "/livez" | "/-/ready" | "/readyz" if !reads(method) => not_allowed("GET, HEAD"),
        "/-/healthy" | "/livez" => text(StatusCode::OK, "healthy"),
        "/-/ready" | "/readyz" if state.is_ready() => text(StatusCode::OK, "ready"),
        "/-/ready" | "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready: no check has been completed yet"),
        _ => return None,
    })
}

fn reads(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn not_found(prefix: &str) -> Response<Payload> {
    let paths = ["/metrics", "/", "/-/healthy", "/-/ready"].map(|path| format!("{prefix}{path}")).join(", ");
    text(StatusCode::NOT_FOUND, &format!("not found; there are {paths} and {prefix}/-/reload"))
}

fn redirect(to: &str) -> Response<Payload> {
    let mut response = text(StatusCode::FOUND, to);
    let location = HeaderValue::from_str(to).expect("a route prefix consists of letters, digits and punctuation");
    response.headers_mut().insert(LOCATION, location);
    response
}

fn metrics(state: &AppState, headers: &HeaderMap) -> Response<Payload> {
    let page = state.parts.page();
    // Before the exporter's metrics are encoded, of which the size is one.
    state.metrics.assembled(page.sizes());
    let own = state.metrics.own();
    let process = state.metrics.process();
    let accepted =
        headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",");
    let gzip = encoding::wants_gzip(&accepted);
    let payload = if gzip { page.gzip(&own, &process).into() } else { page.plain(&own, process).into() };
    let mut response = Response::new(payload);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EXPOSITION));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Whether a browser may have sent this for a page of another site. Browsers add `Origin` or `Sec-Fetch-Site` to every
/// POST; those that do not can still send nothing but a form without asking the server first.
fn is_from_web_page(headers: &HeaderMap) -> bool {
    const FORMS: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
    let content_type = headers.get(CONTENT_TYPE).map(|v| v.to_str().unwrap_or_default().to_ascii_lowercase());
    headers.contains_key(ORIGIN)
        || headers.contains_key("sec-fetch-site")
        || content_type.is_some_and(|value| FORMS.iter().any(|form| value.trim_start().starts_with(form)))
}

async fn reload(reloads: &Reloads) -> Response<Payload> {
    match reloads.request().await {
        ReloadOutcome::Reloaded { restart_needed } if restart_needed.is_empty() => {
            text(StatusCode::OK, "configuration reloaded")
        }
        ReloadOutcome::Reloaded { restart_needed } => {
            let settings = restart_needed.join(", ");
            text(StatusCode::OK, &format!("configuration reloaded; a restart is needed for: {settings}"))
        }
        ReloadOutcome::Failed(reason) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, &format!("configuration not reloaded: {reason}"))
        }
    }
}

fn not_allowed(allow: &'static str) -> Response<Payload> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &format!("method not allowed; use {allow}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// For a panic.
pub(super) fn internal_error() -> Response<Payload> {
    text(StatusCode::INTERNAL_SERVER_ERROR, "internal error; the log has the details")
}

/// A line of text, which no cache keeps.
pub(super) fn text(status: StatusCode, line: &str) -> Response<Payload> {
    answer(status, TEXT, format!("{line}\n"))
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Payload> {
    let mut response = Response::new(Payload::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::addresses::Paths;
    use crate::exposition::exporter::ExporterMetrics;
    use crate::exposition::{Options, Parts, Users};
    use crate::http::Status;
    use http_body_util::BodyExt;
    use std::sync::Arc;
    use std::time::Duration;

    fn state() -> AppState {
        state_at(Paths::default())
    }

    fn state_at(paths: Paths) -> AppState {
        let options = Options {
            users: Users::All,
            user_info: false,
            tags: Vec::new(),
            owner_tags: Vec::new(),
            access_key_id: false,
        };
        let metrics = Arc::new(ExporterMetrics::new(Duration::from_secs(300)));
        AppState::new(Arc::new(Parts::new(options)), metrics, None, paths)
    }

    async fn ask(state: &AppState, method: &str, path: &str) -> Response<Payload> {
        respond(state, Request::builder().method(method).uri(path).body(()).unwrap()).await
    }

    #[tokio::test]
    async fn every_route_answers_its_methods_and_no_other() {
        let state = state();
        for (method, path, status) in [
            ("GET", "/metrics", 200),
            ("HEAD", "/metrics", 200),
            ("GET", "/metrics?name=x", 200),
            ("GET", "/", 200),
            ("GET", "/-/healthy", 200),
            ("GET", "/livez", 200),
            ("GET", "/-/ready", 503),
            ("GET", "/readyz", 503),
            ("POST", "/metrics", 405),
            ("DELETE", "/livez", 405),
            ("GET", "/-/reload", 403),
            ("POST", "/-/reload", 403),
            ("GET", "/metrics/", 404),
            ("POST", "/nowhere", 404),
        ] {
            let response = ask(&state, method, path).await;
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(response.headers().contains_key(ALLOW), status == 405, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn all_routes_are_below_the_prefix() {
        let state = state_at(Paths { routes: "/iam".into(), links: "/proxied".into() });
        for (method, path, status) in [
            ("GET", "/iam/metrics", 200),
            ("GET", "/iam", 200),
            ("GET", "/iam/", 200),
            ("GET", "/iam/livez", 200),
            ("GET", "/iam/readyz", 503),
            ("POST", "/iam/-/reload", 403),
            ("POST", "/iam/metrics", 405),
            ("POST", "/iam", 405),
            ("GET", "/metrics", 404),
            ("GET", "/livez", 404),
            ("GET", "/iammetrics", 404),
            ("GET", "/iam/iam/metrics", 404),
            ("GET", "/", 302),
        ] {
            assert_eq!(ask(&state, method, path).await.status(), status, "{method} {path}");
        }
        assert_eq!(ask(&state, "GET", "/").await.headers()[LOCATION], "/iam/");
        let page = ask(&state, "GET", "/iam/").await.into_body().collect().await.unwrap().to_bytes();
        let page = String::from_utf8_lossy(&page).into_owned();
        assert_eq!(page.matches(r#"href="/proxied/"#).count(), page.matches("href=").count(), "{page}");
    }

    #[tokio::test]
    async fn probes_see_health_and_readiness_only() {
        let state = state_at(Paths { routes: "/iam".into(), links: "/iam".into() });
        for (method, path, status) in [
            ("GET", "/-/healthy", 200),
            ("HEAD", "/livez", 200),
            ("GET", "/-/ready", 503),
            ("GET", "/readyz", 503),
            ("POST", "/livez", 405),
            ("GET", "/metrics", 404),
            ("GET", "/", 404),
            ("POST", "/-/reload", 404),
            ("GET", "/iam/livez", 404),
        ] {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            assert_eq!(probe(&state, &request).status(), status, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn ready_comes_with_the_first_success_and_stays() {
        let state = state();
        state.update(|s| s.account("1", |a| a.last_success = Some(jiff::Timestamp::UNIX_EPOCH)));
        state.update(Status::set_complete);
        assert_eq!(ask(&state, "GET", "/readyz").await.status(), 200);
    }

    #[tokio::test]
    async fn gzip_is_labelled_and_plain_is_the_default() {
        let state = state();
        let request = Request::builder().uri("/metrics").header("accept-encoding", "gzip").body(()).unwrap();
        let response = respond(&state, request).await;
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body[..2], [0x1f, 0x8b]);

        let response = ask(&state, "GET", "/metrics").await;
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
        assert_eq!(response.headers()[CONTENT_TYPE], EXPOSITION);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"# HELP"));
    }
}
