//! What a store shows.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Registry};

use super::backend::StoreError;
use super::standing::{PROVIDER, STORE, Standing, Standings, Tally};
use crate::metric::{self, Facts};

/// The metrics of all credentials, from which each takes its own.
#[derive(Debug, Clone)]
pub struct StoresMetrics {
    tokens: IntCounterVec,
    errors: IntCounterVec,
    failing: IntGaugeVec,
    from_store: IntGaugeVec,
    lease: IntGaugeVec,
    held_back: IntCounterVec,
    budget_left: IntGaugeVec,
    standings: Standings,
}

impl StoresMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    ///
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            tokens: metric::counters(
                registry,
                "gatepass_token_origins_total",
                "Tokens by where this replica has them from: fetched from the provider, or taken \
                 over from the store that others share with it.",
                &["credential", "origin"],
            )?,
            errors: metric::counters(
                registry,
                "gatepass_store_errors_total",
                "Calls to the store of a credential that were no help, by reason.",
                &["credential", "reason"],
            )?,
            failing: metric::gauges(
                registry,
                "gatepass_store_failing",
                "1 while the store of a credential is no help, and this replica asks by itself.",
                &["credential"],
            )?,
            from_store: metric::gauges(
                registry,
                "gatepass_token_from_store",
                "1 while the token at hand is one that another replica has got.",
                &["credential"],
            )?,
            lease: metric::gauges(
                registry,
                "gatepass_store_lease_held",
                "1 while it is this replica's turn to ask the provider.",
                &["credential"],
            )?,
            held_back: metric::counters(
                registry,
                "gatepass_token_requests_held_back_total",
                "Token requests that were not sent: the budget was used up, the fleet waited \
                 after a failure, or this replica waited for the store to come back.",
                &["credential", "reason"],
            )?,
            budget_left: metric::gauges(
                registry,
                "gatepass_token_requests_left",
                "How many token requests the budget allows at this moment; -1 without a budget.",
                &["credential"],
            )?,
            standings: Standings::default(),
        })
    }

    /// What there is to say in words about the sharing of each credential.
    pub fn standings(&self) -> Standings {
        self.standings.clone()
    }

    /// The metrics of one credential, all that count there from the start. What is the case is kept
    /// until it is shown.
    pub fn for_credential(&self, credential: &str, budget: Option<u32>) -> StoreMetrics {
        let origin = |origin| self.tokens.with_label_values(&[credential, origin]);
        let held_back = |reason| self.held_back.with_label_values(&[credential, reason]);
        let error = |reason| self.errors.with_label_values(&[credential, reason]);
        StoreMetrics {
            tally: Tally {
                fetched: origin(PROVIDER),
                taken_over: origin(STORE),
                errors: StoreError::LABELS.map(|label| (label, error(label))),
            },
            spent: held_back("budget"),
            resting: held_back("failure"),
            awaiting_store: held_back("store"),
            standing: Facts::new(Standing {
                requests_left: budget.map(i64::from),
                ..Standing::default()
            }),
        }
    }

    /// Shows what is the case with a credential: it is the one at work under its name.
    pub fn show(&self, credential: &str, metrics: &StoreMetrics) {
        let labels = &[credential];
        let failing = self.failing.with_label_values(labels);
        let from_store = self.from_store.with_label_values(labels);
        let lease = self.lease.with_label_values(labels);
        let budget_left = self.budget_left.with_label_values(labels);
        let (credential, standings) = (credential.to_owned(), self.standings.clone());
        let tally = metrics.tally.clone();
        metrics.standing.show_by(move |standing| {
            failing.set(standing.trouble.is_some().into());
            from_store.set(standing.is_from_store().into());
            lease.set(standing.holds_lease.into());
            budget_left.set(standing.requests_left.unwrap_or(-1));
            standings.put(&credential, standing.clone(), tally.clone());
        });
    }

    /// Takes away what would go on to speak of a credential that is gone, or shares nothing any more.
    pub fn forget(&self, credential: &str) {
        for gauges in [
            &self.failing,
            &self.from_store,
            &self.lease,
            &self.budget_left,
        ] {
            let _ = gauges.remove_label_values(&[credential]);
        }
        self.standings.forget(credential);
    }
}

/// The metrics of one credential.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    tally: Tally,
    pub(super) spent: IntCounter,
    pub(super) resting: IntCounter,
    pub(super) awaiting_store: IntCounter,
    standing: Facts<Standing>,
}

impl StoreMetrics {
    /// What this replica is called by others.
    pub(super) fn is_called(&self, replica: &str) {
        self.change(|standing| standing.replica = Some(replica.to_owned()));
    }

    /// This replica, by this name if it has one, has a token from the provider.
    pub(super) fn fetched(&self, replica: Option<&str>) {
        self.tally.fetched.inc();
        self.has_token(PROVIDER, replica);
    }

    /// This replica has a token that another has got.
    pub(super) fn taken_over(&self, from: &str) {
        self.tally.taken_over.inc();
        self.has_token(STORE, Some(from));
    }

    fn has_token(&self, origin: &'static str, by: Option<&str>) {
        self.change(|standing| {
            standing.token_from = Some(origin);
            standing.refreshed_by = by.map(ToOwned::to_owned);
        });
    }

    /// Whether the store is a help, and why not.
    pub(super) fn troubled(&self, trouble: Option<&StoreError>) {
        self.change(|standing| standing.trouble = trouble.map(ToString::to_string));
    }

    pub(super) fn failed(&self, error: &StoreError) {
        for (label, counter) in &self.tally.errors {
            if *label == error.label() {
                counter.inc();
            }
        }
    }

    pub(super) fn holds_lease(&self, held: bool) {
        self.change(|standing| standing.holds_lease = held);
    }

    pub(super) fn budget_left(&self, left: Option<i64>) {
        self.change(|standing| standing.requests_left = left);
    }

    /// Another is at work under its name from now on, or none.
    pub fn hide(&self) {
        self.standing.hide();
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) {
        self.standing.change(change);
    }
}
