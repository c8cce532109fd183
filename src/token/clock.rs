//! The one place where gatepass reads the wall clock.
//!
//! Everything else runs on tokio's clock, which never jumps and which tests can stop. Only what
//! people and dashboards read is told in wall-clock time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A moment as seconds since 1970, as Prometheus wants its timestamps.
#[expect(clippy::disallowed_methods, reason = "this is the one place for it")]
pub(super) fn unix_seconds(at: Instant) -> f64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    let elapsed = Instant::now();
    if at >= elapsed {
        now + (at - elapsed).as_secs_f64()
    } else {
        now - (elapsed - at).as_secs_f64()
    }
}

/// How long it is until a wall-clock time; nothing once it has passed.
#[expect(clippy::disallowed_methods, reason = "this is the one place for it")]
pub(crate) fn until(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::now()).unwrap_or_default()
}

/// The seconds until a moment, rounded up; 0 once it has passed.
pub(super) fn whole_seconds_until(at: Instant) -> u64 {
    let left = at.saturating_duration_since(Instant::now());
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}
