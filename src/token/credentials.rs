//! The credentials at work, for all who look at each of them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::TokenReader;
use super::clock::time_asleep;

/// The credentials that routes need at this moment. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Credentials(Arc<ArcSwap<Vec<TokenReader>>>);

impl Credentials {
    /// All of them.
    pub fn all(&self) -> Arc<Vec<TokenReader>> {
        self.0.load_full()
    }

    /// The one of this name.
    pub fn named(&self, name: &str) -> Option<TokenReader> {
        let all = self.0.load();
        all.iter().find(|of| of.credential() == name).cloned()
    }

    /// Puts others in their place. The time asleep is taken off their tokens from now on; one that came
    /// before may have slept through some of it.
    pub fn replace(&self, credentials: Vec<TokenReader>) {
        let asleep = time_asleep();
        credentials.iter().for_each(|of| of.count_sleep(asleep));
        self.0.store(Arc::new(credentials));
    }
}
