//! What is noted of a request on its way, where the access log or a trace is to tell of it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use tokio::time::Instant;

use super::access::AccessLog;
use super::rejection::{REQUEST_ID, Reason, make_id};
use super::route::{Destination, Route};
use crate::server::{Caller, CallerBody};
use crate::token::AccessToken;
use crate::traces::{Trace, Tracer};

/// What is noted of a request.
#[derive(Debug, Default)]
pub struct Record {
    access_log: Option<AccessLog>,
    pub(super) traced: Option<Traced>,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) method: Option<Method>,
    pub(super) target: Option<PathAndQuery>,
    pub(super) caller: Option<Caller>,
    pub(super) destination: Option<Arc<Destination>>,
    pub(super) status: Option<StatusCode>,
    pub(super) reason: Option<Reason>,
    pub(super) is_broken: Cell<bool>,
    /// Generation and age of the token that it went with.
    pub(super) token: Cell<Option<(u64, Duration)>>,
    /// How often it was sent.
    pub(super) attempts: Cell<u32>,
    /// What of its time its upstream had it.
    pub(super) upstream: Cell<Option<Duration>>,
}

/// What a trace needs besides.
#[derive(Debug)]
pub(super) struct Traced {
    tracer: Tracer,
    pub(super) trace: Trace,
    pub(super) attempts: RefCell<Vec<Attempt>>,
    /// When the request began and when it was over.
    pub(super) lasted: Option<(Instant, Instant)>,
}

/// A request as it was sent to the upstream.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) span_id: u64,
    pub(super) target: Option<PathAndQuery>,
    pub(super) token: Option<(u64, Duration)>,
    pub(super) started: Instant,
    /// When it was over, and with which answer if there was one.
    pub(super) ended: Option<(Instant, Option<StatusCode>)>,
}

impl Record {
    /// Begins with what a request says itself, if anybody is to be told of it.
    ///
    /// For the access log it is given an identifier if it has none: by that the upstream's log and
    /// the caller's can be laid beside this one. For a trace it is told to which one it belongs.
    pub(super) fn of(
        access_log: Option<AccessLog>,
        tracer: Option<&Tracer>,
        request: &mut Request<CallerBody>,
    ) -> Option<Box<Self>> {
        let headers = request.headers_mut();
        let traced = tracer.and_then(|tracer| {
            Some(Traced {
                tracer: tracer.clone(),
                trace: tracer.begin(headers)?,
                attempts: RefCell::default(),
                lasted: None,
            })
        });
        if access_log.is_none() && traced.is_none() {
            return None;
        }
        let request_id = access_log.map(|_| {
            let request_id = headers.entry(REQUEST_ID).or_insert_with(make_id);
            request_id.clone()
        });
        Some(Box::new(Self {
            access_log,
            traced,
            request_id,
            method: Some(request.method().clone()),
            target: request.uri().path_and_query().cloned(),
            caller: Some(request.body().caller()),
            ..Self::default()
        }))
    }

    /// Of a head that could not be read.
    pub(super) fn of_nothing(access_log: AccessLog, request_id: HeaderValue) -> Box<Self> {
        Box::new(Self {
            access_log: Some(access_log),
            request_id: Some(request_id),
            ..Self::default()
        })
    }

    /// It goes this way.
    pub(super) fn routed(&mut self, route: &Route) {
        self.destination = Some(Arc::clone(&route.destination));
    }

    /// It is ready for its upstream at `now`, with this token.
    pub(super) fn authorized(&self, token: Option<&AccessToken>, now: Instant) {
        let token = token.map(|token| (token.generation(), token.age(now)));
        self.token.set(token);
    }

    /// It is sent, or sent again.
    pub(super) fn sent<B>(&self, request: &mut Request<B>) {
        self.attempts.update(|attempts| attempts.saturating_add(1));
        if let Some(traced) = &self.traced {
            let span_id = traced.trace.send_on(request.headers_mut());
            traced.attempts.borrow_mut().push(Attempt {
                span_id,
                target: request.uri().path_and_query().cloned(),
                token: self.token.get(),
                started: Instant::now(),
                ended: None,
            });
        }
    }

    /// That is over: with the head of an answer, or without.
    pub(super) fn answered_by_upstream(&self, status: Option<StatusCode>, now: Instant) {
        if let Some(traced) = &self.traced
            && let Some(attempt) = traced.attempts.borrow_mut().last_mut()
        {
            attempt.ended = Some((now, status));
        }
    }

    /// What of its time its upstream had it, if it got there.
    pub(super) fn upstream_took(&self, upstream: Option<Duration>) {
        self.upstream.set(upstream);
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(super) fn rejected(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }

    pub(super) fn broken(&self) {
        self.is_broken.set(true);
    }

    pub(super) fn trace_id(&self) -> Option<String> {
        let traced = self.traced.as_ref()?;
        Some(format!("{:032x}", traced.trace.context.trace_id))
    }

    /// Tells of it, once it is over.
    pub(super) fn tell(mut self: Box<Self>, route: &str, started: Instant, took: Duration) {
        if let Some(access_log) = self.access_log {
            access_log.write(&self, route, took);
        }
        if let Some(traced) = &mut self.traced {
            traced.lasted = Some((started, started + took));
            let tracer = traced.tracer.clone();
            tracer.record(self);
        }
    }
}
