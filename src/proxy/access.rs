//! The access log: a line for each request that is over, where the configuration asks for it.

use std::cell::Cell;
use std::time::Duration;

use http::header::HeaderValue;
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use tokio::time::Instant;
use tracing::info;

use super::rejection::{REQUEST_ID, Reason, make_id};
use crate::server::{CallerBody, Peer};
use crate::telemetry;
use crate::token::AccessToken;

/// Which requests have a line, and what is told of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLog {
    /// Which.
    pub requests: Logged,
    /// How much of the target.
    pub target: LoggedTarget,
    /// Whether the caller's address.
    pub caller: bool,
}

/// Which requests have a line in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logged {
    /// Those whose caller got no whole answer, or a status of 400 and above.
    Failed,
    /// All.
    All,
}

/// How much of a request's target is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggedTarget {
    /// Nothing: paths may name people.
    Nothing,
    /// The path.
    Path,
    /// The query as well, in which applications may have secrets.
    PathAndQuery,
}

/// What is noted of a request on its way, for the line at its end.
#[derive(Debug)]
pub(super) struct Record {
    wanted: AccessLog,
    request_id: HeaderValue,
    method: Option<Method>,
    target: Option<PathAndQuery>,
    peer: Option<Peer>,
    status: Option<StatusCode>,
    reason: Option<Reason>,
    is_broken: Cell<bool>,
    /// Generation and age of the token that it went with.
    token: Cell<Option<(u64, Duration)>>,
    /// How often it was sent.
    attempts: Cell<u32>,
    upstream: Cell<Option<Duration>>,
}

impl Record {
    /// Begins with what a request says itself, and gives it an identifier if it has none: by that the
    /// upstream's log and the caller's can be laid beside this one.
    pub(super) fn of(wanted: AccessLog, request: &mut Request<CallerBody>) -> Self {
        let request_id = request.headers_mut().entry(REQUEST_ID);
        let request_id = request_id.or_insert_with(make_id).clone();
        Self {
            method: Some(request.method().clone()),
            target: request.uri().path_and_query().cloned(),
            peer: Some(request.body().caller().peer),
            ..Self::of_nothing(wanted, request_id)
        }
    }

    /// Of a head that could not be read.
    pub(super) fn of_nothing(wanted: AccessLog, request_id: HeaderValue) -> Self {
        Self {
            wanted,
            request_id,
            method: None,
            target: None,
            peer: None,
            status: None,
            reason: None,
            is_broken: Cell::default(),
            token: Cell::default(),
            attempts: Cell::default(),
            upstream: Cell::default(),
        }
    }

    pub(super) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// It is ready for its upstream at `now`, with this token.
    pub(super) fn authorized(&self, token: Option<&AccessToken>, now: Instant) {
        let token = token.map(|token| (token.generation(), token.age(now)));
        self.token.set(token);
    }

    /// It is sent, or sent again.
    pub(super) fn sent(&self) {
        self.attempts.update(|attempts| attempts.saturating_add(1));
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

    /// Writes the line, once it is over.
    pub(super) fn write(&self, route: &str, took: Duration) {
        if self.wanted.requests == Logged::Failed && !self.has_failed() {
            return;
        }
        let (generation, age) = self.token.get().unzip();
        info!(
            target: telemetry::ACCESS,
            request_id = start_of(self.request_id.to_str().unwrap_or_default(), LONGEST_ID),
            route,
            method = self.method.as_ref().map(Method::as_str),
            path = self.path(),
            caller = self.caller(),
            status = self.status.map(|status| status.as_u16()),
            reason = self.reason.map(Reason::label),
            broken = self.is_broken.get().then_some(true),
            duration_ms = milliseconds(took),
            upstream_ms = self.upstream.get().map(milliseconds),
            attempts = Some(self.attempts.get()).filter(|attempts| *attempts > 1),
            generation,
            token_age_s = age.map(|age| age.as_secs()),
            "a request is over"
        );
    }

    fn has_failed(&self) -> bool {
        let is_error = |status: StatusCode| status.as_u16() >= 400;
        self.is_broken.get() || self.status.is_none_or(is_error)
    }

    fn path(&self) -> Option<&str> {
        let target = self.target.as_ref()?;
        match self.wanted.target {
            LoggedTarget::Nothing => None,
            LoggedTarget::Path => Some(start_of(target.path(), LONGEST_TARGET)),
            LoggedTarget::PathAndQuery => Some(start_of(target.as_str(), LONGEST_TARGET)),
        }
    }

    fn caller(&self) -> Option<String> {
        let peer = self.peer.filter(|_| self.wanted.caller)?;
        Some(peer.to_string())
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn start_of(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest))
        .unwrap_or(text)
}

/// What is logged of identifiers and targets that callers make up, in bytes.
const LONGEST_ID: usize = 128;
const LONGEST_TARGET: usize = 1024;
