//! Services on which no caller's work depends.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body;
use hyper::service::Service;

use super::bodies::CallerBody;

/// Answers requests for the control plane, and for what a command serves by itself.
///
/// All are of one type, so that what serves them is compiled once. The proxy is of another: a box for
/// each answer would cost its requests something.
#[derive(Clone)]
pub struct Handler(Rc<dyn Fn(Request<CallerBody>) -> Answer>);

type Answer = Pin<Box<dyn Future<Output = Result<Response<AnyBody>, Infallible>>>>;
type AnyBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

impl Handler {
    /// Answers each request with what `answer` makes of it.
    pub fn new<F, B>(answer: impl Fn(Request<CallerBody>) -> F + 'static) -> Self
    where
        F: Future<Output = Response<B>> + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(Rc::new(move |request| {
            let answer = answer(request);
            Box::pin(async { Ok(answer.await.map(boxed)) })
        }))
    }
}

impl Service<Request<CallerBody>> for Handler {
    type Response = Response<AnyBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<CallerBody>) -> Answer {
        (self.0)(request)
    }
}

fn boxed<B>(body: B) -> AnyBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    body.map_err(Into::into).boxed_unsync()
}
