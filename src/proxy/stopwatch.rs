//! Whose time a request takes: gatepass's own, or its upstream's.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::body::{Progress, Sending};
use super::metrics::RouteMetrics;
use super::record::Record;

/// Runs from a request's arrival to the head of its answer. What it shows is recorded when it is
/// dropped, however the request has ended: an upstream for which callers have no patience would look
/// fast otherwise.
///
/// What follows the head is nobody's alone: pieces of a body are there, go on, and are taken at the
/// same time.
pub(super) struct Stopwatch<'a> {
    metrics: &'a RouteMetrics,
    progress: Option<&'a Progress>,
    record: Option<&'a Record>,
    /// Whether the caller was waited for when the request ended before it was answered.
    was_sending: &'a Cell<bool>,
    turn: Cell<Turn>,
    since: Cell<Instant>,
    own: Cell<Duration>,
    upstream: Cell<Option<Duration>>,
}

/// Who is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Gatepass,
    /// Nobody takes anything of the request yet.
    Connecting,
    Upstream,
    Nobody,
}

impl<'a> Stopwatch<'a> {
    /// Since `started` it is gatepass's turn. `progress` is that of the request's body, and
    /// `was_sending` is told what became of it if no answer comes.
    pub(super) fn new(
        metrics: &'a RouteMetrics,
        progress: Option<&'a Progress>,
        record: Option<&'a Record>,
        was_sending: &'a Cell<bool>,
        started: Instant,
    ) -> Self {
        Self {
            metrics,
            progress,
            record,
            was_sending,
            turn: Cell::new(Turn::Gatepass),
            since: Cell::new(started),
            own: Cell::default(),
            upstream: Cell::default(),
        }
    }

    /// From `now` on it is another's turn.
    pub(super) fn pass(&self, turn: Turn, now: Instant) {
        let since = self.since.replace(now);
        match self.turn.replace(turn) {
            Turn::Gatepass => {
                let took = now.saturating_duration_since(since);
                self.own.set(self.own.get() + took);
            }
            Turn::Connecting | Turn::Upstream => {
                // An upstream is not late while the caller is still sending.
                let since = match self.progress {
                    Some(progress) => progress.moved_at().max(since),
                    None => since,
                };
                let took = now.saturating_duration_since(since);
                let before = self.upstream.get().unwrap_or_default();
                self.upstream.set(Some(before + took));
            }
            Turn::Nobody => {}
        }
    }

    /// The answer is on its way to the caller.
    pub(super) fn stop(&self) {
        self.turn.set(Turn::Nobody);
    }
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        if self.turn.get() != Turn::Nobody {
            let progress = self.progress.filter(|_| self.turn.get() == Turn::Upstream);
            let state = progress.map(Progress::state);
            self.was_sending.set(state == Some(Sending::Awaited));
            self.pass(Turn::Nobody, Instant::now());
        }
        self.metrics.took(self.own.get(), self.upstream.get());
        if let Some(record) = self.record {
            record.upstream_took(self.upstream.get());
        }
    }
}
