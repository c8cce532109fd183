//! Whether it has started, and whether it can serve.

use std::fmt::Write;

use http::StatusCode;

use super::{Answer, text};
use crate::readiness::{Finding, Readiness};

pub(super) fn startup(readiness: &Readiness) -> Answer {
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

pub(super) fn ready_or_why_not(readiness: &Readiness) -> Answer {
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
