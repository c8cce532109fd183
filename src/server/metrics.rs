//! What is counted of listeners' connections.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use tokio::sync::OwnedSemaphorePermit;

use super::handshake::{Cause, Failures};
use super::stream::Peer;
use crate::metric;

/// The metrics of all listeners, from which each takes its own.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    accepted: IntCounterVec,
    open: IntGaugeVec,
    waited: IntCounterVec,
    not_accepted: IntCounterVec,
    handshakes: IntCounterVec,
}

impl ServerMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    ///
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            open: metric::gauges(
                registry,
                "gatepass_listener_connections_open",
                "Connections of callers that are open.",
                &["listener"],
            )?,
            accepted: metric::counters(
                registry,
                "gatepass_listener_connections_accepted_total",
                "Connections of callers that were taken.",
                &["listener"],
            )?,
            waited: metric::counters(
                registry,
                "gatepass_listener_connections_waited_total",
                "Connections that had to wait, because as many were open as may be.",
                &["listener"],
            )?,
            not_accepted: metric::counters(
                registry,
                "gatepass_listener_accept_failures_total",
                "How often no connection could be taken, for want of descriptors or memory.",
                &["listener"],
            )?,
            handshakes: metric::counters(
                registry,
                "gatepass_listener_tls_failures_total",
                "TLS handshakes with callers of which no connection came, by cause.",
                &["listener", "cause"],
            )?,
        })
    }

    /// The metrics of one listener.
    pub fn for_listener(&self, listener: &str) -> ListenerMetrics {
        let labels = &[listener];
        ListenerMetrics(Arc::new(Handles {
            accepted: self.accepted.with_label_values(labels),
            open: self.open.with_label_values(labels),
            waited: self.waited.with_label_values(labels),
            not_accepted: self.not_accepted.with_label_values(labels),
            handshakes: Failures::new(|cause| {
                self.handshakes
                    .with_label_values(&[listener, cause.label()])
            }),
        }))
    }
}

/// The metrics of one listener. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct ListenerMetrics(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    accepted: IntCounter,
    open: IntGauge,
    waited: IntCounter,
    not_accepted: IntCounter,
    handshakes: Failures,
}

impl ListenerMetrics {
    /// A connection has been taken.
    pub(super) fn accepted(&self, permit: OwnedSemaphorePermit) -> Place {
        self.0.accepted.inc();
        self.0.open.inc();
        Place {
            metrics: self.clone(),
            _permit: permit,
        }
    }

    /// There is no place for a connection yet.
    pub(super) fn waits(&self) {
        self.0.waited.inc();
    }

    /// No connection can be taken.
    pub(super) fn not_accepted(&self) {
        self.0.not_accepted.inc();
    }
}

/// A connection's place in the limit. To be dropped when the connection ends.
#[derive(Debug)]
pub(super) struct Place {
    metrics: ListenerMetrics,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Nothing has come of the TLS handshake.
    pub(super) fn handshake_failed(&self, peer: Peer, cause: Cause, error: &str) {
        self.metrics.0.handshakes.note(peer, cause, error);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.0.open.dec();
    }
}
