//! What is counted of the connections to upstreams, and of requests that are tried again.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::metric;

/// The metrics of all routes' upstreams.
#[derive(Debug, Clone)]
pub(super) struct UpstreamMetrics {
    open: IntGaugeVec,
    opened: IntCounterVec,
    reused: IntCounterVec,
    failures: IntCounterVec,
    retries: IntCounterVec,
}

/// Those of one route's.
#[derive(Debug)]
pub(super) struct UpstreamHandles {
    pub(super) open: IntGauge,
    pub(super) opened: IntCounter,
    pub(super) reused: IntCounter,
    pub(super) failures: [(Cause, IntCounter); Cause::ALL.len()],
    pub(super) retries: [(Retry, IntCounter); Retry::ALL.len()],
}

/// Why no connection came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Cause {
    /// The name has no address, or could not be looked up.
    Dns,
    /// Nobody answers at the address, or the socket cannot be used.
    Connect,
    /// The handshake failed.
    Tls,
    /// A step was not done in time.
    Timeout,
    /// What is spoken there is no HTTP.
    Http,
    /// There are as many as there may be.
    Limit,
    /// Those who waited for it have gone.
    GivenUp,
}

/// Why a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Retry {
    /// No connection came of the attempt.
    Connect,
    /// The connection turned out to be closed before anything was sent.
    Unsent,
    /// The upstream says that it has not looked at it.
    Refused,
    /// The connection was closed before there was an answer, and to repeat it is harmless.
    Closed,
}

impl UpstreamMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            open: metric::gauges(
                registry,
                "gatepass_upstream_connections_open",
                "Connections to the upstream that are open or being made.",
                &["route"],
            )?,
            opened: metric::counters(
                registry,
                "gatepass_upstream_connections_opened_total",
                "Connections to the upstream that were made.",
                &["route"],
            )?,
            reused: metric::counters(
                registry,
                "gatepass_upstream_connections_reused_total",
                "Requests for which a connection to the upstream was open already.",
                &["route"],
            )?,
            failures: metric::counters(
                registry,
                "gatepass_upstream_connection_failures_total",
                "Attempts to connect to the upstream of which no connection came, by cause.",
                &["route", "cause"],
            )?,
            retries: metric::counters(
                registry,
                "gatepass_upstream_retries_total",
                "How often requests were tried again over another connection, by reason.",
                &["route", "reason"],
            )?,
        })
    }

    pub(super) fn for_route(&self, route: &str) -> UpstreamHandles {
        UpstreamHandles {
            open: self.open.with_label_values(&[route]),
            opened: self.opened.with_label_values(&[route]),
            reused: self.reused.with_label_values(&[route]),
            failures: Cause::ALL.map(|cause| {
                let labels = [route, cause.label()];
                (cause, self.failures.with_label_values(&labels))
            }),
            retries: Retry::ALL.map(|reason| {
                let labels = [route, reason.label()];
                (reason, self.retries.with_label_values(&labels))
            }),
        }
    }

    pub(super) fn forget(&self, route: &str) {
        let _ = self.open.remove_label_values(&[route]);
        for counters in [&self.opened, &self.reused] {
            let _ = counters.remove_label_values(&[route]);
        }
        for cause in Cause::ALL {
            let labels = [route, cause.label()];
            let _ = self.failures.remove_label_values(&labels);
        }
        for reason in Retry::ALL {
            let labels = [route, reason.label()];
            let _ = self.retries.remove_label_values(&labels);
        }
    }
}

impl Cause {
    const ALL: [Self; 7] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Http,
        Self::Limit,
        Self::GivenUp,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Http => "http",
            Self::Limit => "limit",
            Self::GivenUp => "given_up",
        }
    }
}

impl Retry {
    const ALL: [Self; 4] = [Self::Connect, Self::Unsent, Self::Refused, Self::Closed];

    fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Unsent => "unsent",
            Self::Refused => "refused",
            Self::Closed => "closed",
        }
    }
}
