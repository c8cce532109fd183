//! What there is to see at one look: how each credential and each route is doing.
//!
//! `/api/status` serves it as JSON, whose members keep their names and meaning; the page at `/` shows
//! the same to people. No token and no secret is part of it.

use std::collections::BTreeMap;

use prometheus::Registry;
use prometheus::proto::{Metric, MetricFamily};
use serde::Serialize;
use tokio::time::Instant;

use crate::proxy::RouteDescription;
use crate::readiness::{Finding, Readiness};
use crate::store::{Standing, Standings};
use crate::token::{TokenReader, TokenState};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) uptime_seconds: u64,
    pub(super) state: State,
    /// Why it is not ready, and what else an operator should know.
    pub(super) findings: Vec<Finding>,
    pub(super) credentials: Vec<CredentialStatus>,
    pub(super) routes: Vec<RouteStatus>,
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
    /// Until the token at hand is no longer sent.
    pub(super) ends_in_seconds: Option<u64>,
    /// Until the next attempt to get one.
    pub(super) next_attempt_in_seconds: Option<u64>,
    /// Why the last attempt failed, if it did, and what to do.
    pub(super) last_error: Option<String>,
    /// Attempts since the start, by how they ended.
    pub(super) attempts: BTreeMap<String, u64>,
    /// Tokens since the start, by where they came from: the provider, or the store.
    pub(super) origins: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub(super) sharing: Standing,
    /// Whether it is this replica's turn to ask, where replicas share a store.
    pub(super) holds_lease: bool,
    /// What is left of the budget of token requests, if there is one.
    pub(super) requests_left: Option<u64>,
    /// Calls to the store that were no help, by reason.
    pub(super) store_errors: BTreeMap<String, u64>,
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
    pub(super) requests: BTreeMap<String, u64>,
    /// Those that gatepass answered itself, by reason.
    pub(super) rejections: BTreeMap<String, u64>,
    /// From the end of a request's head to the end of its answer, on the average.
    pub(super) mean_seconds: Option<f64>,
}

/// Looks at everything there is.
pub(super) fn look(
    registry: &Registry,
    readiness: &Readiness,
    credentials: &[TokenReader],
    standings: &Standings,
    routes: Vec<RouteDescription>,
    started: Instant,
) -> Status {
    let now = Instant::now();
    let families = registry.gather();
    let mut findings = readiness.not_ready();
    let state = match (readiness.starting().is_empty(), findings.is_empty()) {
        (false, _) => State::Starting,
        (true, true) => State::Ready,
        (true, false) => State::NotReady,
    };
    findings.extend(readiness.remarks());
    Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: (now - started).as_secs(),
        state,
        findings,
        credentials: credentials
            .iter()
            .map(|reader| credential(reader, standings, &families, now))
            .collect(),
        routes: routes
            .into_iter()
            .map(|description| route(description, &families))
            .collect(),
    }
}

fn credential(
    reader: &TokenReader,
    standings: &Standings,
    families: &[MetricFamily],
    now: Instant,
) -> CredentialStatus {
    let name = reader.credential();
    let state = reader.load();
    let until = |at: Instant| at.saturating_duration_since(now).as_secs();
    let token = state.valid();
    let setback = state.setback();
    let of = ("credential", name);
    let gauge = |family| {
        let mut found = metrics(families, family, of);
        found.next().map(|metric| metric.get_gauge().get_value())
    };
    CredentialStatus {
        name: name.to_owned(),
        state: match &**state {
            TokenState::Valid(_, None) => TokenHealth::Fresh,
            TokenState::Valid(_, Some(_)) => TokenHealth::Ageing,
            TokenState::Pending(_) => TokenHealth::Awaited,
            TokenState::Expired(_) => TokenHealth::Ended,
        },
        generation: state.generation(),
        ends_in_seconds: token.map(|token| until(token.retire_at())),
        next_attempt_in_seconds: match setback {
            Some(setback) => Some(until(setback.next_attempt)),
            None => token.map(|token| until(token.refresh_at())),
        },
        last_error: setback.map(|setback| setback.error.to_string()),
        attempts: counts(families, "gatepass_token_refreshes_total", of, "outcome"),
        origins: counts(families, "gatepass_token_origins_total", of, "origin"),
        sharing: standings.of(name),
        holds_lease: gauge("gatepass_store_lease_held") == Some(1.0),
        requests_left: gauge("gatepass_token_requests_left")
            .filter(|left| *left >= 0.0)
            .map(whole),
        store_errors: counts(families, "gatepass_store_errors_total", of, "reason"),
    }
}

fn route(route: RouteDescription, families: &[MetricFamily]) -> RouteStatus {
    let of = ("route", route.name.as_str());
    let durations = metrics(families, "gatepass_request_duration_seconds", of).next();
    let mean_seconds = durations.and_then(|metric| {
        let histogram = metric.get_histogram();
        let count = histogram.get_sample_count();
        #[expect(clippy::cast_precision_loss, reason = "nobody counts so far")]
        let count = count as f64;
        (count > 0.0).then(|| histogram.get_sample_sum() / count)
    });
    let in_flight = metrics(families, "gatepass_requests_in_flight", of).next();
    RouteStatus {
        in_flight: in_flight.map_or(0, |metric| whole(metric.get_gauge().get_value())),
        requests: counts(families, "gatepass_requests_total", of, "status_class"),
        rejections: counts(families, "gatepass_rejections_total", of, "reason"),
        mean_seconds,
        route,
    }
}

/// What one of the counters of a family has come to, by another label; those at zero are left out.
fn counts(
    families: &[MetricFamily],
    name: &str,
    of: (&str, &str),
    by: &str,
) -> BTreeMap<String, u64> {
    let counted = metrics(families, name, of).filter_map(|metric| {
        let label = metric.get_label().iter().find(|pair| pair.name() == by)?;
        Some((
            label.value().to_owned(),
            whole(metric.get_counter().get_value()),
        ))
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

/// The metrics of a family that have this label.
fn metrics<'a>(
    families: &'a [MetricFamily],
    name: &str,
    (label, value): (&'a str, &'a str),
) -> impl Iterator<Item = &'a Metric> {
    let family = families.iter().find(|family| family.name() == name);
    let all = family.map_or(&[] as &[Metric], |family| family.get_metric());
    all.iter().filter(move |metric| {
        let mut labels = metric.get_label().iter();
        labels.any(|pair| pair.name() == label && pair.value() == value)
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole, and never negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}
