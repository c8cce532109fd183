//! Answers that gatepass makes itself: few, alike, and worded for whoever has to act.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Response, StatusCode};
use serde::Serialize;

use super::body::AnswerBody;
use super::metrics::InFlight;
use super::route::{Route, RouteTable};
use super::upstream::UpstreamError;
use crate::token::TokenState;

/// A request that gatepass answers itself instead of the upstream.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) reason: Reason,
    pub(super) detail: String,
    route: Option<Arc<str>>,
    credential: Option<String>,
    retry_after: Option<u64>,
    /// Which methods would have been taken.
    allow: Option<Box<HeaderValue>>,
}

/// Why; the value of a metric's label and of the answer's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    BadHost,
    BadTarget,
    UnknownHost,
    CrossSite,
    AmbiguousPath,
    NoRoute,
    MethodRefused,
    TargetTooLong,
    UnknownCoding,
    RequestBroken,
    RequestStalled,
    NoToken,
    UpstreamUnreachable,
    UpstreamTimeout,
    UpstreamFailed,
}

impl Reason {
    pub(super) const ALL: [Self; 15] = [
        Self::BadHost,
        Self::BadTarget,
        Self::UnknownHost,
        Self::CrossSite,
        Self::AmbiguousPath,
        Self::NoRoute,
        Self::MethodRefused,
        Self::TargetTooLong,
        Self::UnknownCoding,
        Self::RequestBroken,
        Self::RequestStalled,
        Self::NoToken,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamFailed,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::BadHost => "bad_host",
            Self::BadTarget => "bad_target",
            Self::UnknownHost => "unknown_host",
            Self::CrossSite => "cross_site",
            Self::AmbiguousPath => "ambiguous_path",
            Self::NoRoute => "no_route",
            Self::MethodRefused => "method_refused",
            Self::TargetTooLong => "target_too_long",
            Self::UnknownCoding => "unknown_coding",
            Self::RequestBroken => "request_broken",
            Self::RequestStalled => "request_stalled",
            Self::NoToken => "no_token",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamFailed => "upstream_failed",
        }
    }

    /// The field by which whoever stands before gatepass tells its answers from the upstream's, with
    /// the registered type of error (RFC 9209 §2.3).
    fn proxy_status(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::BadHost
            | Self::BadTarget
            | Self::AmbiguousPath
            | Self::TargetTooLong
            | Self::UnknownCoding
            | Self::RequestBroken
            | Self::RequestStalled => "gatepass; error=http_request_error",
            Self::UnknownHost | Self::CrossSite | Self::MethodRefused => {
                "gatepass; error=http_request_denied"
            }
            Self::NoRoute => "gatepass; error=destination_not_found",
            Self::NoToken => "gatepass; error=proxy_internal_error",
            Self::UpstreamUnreachable => "gatepass; error=destination_unavailable",
            Self::UpstreamTimeout => "gatepass; error=http_response_timeout",
            Self::UpstreamFailed => "gatepass; error=http_protocol_error",
        })
    }

    pub(super) fn is_upstream(self) -> bool {
        matches!(
            self,
            Self::UpstreamUnreachable | Self::UpstreamTimeout | Self::UpstreamFailed
        )
    }

    /// The status says whose fault it was: the caller's (4xx, 501), the upstream's (502, 504), or
    /// that of the way to a token (503). It is never 401, which would make clients drop their data, and
    /// never a success.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadHost | Self::BadTarget | Self::AmbiguousPath => StatusCode::BAD_REQUEST,
            // RFC 9110 §15.5.20: "the request was directed at a server that is unable or unwilling
            // to produce an authoritative response for the target URI."
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::CrossSite => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            // RFC 9112 §6.1: "A server that receives a request message with a transfer coding it
            // does not understand SHOULD respond with 501 (Not Implemented)."
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::RequestBroken => StatusCode::BAD_REQUEST,
            Self::RequestStalled => StatusCode::REQUEST_TIMEOUT,
            Self::NoToken => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamUnreachable | Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl Rejection {
    pub(super) fn bad_host(what: &str) -> Self {
        let detail = format!(
            "the request cannot be told where it belongs: {what}; exactly one `Host: name` or \
             `Host: name:port` is needed"
        );
        Self::new(Reason::BadHost, None, detail)
    }

    pub(super) fn bad_target(what: &str) -> Self {
        Self::new(
            Reason::BadTarget,
            None,
            format!("the request is refused: {what}"),
        )
    }

    pub(super) fn unknown_host(host: &str, names: Option<&[String]>, table: &RouteTable) -> Self {
        let routes = table.routes().flat_map(|route| &route.settings.hosts);
        let mut known: Vec<_> = names.unwrap_or_default().iter().chain(routes).collect();
        known.sort();
        known.dedup();
        let known: Vec<_> = known.into_iter().map(String::as_str).collect();
        let detail = format!(
            "the request is for the host {host}, and served here are {}; let the application call \
             one of these, add its name to proxy.names, or name the host in a route",
            known.join(", ")
        );
        Self::new(Reason::UnknownHost, None, detail)
    }

    pub(super) fn cross_site() -> Self {
        let detail = "the request comes from a web page of another site, which may not use the \
                      credentials here; if it is yours, name its origin in proxy.allowed_origins";
        Self::new(Reason::CrossSite, None, detail.into())
    }

    pub(super) fn ambiguous_path() -> Self {
        let detail = "the request's path would belong to another route once it is decoded or its \
                      dot segments are taken away; let the application send it in its plain form";
        Self::new(Reason::AmbiguousPath, None, detail.into())
    }

    pub(super) fn no_route(host: &str, path: &str, table: &RouteTable) -> Self {
        let known: Vec<_> = table
            .routes()
            .map(|route| {
                let hosts = route.settings.hosts.join("|");
                format!("{hosts}{}", route.settings.prefix)
            })
            .collect();
        // The host matters only where routes tell hosts apart.
        let host = match table.routes().any(|route| !route.settings.hosts.is_empty()) {
            true => host,
            false => "",
        };
        let detail = format!(
            "no route matches {host}{path}; there are routes for {}",
            known.join(", ")
        );
        Self::new(Reason::NoRoute, None, detail)
    }

    /// A route's methods do not include this one.
    pub(super) fn method_refused(method: &Method, allowed: &[Method]) -> Self {
        let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
        let allowed = allowed.join(", ");
        let detail =
            format!("no route takes {method} for this path; there are routes for {allowed}");
        Self {
            allow: HeaderValue::try_from(allowed).ok().map(Box::new),
            ..Self::new(Reason::MethodRefused, None, detail)
        }
    }

    /// A method that is never forwarded.
    pub(super) fn not_forwarded(method: &Method) -> Self {
        let detail = match *method {
            Method::TRACE => {
                "TRACE is not forwarded: its answer would show the token to the caller"
            }
            _ => {
                "CONNECT is not forwarded: inside a tunnel gatepass could add no token; \
                 let the application call gatepass itself, in plain HTTP"
            }
        };
        Self {
            allow: Some(Box::new(HeaderValue::from_static(FORWARDED_METHODS))),
            ..Self::new(Reason::MethodRefused, None, detail.into())
        }
    }

    pub(super) fn target_too_long(route: &Route) -> Self {
        let detail = "the request's target is too long with the upstream's base path before it";
        Self::new(Reason::TargetTooLong, Some(route), detail.into())
    }

    pub(super) fn unknown_coding(route: &Route) -> Self {
        let detail = "the request's body has a transfer coding other than chunked";
        Self::new(Reason::UnknownCoding, Some(route), detail.into())
    }

    pub(super) fn no_token(route: &Route, credential: &str, state: &TokenState) -> Self {
        let why = state.why_not_sent();
        Self {
            credential: Some(credential.to_owned()),
            retry_after: Some(state.retry_after_seconds()),
            ..Self::new(
                Reason::NoToken,
                Some(route),
                format!("credential \"{credential}\" {why}"),
            )
        }
    }

    pub(super) fn upstream(route: &Route, error: &UpstreamError) -> Self {
        let upstream = &route.settings.origin;
        let (reason, detail) = match error {
            UpstreamError::RequestBroken => (Reason::RequestBroken, format!("the request {error}")),
            UpstreamError::RequestStalled(_) => {
                (Reason::RequestStalled, format!("the request {error}"))
            }
            UpstreamError::Connect(_) => (
                Reason::UpstreamUnreachable,
                format!("upstream {upstream} {error}"),
            ),
            UpstreamError::HeadTimeout(_) => (
                Reason::UpstreamTimeout,
                format!("upstream {upstream} {error}"),
            ),
            UpstreamError::Broken(_) => (
                Reason::UpstreamFailed,
                format!("upstream {upstream} {error}"),
            ),
        };
        Self::new(reason, Some(route), detail)
    }

    pub(super) fn unknown_answer_coding(route: &Route) -> Self {
        let detail = format!(
            "upstream {} answered with a transfer coding other than chunked",
            route.settings.origin
        );
        Self::new(Reason::UpstreamFailed, Some(route), detail)
    }

    pub(super) fn unasked_upgrade(route: &Route) -> Self {
        let detail = format!(
            "upstream {} switched to another protocol without being asked to",
            route.settings.origin
        );
        Self::new(Reason::UpstreamFailed, Some(route), detail)
    }

    fn new(reason: Reason, route: Option<&Route>, detail: String) -> Self {
        Self {
            reason,
            detail,
            route: route.map(|route| Arc::clone(&route.settings.name)),
            credential: None,
            retry_after: None,
            allow: None,
        }
    }

    /// A problem document (RFC 9457). Without a `type` it is `about:blank`, whose title is the
    /// status's own phrase (§4.2.1); `reason` is what programs can tell cases apart by.
    pub(super) fn response(&self, in_flight: InFlight) -> Response<AnswerBody> {
        let status = self.reason.status();
        let problem = Problem {
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: &self.detail,
            reason: self.reason.label(),
            route: self.route.as_deref(),
            credential: self.credential.as_deref(),
        };
        // Strings and a number: there is nothing in it that serde_json could refuse.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(AnswerBody::own(Bytes::from(body), in_flight));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(PROXY_STATUS, self.reason.proxy_status());
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.reason == Reason::UnknownCoding {
            // Where its body ends nobody knows, so what follows might be a part of it.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(allow) = &self.allow {
            headers.insert(ALLOW, HeaderValue::clone(allow));
        }
        response
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
}

/// RFC 9209 §2.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// RFC 9110 §15.5.6: "The origin server MUST generate an Allow header field in a 405 response."
/// Other methods are forwarded as well; these are the ones that everybody knows.
const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
