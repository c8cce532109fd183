//! What a service manager is told (sd_notify(3)): ready, reloading, stopping, still alive.
//!
//! Every call does nothing where there is none.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

/// The listeners are there and every needed token has been tried for: those that are ordered after
/// this service may start.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] says when that is over.
pub fn reloading() {
    // A manager that is not told the time takes the reload for failed.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "the service manager cannot be told of the reload"),
    }
}

/// The process ends, once the requests in flight have.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells, for as long as it is polled, that the thread it runs on is alive (`WatchdogSec=`). For
/// ever, also where nobody wants to know.
pub async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    // sd_watchdog_enabled(3) recommends half of the limit.
    let mut ticks = interval((limit / 2).max(SHORTEST_PERIOD));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    let told: io::Result<()> = sd_notify::notify(state);
    if let Err(error) = told {
        warn!(%error, "the service manager cannot be told; check NOTIFY_SOCKET");
    }
}

const SHORTEST_PERIOD: Duration = Duration::from_millis(1);
