//! When a token is refreshed, when it is given up, and how failures are paced: pure functions of
//! durations, with the jitter handed in as a number.

use std::time::Duration;

/// How long after it was asked for a token is refreshed.
///
/// At four fifths of its life, and earlier by `early`, a part of its life that [`Spread`] draws, so
/// that replicas that started together drift apart: early, never late. Never before half of the
/// life, so that a life costs no more than two fetches, unless a wider spread is asked for; and from
/// lives of 3 s on, with 1.5 s to go at least.
///
/// A fixed margin would break short lives: a peer with a margin of five minutes asked 35,482 times
/// in two seconds when its tokens lived for five minutes.
///
/// A provider may name an earlier time (`refresh_in`); half of the life is the limit for it, too.
pub fn refresh_after(lifetime: Duration, refresh_in: Option<Duration>, early: f64) -> Duration {
    let latest = (lifetime / 5 * 4)
        .min(lifetime.saturating_sub(RESERVE))
        .min(refresh_in.unwrap_or(Duration::MAX));
    let early = early.clamp(0.0, Spread::WIDEST);
    let earliest = lifetime / 2 - lifetime.mul_f64((early - 0.3).max(0.0));
    latest.saturating_sub(lifetime.mul_f64(early)).max(earliest)
}

/// When the next token has to be asked for at the latest, from the beginning of this one's life, if a
/// token request `takes` so long. What is too late for that is cut by [`refresh_after`].
pub fn latest_where_asking_takes(takes: Duration, lifetime: Duration) -> Duration {
    retire_after(lifetime).saturating_sub(slower(takes))
}

/// Half as much again, for a token request that is slower than the others.
pub(crate) fn slower(takes: Duration) -> Duration {
    takes.saturating_mul(3) / 2
}

/// What a token request is expected to take, as far as the last ones tell: as long as the slowest,
/// which is forgotten little by little.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Promptness(Option<Duration>);

impl Promptness {
    pub(crate) fn expected(self) -> Duration {
        self.0.unwrap_or(UNKNOWN)
    }

    pub(crate) fn after(self, took: Duration) -> Self {
        let before = self.0.unwrap_or(took);
        Self(Some(took.max((before * 3 + took) / 4)))
    }
}

/// How far replicas spread their refreshes over a token's life. The default is all that a long life
/// allows, and a tenth of a short one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread(Option<f64>);

impl Spread {
    /// No wider than leaves a tenth of the life to a token.
    pub const WIDEST: f64 = 0.7;

    /// Over this part of the life, [`Self::WIDEST`] at most.
    pub fn over(part: f64) -> Self {
        Self(Some(part.clamp(0.0, Self::WIDEST)))
    }

    /// The part of the life by which a refresh is earlier, with `jitter` between 0 and 1.
    ///
    /// `is_first` if others may have got their tokens in the same second: after a start or an outage.
    /// From then on a replica keeps the place that it has among them. Drawn anew each time, places
    /// would heap up by chance in one second or another.
    pub fn early(self, lifetime: Duration, is_first: bool, jitter: f64) -> f64 {
        let is_long = lifetime >= LONG_LIFE;
        let part = match self.0 {
            Some(part) if is_first => part,
            None if is_first && is_long => Self::WIDEST,
            // Replicas are few to a place, or their lives short: a little disorder costs nothing.
            None if !is_long => TENTH,
            Some(_) | None => 0.0,
        };
        part * jitter.clamp(0.0, 1.0)
    }

    /// The same for a token that others have as well: whoever is first renews it for all of them, so
    /// there is nothing to spread but who that is.
    pub fn early_of_shared(jitter: f64) -> f64 {
        TENTH * jitter.clamp(0.0, 1.0)
    }
}

/// How long after it was asked for a token is no longer sent.
///
/// RFC 7519 §2 allows a NumericDate "non-integer values", but providers write whole seconds and
/// cut the fraction off: a token that is said to live for 10 s may truly live for 9.1 s. The
/// second that may be missing is left unused, or a quarter of the life where that is less.
pub fn retire_after(lifetime: Duration) -> Duration {
    lifetime - ROUNDING.min(lifetime / 4)
}

/// How failures of one kind are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The upper end of the first delay.
    pub first: Duration,
    /// The upper end of every delay.
    pub cap: Duration,
}

impl Pace {
    /// For what is likely to mend itself, such as a provider that cannot be reached.
    pub const BRISK: Self = Self {
        first: Duration::from_millis(500),
        cap: Duration::from_secs(5),
    };
    /// For what somebody has to mend, such as a refused secret: repeating it quickly gets clients
    /// locked out.
    pub const PATIENT: Self = Self {
        first: Duration::from_secs(5),
        cap: Duration::from_secs(60),
    };

    /// How long to wait after the `failures`-th failure in a row (counted from 1), at least as long
    /// as the provider asks for, within [`Self::LONGEST_WISH`].
    ///
    /// Anything between a half and the whole of a bound that doubles with each failure up to the
    /// cap: a fleet that failed together does not come back together, and nobody is asked more
    /// often than some fifteen times a minute.
    pub fn delay(self, failures: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let bound = self.first.saturating_mul(1 << doublings).min(self.cap);
        bound
            .mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
            .max(retry_after.unwrap_or_default().min(Self::LONGEST_WISH))
    }

    /// A provider that asks for more is asked again nevertheless: a date that is wrong by a year
    /// must not end a service.
    pub const LONGEST_WISH: Duration = Duration::from_secs(600);
}

/// Failures in a row, by what paces them. An outage says nothing of a refusal that follows it: a provider that
/// asks for a second of patience as it comes back is not left alone for a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InARow {
    pub(crate) all: u32,
    /// How many of them are for [`Pace::PATIENT`].
    pub(crate) patient: u32,
}

impl InARow {
    /// With one more.
    pub fn and_one_of(self, pace: Pace) -> Self {
        Self {
            all: self.all.saturating_add(1),
            patient: self
                .patient
                .saturating_add(u32::from(pace == Pace::PATIENT)),
        }
    }

    /// How many a pace goes by.
    pub fn of(self, pace: Pace) -> u32 {
        match pace == Pace::PATIENT {
            true => self.patient,
            false => self.all.saturating_sub(self.patient),
        }
    }
}

/// Nobody has asked yet.
const UNKNOWN: Duration = Duration::from_secs(1);

/// What a refresh leaves for its own duration and for [`ROUNDING`] in lives that can afford it.
const RESERVE: Duration = Duration::from_millis(1_500);

/// From this on a refresh more at the start is nothing beside those of a day.
const LONG_LIFE: Duration = Duration::from_secs(600);

const TENTH: f64 = 0.1;

/// By how much a provider may have rounded a token's end down.
const ROUNDING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_hour_is_refreshed_after_42_to_48_minutes() {
        let hour = Duration::from_secs(3600);
        assert_eq!(refresh_after(hour, None, 0.0), Duration::from_secs(48 * 60));
        assert_eq!(refresh_after(hour, None, 0.1), Duration::from_secs(42 * 60));
        assert_eq!(retire_after(hour), Duration::from_secs(3599));
    }

    #[test]
    fn short_lives_keep_room_for_the_fetch_and_for_rounding() {
        for (life, refresh, retire) in [(2, 1_000, 1_500), (3, 1_500, 2_250), (5, 3_500, 4_000)] {
            let life = Duration::from_secs(life);
            assert_eq!(
                refresh_after(life, None, 0.0),
                Duration::from_millis(refresh)
            );
            assert_eq!(retire_after(life), Duration::from_millis(retire));
        }
    }

    #[test]
    fn a_slow_provider_is_asked_earlier() {
        let refreshed = |life, takes| {
            let life = Duration::from_secs(life);
            let latest = latest_where_asking_takes(Duration::from_secs(takes), life);
            refresh_after(life, Some(latest), 0.0).as_millis()
        };
        assert_eq!(refreshed(20, 1), 16_000, "four fifths");
        assert_eq!(refreshed(20, 5), 11_500);
        assert_eq!(refreshed(60, 9), 45_500);
        assert_eq!(refreshed(20, 8), 10_000, "half of the life is the limit");
    }

    #[test]
    fn the_slowest_request_is_forgotten_little_by_little() {
        let ms = Duration::from_millis;
        let mut promptness = Promptness::default();
        assert_eq!(promptness.expected(), UNKNOWN);
        let mut expected = Vec::new();
        for took in [300, 3_000, 1_000, 1_000, 4_000] {
            promptness = promptness.after(ms(took));
            expected.push(promptness.expected());
        }
        assert_eq!(
            expected,
            [ms(300), ms(3_000), ms(2_500), ms(2_125), ms(4_000)]
        );
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let upper = |failures| Pace::BRISK.delay(failures, None, 1.0).as_millis();
        assert_eq!(
            [1, 2, 3, 4, 5].map(upper),
            [500, 1_000, 2_000, 4_000, 5_000]
        );
        assert_eq!(upper(u32::MAX), 5_000);
        assert_eq!(Pace::PATIENT.delay(1, None, 1.0), Duration::from_secs(5));
    }

    #[test]
    fn what_a_provider_asks_for_is_kept_within_reason() {
        let hour = Duration::from_secs(3600);
        let half_an_hour = Duration::from_secs(1800);
        let earlier = Duration::from_secs(2400);
        assert_eq!(refresh_after(hour, Some(earlier), 0.0), earlier);
        let at_once = Some(Duration::from_secs(1));
        assert_eq!(refresh_after(hour, at_once, 0.0), half_an_hour);

        let wish = Some(Duration::from_secs(20));
        assert_eq!(Pace::BRISK.delay(1, wish, 1.0), Duration::from_secs(20));
        let wish = Some(Duration::from_secs(86_400 * 365));
        assert_eq!(Pace::PATIENT.delay(1, wish, 1.0), Pace::LONGEST_WISH);
    }

    #[test]
    fn a_wide_spread_is_for_the_first_refresh() {
        let hour = Duration::from_secs(3600);
        let spread = Spread::over(0.5);
        assert_eq!(spread.early(hour, true, 1.0), 0.5);
        assert_eq!(spread.early(hour, false, 1.0), 0.0);
        let earliest = refresh_after(hour, None, spread.early(hour, true, 1.0));
        assert_eq!(earliest.as_secs(), 18 * 60);
        assert_eq!(Spread::over(7.0).early(hour, true, 1.0), Spread::WIDEST);
    }

    #[test]
    fn by_default_long_lives_spread_as_far_as_they_can() {
        let spread = Spread::default();
        let (long, short) = (LONG_LIFE, LONG_LIFE - Duration::from_secs(1));
        assert_eq!(spread.early(long, true, 1.0), Spread::WIDEST);
        assert_eq!(spread.early(long, false, 1.0), 0.0);
        for is_first in [true, false] {
            assert_eq!(spread.early(short, is_first, 1.0), 0.1);
        }
    }

    fn any_lifetime() -> impl Strategy<Value = Duration> {
        prop_oneof![
            (1u64..20_000_000_000).prop_map(Duration::from_nanos),
            (1u64..=u64::MAX / 4, 0u32..1_000_000_000)
                .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
        ]
    }

    proptest! {
        #[test]
        fn a_refresh_comes_before_the_end_and_after_half_of_the_life(
            life in any_lifetime(),
            refresh_in in proptest::option::of(any_lifetime()),
            early in 0.0f64..=0.3,
        ) {
            let refresh = refresh_after(life, refresh_in, early);
            prop_assert!(refresh < life);
            prop_assert!(refresh < retire_after(life));
            prop_assert!(retire_after(life) <= life);
            prop_assert!(refresh >= life / 2);
        }

        #[test]
        fn a_slow_provider_leaves_no_gap_or_is_asked_at_half_of_the_life(
            life in any_lifetime(),
            takes in any_lifetime(),
            percent in 100u32..=150,
            early in 0.0f64..=0.3,
        ) {
            let latest = latest_where_asking_takes(takes, life);
            let refresh = refresh_after(life, Some(latest), early);
            prop_assert!(refresh >= life / 2);
            prop_assert!(refresh <= refresh_after(life, None, early));
            let takes = takes.min(life) / 100 * percent;
            prop_assert!(refresh == life / 2 || refresh + takes <= retire_after(life));
        }

        #[test]
        fn jitter_is_early_never_late(life in any_lifetime(), early in 0.0f64..=1.0) {
            let refresh = refresh_after(life, None, early);
            prop_assert!(refresh <= refresh_after(life, None, 0.0));
            prop_assert!(refresh >= life / 11);
        }

        #[test]
        fn a_delay_stays_within_its_bounds(failures in 0u32.., jitter in 0.0f64..=1.0) {
            for pace in [Pace::BRISK, Pace::PATIENT] {
                let delay = pace.delay(failures, None, jitter);
                prop_assert!(delay >= pace.first / 2);
                prop_assert!(delay <= pace.cap);
            }
        }
    }
}
