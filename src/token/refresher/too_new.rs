//! A new token that an upstream does not take yet, while the one before it is still good.
//!
//! Upstreams hear of new tokens late: by seconds where tokens are copied from one server to the next or
//! begin (`nbf`) by a clock that is ahead, by minutes where an upstream keeps the keys that the provider has
//! replaced. Whatever is fetched in its place is newer still. So the token before is sent for a while more,
//! and no request notices.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::Refresher;
use crate::token::AccessToken;
use crate::token::clock::time_asleep;

/// The tokens beside the one at hand.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The one before it, if no upstream has refused that, and when it gave way.
    before: Option<(AccessToken, Instant)>,
    /// The one after it, which is too new, and when it is tried again.
    after: Option<(AccessToken, Instant)>,
    /// How often that was refused.
    times: u32,
    /// The last generation that was refused.
    refused: u64,
}

impl Beside {
    /// Another token takes the place of this one.
    pub(super) fn replaced(&mut self, token: Option<&AccessToken>) {
        let good = token.filter(|token| token.generation() != self.refused);
        self.before = good.cloned().map(|token| (token, Instant::now()));
        self.after = None;
        self.times = 0;
    }

    /// The token to send instead of the one that was refused, if that has only just come.
    pub(super) fn step_back(&mut self, refused: &AccessToken) -> Option<AccessToken> {
        self.refused = refused.generation();
        let now = Instant::now();
        let (before, since) = self.before.take()?;
        let before = before.counting_sleep(time_asleep());
        let left = before.retire_at().saturating_duration_since(now);
        if now - since > YOUNG || left < SHORTEST {
            return None;
        }
        // Well before the end of the one that is sent meanwhile, and ever later.
        let pause = FIRST.saturating_mul(1 << self.times.min(8)).min(LONGEST);
        self.times += 1;
        self.after = Some((refused.clone(), now + pause.min(left / 2)));
        Some(before)
    }

    /// When the one that was too new is tried again.
    pub(super) fn forward_at(&self) -> Option<Instant> {
        self.after.as_ref().map(|(_, at)| *at)
    }

    /// The token that was too new, to be sent in the place of this one.
    pub(super) fn step_forward(&mut self, at_hand: Option<&AccessToken>) -> Option<AccessToken> {
        let (after, _) = self.after.take()?;
        let times = self.times;
        self.replaced(at_hand);
        self.times = times;
        let after = after.counting_sleep(time_asleep());
        (after.retire_at() > Instant::now()).then_some(after)
    }
}

impl Refresher {
    /// Sends the token before the one that was refused, if that may only be too new.
    pub(super) fn step_back(&self, route: &str) -> bool {
        let state = Arc::clone(&self.writer.current());
        let before = state
            .valid()
            .and_then(|refused| self.beside.borrow_mut().step_back(refused));
        let Some(before) = before else {
            return false;
        };
        let credential = self.writer.credential();
        let generation = self.generation.get();
        info!(
            credential,
            route,
            generation,
            "an upstream does not take a new token yet: the one before it is sent for a while"
        );
        self.send(before);
        true
    }

    /// Sends the token that was too new.
    pub(super) fn step_forward(&self) -> bool {
        let state = Arc::clone(&self.writer.current());
        let Some(after) = self.beside.borrow_mut().step_forward(state.valid()) else {
            return false;
        };
        self.send(after);
        true
    }

    /// Publishes a token that was at hand before. It has a generation of its own, so that a refusal of
    /// what was sent in between is told from one of this.
    fn send(&self, token: AccessToken) {
        let token = token.of_generation(self.generation.get() + 1);
        self.generation.set(token.generation());
        self.metrics.sent(&token);
        self.writer.store(token);
    }
}

/// A token that is refused later has been revoked, or was never good for this upstream.
const YOUNG: Duration = Duration::from_secs(10);

/// What has less left to live is no help.
const SHORTEST: Duration = Duration::from_secs(1);

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
