//! What replicas tell each other about one credential, and the rules by which it changes. Times are
//! those of the store's clock: those of the replicas may differ.

mod session;
mod term;

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::hourly::{self, HOUR};
use super::{SavedSession, written_out};
use crate::token::schedule::{self, InARow};
use crate::token::source::{FailureKind, FetchedToken};
pub(super) use session::StoredSession;
use term::Term;

/// All that the store has of a credential.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// How often somebody has taken it upon itself to ask. What belongs to an earlier turn than what
    /// is there comes too late.
    pub(super) generation: u64,
    pub(super) lease: Option<Lease>,
    rest: Option<Rest>,
    pub(super) token: Option<StoredToken>,
    pub(super) session: Option<StoredSession>,
    /// Somebody has ended the session: none that a replica still holds comes in its place.
    #[serde(default)]
    is_logged_out: bool,
    /// When the provider was asked within the last hour, as far as a budget needs to know.
    asked: Vec<Duration>,
}

/// Whose turn it is to ask, and until when nobody else does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) holder: String,
    pub(super) generation: u64,
    #[serde(flatten)]
    term: Term,
}

/// After a failure the whole fleet waits, as one client would.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rest {
    #[serde(flatten)]
    term: Term,
    failures: u32,
    /// An entry of an earlier version does not say.
    #[serde(default)]
    patient: u32,
    outcome: String,
}

/// A token that any of them may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredToken {
    pub(super) generation: u64,
    /// Who got it.
    pub(super) by: String,
    #[serde(serialize_with = "written_out")]
    secret: SecretString,
    scheme: String,
    lifetime: Duration,
    refresh_in: Option<Duration>,
    /// Before it was asked for, so that nobody takes it to be younger than it is.
    born: Duration,
    /// How long the provider took; nothing if nobody knows.
    #[serde(default)]
    pub(super) took: Option<Duration>,
}

/// A token that is there, and how old it is.
#[derive(Debug)]
pub(super) struct AgedToken {
    pub(super) token: StoredToken,
    pub(super) age: Duration,
}

/// Who wants a token, and what it has.
#[derive(Debug, Clone)]
pub(super) struct Claimant<'a> {
    pub(super) name: &'a str,
    /// The generation of the last token that it took over.
    pub(super) known: u64,
    /// How long a turn lasts unless it is prolonged.
    pub(super) lease: Duration,
    /// It asks although the fleet waits after a failure.
    pub(super) overrides_rest: bool,
    /// How many requests an hour there may be.
    pub(super) per_hour: Option<u32>,
    /// The budget does not matter any more: the token would die.
    pub(super) cannot_wait: bool,
}

/// What a claimant is told.
#[derive(Debug)]
pub(super) enum Claim {
    /// There is a token that it does not have.
    Newer(AgedToken),
    /// It is its turn.
    Granted(Turn),
    /// It is the turn of another, for so long at most.
    Held(Duration),
    /// All wait after a failure.
    Resting { left: Duration, outcome: String },
    /// There were as many requests in the last hour as there may be.
    Spent(Duration),
}

/// A turn to ask the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) generation: u64,
    /// When it began.
    pub(super) began: Duration,
    /// How many attempts of the fleet have failed since the last token.
    pub(super) failures: InARow,
    /// The refresh token that was taken in it is used up, and the one that followed it is not stored.
    pub(super) owes_session: bool,
}

impl Rest {
    fn failures(&self) -> InARow {
        InARow {
            all: self.failures,
            patient: self.patient,
        }
    }
}

impl Record {
    /// Asks for a token, or for the turn to get one.
    pub(super) fn claim(&mut self, claimant: &Claimant<'_>, now: Duration) -> Claim {
        if let Some(token) = self.fresh(claimant.known, now) {
            return Claim::Newer(token);
        }
        if let Some(lease) = &self.lease
            && let Some(left) = lease.term.left(now)
            && lease.holder != claimant.name
        {
            return Claim::Held(left);
        }
        if let Some(rest) = &self.rest
            && let Some(left) = rest.term.left(now)
            && !claimant.overrides_rest
        {
            return Claim::Resting {
                left,
                outcome: rest.outcome.clone(),
            };
        }
        if let Some(per_hour) = claimant.per_hour.filter(|_| !claimant.cannot_wait)
            && let Some(left) = hourly::until_affordable(&self.asked, per_hour, now)
        {
            return Claim::Spent(left);
        }
        // One that has lost its memory must not fall behind those who have not.
        self.generation = self.generation.max(claimant.known) + 1;
        self.lease = Some(Lease {
            holder: claimant.name.to_owned(),
            generation: self.generation,
            term: Term::new(now, claimant.lease),
        });
        if let Some(per_hour) = claimant.per_hour {
            hourly::note(&mut self.asked, per_hour, now);
        }
        Claim::Granted(Turn {
            generation: self.generation,
            began: now,
            failures: self.rest.as_ref().map(Rest::failures).unwrap_or_default(),
            owes_session: false,
        })
    }

    /// The token that is there, if it is newer and may be used for whatever time is left.
    pub(super) fn spare(&self, known: u64, now: Duration) -> Option<AgedToken> {
        self.newer_than(known, now, StoredToken::is_usable)
    }

    /// The token that is there, if it is newer and not yet due.
    pub(super) fn fresh(&self, known: u64, now: Duration) -> Option<AgedToken> {
        self.newer_than(known, now, StoredToken::is_fresh)
    }

    fn newer_than(
        &self,
        known: u64,
        now: Duration,
        good: impl Fn(&StoredToken, Duration) -> bool,
    ) -> Option<AgedToken> {
        let newer = self.token.as_ref().filter(|token| token.generation > known);
        let token = newer.filter(|token| good(token, now))?.clone();
        Some(AgedToken {
            age: token.age(now),
            token,
        })
    }

    /// Prolongs a turn. `false` if it is over and another's has begun.
    pub(super) fn prolong(&mut self, turn: Turn, lease: Duration, now: Duration) -> bool {
        let is_turn = self.is_turn(turn.generation);
        if let Some(own) = self.lease.as_mut().filter(|_| is_turn) {
            own.term = Term::new(now, lease);
        }
        is_turn
    }

    /// Ends a turn with a token. `false` if a later turn has brought one already.
    pub(super) fn succeed(
        &mut self,
        turn: Turn,
        by: &str,
        fetched: &FetchedToken,
        took: Duration,
    ) -> bool {
        let overtaken = |token: &StoredToken| token.generation >= turn.generation;
        if self.token.as_ref().is_some_and(overtaken) {
            return false;
        }
        self.generation = self.generation.max(turn.generation);
        self.end(turn, by);
        self.rest = None;
        let token = StoredToken::new(turn.generation, by, fetched, turn.began);
        self.token = Some(StoredToken {
            took: Some(took),
            ..token
        });
        true
    }

    /// Takes in what somebody has logged in with. Whoever's turn it is comes too late with its own.
    pub(super) fn adopt(
        &mut self,
        by: &str,
        fetched: &FetchedToken,
        session: Option<SavedSession>,
        now: Duration,
    ) {
        self.log_out();
        let born = now.saturating_sub(fetched.age);
        self.token = Some(StoredToken::new(self.generation, by, fetched, born));
        if let Some(saved) = session {
            self.keep(saved);
        }
    }

    /// Forgets token and session. Whoever's turn it is comes too late with another session.
    pub(super) fn clear(&mut self) {
        self.generation += 1;
        self.lease = None;
        self.rest = None;
        self.token = None;
        self.session = None;
        self.is_logged_out = false;
    }

    /// Ends a turn without one: nobody asks for a while.
    pub(super) fn fail(
        &mut self,
        turn: Turn,
        by: &str,
        kind: FailureKind,
        rest: Duration,
        now: Duration,
    ) {
        if !self.end(turn, by) {
            return;
        }
        let InARow { all, patient } = turn.failures.and_one_of(kind.pace());
        self.rest = Some(Rest {
            term: Term::new(now, rest),
            failures: all,
            patient,
            outcome: kind.label().to_owned(),
        });
    }

    /// Ends a turn in which nobody was asked: the others have nothing to wait for.
    pub(super) fn give_back(&mut self, turn: Turn, by: &str) {
        if self.end(turn, by) {
            self.asked.retain(|asked| *asked != turn.began);
        }
    }

    /// `false` if the turn was over.
    fn end(&mut self, turn: Turn, by: &str) -> bool {
        if !self.is_turn(turn.generation) {
            return false;
        }
        self.lease = None;
        if let Some(session) = &mut self.session
            && !turn.owes_session
            && session.taken_by.as_deref() == Some(by)
        {
            session.taken_by = None;
        }
        true
    }

    /// Whether it is still this turn.
    pub(super) fn is_turn(&self, generation: u64) -> bool {
        self.lease
            .as_ref()
            .is_some_and(|lease| lease.generation == generation)
    }

    /// How many requests the last hour has seen.
    pub(super) fn asked_lately(&self, now: Duration) -> usize {
        hourly::asked_lately(&self.asked, now)
    }

    /// How long it is worth keeping.
    pub(super) fn keep_for(&self) -> Duration {
        let token = self.token.as_ref().map_or(Duration::ZERO, |of| of.lifetime);
        let session = match self.session {
            Some(_) => SESSION_KEPT,
            None => Duration::ZERO,
        };
        (token * 2).max(session).max(HOUR)
    }
}

impl StoredToken {
    fn new(generation: u64, by: &str, fetched: &FetchedToken, born: Duration) -> Self {
        Self {
            generation,
            by: by.to_owned(),
            secret: fetched.secret.clone(),
            scheme: fetched.scheme.clone(),
            lifetime: fetched.lifetime,
            refresh_in: fetched.refresh_in,
            born,
            took: None,
        }
    }

    /// How old it is, or would be if the store's clock had not been set back.
    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.born)
    }

    /// It is not time for another one.
    fn is_fresh(&self, now: Duration) -> bool {
        let due = schedule::refresh_after(self.lifetime, self.refresh_in, 0.0);
        self.age(now) < due && self.born <= now
    }

    /// It can be sent.
    fn is_usable(&self, now: Duration) -> bool {
        self.age(now) < schedule::retire_after(self.lifetime) && self.born <= now
    }
}

/// As its source would hand it out.
impl From<AgedToken> for FetchedToken {
    fn from(AgedToken { token, age }: AgedToken) -> Self {
        Self {
            refused_secret: None,
            secret: token.secret,
            scheme: token.scheme,
            lifetime: token.lifetime,
            refresh_in: token.refresh_in,
            age,
        }
    }
}

/// The largest budget: an entry holds the times of so many requests.
pub const MOST_PER_HOUR: u32 = 1_000;

/// Refresh tokens live for long, and nobody says for how long.
const SESSION_KEPT: Duration = Duration::from_secs(90 * 86_400);

#[cfg(test)]
mod tests;
