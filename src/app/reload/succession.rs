//! From the keepers that are at work to those that are to come in their place, so that no request misses a
//! token that it has now.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use super::Reloader;
use super::state::Next;
use crate::app::keeper::{Ending, Keeper};
use crate::token::TokenReader;

impl Reloader {
    /// Waits until the next state can take over: the first attempt to get each new token is over, and
    /// no request would miss a token that it has now.
    pub(super) async fn tokens(&self, next: &Next) {
        for ending in self.in_the_way() {
            // A task of its own, which is not cut off if this wait is.
            let _ = self.end(ending).await;
        }
        self.start_coming();
        next.first_attempts.started().await;
        let mut told = false;
        while let Some(missing) = self.missing() {
            if !std::mem::replace(&mut told, true) {
                let why = missing.load().why_not_sent();
                warn!(
                    credential = missing.credential(),
                    "the changed configuration waits for its first token, and what runs stays: {why}"
                );
                self.standing.waits_for(missing);
            }
            sleep(PERIOD).await;
        }
    }

    /// The work of those that would get in the way of their successors.
    fn in_the_way(&self) -> Vec<Ending> {
        let coming = self.coming.borrow();
        let mut running = self.running.borrow_mut();
        let keepers = running.keepers.iter_mut();
        keepers
            .filter(|(name, keeper)| coming.contains_key(*name) && keeper.is_alone())
            .map(|(_, keeper)| keeper.give_up())
            .collect()
    }

    fn start_coming(&self) {
        let mut coming = self.coming.borrow_mut();
        coming.values_mut().for_each(Keeper::start);
    }

    pub(super) fn has_given_up(&self) -> bool {
        let running = self.running.borrow();
        running.keepers.values().any(Keeper::has_given_up)
    }

    /// Has those go on that have given up for successors which nobody wants any more.
    pub(super) async fn resume(&self) {
        if !self.has_given_up() {
            return;
        }
        // Not before those have ended: they may be about to keep what a session goes on with.
        drop(self.parts.keepers.at_work.write().await);
        for keeper in self.running.borrow_mut().keepers.values_mut() {
            if let Err(error) = keeper.resume(&self.parts.keepers) {
                let credential = keeper.reader().credential();
                error!(
                    credential,
                    "its tokens cannot be kept fresh any more: {error}"
                );
            }
        }
    }

    /// A credential that has no token yet, while the one that it replaces still has.
    fn missing(&self) -> Option<TokenReader> {
        let running = self.running.borrow();
        let coming = self.coming.borrow();
        let mut readers = coming.values().map(Keeper::reader);
        let missing = readers.find(|reader| {
            let before = running.keepers.get(reader.credential());
            let before = before.is_some_and(|before| has_token(before.reader()));
            before && !has_token(reader)
        });
        missing.cloned()
    }
}

/// By the clock: nobody takes the token away any more from one that has given up.
fn has_token(reader: &TokenReader) -> bool {
    let state = reader.load();
    let token = state.valid();
    token.is_some_and(|token| token.retire_at() > Instant::now())
}

/// How often is looked whether a token that is waited for has come.
const PERIOD: Duration = Duration::from_millis(100);
