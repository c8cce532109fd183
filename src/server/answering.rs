//! A service at work on a request.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::body::Body;
use pin_project_lite::pin_project;

use super::bodies::AnswerBody;
use super::exchange::Exchange;
use crate::drain::DrainWatch;

pin_project! {
    /// The service's future and what is to be done when it is over.
    ///
    /// It is written by hand because an `async` block keeps what it is given beside what it waits
    /// for: a request would be moved through memory with twice the room that it needs.
    pub(super) struct Answering<'a, F> {
        #[pin]
        answer: F,
        exchange: Exchange,
        drain: Option<&'a DrainWatch>,
    }
}

impl<'a, F> Answering<'a, F> {
    pub(super) fn new(answer: F, exchange: Exchange) -> Self {
        Self {
            answer,
            exchange,
            drain: None,
        }
    }

    /// Has the answer say that its connection ends, if the drain is announced by then.
    pub(super) fn that_ends_with(mut self, drain: &'a DrainWatch) -> Self {
        self.drain = Some(drain);
        self
    }
}

impl<F, B> Future for Answering<'_, F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body,
{
    type Output = Result<Response<AnswerBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(cx))?;
        // RFC 9112 §9.6: "A server that does not support persistent connections MUST send the
        // "close" connection option in every response message that does not have a 1xx
        // (Informational) status code". One that is about to stop does no longer.
        let is_announced = this.drain.is_some_and(DrainWatch::is_announced);
        if is_announced && !answer.status().is_informational() {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        let exchange = this.exchange.clone();
        if exchange.withholds_body() {
            tell_length(&mut answer);
        }
        Poll::Ready(Ok(answer.map(|body| AnswerBody::new(body, exchange))))
    }
}

/// Says how long a body is that is not sent. That of an upstream's answer to HEAD is empty, and says
/// nothing about what GET would get.
fn tell_length<B: Body>(answer: &mut Response<B>) {
    let body = answer.body();
    let length = body.size_hint().exact().filter(|_| !body.is_end_stream());
    if let Some(length) = length {
        let fields = answer.headers_mut();
        fields.entry(CONTENT_LENGTH).or_insert(length.into());
    }
}
