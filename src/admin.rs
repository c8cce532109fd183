//! The operators' listener: metrics, probes, and the status at one look.
//!
//! | path | 200 means | otherwise |
//! |---|---|---|
//! | `/livez` | the control plane turns | no answer |
//! | `/startupz` | the first attempt for every needed token is over | 503, what is awaited |
//! | `/readyz` | every credential that a route needs has a usable token | 503, which has not and why |
//! | `/metrics` | Prometheus text follows, or OpenMetrics for those who prefer it | 500 |
//! | `/`, `/api/status` | the page for people, the same as JSON | |
//!
//! `POST /api/credentials/NAME/refresh` fetches a new token now; `POST /quit` stops gatepass, if the
//! configuration allows it.
//!
//! They are for three probes of three meanings: liveness must not fail because a provider is down,
//! or a supervisor would restart what a restart cannot mend; readiness must.

mod exposition;
mod page;
mod plots;
mod status;
mod trend;

use std::convert::Infallible;
use std::fmt::Write;
use std::future::ready;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, LOCATION,
    ORIGIN, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::{Service, service_fn};
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounter, IntGaugeVec, Opts, Registry};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, info};

use crate::proxy::Routing;
use crate::readiness::{Finding, Readiness};
use crate::server::{CallerBody, Peer};
use crate::store::Standings;
use crate::token::Credentials;
use exposition::Exposition;
pub use trend::Trends;

type Answer = Response<Full<Bytes>>;

/// What the admin listener shows and does.
pub struct Admin {
    /// What `/metrics` serves.
    pub registry: Registry,
    /// What the probes ask.
    pub readiness: Readiness,
    /// The credentials that can be refreshed.
    pub credentials: Credentials,
    /// How their sharing stands.
    pub standings: Standings,
    /// How routes have been doing.
    pub trends: Rc<Trends>,
    /// Where the routes at work are found.
    pub published: Arc<ArcSwap<Routing>>,
    /// Since when the process is at work.
    pub started: Instant,
    /// Whether those who reach the listener may command it, or only look.
    pub commands: bool,
    /// What is told when somebody orders the end; nothing if nobody may.
    pub quit: Option<Arc<Notify>>,
}

/// Makes the service that the admin listener's connections are served with.
pub fn service(
    admin: Admin,
) -> impl Service<Request<CallerBody>, Response = Answer, Error = Infallible> + Clone {
    let admin = Rc::new(admin);
    service_fn(move |request| ready(Ok(answer(&request, &admin))))
}

/// Registers what is not any room's own: the build, the log, and the process as the kernel sees it.
///
/// # Errors
///
/// A metric of the same name is registered already.
pub fn register_process_metrics(
    registry: &Registry,
    dropped_log_lines: IntCounter,
) -> prometheus::Result<()> {
    registry.register(Box::new(dropped_log_lines))?;
    let build = IntGaugeVec::new(
        Opts::new(
            "gatepass_build_info",
            "Always 1; the labels say which gatepass this is.",
        ),
        &["version"],
    )?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry.register(Box::new(build))?;
    registry.register(Box::new(ProcessCollector::for_self()))
}

fn answer(request: &Request<CallerBody>, admin: &Admin) -> Answer {
    if admin.commands && !is_for_here(request) {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            "only requests for localhost or an IP address are answered here\n",
        );
    }
    if let Some(credential) = refresh_path(request.uri().path()) {
        return match *request.method() {
            Method::POST => refresh(credential, request.headers(), admin),
            _ => method_not_allowed("POST"),
        };
    }
    if request.uri().path() == "/quit"
        && let Some(quit) = &admin.quit
    {
        return match *request.method() {
            Method::POST => stop(quit, request.headers(), admin),
            _ => method_not_allowed("POST"),
        };
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return method_not_allowed("GET, HEAD");
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/startupz" => startup(&admin.readiness),
        "/readyz" => ready_or_why_not(&admin.readiness),
        "/metrics" => metrics(&admin.registry, request.headers()),
        "/" => status_page(admin),
        "/api/status" => status_json(admin),
        _ => text(
            StatusCode::NOT_FOUND,
            "there is /, /api/status, /metrics, /livez, /readyz and /startupz here; the proxy \
             listens elsewhere\n",
        ),
    }
}

/// `/api/credentials/NAME/refresh`
fn refresh_path(path: &str) -> Option<&str> {
    path.strip_prefix("/api/credentials/")?
        .strip_suffix("/refresh")
}

fn refresh(credential: &str, headers: &HeaderMap, admin: &Admin) -> Answer {
    if let Some(forbidden) = forbidden(headers, admin, "SIGUSR1") {
        return forbidden;
    }
    let Some(reader) = admin.credentials.named(credential) else {
        return text(StatusCode::NOT_FOUND, "no route needs such a credential\n");
    };
    reader.refresh_now();
    info!(credential, "an operator asks for a new token");
    if headers.contains_key(ORIGIN) {
        return back_to_the_page();
    }
    text(
        StatusCode::ACCEPTED,
        "a new token is being fetched; /metrics and the log tell how it went\n",
    )
}

/// For a Job whose application is done: its pod ends when all of its containers have.
fn stop(quit: &Notify, headers: &HeaderMap, admin: &Admin) -> Answer {
    if let Some(forbidden) = forbidden(headers, admin, "SIGTERM") {
        return forbidden;
    }
    quit.notify_one();
    text(StatusCode::ACCEPTED, "stopping\n")
}

/// Why a command is not obeyed, if it is not.
fn forbidden(headers: &HeaderMap, admin: &Admin, instead: &str) -> Option<Answer> {
    if !admin.commands {
        return Some(text(
            StatusCode::FORBIDDEN,
            format!(
                "commands are taken on loopback only, and this listener can be reached from \
                 elsewhere; send {instead} to the process instead\n"
            ),
        ));
    }
    // A page in somebody's browser reaches loopback, too. Browsers say so by one of these fields;
    // the tools that this is meant for send neither.
    let by_page = headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
    (by_page && !is_own_page(headers)).then(|| {
        text(
            StatusCode::FORBIDDEN,
            "web pages other than the one here cannot give commands\n",
        )
    })
}

/// Whether a request is for this machine by a name that nobody else can give it. A page of the web
/// that reaches loopback by a name of its own (DNS rebinding) has that name for its host; and a Unix
/// socket can be reached by no page.
fn is_for_here(request: &Request<CallerBody>) -> bool {
    if matches!(request.body().caller().peer, Peer::Unix { .. }) {
        return true;
    }
    let field = request.headers().get(HOST);
    let field = field.and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    match field.as_ref().or(request.uri().authority()) {
        Some(host) => {
            let name = host.host().trim_matches(['[', ']']);
            name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
        }
        // HTTP/1.0 may do without, and no browser does.
        None => true,
    }
}

/// Whether the status page itself asks, which stands at the place that it asks.
fn is_own_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let same_origin = text(ORIGIN.as_str()).and_then(|origin| origin.strip_prefix("http://"));
    let same_site = text(SEC_FETCH_SITE).is_none_or(|site| site == "same-origin");
    same_origin.is_some() && same_origin == text(HOST.as_str()) && same_site
}

/// After a command of its own.
fn back_to_the_page() -> Answer {
    let mut answer = text(StatusCode::SEE_OTHER, "");
    answer
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/"));
    answer
}

fn status_page(admin: &Admin) -> Answer {
    let page = page::page(&look(admin), admin.commands);
    let mut answer = text(StatusCode::OK, page);
    let headers = answer.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(CONTENT_TYPE, html);
    if let Ok(policy) = HeaderValue::from_str(&page::POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    // By `no-referrer` browsers would send `Origin: null` with the page's own orders.
    let fixed = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    answer
}

fn status_json(admin: &Admin) -> Answer {
    // Texts and numbers: there is nothing in it that serde_json could refuse.
    let body = serde_json::to_vec(&look(admin)).unwrap_or_default();
    let mut answer = text(StatusCode::OK, body);
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

fn look(admin: &Admin) -> status::Status {
    status::look(
        &admin.registry,
        &admin.readiness,
        &admin.credentials.all(),
        &admin.standings,
        &admin.trends,
        admin.published.load().table.descriptions(),
        admin.started,
    )
}

fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("only {allowed} is served here\n"),
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn startup(readiness: &Readiness) -> Answer {
    let starting = readiness.starting();
    if starting.is_empty() {
        return text(StatusCode::OK, "started\n");
    }
    let mut body = String::from("starting\n");
    for part in starting {
        let _ = writeln!(body, "\n{part}: under way");
    }
    text(StatusCode::SERVICE_UNAVAILABLE, body)
}

fn ready_or_why_not(readiness: &Readiness) -> Answer {
    let not_ready = readiness.not_ready();
    let (status, mut body) = match not_ready.is_empty() {
        true => (StatusCode::OK, String::from("ready\n")),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into()),
    };
    for Finding { subject, reason } in not_ready.into_iter().chain(readiness.remarks()) {
        let _ = writeln!(body, "\n{subject} {reason}");
    }
    text(status, body)
}

fn metrics(registry: &Registry, headers: &HeaderMap) -> Answer {
    let exposition = Exposition::accepted(headers);
    match exposition.write(&registry.gather()) {
        Ok(body) => {
            let mut answer = text(StatusCode::OK, body);
            let content_type = HeaderValue::from_static(exposition.content_type());
            let headers = answer.headers_mut();
            headers.insert(CONTENT_TYPE, content_type);
            headers.insert(VARY, HeaderValue::from_static("accept"));
            answer
        }
        Err(error) => {
            error!(%error, "the metrics could not be written");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics could not be written; the log says why\n",
            )
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    // Each of these is true for this moment only.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Fetch Metadata: how the page that asks stands to what it asks for.
const SEC_FETCH_SITE: &str = "sec-fetch-site";
