//! The access log: a line for each request that is over, where the configuration asks for it.

use std::time::Duration;

use http::{Method, StatusCode};
use tracing::info;

use super::record::Record;
use super::rejection::Reason;
use crate::telemetry;

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

impl AccessLog {
    /// Writes the line of a request that is over, if it is to have one.
    pub(super) fn write(self, record: &Record, route: &str, took: Duration) {
        if self.requests == Logged::Failed && !has_failed(record) {
            return;
        }
        let (generation, age) = record.token.get().unzip();
        let request_id = record.request_id.as_ref();
        let request_id = request_id.map(|id| id.to_str().unwrap_or_default());
        info!(
            target: telemetry::ACCESS,
            request_id = request_id.map(|id| start_of(id, LONGEST_ID)),
            trace_id = record.trace_id(),
            route,
            method = record.method.as_ref().map(Method::as_str),
            path = self.path(record),
            caller = self.caller(record),
            status = record.status.map(|status| status.as_u16()),
            reason = record.reason.map(Reason::label),
            broken = record.is_broken.get().then_some(true),
            duration_ms = milliseconds(took),
            upstream_ms = record.upstream.get().map(milliseconds),
            attempts = Some(record.attempts.get()).filter(|attempts| *attempts > 1),
            generation,
            token_age_s = age.map(|age| age.as_secs()),
            "a request is over"
        );
    }

    fn path(self, record: &Record) -> Option<&str> {
        let target = record.target.as_ref()?;
        match self.target {
            LoggedTarget::Nothing => None,
            LoggedTarget::Path => Some(start_of(target.path(), LONGEST_TARGET)),
            LoggedTarget::PathAndQuery => Some(start_of(target.as_str(), LONGEST_TARGET)),
        }
    }

    fn caller(self, record: &Record) -> Option<String> {
        let caller = record.caller.filter(|_| self.caller)?;
        Some(caller.peer.to_string())
    }
}

fn has_failed(record: &Record) -> bool {
    let is_error = |status: StatusCode| status.as_u16() >= 400;
    record.is_broken.get() || record.status.is_none_or(is_error)
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

pub(super) fn start_of(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest))
        .unwrap_or(text)
}

/// What is logged of identifiers and targets that callers make up, in bytes.
const LONGEST_ID: usize = 128;
pub(super) const LONGEST_TARGET: usize = 1024;
