//! A request as spans: its own, and one for each time that it was sent to its upstream. The names of
//! the attributes are those of OpenTelemetry's semantic conventions for HTTP. Neither queries nor header fields
//! are among them.

use http::{Method, StatusCode};

use super::access::{LONGEST_TARGET, start_of};
use super::record::{Attempt, Record, Traced};
use super::rejection::Reason;
use super::route::Destination;
use crate::traces::{Kind, Recorded, Span, TraceContext};

impl Recorded for Record {
    fn spans(self: Box<Self>) -> Vec<Span> {
        let Some(traced) = &self.traced else {
            return Vec::new();
        };
        let mut spans: Vec<_> = own(&self, traced).into_iter().collect();
        let attempts = traced.attempts.borrow();
        let attempts = attempts.iter().enumerate();
        spans.extend(attempts.filter_map(|(resent, attempt)| sent(&self, traced, attempt, resent)));
        spans
    }
}

fn own(record: &Record, traced: &Traced) -> Option<Span> {
    let (started, ended) = traced.lasted?;
    let destination = record.destination.as_deref();
    let path = destination.map(|it| it.path.as_str());
    let is_fault = record.status.is_some_and(|status| status.is_server_error());
    let mut span = Span {
        context: traced.trace.context,
        parent: traced.trace.parent,
        state: state(traced),
        name: match path {
            Some(path) => format!("{} {path}", method(record)),
            None => method(record).into(),
        },
        kind: Kind::Server,
        started,
        ended,
        attributes: Vec::new(),
        failed: is_fault || record.is_broken.get(),
    };
    span.say("http.request.method", Some(method(record)));
    span.say("http.route", path);
    let target = record.target.as_ref();
    span.say(
        "url.path",
        target.map(|it| start_of(it.path(), LONGEST_TARGET)),
    );
    let scheme = |is_tls| if is_tls { "https" } else { "http" };
    span.say("url.scheme", record.caller.map(|caller| scheme(caller.tls)));
    span.say(
        "http.response.status_code",
        record.status.map(|it| it.as_u16()),
    );
    span.say("gatepass.route", destination.map(|it| &*it.route));
    span.say("gatepass.reason", record.reason.map(Reason::label));
    let error = match (record.reason, record.status) {
        (_, None) => Some("caller_left".to_owned()),
        (Some(reason), _) if is_fault => Some(reason.label().to_owned()),
        (None, Some(status)) if is_fault => Some(status.as_str().to_owned()),
        _ => record.is_broken.get().then(|| "answer_broken".to_owned()),
    };
    span.say("error.type", error);
    Some(span)
}

/// The span of the request as it was sent for the `resent`-th time after the first.
fn sent(record: &Record, traced: &Traced, attempt: &Attempt, resent: usize) -> Option<Span> {
    let (_, over) = traced.lasted?;
    let (ended, status) = attempt.ended.unwrap_or((over, None));
    let failed = status.is_none_or(|status| status.as_u16() >= 400);
    let mut span = Span {
        context: TraceContext {
            span_id: attempt.span_id,
            ..traced.trace.context
        },
        parent: Some(traced.trace.context.span_id),
        state: state(traced),
        name: method(record).into(),
        kind: Kind::Client,
        started: attempt.started,
        ended,
        attributes: Vec::new(),
        failed,
    };
    span.say("http.request.method", Some(method(record)));
    if let Some(destination) = record.destination.as_deref() {
        let Destination {
            address,
            port,
            origin,
            credential,
            ..
        } = destination;
        span.say("server.address", Some(address.as_str()));
        span.say("server.port", *port);
        let path = attempt.target.as_ref().map_or("", |target| target.path());
        let url = format!("{origin}{}", start_of(path, LONGEST_TARGET));
        span.say("url.full", Some(url));
        span.say("gatepass.credential", credential.as_deref());
    }
    let (generation, age) = attempt.token.unzip();
    span.say("gatepass.token.generation", generation);
    span.say("gatepass.token.age", age.map(|age| age.as_secs()));
    span.say("http.response.status_code", status.map(|it| it.as_u16()));
    let resent = u32::try_from(resent).unwrap_or(u32::MAX);
    span.say("http.request.resend_count", (resent > 0).then_some(resent));
    if failed {
        let reason = record.reason.map_or("_OTHER", Reason::label);
        let error = status.as_ref().map_or(reason, StatusCode::as_str);
        span.say("error.type", Some(error));
    }
    Some(span)
}

fn state(traced: &Traced) -> String {
    let state = traced.trace.state.as_ref();
    let state = state.and_then(|state| state.to_str().ok());
    state.unwrap_or_default().to_owned()
}

/// Callers may make up methods without end, and names of spans are to be few.
fn method(record: &Record) -> &str {
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
    ];
    let method = record.method.as_ref();
    let method = method.filter(|method| known.contains(method));
    method.map_or("_OTHER", Method::as_str)
}
