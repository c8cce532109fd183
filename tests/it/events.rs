//! What gatepass adds to the time from an event's departure to its arrival.
#![expect(clippy::print_stdout, reason = "it is read for its figures")]

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::support::between::{Between, Caller};
use crate::support::client::PATIENCE;
use crate::support::http2::{Writer, pieces};

const EVENTS: usize = 200;
/// Where the scheduler favours one way for a whole round, there is another round: what gatepass adds
/// is there in all of them.
const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn they_arrive_within_five_milliseconds_over_http1() {
    compare(Version::HTTP_11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_arrive_within_five_milliseconds_over_http2() {
    compare(Version::HTTP_2).await;
}

/// By turns, so that a machine that does other things slows down both; and by the median, so that
/// it does not matter when it slows down a few.
async fn compare(version: Version) {
    let (streams, mut opened) = mpsc::channel(1);
    let between = Between::start(version, move |_| {
        let streams = streams.clone();
        async move {
            let (writer, events) = pieces();
            streams.send(writer).await.unwrap();
            let mut response = Response::new(events);
            let event_stream = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert("content-type", event_stream);
            response
        }
    })
    .await;
    let mut straight = Stream::open(between.straight().await, &mut opened).await;
    let mut through = Stream::open(between.through().await, &mut opened).await;
    let within_bound = async {
        for _ in 0..ROUNDS {
            let (mut without, mut with) = (Vec::new(), Vec::new());
            for number in 0..EVENTS {
                without.push(straight.pass(number).await);
                with.push(through.pass(number).await);
            }
            let (without, with) = (median(without), median(with));
            println!("events over {version:?}: {without:?} straight, {with:?} through gatepass");
            if with.saturating_sub(without) <= Duration::from_millis(5) {
                return true;
            }
        }
        false
    };
    assert!(within_bound.await, "events are late: is one held back?");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// An answer that goes on.
struct Stream {
    writer: Writer,
    body: Incoming,
    _caller: Caller,
}

impl Stream {
    async fn open(mut caller: Caller, opened: &mut mpsc::Receiver<Writer>) -> Self {
        let (_, nothing) = pieces();
        let response = caller.send(Method::GET, "/events", nothing).await;
        assert_eq!(response.status(), 200);
        Self {
            writer: opened.recv().await.unwrap(),
            body: response.into_body(),
            _caller: caller,
        }
    }

    /// How long one event is on its way.
    async fn pass(&mut self, number: usize) -> Duration {
        let event = Bytes::from(format!("id: {number}\ndata: something has happened\n\n"));
        let departure = Instant::now();
        self.writer.send(Frame::data(event.clone())).await.unwrap();
        let frame = timeout(PATIENCE, self.body.frame()).await.unwrap();
        let time = departure.elapsed();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), event);
        time
    }
}
