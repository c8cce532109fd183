//! What replicas tell each other about one credential, and the rules by which it changes. Times are
//! those of the store's clock: those of the replicas may differ.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::SavedSession;
use crate::token::schedule;
use crate::token::source::{FailureKind, FetchedToken};

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
    /// When the provider was asked within the last hour, as far as a budget needs to know.
    asked: Vec<Duration>,
}

/// Whose turn it is to ask, and until when nobody else does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) holder: String,
    pub(super) generation: u64,
    until: Duration,
}

/// After a failure the whole fleet waits, as one client would.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rest {
    until: Duration,
    failures: u32,
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
}

/// A session that any of them may continue, one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredSession {
    pub(super) saved: SavedSession,
    /// Who has begun to use the refresh token and not yet said how that ended.
    pub(super) taken_by: Option<String>,
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
    Newer(StoredToken, Duration),
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
    pub(super) failures: u32,
}

impl Record {
    /// Asks for a token, or for the turn to get one.
    pub(super) fn claim(&mut self, claimant: &Claimant<'_>, now: Duration) -> Claim {
        if let Some(token) = self.newer_than(claimant.known, now, StoredToken::is_fresh) {
            return Claim::Newer(token.clone(), token.age(now));
        }
        if let Some(lease) = self.lease.as_ref().filter(|lease| lease.until > now)
            && lease.holder != claimant.name
        {
            return Claim::Held(lease.until - now);
        }
        let rest = self.rest.as_ref().filter(|rest| rest.until > now);
        if let Some(rest) = rest.filter(|_| !claimant.overrides_rest) {
            return Claim::Resting {
                left: rest.until - now,
                outcome: rest.outcome.clone(),
            };
        }
        self.asked.retain(|at| *at <= now && now - *at < HOUR);
        if let Some(per_hour) = claimant.per_hour.filter(|_| !claimant.cannot_wait)
            && let Some(left) = until_affordable(&self.asked, per_hour, now)
        {
            return Claim::Spent(left);
        }
        // One that has lost its memory must not fall behind those who have not.
        self.generation = self.generation.max(claimant.known) + 1;
        self.lease = Some(Lease {
            holder: claimant.name.to_owned(),
            generation: self.generation,
            until: now + claimant.lease,
        });
        if let Some(per_hour) = claimant.per_hour {
            self.asked.push(now);
            let surplus = self.asked.len().saturating_sub(per_hour as usize);
            self.asked.drain(..surplus);
        }
        Claim::Granted(Turn {
            generation: self.generation,
            began: now,
            failures: self.rest.as_ref().map_or(0, |rest| rest.failures),
        })
    }

    /// The token that is there, if it is newer and may be used for whatever time is left.
    pub(super) fn spare(&self, known: u64, now: Duration) -> Option<(StoredToken, Duration)> {
        let token = self.newer_than(known, now, StoredToken::is_usable)?;
        Some((token.clone(), token.age(now)))
    }

    /// The token that is there, if it is newer and not yet due.
    pub(super) fn fresh(&self, known: u64, now: Duration) -> Option<(StoredToken, Duration)> {
        let token = self.newer_than(known, now, StoredToken::is_fresh)?;
        Some((token.clone(), token.age(now)))
    }

    fn newer_than(
        &self,
        known: u64,
        now: Duration,
        good: impl Fn(&StoredToken, Duration) -> bool,
    ) -> Option<&StoredToken> {
        let newer = self.token.as_ref().filter(|token| token.generation > known);
        newer.filter(|token| good(token, now))
    }

    /// Prolongs a turn. `false` if it is over and another's has begun.
    pub(super) fn prolong(&mut self, turn: Turn, lease: Duration, now: Duration) -> bool {
        let own = self
            .lease
            .as_mut()
            .filter(|of| of.generation == turn.generation);
        let Some(own) = own else {
            return false;
        };
        own.until = now + lease;
        true
    }

    /// Ends a turn with a token. `false` if a later turn has brought one already.
    pub(super) fn succeed(&mut self, turn: Turn, by: &str, fetched: &FetchedToken) -> bool {
        let overtaken = |token: &StoredToken| token.generation >= turn.generation;
        if self.token.as_ref().is_some_and(overtaken) {
            return false;
        }
        self.generation = self.generation.max(turn.generation);
        self.end(turn, by);
        self.rest = None;
        self.token = Some(StoredToken {
            generation: turn.generation,
            by: by.to_owned(),
            secret: fetched.secret.clone(),
            scheme: fetched.scheme.clone(),
            lifetime: fetched.lifetime.min(LONGEST_LIFE),
            refresh_in: fetched.refresh_in,
            born: turn.began,
        });
        true
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
        self.rest = Some(Rest {
            until: now + rest,
            failures: turn.failures.saturating_add(1),
            outcome: kind.label().to_owned(),
        });
    }

    /// `false` if the turn was over.
    fn end(&mut self, turn: Turn, by: &str) -> bool {
        let of_this = |lease: &Lease| lease.generation == turn.generation;
        if !self.lease.as_ref().is_some_and(of_this) {
            return false;
        }
        self.lease = None;
        if let Some(session) = &mut self.session
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
        let lately = |at: &&Duration| **at <= now && now - **at < HOUR;
        self.asked.iter().filter(lately).count()
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

    /// As its source would hand it out.
    pub(super) fn aged(self, age: Duration) -> FetchedToken {
        FetchedToken {
            secret: self.secret,
            scheme: self.scheme,
            lifetime: self.lifetime,
            refresh_in: self.refresh_in,
            age,
        }
    }
}

/// How long it takes until there are fewer than so many in the last hour; nothing if there are.
pub(super) fn until_affordable(
    asked: &[Duration],
    per_hour: u32,
    now: Duration,
) -> Option<Duration> {
    let per_hour = usize::try_from(per_hour).unwrap_or(usize::MAX);
    let blocking = asked.len().checked_sub(per_hour)?;
    let oldest = asked.get(blocking)?;
    Some((*oldest + HOUR).saturating_sub(now))
}

/// One of the two places where a secret is written out on purpose; what holds it is sealed.
fn written_out<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// What a budget is for.
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// The largest budget: an entry holds the times of so many requests.
pub const MOST_PER_HOUR: u32 = 1_000;

/// Refresh tokens live for long, and nobody says for how long.
const SESSION_KEPT: Duration = Duration::from_secs(90 * 86_400);

/// Longer lives are counted as this one.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn claimant(name: &str, known: u64) -> Claimant<'_> {
        Claimant {
            name,
            known,
            lease: seconds(20),
            overrides_rest: false,
            per_hour: None,
            cannot_wait: false,
        }
    }

    fn token(lifetime: u64) -> FetchedToken {
        FetchedToken {
            secret: "canary".into(),
            scheme: "Bearer".into(),
            lifetime: seconds(lifetime),
            refresh_in: None,
            age: Duration::ZERO,
        }
    }

    fn granted(claim: Claim) -> Turn {
        match claim {
            Claim::Granted(turn) => turn,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_asks_and_the_others_take_over() {
        let mut record = Record::default();
        let turn = granted(record.claim(&claimant("a", 0), seconds(100)));
        assert!(
            matches!(record.claim(&claimant("b", 0), seconds(101)), Claim::Held(left) if left == seconds(19))
        );
        assert!(record.succeed(turn, "a", &token(3_600)));
        let Claim::Newer(taken, age) = record.claim(&claimant("b", 0), seconds(160)) else {
            panic!("it is there");
        };
        assert_eq!(
            (taken.generation, taken.by.as_str(), age),
            (1, "a", seconds(60))
        );
        let turn = granted(record.claim(&claimant("b", 1), seconds(161)));
        assert_eq!(turn.generation, 2);
    }

    #[test]
    fn who_has_been_overtaken_changes_nothing() {
        let mut record = Record::default();
        let stalled = granted(record.claim(&claimant("a", 0), seconds(100)));
        let next = granted(record.claim(&claimant("b", 0), seconds(121)));
        assert!(!record.prolong(stalled, seconds(20), seconds(122)));
        record.fail(
            stalled,
            "a",
            FailureKind::Unavailable,
            seconds(5),
            seconds(122),
        );
        assert!(record.is_turn(next.generation), "a's failure is no news");
        assert!(record.succeed(next, "b", &token(3_600)));
        assert!(!record.succeed(stalled, "a", &token(3_600)));
        assert_eq!(record.token.unwrap().by, "b");
    }

    /// A late answer is better than none.
    #[test]
    fn a_turn_that_is_over_still_brings_a_token_if_nobody_else_has() {
        let mut record = Record::default();
        let stalled = granted(record.claim(&claimant("a", 0), seconds(100)));
        let next = granted(record.claim(&claimant("b", 0), seconds(121)));
        assert!(record.succeed(stalled, "a", &token(3_600)));
        assert!(record.is_turn(next.generation));
        assert!(record.succeed(next, "b", &token(3_600)));
    }

    #[test]
    fn all_wait_after_a_failure_but_who_has_something_new() {
        let mut record = Record::default();
        let turn = granted(record.claim(&claimant("a", 0), seconds(100)));
        record.fail(turn, "a", FailureKind::Refused, seconds(30), seconds(101));
        let Claim::Resting { left, outcome } = record.claim(&claimant("b", 0), seconds(111)) else {
            panic!("all wait");
        };
        assert_eq!((left, outcome.as_str()), (seconds(20), "refused"));
        let eager = Claimant {
            overrides_rest: true,
            ..claimant("c", 0)
        };
        let turn = granted(record.claim(&eager, seconds(112)));
        assert_eq!(turn.failures, 1);
        record.fail(turn, "c", FailureKind::Refused, seconds(30), seconds(113));
        let turn = granted(record.claim(&claimant("b", 0), seconds(143)));
        assert_eq!(turn.failures, 2);
    }

    #[test]
    fn a_budget_holds_for_any_hour() {
        let mut record = Record::default();
        let frugal = Claimant {
            per_hour: Some(2),
            ..claimant("a", 0)
        };
        for at in [0, 600] {
            let turn = granted(record.claim(&frugal, seconds(at)));
            record.fail(
                turn,
                "a",
                FailureKind::Unavailable,
                Duration::ZERO,
                seconds(at),
            );
        }
        assert!(
            matches!(record.claim(&frugal, seconds(900)), Claim::Spent(left) if left == seconds(2_700))
        );
        assert_eq!(record.asked_lately(seconds(900)), 2);
        let urgent = Claimant {
            cannot_wait: true,
            ..frugal.clone()
        };
        let turn = granted(record.claim(&urgent, seconds(901)));
        record.fail(
            turn,
            "b",
            FailureKind::Unavailable,
            Duration::ZERO,
            seconds(901),
        );
        assert!(
            matches!(record.claim(&frugal, seconds(3_600)), Claim::Spent(left) if left == seconds(600))
        );
        granted(record.claim(&frugal, seconds(4_200)));
    }

    #[test]
    fn a_store_that_has_lost_its_memory_does_not_fall_behind() {
        let mut record = Record::default();
        assert_eq!(
            granted(record.claim(&claimant("a", 57), seconds(0))).generation,
            58
        );
    }

    #[test]
    fn a_token_from_the_future_or_at_its_end_is_left_alone() {
        let mut record = Record::default();
        let turn = granted(record.claim(&claimant("a", 0), seconds(1_000)));
        assert!(record.succeed(turn, "a", &token(100)));
        assert!(
            record.spare(0, seconds(999)).is_none(),
            "the clock was set back"
        );
        assert!(record.fresh(0, seconds(1_079)).is_some());
        assert!(record.fresh(0, seconds(1_080)).is_none());
        assert!(record.spare(0, seconds(1_098)).is_some());
        assert!(record.spare(0, seconds(1_099)).is_none());
    }

    #[test]
    fn nothing_shows_a_secret_and_all_of_it_comes_back() {
        let mut record = Record::default();
        let turn = granted(record.claim(&claimant("a", 0), seconds(1)));
        assert!(record.succeed(turn, "a", &token(3_600)));
        assert!(!format!("{record:?}").contains("canary"));
        let written = serde_json::to_vec(&record).unwrap();
        let read: Record = serde_json::from_slice(&written).unwrap();
        let (token, age) = read.fresh(0, seconds(3)).unwrap();
        let fetched = token.aged(age);
        assert_eq!(fetched.secret.expose_secret(), "canary");
        assert_eq!(fetched.age, seconds(2));
    }
}
