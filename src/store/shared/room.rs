//! What has to be left of a token's life for getting the next one, whatever the store does: pure
//! functions of durations.
//!
//! Backward from the moment at which a token is given up: a token request has to be sent so long
//! before it as one takes; the store is waited for until then and no longer; and the refresh is due
//! before that, so that there is time for a store that is well.

use std::time::Duration;

use crate::token::schedule;

/// The room that one token's life has to leave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    lifetime: Duration,
    /// For a token request.
    request: Duration,
    /// For a call to the store that is not cut short.
    store: Duration,
}

impl Room {
    /// A token request is expected to take as long as it `takes`, and `timeout` at most; a call to the
    /// store takes as long as `store` at most.
    pub(super) fn new(
        lifetime: Duration,
        takes: Duration,
        timeout: Duration,
        store: Duration,
    ) -> Self {
        let slow = schedule::slower(takes).min(timeout);
        Self {
            lifetime,
            request: slow.max(lifetime / 20),
            store,
        }
    }

    /// When the token is refreshed at the latest, from the beginning of its life.
    pub(super) fn refresh_in(self) -> Duration {
        schedule::retire_after(self.lifetime)
            .saturating_sub(self.request)
            .saturating_sub(self.for_healthy_store())
    }

    /// How long it is until the provider must be asked, with so much `left` of the token; nothing if
    /// that moment has come.
    pub(super) fn until_asking(self, left: Duration) -> Option<Duration> {
        let wait = left.checked_sub(self.request);
        wait.filter(|wait| !wait.is_zero())
    }

    /// How long a call to the store may take. One that is well answers in time in any case, or a
    /// slow provider would be asked by each replica.
    pub(super) fn for_store(self, left: Duration) -> Duration {
        let affordable = self.until_asking(left).unwrap_or_default();
        affordable.max(self.for_healthy_store()).min(self.store)
    }

    /// How long a store that was no help can be waited for, so that it can be asked once more after
    /// that; nothing if it cannot.
    pub(super) fn until_another_try(self, left: Duration) -> Option<Duration> {
        let wait = self.until_asking(left)?.checked_sub(self.store);
        wait.filter(|wait| !wait.is_zero())
    }

    /// How long a turn is prolonged: others may still ask when it has run out a `lease` later, and a
    /// request that is no slower than they are comes to its end.
    pub(super) fn for_turn(self, left: Duration, lease: Duration) -> Duration {
        let affordable = self.until_asking(left).unwrap_or_default();
        affordable.saturating_sub(lease).max(self.request)
    }

    /// Whether a store that took so long to be read is too slow to wait any longer for what another
    /// will have put there.
    pub(super) fn is_too_slow(self, left: Duration, reading: Duration) -> bool {
        let wait = self.until_asking(left).unwrap_or_default();
        reading * 2 > wait.max(LEAST_FOR_STORE)
    }

    fn for_healthy_store(self) -> Duration {
        LEAST_FOR_STORE.min(self.store)
    }
}

/// A store that is a little slow is no reason to ask without it.
const LEAST_FOR_STORE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::schedule::{Spread, refresh_after, retire_after};

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_quick_changes_nothing_of_when_a_token_is_refreshed() {
        for seconds in [3, 5, 10, 20, 30, 300, 3_600] {
            let life = Duration::from_secs(seconds);
            let takes = Duration::from_millis(300).min(life / 30);
            let room = Room::new(life, takes, TIMEOUT, Duration::from_secs(1));
            assert_eq!(
                refresh_after(life, Some(room.refresh_in()), 0.0),
                refresh_after(life, None, 0.0),
                "{life:?}"
            );
        }
    }

    #[test]
    fn a_slow_provider_is_asked_earlier() {
        let refreshed = |life, takes| {
            let life = Duration::from_secs(life);
            let takes = Duration::from_secs(takes);
            let room = Room::new(life, takes, TIMEOUT, Duration::from_secs(1));
            refresh_after(life, Some(room.refresh_in()), 0.0).as_millis()
        };
        assert_eq!(refreshed(10, 1), 7_250);
        assert_eq!(refreshed(20, 1), 16_000);
        assert_eq!(refreshed(20, 3), 14_250);
        assert_eq!(refreshed(30, 5), 21_250);
        assert_eq!(refreshed(10, 3), 5_000, "half of the life is the limit");
    }

    proptest! {
        /// A store that hangs from the moment of the refresh on, however long its calls may take, and
        /// a request that takes as long as the slowest of the last ones, or a third more.
        #[test]
        fn a_store_that_hangs_costs_no_token(
            life in 10_000u64..7_200_000,
            takes in 1u64..3_000,
            slower in 1.0f64..1.33,
            store in 100u64..60_000,
            jitters in [0.0f64..=1.0, 0.0f64..=1.0],
        ) {
            let ms = Duration::from_millis;
            let (life, takes, store) = (ms(life), ms(takes), ms(store));
            let room = Room::new(life, takes, TIMEOUT, store);
            let early = Spread::early_of_shared(jitters[0]);
            let mut now = refresh_after(life, Some(room.refresh_in()), early);
            prop_assert!(now >= life / 2);
            let retire = retire_after(life);
            let least = life / 2 + room.for_healthy_store() + takes.mul_f64(slower);
            prop_assume!(least <= retire, "the provider is too slow for such tokens");

            now += room.for_store(retire - now);
            if let Some(wait) = room.until_another_try(retire - now) {
                now += wait.mul_f64(jitters[1]);
                prop_assert!(room.for_store(retire - now) == store, "it is asked once more");
                now += room.for_store(retire - now);
            }
            now += takes.mul_f64(slower);
            prop_assert!(now <= retire, "{now:?} {retire:?}");
        }

        #[test]
        fn a_store_that_is_well_has_time_to_answer(
            life in 1u64..u64::MAX / 1_000,
            left in 0u64..u64::MAX / 1_000,
            takes in 0u64..60_000,
        ) {
            let ms = Duration::from_millis;
            let room = Room::new(ms(life), ms(takes), TIMEOUT, ms(1_000));
            prop_assert!(room.for_store(ms(left)) >= LEAST_FOR_STORE);
            prop_assert!(room.for_store(ms(left)) <= ms(1_000));
            prop_assert!(!room.is_too_slow(ms(left), LEAST_FOR_STORE / 2));
        }
    }
}
