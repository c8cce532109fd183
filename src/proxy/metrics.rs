//! What the proxy counts. Every handle is bound when the routes are built, so a request costs a
//! few additions and no look-up by label.

mod figures;
mod upstream;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use prometheus::core::Collector as _;
use prometheus::proto::{LabelPair, Metric, MetricFamily};
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};
use tokio::time::Instant;

use super::limit::Place;
use super::record::Record;
use super::rejection::Reason;
use super::route::RouteTable;
use crate::metric;
pub use figures::RouteFigures;
pub(super) use upstream::{Cause, Retry};
use upstream::{UpstreamHandles, UpstreamMetrics};

/// The metrics of all routes, from which each takes its own.
#[derive(Debug, Clone)]
pub struct ProxyMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    own_duration: HistogramVec,
    upstream_duration: HistogramVec,
    request_bytes: IntCounterVec,
    answer_bytes: IntCounterVec,
    in_flight: IntGaugeVec,
    rejections: IntCounterVec,
    broken: IntCounterVec,
    replays: IntCounterVec,
    upstream: UpstreamMetrics,
}

impl ProxyMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    ///
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            requests: metric::counters(
                registry,
                "gatepass_requests_total",
                "Requests that have ended, by the class of the status that the caller got; none if \
                 it left before there was one.",
                &["route", "status_class"],
            )?,
            duration: metric::histograms(
                registry,
                "gatepass_request_duration_seconds",
                "From the end of a request's head to the end of its answer's body.",
                &["route"],
                &REQUEST_SECONDS,
            )?,
            own_duration: metric::histograms(
                registry,
                "gatepass_request_own_duration_seconds",
                "What of a request's time gatepass had it, until the head of the answer was there: \
                 finding the way, waiting for a token.",
                &["route"],
                &OWN_SECONDS,
            )?,
            upstream_duration: metric::histograms(
                registry,
                "gatepass_request_upstream_duration_seconds",
                "What of a request's time its upstream had it, until the head of the answer was \
                 there: making a connection, answering.",
                &["route"],
                &REQUEST_SECONDS,
            )?,
            request_bytes: metric::counters(
                registry,
                "gatepass_request_bytes_total",
                "Bytes that callers sent in bodies of requests, and over WebSocket.",
                &["route"],
            )?,
            answer_bytes: metric::counters(
                registry,
                "gatepass_answer_bytes_total",
                "Bytes that upstreams sent in bodies of answers, and over WebSocket.",
                &["route"],
            )?,
            in_flight: metric::gauges(
                registry,
                "gatepass_requests_in_flight",
                "Requests that are being answered.",
                &["route"],
            )?,
            rejections: metric::counters(
                registry,
                "gatepass_rejections_total",
                "Requests that gatepass answered itself instead of the upstream, by reason.",
                &["route", "reason"],
            )?,
            broken: metric::counters(
                registry,
                "gatepass_answers_broken_total",
                "Answers that the upstream broke off or let stall after their head had gone to the \
                 caller.",
                &["route"],
            )?,
            replays: metric::counters(
                registry,
                "gatepass_replays_total",
                "Requests that were sent again with another token after a 401.",
                &["route"],
            )?,
            upstream: UpstreamMetrics::register(registry)?,
        })
    }

    /// The metrics of one route.
    pub fn for_route(&self, route: &str) -> RouteMetrics {
        RouteMetrics(Arc::new(Handles {
            route: route.into(),
            requests: STATUS_CLASSES.map(|class| self.requests.with_label_values(&[route, class])),
            duration: self.duration.with_label_values(&[route]),
            own_duration: self.own_duration.with_label_values(&[route]),
            upstream_duration: self.upstream_duration.with_label_values(&[route]),
            request_bytes: self.request_bytes.with_label_values(&[route]),
            answer_bytes: self.answer_bytes.with_label_values(&[route]),
            in_flight: self.in_flight.with_label_values(&[route]),
            broken: self.broken.with_label_values(&[route]),
            replays: self.replays.with_label_values(&[route]),
            upstream: self.upstream.for_route(route),
            rejections: Reason::ALL.map(|reason| {
                (
                    reason,
                    self.rejections.with_label_values(&[route, reason.label()]),
                )
            }),
        }))
    }

    /// The metrics of requests that no route matches. No route can have this name.
    pub fn for_unmatched(&self) -> RouteMetrics {
        self.for_route(UNMATCHED)
    }

    /// Takes away those of routes that are not in this table. Otherwise a configuration whose routes come and
    /// go would fill the memory and every scrape with them.
    pub fn keep(&self, table: &RouteTable) {
        let kept: BTreeSet<_> = table.routes().map(|route| &*route.settings.name).collect();
        let families = self.in_flight.collect();
        let metrics = families.iter().flat_map(MetricFamily::get_metric);
        let routes = metrics.flat_map(Metric::get_label);
        for route in routes.map(LabelPair::value) {
            if route != UNMATCHED && !kept.contains(route) {
                self.forget(route);
            }
        }
    }

    fn forget(&self, route: &str) {
        let of = &[route];
        let _ = self.in_flight.remove_label_values(of);
        for class in STATUS_CLASSES {
            let _ = self.requests.remove_label_values(&[route, class]);
        }
        for reason in Reason::ALL {
            let labels = [route, reason.label()];
            let _ = self.rejections.remove_label_values(&labels);
        }
        for histograms in [&self.duration, &self.own_duration, &self.upstream_duration] {
            let _ = histograms.remove_label_values(of);
        }
        let counters = [
            &self.request_bytes,
            &self.answer_bytes,
            &self.broken,
            &self.replays,
        ];
        for counters in counters {
            let _ = counters.remove_label_values(of);
        }
        self.upstream.forget(route);
    }
}

/// The metrics of one route. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct RouteMetrics(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    route: Box<str>,
    requests: [IntCounter; STATUS_CLASSES.len()],
    duration: Histogram,
    own_duration: Histogram,
    upstream_duration: Histogram,
    request_bytes: IntCounter,
    answer_bytes: IntCounter,
    in_flight: IntGauge,
    rejections: [(Reason, IntCounter); Reason::ALL.len()],
    broken: IntCounter,
    replays: IntCounter,
    upstream: UpstreamHandles,
}

impl RouteMetrics {
    /// A request was sent again with another token.
    pub(super) fn replayed(&self) {
        self.0.replays.inc();
    }

    /// A request goes over a connection that was there already.
    pub(super) fn reused(&self) {
        self.0.upstream.reused.inc();
    }

    /// A request is tried again.
    pub(super) fn retried(&self, reason: Retry) {
        count(&self.0.upstream.retries, reason);
    }

    /// A connection is going to be made.
    pub(super) fn connecting(&self) -> Attempt {
        Attempt {
            metrics: self.clone(),
            failure: Some(Cause::GivenUp),
        }
    }

    /// How many connections are open.
    pub(super) fn open_connections(&self) -> IntGauge {
        self.0.upstream.open.clone()
    }

    /// What of a request's time gatepass had it, and its upstream, if it got there.
    pub fn took(&self, own: Duration, upstream: Option<Duration>) {
        self.0.own_duration.observe(own.as_secs_f64());
        if let Some(upstream) = upstream {
            self.0.upstream_duration.observe(upstream.as_secs_f64());
        }
    }

    /// What callers send.
    pub(super) fn request_bytes(&self) -> IntCounter {
        self.0.request_bytes.clone()
    }

    /// A request has begun. `record` is there if somebody is to be told of it.
    pub fn begin(&self, started: Instant, record: Option<Box<Record>>) -> InFlight {
        self.0.in_flight.inc();
        InFlight {
            metrics: Arc::clone(&self.0),
            started,
            status_class: 0,
            place: None,
            ended_at: None,
            record,
        }
    }
}

/// An attempt to make a connection. Dropping it records what came of it.
#[derive(Debug)]
pub(super) struct Attempt {
    metrics: RouteMetrics,
    /// Why nothing has come of it.
    pub(super) failure: Option<Cause>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let upstream = &self.metrics.0.upstream;
        match self.failure {
            None => upstream.opened.inc(),
            Some(cause) => count(&upstream.failures, cause),
        }
    }
}

/// A request that is being answered. Dropping it ends the request and records its outcome.
#[derive(Debug)]
pub struct InFlight {
    metrics: Arc<Handles>,
    started: Instant,
    /// Index into [`STATUS_CLASSES`].
    status_class: usize,
    /// Among those that may be under way, until the request is over.
    place: Option<Place>,
    ended_at: Option<Instant>,
    record: Option<Box<Record>>,
}

impl InFlight {
    /// What is noted of it, if somebody is to be told.
    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_deref()
    }

    /// Keeps a place until the request is over.
    pub(super) fn hold(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// The caller gets this status.
    pub fn answered(&mut self, status: StatusCode) {
        // RFC 9110 §15: a status outside of 100 to 599 is to be treated as a 5xx. The only 1xx that
        // reaches a caller as an answer is a switch to WebSocket.
        let digit = usize::from(status.as_u16() / 100);
        self.status_class = digit.clamp(1, STATUS_CLASSES.len() - 1);
        if let Some(record) = &mut self.record {
            record.answered(status);
        }
    }

    /// What the caller sends, in bytes.
    pub(super) fn request_bytes(&self) -> &IntCounter {
        &self.metrics.request_bytes
    }

    /// What the upstream sends, in bytes.
    pub(super) fn answer_bytes(&self) -> &IntCounter {
        &self.metrics.answer_bytes
    }

    /// Saves reading the clock at the end.
    pub fn ends(&mut self, now: Instant) {
        self.ended_at = Some(now);
    }

    /// The answer ended before it was complete.
    pub(super) fn broken(&self) {
        self.metrics.broken.inc();
        if let Some(record) = &self.record {
            record.broken();
        }
    }

    /// gatepass answers itself.
    pub(super) fn rejected(&mut self, reason: Reason) {
        self.answered(reason.status());
        if let Some(record) = &mut self.record {
            record.rejected(reason);
        }
        count(&self.metrics.rejections, reason);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        if let Some(requests) = self.metrics.requests.get(self.status_class) {
            requests.inc();
        }
        let ended_at = self.ended_at.unwrap_or_else(Instant::now);
        let took = ended_at.saturating_duration_since(self.started);
        self.metrics.duration.observe(took.as_secs_f64());
        if let Some(record) = self.record.take() {
            record.tell(&self.metrics.route, self.started, took);
        }
    }
}

fn count<T: PartialEq>(counters: &[(T, IntCounter)], what: T) {
    for (of, counter) in counters {
        if *of == what {
            counter.inc();
        }
    }
}

const UNMATCHED: &str = "(none)";

/// None at 0, and then by the first digit of the status.
const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// From a kept-alive neighbour to a long download.
const REQUEST_SECONDS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];

/// From what a request costs by itself to a wait for a token.
const OWN_SECONDS: [f64; 11] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0, 10.0,
];
