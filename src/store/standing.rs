//! What operators see of the sharing of tokens, beside its metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// How each credential's sharing stands, by its name. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Standings(Arc<Mutex<BTreeMap<String, Standing>>>);

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
        self.all().get(credential).cloned().unwrap_or_default()
    }

    pub(super) fn put(&self, credential: &str, standing: Standing) {
        self.all().insert(credential.to_owned(), standing);
    }

    pub(super) fn forget(&self, credential: &str) {
        self.all().remove(credential);
    }

    /// Held for a look. Whoever panics meanwhile leaves it whole.
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a token can be from.
pub(super) const PROVIDER: &str = "provider";
pub(super) const STORE: &str = "store";
