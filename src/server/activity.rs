//! What a connection is doing, so that idle and slow ones can be told apart and closed.
//!
//! Between two requests a connection may lie idle for long; once a head has begun to arrive it has
//! to be complete soon; while a request is being answered neither applies, but a caller who takes
//! nothing of the answer is not waited for without end. The state is kept in a few cells, and one
//! timer per connection looks at them now and then, so that a request costs no timer of its own.
//!
//! An HTTP/2 connection is busy while any of its streams is; what each of them waits for is kept
//! with the streams, see [`super::exchange`].
//!
//! The cells are atomic although one thread uses them: a stream that is handed over to another
//! protocol has to be one that could change threads, as hyper sees it. Relaxed, they cost what
//! plain ones do.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Settings;

/// A connection's state.
#[derive(Debug)]
pub(super) struct Activity {
    /// What the others count from.
    opened_at: Instant,
    phase: AtomicU8,
    /// Since when it is in this phase; [`UNKNOWN`] as long as nobody has looked at the clock.
    since: AtomicU64,
    /// Since when the caller has taken nothing of what is there to be written; never, if zero.
    blocked_since: AtomicU64,
    /// Whether the bytes are those of HTTP/1: a request's head, its body, the next head.
    one_at_a_time: AtomicBool,
    /// Whether there is more of it than a socket.
    served: AtomicBool,
    /// Whether something of an answer may not be written yet.
    owing: AtomicBool,
    /// How many requests there have been.
    begun: AtomicU64,
    /// How much of the last request whoever answers it has got.
    asked: AtomicU8,
    /// Whether the last request's body was given up before its end.
    given_up: AtomicBool,
    /// Whether what is read next is the rest of it, and no head.
    rest_is_next: AtomicBool,
    /// Of which request the caller's side of the connection was found over while it was being
    /// answered; of none, if zero.
    ends_with: AtomicU64,
    /// Since when the caller waits for its answer alone, and its side is over; never, if zero.
    half_closed_since: AtomicU64,
    /// Who reads the end once it is known to come too early.
    reader: Mutex<Option<Waker>>,
}

/// How much of a request whoever answers it has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Asked {
    /// Its head, and maybe not all that has arrived of its body.
    Partly,
    /// All that had arrived, when more was asked for.
    More,
    /// All of it.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing of a next request has arrived.
    Idle,
    /// Part of a head has arrived, or TLS is being agreed on.
    Head,
    /// A request is being answered.
    Busy,
    /// The answer is over, and the request's body is not.
    Leftover,
}

/// Why a connection is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing happened on it.
    Idle,
    /// Nothing has happened on it for so long that it does better without what is needed to serve
    /// it. It goes on when something arrives.
    Unused,
    /// A head was not complete in time.
    Head,
    /// The caller has ended its side, and nothing came that it could be told.
    HalfClosed,
    /// The caller took nothing more of an answer, or sent nothing more of a request's leftovers.
    Stalled,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            opened_at: Instant::now(),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            one_at_a_time: AtomicBool::new(true),
            served: AtomicBool::new(false),
            owing: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            asked: AtomicU8::new(Asked::Partly as u8),
            given_up: AtomicBool::new(false),
            rest_is_next: AtomicBool::new(false),
            ends_with: AtomicU64::new(0),
            half_closed_since: AtomicU64::new(0),
            reader: Mutex::default(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Leftover,
        }
    }

    fn since(&self) -> Instant {
        self.note_time();
        self.opened_at + Duration::from_nanos(self.since.load(Relaxed))
    }

    /// All that has arrived has been read.
    pub(super) fn has_read_all(&self) {
        self.rest_is_next.store(false, Relaxed);
        self.note_time();
    }

    /// The phase begins now, unless it is known since when it is. To be called when there is nothing
    /// more to be read for the time being.
    pub(super) fn note_time(&self) {
        if self.since.load(Relaxed) == UNKNOWN {
            self.since.store(self.now(), Relaxed);
        }
    }

    fn time(&self, cell: &AtomicU64) -> Option<Instant> {
        let nanos = cell.load(Relaxed);
        (nanos > 0).then(|| self.opened_at + Duration::from_nanos(nanos))
    }

    fn now(&self) -> u64 {
        self.nanos_until(Instant::now())
    }

    /// In nanoseconds since the connection was opened, at least one; enough for five centuries.
    fn nanos_until(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.opened_at).as_nanos();
        u64::try_from(since).map_or(u64::MAX, |nanos| nanos.max(1))
    }

    /// Resolves when the connection has been idle, slow or stalled for longer than it may.
    ///
    /// The phase may change while this sleeps, so it never sleeps longer than the shortest limit:
    /// whatever phase has begun meanwhile is looked at before it can be overdue.
    pub(super) async fn overdue(&self, limits: &Settings) -> Overdue {
        let shortest = limits
            .header_read
            .min(limits.keep_alive)
            .min(limits.half_closed)
            .min(limits.stalled)
            .min(REST_AFTER);
        loop {
            let now = Instant::now();
            let blocked_since = self.time(&self.blocked_since);
            if self.ends_with.load(Relaxed) > 0 && self.has_asked(Asked::All) {
                self.note_half_closed();
            }
            let half_closed_since = self.time(&self.half_closed_since);
            let (due, why) = match (self.phase(), blocked_since, half_closed_since) {
                (_, Some(since), _) => (since + limits.stalled, Overdue::Stalled),
                (Phase::Busy, _, Some(since)) => (since + limits.half_closed, Overdue::HalfClosed),
                (Phase::Busy, _, None) => (now + shortest, Overdue::Idle),
                (Phase::Idle, ..) if self.may_rest() && REST_AFTER < limits.keep_alive => {
                    (self.since() + REST_AFTER, Overdue::Unused)
                }
                (Phase::Idle, ..) => (self.since() + limits.keep_alive, Overdue::Idle),
                (Phase::Head, ..) => (self.since() + limits.header_read, Overdue::Head),
                (Phase::Leftover, ..) => (self.since() + limits.stalled, Overdue::Stalled),
            };
            if due <= now {
                return why;
            }
            sleep_until(due.min(now + shortest)).await;
        }
    }

    /// Resolves when the connection has been idle for as long as it may be, if nothing arrives.
    pub(super) async fn rested(&self, limits: &Settings) {
        sleep_until(self.since() + limits.keep_alive).await;
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.enter_at(phase, self.now());
    }

    fn enter_at(&self, phase: Phase, now: u64) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(now, Relaxed);
    }

    /// There is more of it than a socket from now on.
    pub(super) fn served(&self) {
        self.served.store(true, Relaxed);
    }

    /// Whether it could do with less than it has. All that was to be said has to have been.
    fn may_rest(&self) -> bool {
        self.served.load(Relaxed) && self.owes_nothing()
    }

    /// From now on it is HTTP/2, or no HTTP at all.
    pub(super) fn leave_http1(&self) {
        self.one_at_a_time.store(false, Relaxed);
    }

    pub(super) fn is_http1(&self) -> bool {
        self.one_at_a_time.load(Relaxed)
    }

    /// Whether the last request has arrived whole and been answered.
    pub(super) fn is_over(&self) -> bool {
        self.is_http1() && self.phase() == Phase::Idle && !self.has_given_up()
    }

    /// A request's head is complete, and an answer is owed. Returns the request's number.
    pub(super) fn begin(&self, now: Instant) -> u64 {
        self.owing.store(true, Relaxed);
        self.asked.store(Asked::Partly as u8, Relaxed);
        self.given_up.store(false, Relaxed);
        self.enter_at(Phase::Busy, self.nanos_until(now));
        self.begun.fetch_add(1, Relaxed) + 1
    }

    /// Whether no other request has begun since the one of this number: what is left of an earlier
    /// one says nothing about the connection any more.
    pub(super) fn is_latest(&self, number: u64) -> bool {
        self.begun.load(Relaxed) == number
    }

    fn has_asked(&self, asked: Asked) -> bool {
        self.asked.load(Relaxed) == asked as u8
    }

    /// A piece of the request's body has been taken, and another may be there.
    pub(super) fn asked_partly(&self) {
        self.asked.store(Asked::Partly as u8, Relaxed);
    }

    /// All that has arrived of the request's body has been taken, and more is wanted.
    pub(super) fn asked_more(&self) {
        self.asked.store(Asked::More as u8, Relaxed);
        if self.ends_with.load(Relaxed) > 0 {
            self.call_reader();
        }
    }

    /// All of the request has arrived.
    pub(super) fn asked_all(&self) {
        self.asked.store(Asked::All as u8, Relaxed);
    }

    /// Nobody reads the rest of the request's body. hyper reads once what has arrived of it: if that
    /// is all, the connection goes on.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Relaxed);
        self.rest_is_next.store(true, Relaxed);
    }

    /// Whether more of the last request may come, which nobody reads.
    pub(super) fn has_given_up(&self) -> bool {
        self.given_up.load(Relaxed)
    }

    /// Whether the end of the caller's side was held back and no answer is owed any more.
    pub(super) fn is_to_end(&self) -> bool {
        self.ends_with.load(Relaxed) > 0 && self.phase() == Phase::Idle
    }

    /// The caller's side is over. Whether it only waits for its answer now or has gone altogether
    /// does not show; says whether it is to be answered all the same.
    ///
    /// hyper reads on as soon as it has read all of a request, and whoever answers it may not have
    /// got all of that yet. So the end waits until that one has had its turn, and is too early only
    /// if it then wants more.
    pub(super) fn half_closed(&self, cx: &Context<'_>) -> bool {
        if !self.is_http1() || self.phase() != Phase::Busy {
            return false;
        }
        let latest = self.begun.load(Relaxed);
        let is_new = self.ends_with.swap(latest, Relaxed) != latest;
        if self.has_asked(Asked::All) {
            self.note_half_closed();
        } else if is_new {
            // Those who were woken before come before.
            cx.waker().wake_by_ref();
        } else if self.has_asked(Asked::More) {
            return false;
        } else {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            *reader = Some(cx.waker().clone());
        }
        true
    }

    fn note_half_closed(&self) {
        if self.half_closed_since.load(Relaxed) == 0 {
            self.half_closed_since.store(self.now(), Relaxed);
        }
    }

    fn call_reader(&self) {
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// All that was there to be written has been.
    pub(super) fn flushed(&self) {
        if self.owing.load(Relaxed) && matches!(self.phase(), Phase::Idle | Phase::Leftover) {
            self.owing.store(false, Relaxed);
        }
    }

    /// Whether what is written now belongs to no answer of the service: it is what hyper says of a
    /// head that it cannot read.
    pub(super) fn owes_nothing(&self) -> bool {
        !self.owing.load(Relaxed) && self.is_http1()
    }

    pub(super) fn received(&self) {
        if !self.is_http1() {
            return;
        }
        match self.phase() {
            Phase::Idle if self.rest_is_next.load(Relaxed) => {
                self.rest_is_next.store(false, Relaxed);
                self.enter(Phase::Idle);
            }
            // Nearly all heads come in one piece, and then the request has begun before anybody
            // asks since when this is.
            Phase::Idle => self.enter_at(Phase::Head, UNKNOWN),
            Phase::Leftover => self.enter(Phase::Leftover),
            Phase::Head | Phase::Busy => {}
        }
    }

    pub(super) fn written<T>(&self, outcome: &Poll<T>) {
        match (outcome, self.blocked_since.load(Relaxed)) {
            (Poll::Pending, 0) => self.blocked_since.store(self.now(), Relaxed),
            (Poll::Ready(_), 1..) => self.blocked_since.store(0, Relaxed),
            _ => {}
        }
        if outcome.is_ready() && self.half_closed_since.load(Relaxed) > 0 {
            // One that has gone refuses what is sent, and the next piece fails.
            self.half_closed_since.store(self.now(), Relaxed);
        }
    }
}

/// A time that nobody has looked at the clock for yet.
const UNKNOWN: u64 = u64::MAX;

/// How long nothing has to happen on a connection until it rests. Waking it takes some microseconds,
/// which nobody notices once in so long.
const REST_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
