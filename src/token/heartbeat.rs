//! Time that passes while nobody looks: the machine sleeps, or its clock is set.
//!
//! Timers and [`Instant`] stand still while a machine is suspended, and tokens grow old meanwhile.
//! So the time asleep is looked up once a second and taken off every token's life. A clock that is
//! set says less: a virtual machine that was paused and a clock that was wrong look the same. If a
//! token would be over by it, another is fetched; until that comes the one at hand stays.
//!
//! Connections grow old as well. Whoever keeps some counts the times asleep.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;

use super::clock;
use super::{Credentials, TokenReader, TokenState};

/// How often the machine was asleep since the process has begun.
pub fn times_asleep() -> u32 {
    TIMES_ASLEEP.load(Ordering::Relaxed)
}

/// One more.
pub(crate) fn count_sleep() {
    TIMES_ASLEEP.fetch_add(1, Ordering::Relaxed);
}

/// Watches the clocks until it is dropped.
pub async fn watch(credentials: Credentials) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Reading::now();
    loop {
        ticks.tick().await;
        let now = Reading::now();
        tell(&credentials.all(), now.asleep, now.since(&before));
        before = now;
    }
}

fn tell(credentials: &[TokenReader], asleep: Duration, unseen: Unseen) {
    if unseen.asleep >= NOTABLE {
        info!(
            seconds = unseen.asleep.as_secs(),
            "the machine was asleep: tokens are that much older"
        );
        credentials.iter().for_each(|of| of.count_sleep(asleep));
        count_sleep();
    }
    if unseen.set_forward >= NOTABLE {
        let over = |credential: &&TokenReader| match &**credential.load() {
            TokenState::Valid(token, _) => {
                let left = token.retire_at().saturating_duration_since(Instant::now());
                left <= unseen.set_forward
            }
            TokenState::Pending(_) | TokenState::Expired(_) => false,
        };
        for credential in credentials.iter().filter(over) {
            info!(
                credential = credential.credential(),
                seconds = unseen.set_forward.as_secs(),
                "the clock was set forward beyond the token's end: fetching another"
            );
            credential.doubt();
        }
    }
}

/// What all clocks say at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    monotonic: Instant,
    asleep: Duration,
    wall: SystemTime,
}

/// What passed between two readings beside the time that timers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unseen {
    asleep: Duration,
    set_forward: Duration,
}

impl Reading {
    fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            asleep: clock::time_asleep(),
            wall: clock::wall(),
        }
    }

    fn since(&self, before: &Self) -> Unseen {
        let asleep = self.asleep.saturating_sub(before.asleep);
        let counted = self.monotonic.saturating_duration_since(before.monotonic) + asleep;
        // A clock that was set back: tokens end by timers, so nothing changes for them.
        let by_wall = self.wall.duration_since(before.wall).unwrap_or_default();
        Unseen {
            asleep,
            set_forward: by_wall.saturating_sub(counted),
        }
    }
}

static TIMES_ASLEEP: AtomicU32 = AtomicU32::new(0);

const PERIOD: Duration = Duration::from_secs(1);

/// Clocks are read one after the other, and are slewed a little all the time.
const NOTABLE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::token::cell::{self, TokenWriter};
    use crate::token::demand::Wish;
    use crate::token::metrics::TokenMetrics;
    use crate::token::source::FetchedToken;
    use crate::token::{AccessToken, Moment, RefusalSettings};

    fn reading(monotonic: Instant, asleep: u64, wall: u64) -> Reading {
        Reading {
            monotonic,
            asleep: Duration::from_secs(asleep),
            wall: UNIX_EPOCH + Duration::from_secs(wall),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sleep_is_told_from_a_clock_that_was_set() {
        let start = Instant::now();
        let second = start + Duration::from_secs(1);
        let before = reading(start, 5, 1_000);
        for (now, asleep, set_forward) in [
            (reading(second, 5, 1_001), 0, 0),
            (reading(second, 3_605, 4_601), 3_600, 0),
            (reading(second, 5, 4_601), 0, 3_600),
            (reading(second, 65, 161), 60, 0),
            (reading(second, 5, 0), 0, 0),
        ] {
            let unseen = now.since(&before);
            assert_eq!(unseen.asleep.as_secs(), asleep);
            assert_eq!(unseen.set_forward.as_secs(), set_forward);
        }
    }

    fn hour_long_token() -> (TokenWriter, TokenReader) {
        let registry = prometheus::Registry::new();
        let metrics = TokenMetrics::register(&registry).unwrap().refusals("a");
        let (writer, reader) = cell::channel("a", RefusalSettings::default(), metrics);
        let asked = Moment {
            at: Instant::now(),
            asleep: Duration::from_secs(50),
        };
        let fetched = FetchedToken::fresh("token", Duration::from_secs(3_600));
        writer.store(AccessToken::new(&fetched, asked, 0.0, 1).unwrap());
        (writer, reader)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_as_much_older_as_the_machine_slept() {
        let (writer, reader) = hour_long_token();
        let credentials = [reader.clone()];
        let asleep = |seconds| Unseen {
            asleep: Duration::from_secs(seconds),
            set_forward: Duration::ZERO,
        };
        let left = || {
            let state = reader.load();
            let end = state.valid().unwrap().retire_at();
            end.saturating_duration_since(Instant::now()).as_secs()
        };
        let tell_of = |seconds, since_start| {
            tell(
                &credentials,
                Duration::from_secs(since_start),
                asleep(seconds),
            );
        };
        let connections_were_kept_at = times_asleep();
        tell_of(600, 650);
        assert!(times_asleep() > connections_were_kept_at);
        assert_eq!(left(), 2_999);
        assert_eq!(writer.demanded().await, Wish::LookAgain);
        tell_of(600, 650);
        assert_eq!(left(), 2_999, "it is counted once");
        tell_of(10_000, 10_650);
        assert_eq!(left(), 0, "no worker sends it any more");
    }

    /// Nobody has looked at the clocks for a credential that was about to come.
    #[tokio::test(start_paused = true)]
    async fn a_token_that_comes_to_work_is_as_much_older_as_well() {
        let (_writer, reader) = hour_long_token();
        clock::SLEPT.set(Duration::from_secs(50 + 600));
        Credentials::default().replace(vec![reader.clone()]);
        let state = reader.load();
        let left = state.valid().unwrap().retire_at() - Instant::now();
        assert_eq!(left.as_secs(), 2_999);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn each_sleep_is_told_once() {
        let (writer, reader) = hour_long_token();
        let credentials = Credentials::default();
        credentials.replace(vec![reader]);
        assert_eq!(writer.demanded().await, Wish::LookAgain);
        let task = tokio::task::spawn_local(watch(credentials));
        sleep(PERIOD * 2).await;
        clock::SLEPT.set(clock::SLEPT.get() + Duration::from_secs(600));
        assert_eq!(writer.demanded().await, Wish::LookAgain);
        let told_again = timeout(PERIOD * 5, writer.demanded()).await;
        told_again.unwrap_err();
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_fetches_a_token_only_if_this_one_would_be_over() {
        let (writer, reader) = hour_long_token();
        let credentials = [reader.clone()];
        let set = |seconds| Unseen {
            asleep: Duration::ZERO,
            set_forward: Duration::from_secs(seconds),
        };
        tell(&credentials, Duration::ZERO, set(3_000));
        let wished = timeout(PERIOD, writer.demanded()).await;
        assert!(wished.is_err());
        tell(&credentials, Duration::ZERO, set(3_600));
        assert_eq!(writer.demanded().await, Wish::Refresh);
        assert!(reader.load().valid().is_some(), "it stays in use meanwhile");
    }
}
