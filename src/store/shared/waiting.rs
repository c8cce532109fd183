//! How long a replica waits for what: by its [`Room`], where it has a token.

use std::time::Duration;

use tokio::time::Instant;

use super::room::Room;
use super::{LONGEST_LEFT, SharedSource, time_since};
use crate::store::entry::Entry;
use crate::token::Moment;

/// The last token, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtHand {
    pub(super) lifetime: Duration,
    /// When it was asked for, or another's was found.
    pub(super) asked: Moment,
    /// How long it could be sent from then on.
    pub(super) left_then: Duration,
}

impl AtHand {
    /// The cell counts a machine's sleep as well, and takes the token away.
    pub(super) fn left(self) -> Duration {
        self.left_then.saturating_sub(time_since(self.asked))
    }
}

impl SharedSource {
    pub(super) fn room_of(&self, lifetime: Duration) -> Room {
        let store = self.entry.as_ref().map(|entry| entry.time_out());
        let takes = self.promptness.get().expected();
        Room::new(lifetime, takes, self.timeout, store.unwrap_or_default())
    }

    /// The room that the token at hand has to leave, and how much is left of it.
    pub(super) fn room(&self) -> Option<(Room, Duration)> {
        let token = self.at_hand.get()?;
        Some((self.room_of(token.lifetime), token.left()))
    }

    /// Until when the store is waited for. Who has nothing yet has time.
    pub(super) fn patience_with(&self, entry: &Entry) -> Duration {
        self.room()
            .map_or(entry.time_out(), |(room, left)| room.for_store(left))
    }

    /// How long another token can still be waited for; nothing if it cannot.
    pub(super) fn until_asking(&self) -> Option<Duration> {
        let (room, left) = self.room()?;
        room.until_asking(left)
    }

    /// Whether a store that took so long to be read is too slow to wait for another's token.
    pub(super) fn is_too_slow(&self, reading: Duration) -> bool {
        self.room()
            .is_some_and(|(room, left)| room.is_too_slow(left, reading))
    }

    /// Of a thousand that wait for the provider to come back, those with a good token need not all
    /// look at the same moment: whoever finds it back tells the others.
    pub(super) fn longer_than_others(&self) -> Duration {
        let affordable = self.until_asking().unwrap_or_default() / 2;
        affordable
            .min(Duration::from_secs(60))
            .mul_f64(fastrand::f64())
    }

    /// There is no token, or not for long.
    pub(super) fn is_dying(&self) -> bool {
        self.until_asking().is_none()
    }

    /// How long a turn lasts that nobody prolongs. Two at once cost a request more, no worse, where
    /// each gets tokens of its own; so it is short enough for the others to get one in time. Where a
    /// refresh token may be used only once, it is well above what an attempt may take.
    pub(super) fn turn_lasts(&self) -> Duration {
        let longest = self.longest_turn();
        if self.source.must_finish() {
            return longest;
        }
        let life = self.at_hand.get().map(|token| token.lifetime);
        let short = life.map_or(FIRST_TURN, |life| life / 20);
        short.clamp(SHORTEST_TURN, longest.max(SHORTEST_TURN))
    }

    pub(super) fn longest_turn(&self) -> Duration {
        self.timeout * 2
    }

    /// How long the store, which was no help, is still waited for.
    pub(super) fn until_alone(&self) -> Option<Duration> {
        let (room, left) = self.room()?;
        let longest = room.until_another_try(left)?;
        let now = Instant::now();
        let drawn = || now + longest.mul_f64(fastrand::f64());
        let alone_from = self.alone_from.get().unwrap_or_else(drawn);
        self.alone_from.set(Some(alone_from));
        // The machine may have been asleep since it was drawn.
        let wait = alone_from.saturating_duration_since(now).min(longest);
        Some(wait).filter(|wait| !wait.is_zero())
    }

    /// How long it is until the store is looked at although nobody has told to.
    pub(super) fn looks_again(&self, entry: &Entry) -> Duration {
        let life = self.at_hand.get().map_or(Duration::ZERO, |of| of.lifetime);
        match entry.brings_news() && !entry.is_failing() {
            true => (life / 4).clamp(SELDOM, LONGEST_LEFT),
            false => (life / 20).clamp(OFTEN, SELDOM),
        }
    }
}

/// How long a turn lasts when nobody knows yet how long tokens live.
pub(super) const FIRST_TURN: Duration = Duration::from_secs(3);

/// Less than this, and a store that is a little slow ends turns.
const SHORTEST_TURN: Duration = Duration::from_millis(500);

/// How often the store is looked at where nobody says when.
const OFTEN: Duration = Duration::from_millis(250);
const SELDOM: Duration = Duration::from_secs(30);
