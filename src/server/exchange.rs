//! A request and its answer: two bodies, each of which may wait for the caller.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::activity::{Activity, Phase};

/// A request and its answer. Clones are the same.
#[derive(Debug, Clone)]
pub(super) enum Exchange {
    /// The only one on its connection.
    Alone(Rc<Alone>),
    /// One of several on an HTTP/2 connection.
    Stream(Rc<Stream>),
}

#[derive(Debug)]
pub(super) struct Alone {
    activity: Arc<Activity>,
    number: u64,
    /// How many of the two bodies are not over yet.
    open: Cell<u8>,
}

#[derive(Debug)]
pub(super) struct Stream {
    streams: Rc<Streams>,
    number: u64,
    is_head: bool,
    answer_is_over: Cell<bool>,
    /// Since when the caller has let one of the bodies wait.
    waiting_since: Cell<Option<Instant>>,
}

impl Exchange {
    /// The head of a request has arrived on a connection that carries one at a time.
    pub(super) fn alone(activity: &Arc<Activity>, now: Instant) -> Self {
        Self::Alone(Rc::new(Alone {
            number: activity.begin(now),
            activity: Arc::clone(activity),
            open: Cell::new(2),
        }))
    }

    pub(super) fn answer_is_over(&self) {
        match self {
            Self::Alone(alone) => alone.one_is_over(Phase::Leftover),
            Self::Stream(stream) => {
                stream.answer_is_over.set(true);
                stream.waiting_since.set(Some(Instant::now()));
            }
        }
    }

    pub(super) fn request_is_over(&self) {
        match self {
            Self::Alone(alone) => {
                if alone.activity.is_latest(alone.number) {
                    alone.activity.asked_all();
                }
                alone.one_is_over(Phase::Busy);
            }
            Self::Stream(_) => {}
        }
    }

    /// Nobody wants what may still come of the request.
    pub(super) fn request_is_given_up(&self) {
        if let Self::Alone(alone) = self
            && alone.activity.is_latest(alone.number)
        {
            alone.activity.give_up();
        }
        self.request_is_over();
    }

    /// The caller has sent a piece of the request's body.
    pub(super) fn request_moved(&self) {
        match self {
            Self::Alone(alone) => {
                if alone.activity.is_latest(alone.number) {
                    alone.activity.asked_partly();
                }
            }
            Self::Stream(stream) => {
                if stream.answer_is_over.get() {
                    stream.waiting_since.set(Some(Instant::now()));
                }
            }
        }
    }

    /// What comes next of the request's body is not there yet.
    pub(super) fn request_is_awaited(&self) {
        if let Self::Alone(alone) = self
            && alone.activity.is_latest(alone.number)
        {
            alone.activity.asked_more();
        }
    }

    /// A piece of the answer waits for the caller to take it. What one stream waits for does not
    /// show on the socket: each has a window of its own.
    pub(super) fn answer_waits(&self) {
        if let Self::Stream(stream) = self {
            stream.waiting_since.set(Some(Instant::now()));
        }
    }

    /// RFC 9110 §9.3.2: "The HEAD method is identical to GET except that the server MUST NOT send
    /// content in the response." Over HTTP/1.1 hyper sees to it.
    pub(super) fn withholds_body(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.is_head)
    }

    /// The caller has taken it, and there is room for the next one.
    pub(super) fn answer_moved(&self) {
        if let Self::Stream(stream) = self {
            stream.waiting_since.set(None);
        }
    }
}

impl Alone {
    /// `otherwise` is where the connection is while the other body goes on.
    fn one_is_over(&self, otherwise: Phase) {
        let open = self.open.get().saturating_sub(1);
        self.open.set(open);
        let phase = if open == 0 { Phase::Idle } else { otherwise };
        if self.activity.is_latest(self.number) && self.activity.phase() != phase {
            self.activity.enter(phase);
        }
    }
}

/// The streams of an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Streams {
    activity: Arc<Activity>,
    open: RefCell<BTreeMap<u64, Weak<Stream>>>,
    next: Cell<u64>,
}

impl Streams {
    pub(super) fn new(activity: Arc<Activity>) -> Rc<Self> {
        activity.leave_http1();
        activity.enter(Phase::Idle);
        Rc::new(Self {
            activity,
            open: RefCell::default(),
            next: Cell::new(0),
        })
    }

    /// The head of a request has arrived. It is over when the last clone is dropped, whatever
    /// becomes of it.
    pub(super) fn begin(self: &Rc<Self>, now: Instant, is_head: bool) -> Exchange {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        self.activity.begin(now);
        let stream = Rc::new(Stream {
            streams: Rc::clone(self),
            number,
            is_head,
            answer_is_over: Cell::new(false),
            waiting_since: Cell::new(None),
        });
        self.open
            .borrow_mut()
            .insert(number, Rc::downgrade(&stream));
        Exchange::Stream(stream)
    }

    /// Resolves when the caller has let one of them wait for longer than it may.
    pub(super) async fn stalled(&self, limit: Duration) {
        loop {
            sleep(limit / 4).await;
            let now = Instant::now();
            let is_stalled = |stream: &Weak<Stream>| {
                let since = stream.upgrade().and_then(|it| it.waiting_since.get());
                since.is_some_and(|since| since + limit <= now)
            };
            if self.open.borrow().values().any(is_stalled) {
                return;
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.streams.open.borrow_mut();
        open.remove(&self.number);
        if open.is_empty() {
            self.streams.activity.enter(Phase::Idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn seconds(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Seconds after which one of the streams was found stalled, while `story` happened to them.
    async fn stalled_after(story: impl AsyncFnOnce(&Rc<Streams>)) -> u64 {
        let streams = Streams::new(Arc::new(Activity::new()));
        let start = Instant::now();
        tokio::select! {
            () = streams.stalled(Duration::from_secs(100)) => {}
            () = async {
                story(&streams).await;
                std::future::pending::<()>().await;
            } => {}
        }
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_waits_for_the_upstream_does_not_stall() {
        let waiting_for_upstream = async |streams: &Rc<Streams>| {
            let event_stream = streams.begin(Instant::now(), false);
            event_stream.answer_waits();
            event_stream.answer_moved();
            seconds(1000).await;
            event_stream.answer_waits();
            seconds(1000).await;
        };
        assert_eq!(stalled_after(waiting_for_upstream).await, 1100);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_go_on_after_its_answer_as_long_as_it_moves() {
        let early_answer = async |streams: &Rc<Streams>| {
            let upload = streams.begin(Instant::now(), false);
            upload.answer_is_over();
            for _ in 0..10 {
                seconds(90).await;
                upload.request_moved();
            }
            seconds(1000).await;
        };
        assert_eq!(stalled_after(early_answer).await, 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_busy_until_its_last_stream_is_over() {
        let activity = Arc::new(Activity::new());
        let streams = Streams::new(Arc::clone(&activity));
        let (first, second) = (
            streams.begin(Instant::now(), false),
            streams.begin(Instant::now(), false),
        );
        assert_eq!(activity.phase(), Phase::Busy);
        drop(first);
        assert_eq!(activity.phase(), Phase::Busy);
        // Reset by the caller before there was an answer.
        drop(second);
        assert_eq!(activity.phase(), Phase::Idle);
    }
}
