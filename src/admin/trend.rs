//! How routes have been doing in the last minutes: what they had come to every few seconds, kept for the
//! plots of the status page.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::proxy::metrics::RouteFigures;
use crate::proxy::{Route, Routing};

/// What was seen, the last reading at the end.
#[derive(Debug, Default)]
pub struct Trends(RefCell<VecDeque<Reading>>);

type Reading = BTreeMap<Arc<str>, Totals>;

/// What a route's requests had come to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    requests: f64,
    failed: f64,
    seconds: f64,
}

/// What a route did in each span of time, the last one at the end.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Trend {
    /// How long each span is.
    pub(super) every_seconds: u64,
    /// Requests a second.
    pub(super) rate: Vec<f64>,
    /// The part of them that was answered with 5xx.
    pub(super) failed: Vec<f64>,
    /// How long they took on the average.
    pub(super) mean_seconds: Vec<f64>,
}

impl Trends {
    /// Looks at the routes at work again and again until it is dropped.
    pub async fn watch(&self, published: &ArcSwap<Routing>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let of = |route: &Route| (Arc::clone(route.name()), Totals::of(&route.figures()));
            self.note(published.load().table.routes().map(of).collect());
        }
    }

    fn note(&self, reading: Reading) {
        let mut readings = self.0.borrow_mut();
        readings.push_back(reading);
        let surplus = readings.len().saturating_sub(KEPT);
        readings.drain(..surplus);
    }

    pub(super) fn of(&self, route: &str) -> Trend {
        let readings = self.0.borrow();
        let totals = readings.iter().map(|reading| reading.get(route).copied());
        let totals: Vec<_> = totals.map(Option::unwrap_or_default).collect();
        let mut trend = Trend {
            every_seconds: EVERY.as_secs(),
            ..Trend::default()
        };
        for (before, after) in totals.iter().zip(totals.iter().skip(1)) {
            // A route that was taken away and came back counts from where it was.
            let requests = (after.requests - before.requests).max(0.0);
            let share = |part: f64| {
                if requests > 0.0 {
                    part.max(0.0) / requests
                } else {
                    0.0
                }
            };
            trend.rate.push(requests / EVERY.as_secs_f64());
            trend.failed.push(share(after.failed - before.failed));
            let seconds = after.seconds - before.seconds;
            trend.mean_seconds.push(share(seconds));
        }
        trend
    }
}

impl Totals {
    #[expect(clippy::cast_precision_loss, reason = "nobody counts so far")]
    pub(super) fn of(figures: &RouteFigures) -> Self {
        let failed = figures.requests.get("5xx").copied();
        Self {
            requests: figures.requests.values().sum::<u64>() as f64,
            failed: failed.unwrap_or_default() as f64,
            seconds: figures.seconds,
        }
    }

    /// From the end of a request's head to the end of its answer, on the average.
    pub(super) fn mean_seconds(self) -> Option<f64> {
        (self.requests > 0.0).then(|| self.seconds / self.requests)
    }
}

/// Five minutes of them.
const EVERY: Duration = Duration::from_secs(5);
const KEPT: usize = 61;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_is_what_changed_between_readings_and_bounded() {
        let trends = Trends::default();
        assert_eq!(trends.of("a").rate, Vec::<f64>::new());
        for total in 0..100 {
            let total = f64::from(total);
            let totals = Totals {
                requests: total * 10.0,
                failed: total,
                seconds: total / 2.0,
            };
            trends.note(Reading::from([("a".into(), totals)]));
        }
        let trend = trends.of("a");
        assert_eq!(trend.rate, vec![2.0; 60]);
        assert_eq!(trend.failed, vec![0.1; 60]);
        assert_eq!(trend.mean_seconds, vec![0.05; 60]);
        assert_eq!(trends.of("b").rate, vec![0.0; 60]);
    }

    #[test]
    fn a_request_has_failed_if_it_was_answered_with_5xx() {
        let totals = Totals::of(&RouteFigures {
            requests: [("2xx", 5), ("4xx", 2), ("5xx", 1)].into(),
            seconds: 4.0,
            ..RouteFigures::default()
        });
        assert_eq!((totals.requests, totals.failed), (8.0, 1.0));
        assert_eq!(totals.mean_seconds(), Some(0.5));
        assert_eq!(Totals::default().mean_seconds(), None);
    }
}
