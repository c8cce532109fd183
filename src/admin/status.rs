//! What there is to see at one look: how each credential and each route is doing.
//!
//! `/api/status` serves it as JSON, whose members keep their names and meaning; the page at `/` shows
//! the same to people. No token and no secret is part of it.

use serde::Serialize;
use tokio::time::Instant;

use super::Admin;
use super::claims::{self, Claims};
use super::event::EventStatus;
use super::trend::{Totals, Trend, Trends};
use crate::metric::Counts;
use crate::proxy::{Route, RouteDescription};
use crate::readiness::Finding;
use crate::store::Standing;
use crate::token::{Attempt, TokenReader, TokenState};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) uptime_seconds: u64,
    pub(super) state: State,
    /// Where callers are served.
    pub(super) proxy: Vec<String>,
    /// Why it is not ready, and what else an operator should know.
    pub(super) findings: Vec<Finding>,
    pub(super) credentials: Vec<CredentialStatus>,
    pub(super) routes: Vec<RouteStatus>,
    /// What has happened lately, the last one first.
    pub(super) events: Vec<EventStatus>,
}

/// What the probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Starting,
    Ready,
    NotReady,
}

#[derive(Debug, Serialize)]
pub(super) struct CredentialStatus {
    pub(super) name: String,
    pub(super) state: TokenHealth,
    /// How many tokens it has had.
    pub(super) generation: u64,
    /// How long the token at hand may be sent in all.
    pub(super) lives_seconds: Option<u64>,
    /// Until the token at hand is no longer sent.
    pub(super) ends_in_seconds: Option<u64>,
    /// What it says of itself.
    pub(super) token: Option<Claims>,
    /// Until the next attempt to get one.
    pub(super) next_attempt_in_seconds: Option<u64>,
    /// Why the last attempt failed, if it did, and what to do.
    pub(super) last_error: Option<String>,
    /// The last attempts, the last one first.
    pub(super) refreshes: Vec<Refresh>,
    /// Attempts since the start, by how they ended.
    pub(super) attempts: Counts,
    /// Tokens since the start, by where they came from: the provider, or the store.
    pub(super) origins: Counts,
    #[serde(flatten)]
    pub(super) sharing: Standing,
    /// Calls to the store that were no help, by reason.
    pub(super) store_errors: Counts,
}

/// One attempt to get a token.
#[derive(Debug, Serialize)]
pub(super) struct Refresh {
    pub(super) seconds_ago: u64,
    pub(super) took_seconds: f64,
    /// In the words of the metric.
    pub(super) outcome: &'static str,
}

/// What a credential has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenHealth {
    /// A token, and the last attempt to get one succeeded.
    Fresh,
    /// A token, and attempts to get the next one fail.
    Ageing,
    /// No token has come yet.
    Awaited,
    /// The last token has ended.
    Ended,
}

#[derive(Debug, Serialize)]
pub(super) struct RouteStatus {
    #[serde(flatten)]
    pub(super) route: RouteDescription,
    pub(super) in_flight: u64,
    /// Requests that have ended, by the class of their status.
    pub(super) requests: Counts,
    /// Those that gatepass answered itself, by reason.
    pub(super) rejections: Counts,
    /// From the end of a request's head to the end of its answer, on the average.
    pub(super) mean_seconds: Option<f64>,
    /// How it has been doing in the last minutes.
    pub(super) trend: Trend,
}

/// Looks at everything there is.
pub(super) fn look(admin: &Admin) -> Status {
    let now = Instant::now();
    let mut findings = admin.readiness.not_ready();
    let state = match (admin.readiness.starting().is_empty(), findings.is_empty()) {
        (false, _) => State::Starting,
        (true, true) => State::Ready,
        (true, false) => State::NotReady,
    };
    findings.extend(admin.readiness.remarks());
    let credentials = admin.credentials.all();
    let routing = admin.published.load();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: (now - admin.started).as_secs(),
        state,
        proxy: admin.proxy.iter().map(ToString::to_string).collect(),
        findings,
        credentials: credentials
            .iter()
            .map(|reader| credential(reader, admin, now))
            .collect(),
        routes: routing
            .table
            .routes()
            .map(|of| route(of, &admin.trends))
            .collect(),
        events: admin
            .subscribers
            .events()
            .all()
            .iter()
            .map(|event| EventStatus::of(event))
            .collect(),
    }
}

fn credential(reader: &TokenReader, admin: &Admin, now: Instant) -> CredentialStatus {
    let name = reader.credential();
    let state = reader.load();
    let until = |at: Instant| at.saturating_duration_since(now).as_secs();
    let token = state.valid();
    let setback = state.setback();
    CredentialStatus {
        name: name.to_owned(),
        state: match &**state {
            TokenState::Valid(_, None) => TokenHealth::Fresh,
            TokenState::Valid(_, Some(_)) => TokenHealth::Ageing,
            TokenState::Pending(_) => TokenHealth::Awaited,
            TokenState::Expired(_) => TokenHealth::Ended,
        },
        generation: state.generation(),
        lives_seconds: token.map(|token| token.sent_for().as_secs()),
        ends_in_seconds: token.map(|token| until(token.retire_at())),
        token: token.map(|token| claims::of(token.header(), admin.show_subject)),
        next_attempt_in_seconds: match setback {
            Some(setback) => Some(until(setback.next_attempt)),
            None => token.map(|token| until(token.refresh_at())),
        },
        last_error: setback.map(|setback| setback.error.to_string()),
        refreshes: reader
            .attempts()
            .iter()
            .map(|of| refresh(of, now))
            .collect(),
        attempts: admin.token_metrics.attempts(name),
        origins: admin.standings.origins(name),
        sharing: admin.standings.of(name),
        store_errors: admin.standings.errors(name),
    }
}

fn refresh(attempt: &Attempt, now: Instant) -> Refresh {
    Refresh {
        seconds_ago: now.saturating_duration_since(attempt.began).as_secs(),
        took_seconds: attempt.took.as_secs_f64(),
        outcome: attempt.outcome,
    }
}

fn route(route: &Route, trends: &Trends) -> RouteStatus {
    let figures = route.figures();
    RouteStatus {
        mean_seconds: Totals::of(&figures).mean_seconds(),
        in_flight: figures.in_flight,
        requests: figures.requests,
        rejections: figures.rejections,
        trend: trends.of(route.name()),
        route: route.describe(),
    }
}
