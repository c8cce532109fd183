//! `/api/events`: what happens from now on, as server-sent events.
//!
//! So many may listen at once and no more, and each has one piece in hand. What happens while a subscriber
//! does not read is kept by [`Events`] alone, where the oldest goes.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use hyper::body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use super::event::EventStatus;
use crate::drain::DrainWatch;
use crate::runtime::spawn;
use crate::telemetry::Events;

/// Those who listen.
pub struct Subscribers {
    events: Events,
    places: Arc<Semaphore>,
    drain: DrainWatch,
}

/// What one of them is sent.
pub struct EventStream(mpsc::Receiver<Bytes>);

impl Subscribers {
    /// Room for `most` of them, until the drain begins.
    pub fn new(events: Events, most: usize, drain: DrainWatch) -> Self {
        Self {
            events,
            places: Arc::new(Semaphore::new(most)),
            drain,
        }
    }

    /// What has happened lately.
    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// One more, if there is room. Who comes back hears what it has missed, as far as it is kept.
    pub(super) fn join(&self, headers: &HeaderMap) -> Option<EventStream> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (sender, receiver) = mpsc::channel(1);
        let story = Story {
            heard: self.heard(headers),
            events: self.events.clone(),
            drain: self.drain.clone(),
            _place: place,
        };
        spawn(story.tell(sender));
        Some(EventStream(receiver))
    }

    /// The number of the last event that a subscriber knows. One that is still to come is another
    /// process's.
    fn heard(&self, headers: &HeaderMap) -> u64 {
        let last = *self.events.news().borrow();
        let known = headers.get(&LAST_EVENT_ID).map(|value| {
            let number = value.to_str().ok().and_then(|text| text.parse().ok());
            number.filter(|number| *number <= last).unwrap_or(0)
        });
        known.unwrap_or(last)
    }
}

/// What is told to one subscriber.
struct Story {
    /// The number of the last event that was told.
    heard: u64,
    events: Events,
    drain: DrainWatch,
    _place: OwnedSemaphorePermit,
}

impl Story {
    /// Ends with the drain, or when nobody listens any more.
    async fn tell(mut self, to: mpsc::Sender<Bytes>) {
        let mut news = self.events.news();
        // What was missed is news.
        news.mark_changed();
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let drain = self.drain.clone();
        let telling = async {
            loop {
                let pieces = tokio::select! {
                    // A sign of life first, for whoever waits to see whether this works.
                    biased;
                    _ = beat.tick() => "event: heartbeat\ndata: {}\n\n".to_owned(),
                    changed = news.changed() => match changed {
                        Ok(()) => self.news(),
                        Err(_) => return,
                    },
                };
                if !pieces.is_empty() && to.send(pieces.into()).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = telling => {}
            () = to.closed() => {}
            () = drain.begun() => {}
        }
    }

    /// What has not been told yet.
    fn news(&mut self) -> String {
        let mut pieces = String::new();
        for event in self.events.after(self.heard) {
            self.heard = event.number;
            // Texts and numbers: there is nothing in it that serde_json could refuse.
            let json = serde_json::to_string(&EventStatus::of(&event)).unwrap_or_default();
            let _ = write!(pieces, "id: {}\ndata: {json}\n\n", event.number);
        }
        pieces
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// The HTML standard, §9.2: what a browser knows when it connects anew.
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// So often the connection is tried, and the page looks at what is counted.
const HEARTBEAT: Duration = Duration::from_secs(5);
