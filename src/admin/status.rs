//! What there is to see at one look: how each credential and each route is doing.
//!
//! `/api/status` serves it as JSON, whose members keep their names and meaning; the page at `/` shows
//! the same to people. No token and no secret is part of it.

use std::collections::{BTreeMap, HashMap};

use prometheus::proto::{Metric, MetricFamily};
use serde::Serialize;
use tokio::time::Instant;

use super::Admin;
use super::claims::{self, Claims};
use super::event::EventStatus;
use super::trend::{Trend, Trends};
use crate::proxy::RouteDescription;
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
    pub(super) requests: BTreeMap<String, u64>,
    /// Those that gatepass answered itself, by reason.
    pub(super) rejections: BTreeMap<String, u64>,
    /// From the end of a request's head to the end of its answer, on the average.
    pub(super) mean_seconds: Option<f64>,
    /// How it has been doing in the last minutes.
    pub(super) trend: Trend,
}

/// Looks at everything there is.
pub(super) fn look(admin: &Admin) -> Status {
    let now = Instant::now();
    let families = admin.registry.gather();
    let mut findings = admin.readiness.not_ready();
    let state = match (admin.readiness.starting().is_empty(), findings.is_empty()) {
        (false, _) => State::Starting,
        (true, true) => State::Ready,
        (true, false) => State::NotReady,
    };
    findings.extend(admin.readiness.remarks());
    let credentials = admin.credentials.all();
    let routes = admin.published.load().table.descriptions();
    let of_credentials = Labelled::by("credential", &families);
    let of_routes = Labelled::by("route", &families);
    Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: (now - admin.started).as_secs(),
        state,
        proxy: admin.proxy.iter().map(ToString::to_string).collect(),
        findings,
        credentials: credentials
            .iter()
            .map(|reader| credential(reader, admin, &of_credentials, now))
            .collect(),
        routes: routes
            .into_iter()
            .map(|description| route(description, &admin.trends, &of_routes))
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

fn credential(
    reader: &TokenReader,
    admin: &Admin,
    metrics: &Labelled<'_>,
    now: Instant,
) -> CredentialStatus {
    let name = reader.credential();
    let state = reader.load();
    let until = |at: Instant| at.saturating_duration_since(now).as_secs();
    let token = state.valid();
    let setback = state.setback();
    let gauge = |family| {
        let found = metrics.of(family, name).first();
        found.map(|metric| metric.get_gauge().get_value())
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
        attempts: metrics.counts("gatepass_token_refreshes_total", name, "outcome"),
        origins: metrics.counts("gatepass_token_origins_total", name, "origin"),
        sharing: admin.standings.of(name),
        holds_lease: gauge("gatepass_store_lease_held") == Some(1.0),
        requests_left: gauge("gatepass_token_requests_left")
            .filter(|left| *left >= 0.0)
            .map(whole),
        store_errors: metrics.counts("gatepass_store_errors_total", name, "reason"),
    }
}

fn refresh(attempt: &Attempt, now: Instant) -> Refresh {
    Refresh {
        seconds_ago: now.saturating_duration_since(attempt.began).as_secs(),
        took_seconds: attempt.took.as_secs_f64(),
        outcome: attempt.outcome,
    }
}

fn route(route: RouteDescription, trends: &Trends, metrics: &Labelled<'_>) -> RouteStatus {
    let name = &route.name;
    let durations = metrics.of("gatepass_request_duration_seconds", name);
    let mean_seconds = durations.first().and_then(|metric| {
        let histogram = metric.get_histogram();
        let count = histogram.get_sample_count();
        #[expect(clippy::cast_precision_loss, reason = "nobody counts so far")]
        let count = count as f64;
        (count > 0.0).then(|| histogram.get_sample_sum() / count)
    });
    let in_flight = metrics.of("gatepass_requests_in_flight", name);
    RouteStatus {
        in_flight: in_flight
            .first()
            .map_or(0, |metric| whole(metric.get_gauge().get_value())),
        requests: metrics.counts("gatepass_requests_total", name, "status_class"),
        rejections: metrics.counts("gatepass_rejections_total", name, "reason"),
        mean_seconds,
        trend: trends.of(name),
        route,
    }
}

/// Metrics by the name of their family and what they have under a label. Were each looked for among all,
/// those of a thousand routes would keep the refreshers waiting for a second.
struct Labelled<'a>(HashMap<&'a str, HashMap<&'a str, Vec<&'a Metric>>>);

impl<'a> Labelled<'a> {
    fn by(label: &str, families: &'a [MetricFamily]) -> Self {
        let of_family = |family: &'a MetricFamily| {
            let mut metrics: HashMap<_, Vec<_>> = HashMap::new();
            for metric in family.get_metric() {
                let of = metrics.entry(label_of(metric, label));
                of.or_default().push(metric);
            }
            (family.name(), metrics)
        };
        Self(families.iter().map(of_family).collect())
    }

    fn of(&self, family: &str, value: &str) -> &[&'a Metric] {
        let found = self.0.get(family).and_then(|of| of.get(value));
        found.map_or(&[], Vec::as_slice)
    }

    /// What the counters of a family have come to, by another label; those at zero are left out.
    fn counts(&self, family: &str, value: &str, by: &str) -> BTreeMap<String, u64> {
        let counted = self.of(family, value).iter().map(|metric| {
            let count = whole(metric.get_counter().get_value());
            (label_of(metric, by).to_owned(), count)
        });
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

/// The metrics of a family.
pub(super) fn metrics<'a>(
    families: &'a [MetricFamily],
    name: &str,
) -> impl Iterator<Item = &'a Metric> {
    let family = families.iter().find(|family| family.name() == name);
    let all = family.map_or(&[] as &[Metric], |family| family.get_metric());
    all.iter()
}

/// What a metric has under a label; nothing if it has no such label.
pub(super) fn label_of<'a>(metric: &'a Metric, name: &str) -> &'a str {
    let mut labels = metric.get_label().iter();
    labels
        .find(|pair| pair.name() == name)
        .map_or("", |pair| pair.value())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole, and never negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}
