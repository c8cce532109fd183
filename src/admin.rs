//! The operators' listener: metrics, probes, and the status at one look.
//!
//! | path | 200 means | otherwise |
//! |---|---|---|
//! | `/livez` | the control plane turns | no answer |
//! | `/startupz` | the first attempt for every needed token is over | 503, what is awaited |
//! | `/readyz` | every credential that a route needs has a usable token | 503, which has not and why |
//! | `/metrics` | Prometheus text follows, or OpenMetrics for those who prefer it | 500 |
//! | `/`, `/api/status` | the page for people, the same as JSON | |
//! | `/api/config` | the configuration at work, without its secrets | 403, others can reach the listener |
//! | `/api/events` | what happens from now on follows | 503, too many listen |
//!
//! `POST /api/credentials/NAME/refresh` fetches a new token now; `POST /quit` stops gatepass, if the
//! configuration allows it.
//!
//! They are for three probes of three meanings: liveness must not fail because a provider is down,
//! or a supervisor would restart what a restart cannot mend; readiness must.

mod claims;
mod commands;
mod event;
mod exposition;
mod page;
mod probes;
mod status;
mod subscribers;
mod trend;

use std::cell::RefCell;
use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use prometheus::{IntCounter, IntGaugeVec, Opts, Registry};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::error;

use crate::proxy::Routing;
use crate::readiness::Readiness;
use crate::server::{Address, CallerBody, Handler};
use crate::store::Standings;
use crate::token::Credentials;
use crate::token::metrics::TokenMetrics;
use commands::Command;
use exposition::Exposition;
pub use subscribers::{EventStream, Subscribers};
pub use trend::Trends;

type Answer = Response<Either<Full<Bytes>, EventStream>>;

/// What the admin listener shows and does.
pub struct Admin {
    /// What `/metrics` serves.
    pub registry: Registry,
    /// What the probes ask.
    pub readiness: Readiness,
    /// The credentials that can be refreshed.
    pub credentials: Credentials,
    /// How attempts to get their tokens have ended.
    pub token_metrics: TokenMetrics,
    /// How their sharing stands.
    pub standings: Standings,
    /// How routes have been doing.
    pub trends: Rc<Trends>,
    /// Where the routes at work are found.
    pub published: Arc<ArcSwap<Routing>>,
    /// The configuration at work as people may see it, with where each value comes from.
    pub configuration: Rc<RefCell<String>>,
    /// Where callers are served.
    pub proxy: Vec<Address>,
    /// Since when the process is at work.
    pub started: Instant,
    /// Whether those who reach the listener may command it, or only look.
    pub commands: bool,
    /// What is told when somebody orders the end; nothing if nobody may.
    pub quit: Option<Arc<Notify>>,
    /// Whether the status shows whom a token is about.
    pub show_subject: bool,
    /// Those who listen to what happens.
    pub subscribers: Subscribers,
}

/// Makes the service that the admin listener's connections are served with.
pub fn service(admin: Admin) -> Handler {
    Handler::new(move |request| ready(answer(&request, &admin)))
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
    // They are read from /proc.
    #[cfg(target_os = "linux")]
    registry.register(Box::new(
        prometheus::process_collector::ProcessCollector::for_self(),
    ))?;
    Ok(())
}

fn answer(request: &Request<CallerBody>, admin: &Admin) -> Answer {
    if admin.commands && !commands::is_for_here(request) {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            "only requests for localhost or an IP address are answered here\n",
        );
    }
    if let Some(command) = Command::of(request.uri().path(), admin) {
        return match *request.method() {
            Method::POST => command.obey(request.headers(), admin),
            _ => method_not_allowed("POST"),
        };
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return method_not_allowed("GET, HEAD");
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/startupz" => probes::startup(&admin.readiness),
        "/readyz" => probes::ready_or_why_not(&admin.readiness),
        "/metrics" => metrics(&admin.registry, request.headers()),
        "/" => status_page(admin),
        "/api/status" => status_json(admin),
        "/api/config" => configuration(admin),
        "/api/events" => events(request.headers(), &admin.subscribers),
        _ => text(
            StatusCode::NOT_FOUND,
            "there is /, /api/status, /api/config, /api/events, /metrics, /livez, /readyz and /startupz here; the \
             proxy listens elsewhere\n",
        ),
    }
}

fn status_page(admin: &Admin) -> Answer {
    let configuration = admin.configuration.borrow();
    // Whoever reaches another address is no operator.
    let configuration = admin.commands.then(|| configuration.as_str());
    let page = page::page(&status::look(admin), configuration, admin.commands);
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

/// Names of users, of files and of hosts stand in it.
fn configuration(admin: &Admin) -> Answer {
    match admin.commands {
        true => text(StatusCode::OK, admin.configuration.borrow().clone()),
        false => text(
            StatusCode::FORBIDDEN,
            "the configuration is shown on loopback only, and this listener can be reached from \
             elsewhere; gatepass check --show tells it to those who have the file\n",
        ),
    }
}

fn events(headers: &HeaderMap, subscribers: &Subscribers) -> Answer {
    let Some(stream) = subscribers.join(headers) else {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "as many listen already as admin.event_streams allows; /api/status has the last events\n",
        );
    };
    let mut answer = text(StatusCode::OK, "").map(|_| Either::Right(stream));
    let content_type = HeaderValue::from_static("text/event-stream");
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

fn status_json(admin: &Admin) -> Answer {
    // Texts and numbers: there is nothing in it that serde_json could refuse.
    let body = serde_json::to_vec(&status::look(admin)).unwrap_or_default();
    let mut answer = text(StatusCode::OK, body);
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
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
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
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
