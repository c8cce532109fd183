//! What a store shows.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::backend::StoreError;

/// The metrics of all credentials, from which each takes its own.
#[derive(Debug, Clone)]
pub struct StoresMetrics {
    tokens: IntCounterVec,
    errors: IntCounterVec,
    lease: IntGaugeVec,
    held_back: IntCounterVec,
    budget_left: IntGaugeVec,
}

impl StoresMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    ///
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let gauge =
            |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["credential"]);
        let metrics = Self {
            tokens: counter(
                "gatepass_token_origins_total",
                "Tokens by where this replica has them from: fetched from the provider, or taken \
                 over from the store that others share with it.",
                &["credential", "origin"],
            )?,
            errors: counter(
                "gatepass_store_errors_total",
                "Calls to the store of a credential that were no help, by reason.",
                &["credential", "reason"],
            )?,
            lease: gauge(
                "gatepass_store_lease_held",
                "1 while it is this replica's turn to ask the provider.",
            )?,
            held_back: counter(
                "gatepass_token_requests_held_back_total",
                "Token requests that were not sent: the budget was used up, the fleet waited \
                 after a failure, or this replica waited for the store to come back.",
                &["credential", "reason"],
            )?,
            budget_left: gauge(
                "gatepass_token_requests_left",
                "How many token requests the budget allows at this moment; -1 without a budget.",
            )?,
        };
        registry.register(Box::new(metrics.tokens.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.lease.clone()))?;
        registry.register(Box::new(metrics.held_back.clone()))?;
        registry.register(Box::new(metrics.budget_left.clone()))?;
        Ok(metrics)
    }

    /// The metrics of one credential, all of them there from the start.
    pub fn for_credential(&self, credential: &str, budget: Option<u32>) -> StoreMetrics {
        let origin = |origin| self.tokens.with_label_values(&[credential, origin]);
        let held_back = |reason| self.held_back.with_label_values(&[credential, reason]);
        let error = |reason| self.errors.with_label_values(&[credential, reason]);
        let metrics = StoreMetrics {
            fetched: origin("provider"),
            taken_over: origin("store"),
            errors: StoreError::LABELS.map(|label| (label, error(label))),
            lease: self.lease.with_label_values(&[credential]),
            spent: held_back("budget"),
            resting: held_back("failure"),
            awaiting_store: held_back("store"),
            budget_left: self.budget_left.with_label_values(&[credential]),
        };
        metrics.budget_left(budget.map(i64::from));
        metrics
    }
}

/// The metrics of one credential.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    pub(super) fetched: IntCounter,
    pub(super) taken_over: IntCounter,
    errors: [(&'static str, IntCounter); StoreError::LABELS.len()],
    lease: IntGauge,
    pub(super) spent: IntCounter,
    pub(super) resting: IntCounter,
    pub(super) awaiting_store: IntCounter,
    budget_left: IntGauge,
}

impl StoreMetrics {
    pub(super) fn failed(&self, error: &StoreError) {
        for (label, counter) in &self.errors {
            if *label == error.label() {
                counter.inc();
            }
        }
    }

    pub(super) fn holds_lease(&self, held: bool) {
        self.lease.set(held.into());
    }

    pub(super) fn budget_left(&self, left: Option<i64>) {
        self.budget_left.set(left.unwrap_or(-1));
    }
}
