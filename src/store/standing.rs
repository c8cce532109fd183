//! What operators see of the sharing of tokens at one look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntCounter;
use serde::Serialize;

use super::backend::StoreError;
use crate::metric::{self, Counts};

/// How each credential's sharing stands, by its name. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Standings(Arc<Mutex<BTreeMap<String, (Standing, Tally)>>>);

/// How one credential's sharing stands.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Standing {
    /// Where the token at hand came from: the `provider`, or the `store`.
    pub token_from: Option<&'static str>,
    /// This replica, as others see it, where replicas share a store.
    pub replica: Option<String>,
    /// Which replica got it, where replicas share a store.
    pub refreshed_by: Option<String>,
    /// Why the store is no help at this moment, if it is none.
    #[serde(rename = "store_trouble")]
    pub trouble: Option<String>,
    /// Whether it is this replica's turn to ask the provider.
    pub holds_lease: bool,
    /// How many token requests the budget allows at this moment, if there is one.
    pub requests_left: Option<i64>,
}

/// What is counted since the start, whoever is at work under the credential's name. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Tokens from the provider.
    pub(super) fetched: IntCounter,
    /// Tokens from the store.
    pub(super) taken_over: IntCounter,
    /// Calls to the store that were no help.
    pub(super) errors: [(&'static str, IntCounter); StoreError::LABELS.len()],
}

impl Standing {
    /// Whether the token at hand is one that another has got.
    pub fn is_from_store(&self) -> bool {
        self.token_from == Some(STORE)
    }
}

impl Standings {
    /// The one of this credential; nothing was said yet if it is empty.
    pub fn of(&self, credential: &str) -> Standing {
        let all = self.all();
        let shown = all.get(credential).map(|(standing, _)| standing.clone());
        shown.unwrap_or_default()
    }

    /// Tokens of this credential since the start, by where they came from.
    pub fn origins(&self, credential: &str) -> Counts {
        self.counts(credential, |tally| {
            metric::counts([(PROVIDER, &tally.fetched), (STORE, &tally.taken_over)])
        })
    }

    /// Calls to the store of this credential that were no help, by reason.
    pub fn errors(&self, credential: &str) -> Counts {
        self.counts(credential, |tally| {
            metric::counts(tally.errors.iter().map(|(label, of)| (*label, of)))
        })
    }

    fn counts(&self, credential: &str, look: impl Fn(&Tally) -> Counts) -> Counts {
        let all = self.all();
        let counts = all.get(credential).map(|(_, tally)| look(tally));
        counts.unwrap_or_default()
    }

    pub(super) fn put(&self, credential: &str, standing: Standing, tally: Tally) {
        self.all().insert(credential.to_owned(), (standing, tally));
    }

    pub(super) fn forget(&self, credential: &str) {
        self.all().remove(credential);
    }

    /// Held for a look. Whoever panics meanwhile leaves it whole.
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, (Standing, Tally)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a token can be from.
pub(super) const PROVIDER: &str = "provider";
pub(super) const STORE: &str = "store";
