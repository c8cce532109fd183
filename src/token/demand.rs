//! Reasons to refresh a token before its time: an upstream refused it, or an operator asks.
//!
//! Requests do not fetch tokens. One that was answered with 401 says which generation was refused
//! and waits for the refresher, as all the others do that were refused with it; so however many
//! they are, they cost one token request. A 401 that another token does not mend (a permission that
//! is missing) must not become a token request each: there is a budget for them.

mod in_vain;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::Budget;
use in_vain::InVain;

/// What a 401 of an upstream does to the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalSettings {
    /// Which 401s count.
    pub refused_by: RefusedBy,
    /// How many refreshes a minute they may cause.
    pub per_minute: u32,
}

/// Which answers say that the token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// Every 401.
    Any401,
    /// A 401 whose `WWW-Authenticate` says `invalid_token` (RFC 6750 §3.1).
    InvalidToken,
    /// None: a 401 is the caller's affair.
    Nothing,
}

impl RefusedBy {
    /// Every way with its name in a configuration (`refresh_on_401`).
    pub const NAMES: [(&'static str, Self); 3] = [
        ("always", Self::Any401),
        ("invalid_token", Self::InvalidToken),
        ("never", Self::Nothing),
    ];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        let name = Self::NAMES.iter().find(|(_, way)| *way == self);
        name.map_or("", |(name, _)| name)
    }
}

impl Default for RefusalSettings {
    fn default() -> Self {
        Self {
            refused_by: RefusedBy::Any401,
            per_minute: 4,
        }
    }
}

/// What was made of refusals.
#[derive(Debug, Clone)]
pub struct RefusalMetrics {
    pub(super) refreshed: IntCounter,
    pub(super) superseded: IntCounter,
    pub(super) held_back: IntCounter,
}

/// Where the wishes of both planes meet.
#[derive(Debug)]
pub(super) struct Demand {
    settings: RefusalSettings,
    metrics: RefusalMetrics,
    wishes: Mutex<Wishes>,
    wake: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
struct Wishes {
    /// The generation that was refused last, and the route by which.
    refused: Option<(u64, Arc<str>)>,
    /// The last generation that came in the place of a refused one; 0 if none did.
    replacement: u64,
    /// Somebody wants a new token whatever the state of the current one.
    forced: bool,
    /// What is due is no longer what it was.
    look_again: bool,
    /// An attempt is under way.
    attempting: bool,
    /// The last attempt failed, and the next one follows at the pace of failures.
    failing: bool,
    budget: Budget,
    in_vain: InVain,
}

impl Wishes {
    /// Whether another token may be fetched for a refused one, which is noted. The first one that is refused
    /// after others were taken is always worth a try.
    fn take(&mut self, is_replacement: bool) -> bool {
        let now = Instant::now();
        let is_due = !is_replacement || self.in_vain.is_due(now);
        let may_be = is_due && self.budget.take(now);
        if may_be && is_replacement {
            self.in_vain.note(now);
        }
        may_be
    }

    /// The route whose upstream refused this generation, if another is wished for that.
    fn refused_by(&self, generation: u64) -> Option<&Arc<str>> {
        let (refused, route) = self.refused.as_ref()?;
        (*refused == generation).then_some(route)
    }
}

/// What the refresher is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A new token, now.
    Refresh,
    /// A new token, because the upstream of this route refused the one at hand.
    Replace(Arc<str>),
    /// To look again at what is due: more time has passed than timers have counted.
    LookAgain,
}

/// How far the refresher has come.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    generation: u64,
    attempts: u64,
    /// There will be no other token.
    is_over: bool,
}

/// What a request whose token was refused can expect.
#[derive(Debug)]
pub enum Refusal {
    /// A newer token is there already.
    Superseded,
    /// A newer token is being fetched.
    Awaited(Successor),
    /// There were too many refusals lately, or the provider fails; nothing is fetched for this one.
    HeldBack,
    /// The same, and the token is one that came in the place of a refused one.
    Unmended,
}

impl Demand {
    pub(super) fn new(settings: RefusalSettings, metrics: RefusalMetrics) -> Self {
        Self {
            settings,
            metrics,
            wishes: Mutex::new(Wishes {
                refused: None,
                replacement: 0,
                forced: false,
                look_again: false,
                attempting: false,
                failing: false,
                budget: Budget::full(settings.per_minute),
                in_vain: InVain::default(),
            }),
            wake: Notify::new(),
            progress: watch::Sender::default(),
        }
    }

    pub(super) fn refused_by(&self) -> RefusedBy {
        self.settings.refused_by
    }

    /// The token of this generation was refused, while `current` is the one at hand.
    pub(super) fn refuse(&self, generation: u64, current: u64, route: &Arc<str>) -> Refusal {
        // First the lock, so that no attempt ends between what is read here and what is wished.
        let mut wishes = self.wishes();
        let progress = self.progress.subscribe();
        let now = *progress.borrow();
        if now.generation.max(current) > generation {
            self.metrics.superseded.inc();
            return Refusal::Superseded;
        }
        // An attempt that is under way costs nothing more: a provider may end the old token at the
        // moment at which it hands out the new one.
        if !wishes.attempting && wishes.refused_by(generation).is_none() {
            // A provider that fails has a pace of its own; a client that was revoked is the very
            // case in which every upstream refuses its tokens.
            let is_new = wishes.replacement == generation;
            if wishes.failing || now.is_over || !wishes.take(is_new) {
                self.metrics.held_back.inc();
                return match is_new && !wishes.failing && !now.is_over {
                    true => Refusal::Unmended,
                    false => Refusal::HeldBack,
                };
            }
            wishes.refused = Some((generation, Arc::clone(route)));
            self.metrics.refreshed.inc();
            self.wake.notify_one();
        }
        Refusal::Awaited(Successor {
            progress,
            generation,
            attempts: now.attempts,
        })
    }

    /// Resolves when there has been a token or will be none, or at `end`.
    pub(super) async fn first_token(&self, end: Instant) {
        let mut progress = self.progress.subscribe();
        let settled = progress.wait_for(|progress| progress.generation > 0 || progress.is_over);
        let _ = timeout_at(end, settled).await;
    }

    /// Nobody fetches tokens any more: those who wait for one are let go.
    pub(super) fn retire(&self) {
        self.progress
            .send_modify(|progress| progress.is_over = true);
    }

    /// An operator wants a new token.
    pub(super) fn force(&self) {
        self.wishes().forced = true;
        self.wake.notify_one();
    }

    /// The machine slept: what was due later is due sooner.
    pub(super) fn look_again(&self) {
        self.wishes().look_again = true;
        self.wake.notify_one();
    }

    /// Resolves when there is a reason to refresh the token of this generation now, or to look
    /// again whether that is so.
    pub(super) async fn arises(&self, generation: u64) -> Wish {
        loop {
            // Looked at before it is waited for: the wake-up of a wish that stands may have been
            // taken by a refresher that was interrupted.
            let wished = self.wake.notified();
            {
                let mut wishes = self.wishes();
                if std::mem::take(&mut wishes.look_again) {
                    return Wish::LookAgain;
                }
                let forced = std::mem::take(&mut wishes.forced);
                if let Some(route) = wishes.refused_by(generation) {
                    return Wish::Replace(Arc::clone(route));
                }
                if forced {
                    return Wish::Refresh;
                }
            }
            wished.await;
        }
    }

    /// Something makes the token doubtful. No refresh if there were too many lately or the provider
    /// fails anyway.
    pub(super) fn doubt(&self) {
        let mut wishes = self.wishes();
        if !wishes.failing && wishes.budget.take(Instant::now()) {
            wishes.forced = true;
            self.wake.notify_one();
        }
    }

    /// No attempt is under way.
    pub(super) fn idle(&self) {
        self.wishes().attempting = false;
    }

    /// An attempt begins.
    pub(super) fn attempting(&self) {
        self.wishes().attempting = true;
    }

    /// An attempt is over; `generation` is that of the token at hand now.
    pub(super) fn attempted(&self, generation: u64, failed: bool) {
        let mut wishes = self.wishes();
        // A refusal that was not mended may be tried again, within the budget.
        if let Some((refused, _)) = wishes.refused.take()
            && generation > refused
        {
            wishes.replacement = generation;
        }
        wishes.attempting = false;
        wishes.failing = failed;
        self.progress.send_modify(|progress| {
            progress.generation = generation;
            progress.attempts += 1;
        });
    }

    /// Held for a few comparisons, and never on the way of a request whose token is accepted.
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token after one that was refused.
#[derive(Debug)]
pub struct Successor {
    progress: watch::Receiver<Progress>,
    generation: u64,
    attempts: u64,
}

impl Successor {
    /// Waits until it is there. `false` if the attempt to get it has failed, takes too long, or is
    /// nobody's any more.
    pub async fn arrives_within(mut self, patience: Duration) -> bool {
        let (generation, attempts) = (self.generation, self.attempts);
        let over = |progress: &Progress| {
            progress.generation > generation || progress.attempts > attempts || progress.is_over
        };
        match timeout(patience, self.progress.wait_for(over)).await {
            Ok(Ok(progress)) => progress.generation > generation,
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
