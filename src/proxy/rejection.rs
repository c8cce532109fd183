//! Answers that gatepass makes itself: few, alike, and worded for whoever has to act.

mod problem;
mod reason;

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::route::{Route, RouteTable};
use super::upstream::{ConnectError, UpstreamError};
use crate::token::TokenState;
pub(super) use problem::refuse_head;
pub(super) use reason::Reason;

/// A request that gatepass answers itself instead of the upstream.
#[derive(Debug)]
pub struct Rejection {
    pub(super) reason: Reason,
    pub(super) detail: String,
    route: Option<Arc<str>>,
    credential: Option<String>,
    retry_after: Option<u64>,
    /// Which methods would have been taken.
    allow: Option<Box<HeaderValue>>,
}

impl Rejection {
    /// A head that hyper could not read, or that did not arrive in time.
    fn unreadable_head(status: StatusCode) -> Self {
        let (reason, detail) = match status {
            StatusCode::REQUEST_TIMEOUT => (
                Reason::HeadTimeout,
                "the request's head was not complete within proxy.timeouts.header_read",
            ),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
                Reason::HeadTooLarge,
                "the request's head has more than proxy.limits.headers or header_bytes allow",
            ),
            StatusCode::URI_TOO_LONG => (Reason::TargetTooLong, "the request's target is too long"),
            _ => (
                Reason::BadRequest,
                "what came is not HTTP, or not valid (a space, a quotation mark, a backtick, <, > or a letter \
                 beyond ASCII in the target has to be percent-encoded); TLS is spoken only where proxy.listen \
                 has tls:",
            ),
        };
        Self::new(reason, None, detail.into())
    }

    /// Whoever calls has not shown what callers have to show.
    pub(super) fn unknown_caller(what: &str) -> Self {
        let detail = format!("the caller may not use the credentials here: {what}");
        Self::new(Reason::UnknownCaller, None, detail)
    }

    /// There are as many requests under way as there may be.
    pub(super) fn overloaded(most: usize) -> Self {
        let detail = format!(
            "{most} requests are under way, which is all that proxy.limits.requests allows; \
             come again in a moment"
        );
        Self {
            retry_after: Some(1),
            ..Self::new(Reason::Overloaded, None, detail)
        }
    }

    pub(super) fn body_too_large(route: &Route) -> Self {
        let most = route.settings.max_body.unwrap_or_default();
        let error = UpstreamError::RequestTooLarge;
        let detail = format!("the request {error} ({most} bytes)");
        Self::new(Reason::BodyTooLarge, Some(route), detail)
    }

    /// The time for the request as a whole is over; `was_sending` says that it had not all come yet.
    pub(super) fn request_timeout(route: &Route, was_sending: bool) -> Self {
        let upstream = &route.settings.origin;
        let limit = route.settings.timeouts.request.unwrap_or_default();
        let (reason, what) = match was_sending {
            true => (
                Reason::RequestStalled,
                "the request's body was not over".to_owned(),
            ),
            false => (
                Reason::RequestTimeout,
                format!("upstream {upstream} did not begin to answer"),
            ),
        };
        let detail = format!(
            "{what} within the {limit:?} that timeouts.request allows for the request as a whole"
        );
        Self::new(reason, Some(route), detail)
    }

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

    pub(super) fn unknown_host(
        host: &str,
        is_proxied: bool,
        names: Option<&[String]>,
        table: &RouteTable,
    ) -> Self {
        let routes = table.routes().flat_map(|route| &route.settings.hosts);
        let mut known: Vec<_> = names.unwrap_or_default().iter().chain(routes).collect();
        known.sort();
        known.dedup();
        let known: Vec<_> = known.into_iter().map(String::as_str).collect();
        // Whoever takes gatepass for a proxy cannot help naming the host that is meant.
        let next = match is_proxied {
            true => {
                "name the host in a route or add it to proxy.names, or let the application call \
                 gatepass itself in the place of a proxy"
            }
            false => {
                "let the application call one of these, add its name to proxy.names, or name the \
                 host in a route"
            }
        };
        let detail = format!(
            "the request is for the host {host}, and served here are {}; {next}",
            known.join(", ")
        );
        Self::new(Reason::UnknownHost, None, detail)
    }

    /// A request for `asked` has been sent as to a proxy; `own` is gatepass's own port.
    pub(super) fn other_port(asked: &str, own: u16) -> Self {
        let detail = format!(
            "the request is for {asked}, which is another server: this one is at port {own}; let the \
             application call that one without a proxy (NO_PROXY=localhost,127.0.0.1,::1)"
        );
        Self::new(Reason::UnknownHost, None, detail)
    }

    pub(super) fn cross_site() -> Self {
        let detail = "the request comes from a web page of another site, which may not use the \
                      credentials here; if it is yours, name its origin in proxy.allowed_origins";
        Self::new(Reason::CrossSite, None, detail.into())
    }

    pub(super) fn ambiguous_path() -> Self {
        let detail = "the request's path would belong to another route once it is decoded, or its \
                      dot segments or parameters (;…) are taken away; let the application send it in \
                      its plain form";
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
            UpstreamError::RequestTooLarge => return Self::body_too_large(route),
            UpstreamError::Connect(ConnectError::TooMany(_) | ConnectError::NoDescriptors(_)) => {
                let detail = format!("upstream {upstream} {error}; come again in a moment");
                return Self {
                    retry_after: Some(1),
                    ..Self::new(Reason::UpstreamSaturated, Some(route), detail)
                };
            }
            UpstreamError::Connect(_) => (
                Reason::UpstreamUnreachable,
                format!("upstream {upstream} {error}"),
            ),
            UpstreamError::HeadTimeout(_) | UpstreamError::NotTaken(_) => (
                Reason::UpstreamTimeout,
                format!("upstream {upstream} {error}"),
            ),
            UpstreamError::Broken(cause) if cause.is_parse_too_large() => {
                let most = route.settings.max_response_headers;
                let may_have = format!("it may have 64 KiB and {most} fields");
                let detail =
                    format!("upstream {upstream} {error}; {may_have} (max_response_headers)");
                (Reason::UpstreamFailed, detail)
            }
            UpstreamError::Broken(_) => {
                let may_speak_tls = upstream.tls().is_none() && upstream.socket().is_none();
                let advice = match may_speak_tls {
                    true => "see its own log; if it speaks TLS there, write https:// in upstream",
                    false => "see its own log",
                };
                let detail = format!("upstream {upstream} {error}; {advice}");
                (Reason::UpstreamFailed, detail)
            }
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
}

/// By which an answer is found again in the log.
pub(super) fn make_id() -> HeaderValue {
    let id = format!("{:016x}", fastrand::u64(..));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static(""))
}

/// No standard, and what everybody uses.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// RFC 9110 §15.5.6: "The origin server MUST generate an Allow header field in a 405 response."
/// Other methods are forwarded as well; these are the ones that everybody knows.
const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
