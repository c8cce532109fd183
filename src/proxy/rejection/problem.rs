//! A rejection as it goes to the caller: a problem document (RFC 9457) and what else a program reads.

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{Response, StatusCode};
use serde::Serialize;
use tokio::time::Instant;
use tracing::debug;

use super::{REQUEST_ID, Reason, Rejection, make_id};
use crate::proxy::access::AccessLog;
use crate::proxy::body::AnswerBody;
use crate::proxy::metrics::{InFlight, RouteMetrics};
use crate::proxy::record::Record;

impl Rejection {
    /// A problem document (RFC 9457). Without a `type` it is `about:blank`, whose title is the
    /// status's own phrase (§4.2.1); `reason` is what programs can tell cases apart by.
    ///
    /// `request_id` is what the caller calls the request; without it, it is called something here.
    pub(in crate::proxy) fn response(
        &self,
        request_id: Option<HeaderValue>,
        in_flight: InFlight,
    ) -> Response<AnswerBody> {
        let problem = self.problem(request_id.unwrap_or_else(make_id));
        problem.map(|body| AnswerBody::own(body, in_flight))
    }

    fn problem(&self, request_id: HeaderValue) -> Response<Bytes> {
        let (status, detail) = (self.reason.status(), &self.detail);
        debug!(
            reason = self.reason.label(),
            request_id = request_id.to_str().unwrap_or_default(),
            "{detail}"
        );
        let problem = Problem {
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail,
            reason: self.reason.label(),
            request_id: request_id.to_str().unwrap_or_default(),
            route: self.route.as_deref(),
            credential: self.credential.as_deref(),
        };
        // Strings and a number: there is nothing in it that serde_json could refuse.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(PROXY_STATUS, self.reason.proxy_status());
        headers.insert(REQUEST_ID, request_id);
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

/// The answer to a head that cannot be read or did not arrive in time, as it goes over the wire.
pub(in crate::proxy) fn refuse_head(
    status: StatusCode,
    metrics: &RouteMetrics,
    access_log: Option<AccessLog>,
) -> Vec<u8> {
    let rejection = Rejection::unreadable_head(status);
    let request_id = make_id();
    let record = access_log.map(|wanted| Record::of_nothing(wanted, request_id.clone()));
    let mut in_flight = metrics.begin(Instant::now(), record);
    in_flight.rejected(rejection.reason);
    let (head, body) = rejection.problem(request_id).into_parts();
    let mut wire = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    let length = HeaderValue::from(body.len());
    let framing = [
        (&CONNECTION, &HeaderValue::from_static("close")),
        (&CONTENT_LENGTH, &length),
    ];
    for (name, value) in head.headers.iter().chain(framing) {
        wire.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    wire.extend(b"\r\n");
    wire.extend(body);
    wire
}

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
}

/// RFC 9209 §2.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
