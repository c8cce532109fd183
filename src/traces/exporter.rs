//! Spans on their way to the collector.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use prometheus::{IntCounter, IntCounterVec, Registry};
use reqwest::{Client, redirect};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::context::{SAMPLED, TraceContext, new_span_id};
use super::span::{Kind, Recorded, Span};
use super::{Settings, otlp};
use crate::metric;
use crate::token::{Attempt, Credentials, clock};

/// What became of spans.
#[derive(Debug, Clone)]
pub struct TraceMetrics {
    sent: IntCounter,
    dropped: IntCounterVec,
}

impl TraceMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    ///
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let sent = IntCounter::new(
            "gatepass_trace_spans_sent_total",
            "Spans that the collector has taken.",
        );
        let metrics = Self {
            sent: metric::registered(registry, sent)?,
            dropped: metric::counters(
                registry,
                "gatepass_trace_spans_dropped_total",
                "Spans that the collector did not take, and requests whose spans had no room in \
                 the queue.",
                &["reason"],
            )?,
        };
        metrics.of("not_taken");
        metrics.of("queue_full");
        Ok(metrics)
    }

    /// Counts what had no room in the queue.
    pub(super) fn queue_full(&self) -> IntCounter {
        self.of("queue_full")
    }

    fn of(&self, reason: &str) -> IntCounter {
        self.dropped.with_label_values(&[reason])
    }
}

/// Sends what was recorded, in batches, on the control plane.
#[derive(Debug)]
pub struct Exporter {
    settings: Settings,
    client: Client,
    queue: RefCell<mpsc::Receiver<Box<dyn Recorded>>>,
    half_full: Arc<Notify>,
    metrics: TraceMetrics,
    not_taken: IntCounter,
    /// The last batch was not taken.
    is_failing: Cell<bool>,
    /// By credential, when the last of its attempts began that was told.
    told: RefCell<HashMap<String, Instant>>,
}

impl Exporter {
    pub(super) fn new(
        settings: Settings,
        queue: mpsc::Receiver<Box<dyn Recorded>>,
        half_full: Arc<Notify>,
        metrics: &TraceMetrics,
    ) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("gatepass/", env!("CARGO_PKG_VERSION")))
            // The collector's key is for it alone.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .tls_backend_preconfigured((*settings.tls).clone())
            .http1_only()
            .connect_timeout(PATIENCE / 2)
            .timeout(PATIENCE)
            .build()?;
        Ok(Self {
            settings,
            client,
            queue: RefCell::new(queue),
            half_full,
            not_taken: metrics.of("not_taken"),
            metrics: metrics.clone(),
            is_failing: Cell::new(false),
            told: RefCell::default(),
        })
    }

    /// Sends what there is each time that enough has come, or time has passed. For ever.
    pub async fn run(&self, credentials: &Credentials) {
        loop {
            let _ = timeout(PERIOD, self.half_full.notified()).await;
            self.send_all(credentials, &RESTS).await;
        }
    }

    /// Sends what is left, if that does not take long. For the end.
    pub async fn finish(&self, credentials: &Credentials) {
        let _ = timeout(PATIENCE_AT_THE_END, self.send_all(credentials, &[])).await;
    }

    /// `rests` are the times between two attempts to send a batch.
    async fn send_all(&self, credentials: &Credentials, rests: &[Duration]) {
        let mut spans = self.attempts(credentials);
        loop {
            while spans.len() < BATCH
                && let Ok(recorded) = self.queue.borrow_mut().try_recv()
            {
                spans.extend(recorded.spans());
            }
            if spans.is_empty() {
                return;
            }
            self.send(&spans, rests).await;
            spans.clear();
        }
    }

    /// The attempts to get tokens since the last time.
    fn attempts(&self, credentials: &Credentials) -> Vec<Span> {
        let mut told = self.told.borrow_mut();
        let mut spans = Vec::new();
        for credential in credentials.all().iter() {
            let name = credential.credential();
            let attempts = credential.attempts();
            let before = told.get(name).copied();
            let is_new = |attempt: &&Attempt| before.is_none_or(|before| attempt.began > before);
            let new = attempts.iter().take_while(is_new);
            spans.extend(new.map(|attempt| attempt_span(name, attempt)));
            if let Some(last) = attempts.first() {
                told.insert(name.to_owned(), last.began);
            }
        }
        spans
    }

    async fn send(&self, spans: &[Span], rests: &[Duration]) {
        let now = (Instant::now(), clock::unix_now());
        let body = Bytes::from(otlp::request(spans, &self.settings.service, now));
        let mut rests = rests.iter();
        let error = loop {
            match self.post(body.clone()).await {
                Ok(()) => break None,
                Err(error) => match rests.next().filter(|_| error.may_pass) {
                    Some(rest) => sleep(*rest).await,
                    None => break Some(error.message),
                },
            }
        };
        let was_failing = self.is_failing.replace(error.is_some());
        let endpoint = self.settings.endpoint.as_str();
        match error {
            None => {
                self.metrics.sent.inc_by(spans.len() as u64);
                if was_failing {
                    info!(endpoint, "the collector takes spans again");
                }
            }
            Some(error) => {
                self.not_taken.inc_by(spans.len() as u64);
                if !was_failing {
                    warn!(
                        endpoint,
                        "the collector takes no spans, and until it does they are dropped: {error}"
                    );
                }
            }
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), NotTaken> {
        let call = self.client.post(self.settings.endpoint.clone());
        let call = call
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-protobuf"),
            )
            .headers(self.settings.headers.clone())
            .body(body);
        let answer = call.send().await.map_err(|error| NotTaken {
            may_pass: true,
            message: in_full(&error.without_url()),
        })?;
        match answer.status().as_u16() {
            200..300 => Ok(()),
            // "All other 4xx or 5xx response status codes MUST NOT be retried."
            status => Err(NotTaken {
                may_pass: matches!(status, 429 | 502..=504),
                message: format!("it answered {status}"),
            }),
        }
    }
}

struct NotTaken {
    may_pass: bool,
    message: String,
}

/// An error with its causes.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

/// It has a trace of its own: it is nobody's request.
fn attempt_span(credential: &str, attempt: &Attempt) -> Span {
    let failed = attempt.outcome != "success";
    let mut span = Span {
        context: TraceContext {
            trace_id: fastrand::u128(1..),
            span_id: new_span_id(),
            flags: SAMPLED,
        },
        parent: None,
        state: String::new(),
        name: "fetch token".into(),
        kind: Kind::Internal,
        started: attempt.began,
        ended: attempt.began + attempt.took,
        attributes: Vec::new(),
        failed,
    };
    span.say("gatepass.credential", Some(credential));
    span.say("gatepass.outcome", Some(attempt.outcome));
    span.say("error.type", failed.then_some(attempt.outcome));
    span
}

/// After so long spans are sent, if their number gives no reason before.
const PERIOD: Duration = Duration::from_secs(5);

/// How many spans go together.
const BATCH: usize = 512;

/// Between the attempts to send a batch.
const RESTS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// For one attempt.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
