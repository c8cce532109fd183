//! Traces by OpenTelemetry: what became of requests and of attempts to get tokens, as spans, sent to
//! a collector by OTLP over HTTP.
//!
//! A request that is recorded ends with one push into a bounded queue. All else happens on the
//! control plane: spans are made, encoded and sent in batches. A collector that is slow or down costs
//! spans, which are counted, and never a request.

mod context;
mod exporter;
mod otlp;
mod span;

use std::sync::Arc;

use http::HeaderMap;
use prometheus::IntCounter;
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use url::Url;

pub use context::{Trace, TraceContext};
pub use exporter::{Exporter, TraceMetrics};
pub use span::{Kind, Recorded, Span, Value};

/// Where spans go, and which requests are recorded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where OTLP is spoken over HTTP, with the path for traces.
    pub endpoint: Url,
    /// How TLS is spoken there.
    pub tls: Arc<ClientConfig>,
    /// Fields that the collector wants.
    pub headers: HeaderMap,
    /// Which part of the requests is recorded that come without a decision, from 0 to 1.
    pub share: f64,
    /// As what gatepass shows itself.
    pub service: String,
}

/// Takes what is recorded. Clones put it into the same queue.
#[derive(Debug, Clone)]
pub struct Tracer(Arc<Recording>);

#[derive(Debug)]
struct Recording {
    queue: mpsc::Sender<Box<dyn Recorded>>,
    half_full: Arc<Notify>,
    queue_full: IntCounter,
    share: f64,
}

impl Tracer {
    /// The trace of a request with these fields, if it is to be recorded. Whoever gets the request
    /// next is told what was decided.
    pub fn begin(&self, headers: &mut HeaderMap) -> Option<Trace> {
        Trace::begin(headers, || fastrand::f64() < self.0.share)
    }

    /// Hands over what was recorded. Nobody waits.
    pub fn record(&self, recorded: Box<dyn Recorded>) {
        let Recording {
            queue,
            half_full,
            queue_full,
            ..
        } = &*self.0;
        if queue.try_send(recorded).is_err() {
            queue_full.inc();
        }
        if queue.capacity() == QUEUE / 2 {
            half_full.notify_one();
        }
    }
}

/// What is recorded and what sends it.
///
/// # Errors
///
/// The HTTP client cannot be made.
pub fn channel(
    settings: Settings,
    metrics: &TraceMetrics,
) -> Result<(Tracer, Exporter), reqwest::Error> {
    let (send, receive) = mpsc::channel(QUEUE);
    let half_full = Arc::new(Notify::new());
    let tracer = Tracer(Arc::new(Recording {
        queue: send,
        half_full: Arc::clone(&half_full),
        queue_full: metrics.queue_full(),
        share: settings.share,
    }));
    let exporter = Exporter::new(settings, receive, half_full, metrics)?;
    Ok((tracer, exporter))
}

/// How many requests wait at most, as many spans as the specification of OpenTelemetry proposes.
const QUEUE: usize = 2048;

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::tls::{Trust, client_config};

    #[derive(Debug)]
    struct Nothing;

    impl Recorded for Nothing {
        fn spans(self: Box<Self>) -> Vec<Span> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn what_has_no_room_is_dropped_and_counted() {
        let metrics = TraceMetrics::register(&Registry::new()).unwrap();
        let settings = Settings {
            endpoint: "http://127.0.0.1:9/v1/traces".parse().unwrap(),
            tls: client_config(&Trust::Nobody, None).unwrap(),
            headers: HeaderMap::new(),
            share: 1.0,
            service: "gatepass".into(),
        };
        let (tracer, _exporter) = channel(settings, &metrics).unwrap();
        for _ in 0..QUEUE + 3 {
            tracer.record(Box::new(Nothing));
        }
        assert_eq!(metrics.queue_full().get(), 3);
    }
}
