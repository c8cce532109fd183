//! What the refreshers show.

use std::time::Duration;

use prometheus::{
    GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry,
};
use tokio::time::Instant;

use super::AccessToken;
use super::clock::unix_seconds;
use super::demand::RefusalMetrics;
use super::source::FailureKind;
use crate::metric::{self, Counts, Facts};

/// The metrics of all credentials, from which each takes its own.
#[derive(Debug, Clone)]
pub struct TokenMetrics {
    refreshes: IntCounterVec,
    duration: HistogramVec,
    expiry: GaugeVec,
    next_refresh: GaugeVec,
    last_success: GaugeVec,
    lifetime: GaugeVec,
    generation: IntGaugeVec,
    consecutive_failures: IntGaugeVec,
    usable: IntGaugeVec,
    restarts: IntCounterVec,
    previous_secret: IntGaugeVec,
    refusals: IntCounterVec,
}

impl TokenMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    ///
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let labels = &["credential"];
        Ok(Self {
            refreshes: metric::counters(
                registry,
                "gatepass_token_refreshes_total",
                "Attempts to get a token, by outcome.",
                &["credential", "outcome"],
            )?,
            duration: metric::histograms(
                registry,
                "gatepass_token_refresh_duration_seconds",
                "How long attempts to get a token took, whatever their outcome.",
                labels,
                &REFRESH_SECONDS,
            )?,
            expiry: metric::float_gauges(
                registry,
                "gatepass_token_expiry_timestamp_seconds",
                "When the current token is no longer sent (Unix time); 0 before the first token.",
                labels,
            )?,
            next_refresh: metric::float_gauges(
                registry,
                "gatepass_token_next_refresh_timestamp_seconds",
                "When the next attempt to get a token is due (Unix time).",
                labels,
            )?,
            last_success: metric::float_gauges(
                registry,
                "gatepass_token_last_success_timestamp_seconds",
                "When a token was last obtained (Unix time); 0 before the first token.",
                labels,
            )?,
            lifetime: metric::float_gauges(
                registry,
                "gatepass_token_lifetime_seconds",
                "How long the current token is sent in all; 0 before the first token.",
                labels,
            )?,
            generation: metric::gauges(
                registry,
                "gatepass_token_generation",
                "Which token of its credential the current one is, counted from 1.",
                labels,
            )?,
            consecutive_failures: metric::gauges(
                registry,
                "gatepass_token_consecutive_failures",
                "Failed attempts since the last success.",
                labels,
            )?,
            usable: metric::gauges(
                registry,
                "gatepass_token_usable",
                "1 while there is a token that requests can carry, 0 otherwise.",
                labels,
            )?,
            restarts: metric::counters(
                registry,
                "gatepass_token_refresher_restarts_total",
                "How often a refresher had to be started again after a fault of gatepass.",
                labels,
            )?,
            previous_secret: metric::gauges(
                registry,
                "gatepass_token_previous_secret_in_use",
                "1 while tokens are got with the previous secret, because the present one cannot be used.",
                labels,
            )?,
            refusals: metric::counters(
                registry,
                "gatepass_token_refusals_total",
                "Tokens that upstreams answered with 401, by what came of it: a refresh, a \
                 newer token that was there already, or nothing because there were too many.",
                &["credential", "outcome"],
            )?,
        })
    }

    /// What counts the refusals of one credential's tokens.
    pub fn refusals(&self, credential: &str) -> RefusalMetrics {
        let outcome = |outcome| self.refusals.with_label_values(&[credential, outcome]);
        RefusalMetrics {
            refreshed: outcome("refreshed"),
            superseded: outcome("superseded"),
            held_back: outcome("held_back"),
        }
    }

    /// Takes away what would go on to speak of a credential that is gone.
    pub fn forget(&self, credential: &str) {
        let labels = &[credential];
        let times = [
            &self.expiry,
            &self.next_refresh,
            &self.last_success,
            &self.lifetime,
        ];
        for gauges in times {
            let _ = gauges.remove_label_values(labels);
        }
        let counts = [
            &self.generation,
            &self.consecutive_failures,
            &self.usable,
            &self.previous_secret,
        ];
        for gauges in counts {
            let _ = gauges.remove_label_values(labels);
        }
    }

    /// Attempts to get a token of one credential since the start, by how they ended.
    pub fn attempts(&self, credential: &str) -> Counts {
        self.for_credential(credential).attempts()
    }

    /// The metrics of one credential. Every outcome is there from the start, at 0, so that rates
    /// and alerts work from the first event on. What is the case is kept until it is shown.
    pub fn for_credential(&self, credential: &str) -> CredentialMetrics {
        let outcome = |outcome| self.refreshes.with_label_values(&[credential, outcome]);
        CredentialMetrics {
            successes: outcome("success"),
            failures: FailureKind::ALL.map(|kind| (kind, outcome(kind.label()))),
            duration: self.duration.with_label_values(&[credential]),
            restarts: self.restarts.with_label_values(&[credential]),
            facts: Facts::new(Present::default()),
        }
    }

    /// Shows what is the case with a credential: it is the one at work under its name.
    pub fn show(&self, credential: &str, metrics: &CredentialMetrics) {
        let labels = &[credential];
        let expiry = self.expiry.with_label_values(labels);
        let next_refresh = self.next_refresh.with_label_values(labels);
        let last_success = self.last_success.with_label_values(labels);
        let lifetime = self.lifetime.with_label_values(labels);
        let generation = self.generation.with_label_values(labels);
        let consecutive_failures = self.consecutive_failures.with_label_values(labels);
        let usable = self.usable.with_label_values(labels);
        let previous_secret = self.previous_secret.with_label_values(labels);
        metrics.facts.show_by(move |facts| {
            expiry.set(facts.expiry);
            next_refresh.set(facts.next_refresh);
            last_success.set(facts.last_success);
            lifetime.set(facts.lifetime);
            generation.set(facts.generation);
            consecutive_failures.set(facts.consecutive_failures);
            usable.set(facts.usable.into());
            previous_secret.set(facts.previous_secret.into());
        });
    }
}

/// The metrics of one credential.
#[derive(Debug, Clone)]
pub struct CredentialMetrics {
    successes: IntCounter,
    failures: [(FailureKind, IntCounter); FailureKind::ALL.len()],
    duration: Histogram,
    restarts: IntCounter,
    facts: Facts<Present>,
}

/// What is the case with one credential.
#[derive(Debug, Default)]
struct Present {
    expiry: f64,
    next_refresh: f64,
    last_success: f64,
    lifetime: f64,
    generation: i64,
    consecutive_failures: i64,
    usable: bool,
    previous_secret: bool,
}

impl CredentialMetrics {
    fn attempts(&self) -> Counts {
        let failures = self.failures.iter().map(|(kind, of)| (kind.label(), of));
        metric::counts(failures.chain([("success", &self.successes)]))
    }

    pub(super) fn attempted(&self, took: Duration) {
        self.duration.observe(took.as_secs_f64());
    }

    /// A token was obtained, with the previous secret or with the one that should be used.
    pub(super) fn obtained(&self, token: &AccessToken) {
        self.successes.inc();
        self.sent(token);
        self.facts.change(|facts| {
            facts.consecutive_failures = 0;
            facts.last_success = unix_seconds(Instant::now());
        });
    }

    /// Requests carry this one from now on.
    pub(super) fn sent(&self, token: &AccessToken) {
        self.facts.change(|facts| {
            facts.previous_secret = token.refused_secret().is_some();
            facts.lifetime = token.sent_for().as_secs_f64();
            facts.generation = i64::try_from(token.generation()).unwrap_or(i64::MAX);
            facts.usable = true;
        });
    }

    pub(super) fn failed(&self, kind: FailureKind, in_a_row: u32) {
        for (of, counter) in &self.failures {
            if *of == kind {
                counter.inc();
            }
        }
        self.facts
            .change(|facts| facts.consecutive_failures = in_a_row.into());
    }

    /// Told in each round: the clock that these times are told in may have been set meanwhile.
    pub(super) fn planned(&self, next_attempt: Instant, retire_at: Option<Instant>) {
        self.facts.change(|facts| {
            facts.next_refresh = unix_seconds(next_attempt);
            if let Some(retire_at) = retire_at {
                facts.expiry = unix_seconds(retire_at);
            }
        });
    }

    pub(super) fn expired(&self) {
        self.facts.change(|facts| facts.usable = false);
    }

    pub(super) fn restarted(&self) {
        self.restarts.inc();
    }

    /// Whether requests depend on this one, and not on another of its name or on none yet.
    pub(super) fn is_at_work(&self) -> bool {
        self.facts.are_shown()
    }

    /// Another is at work under its name from now on, or none.
    pub fn hide(&self) {
        self.facts.hide();
    }
}

/// From a provider next door to one that takes all the time it is given.
const REFRESH_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
