//! The operators' listener: metrics and probes.
//!
//! | path | 200 means | otherwise |
//! |---|---|---|
//! | `/livez` | the control plane turns | no answer |
//! | `/startupz` | the first attempt for every needed token is over | 503, what is awaited |
//! | `/readyz` | every credential that a route needs has a usable token | 503, which has not and why |
//! | `/metrics` | Prometheus text follows | 500 |
//!
//! They are for three probes of three meanings: liveness must not fail because a provider is down,
//! or a supervisor would restart what a restart cannot mend; readiness must.

use std::convert::Infallible;
use std::fmt::Write;
use std::future::ready;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::{Service, service_fn};
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGaugeVec, Opts, Registry, TEXT_FORMAT, TextEncoder};
use tracing::error;

use crate::readiness::Readiness;
use crate::server::CallerBody;

type Answer = Response<Full<Bytes>>;

/// Makes the service that the admin listener's connections are served with.
pub fn service(
    registry: Registry,
    readiness: Readiness,
) -> impl Service<Request<CallerBody>, Response = Answer, Error = Infallible> + Clone {
    service_fn(move |request| ready(Ok(answer(&request, &registry, &readiness))))
}

/// Registers what is not any room's own: the build, and the process as the kernel sees it.
///
/// # Errors
///
/// A metric of the same name is registered already.
pub fn register_process_metrics(registry: &Registry) -> prometheus::Result<()> {
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

fn answer<B>(request: &Request<B>, registry: &Registry, readiness: &Readiness) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/startupz" => startup(readiness),
        "/readyz" => ready_or_why_not(readiness),
        "/metrics" => metrics(registry),
        _ => text(
            StatusCode::NOT_FOUND,
            "there is /metrics, /livez, /readyz and /startupz here; the proxy listens elsewhere\n",
        ),
    }
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
    if not_ready.is_empty() {
        return text(StatusCode::OK, "ready\n");
    }
    let mut body = String::from("not ready\n");
    for found in not_ready {
        let _ = writeln!(body, "\n{} {}", found.subject, found.reason);
    }
    text(StatusCode::SERVICE_UNAVAILABLE, body)
}

fn metrics(registry: &Registry) -> Answer {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(body) => {
            let mut answer = text(StatusCode::OK, body);
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
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
