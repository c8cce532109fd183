//! The one place where gatepass reads other clocks than tokio's.
//!
//! Everything else runs on that one, which never jumps and which tests can stop. Only what people,
//! dashboards and providers read is told in wall-clock time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// A moment as seconds since 1970, as Prometheus wants its timestamps.
pub(super) fn unix_seconds(at: Instant) -> f64 {
    let now = unix_now().as_secs_f64();
    let elapsed = Instant::now();
    if at >= elapsed {
        now + (at - elapsed).as_secs_f64()
    } else {
        now - (elapsed - at).as_secs_f64()
    }
}

/// The time since 1970, as signed statements want it.
pub(crate) fn unix_now() -> Duration {
    wall().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place for it")]
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}

/// For how long the machine has been suspended since it was started. [`Instant`] and every timer
/// stand still meanwhile.
///
/// The machine of a unit test sleeps when the test says so.
pub(super) fn time_asleep() -> Duration {
    #[cfg(not(test))]
    let asleep = time_asleep_by_the_kernel();
    #[cfg(test)]
    let asleep = SLEPT.get();
    asleep
}

#[cfg(target_os = "linux")]
fn time_asleep_by_the_kernel() -> Duration {
    // In this order, so that the difference is never less than the time asleep.
    let awake = by_the_kernel(ClockId::Monotonic);
    by_the_kernel(ClockId::Boottime).saturating_sub(awake)
}

/// Since it was asked for first, which is enough to tell what has come since. On macOS the monotonic
/// clock goes on in sleep, and [`Instant`] stands still.
#[cfg(not(target_os = "linux"))]
fn time_asleep_by_the_kernel() -> Duration {
    use std::sync::LazyLock;
    static FIRST: LazyLock<(Duration, Instant)> =
        LazyLock::new(|| (by_the_kernel(ClockId::Monotonic), Instant::now()));
    let (first, at) = *FIRST;
    let awake = at.elapsed();
    by_the_kernel(ClockId::Monotonic).saturating_sub(first + awake)
}

fn by_the_kernel(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

#[cfg(test)]
thread_local! {
    /// What [`time_asleep`] says.
    pub(crate) static SLEPT: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
}

/// A moment by timers, and how much of the time before it they have not counted.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// As timers count.
    pub at: Instant,
    /// For how long the machine has been suspended since it was started.
    pub asleep: Duration,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            asleep: time_asleep(),
        }
    }
}

/// How long ago a wall-clock time was; nothing if it is yet to come.
pub(crate) fn since(time: SystemTime) -> Duration {
    wall().duration_since(time).unwrap_or_default()
}

/// How long it is until a wall-clock time; nothing once it has passed.
pub(crate) fn until(time: SystemTime) -> Duration {
    time.duration_since(wall()).unwrap_or_default()
}

/// The seconds until a moment, rounded up; 0 once it has passed.
pub(super) fn whole_seconds_until(at: Instant) -> u64 {
    let left = at.saturating_duration_since(Instant::now());
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three years, which no machine sleeps through by itself.
    #[test]
    #[ignore = "tests/soak/run sets the clock of its own namespace so far forward"]
    fn what_the_clock_of_suspensions_has_counted_beside_is_sleep() {
        let asleep = time_asleep_by_the_kernel();
        assert!(asleep >= Duration::from_secs(100_000_000), "{asleep:?}");
    }
}
