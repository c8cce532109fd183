//! `Expect: 100-continue`, end to end: the caller is asked for its body when the upstream asks.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use hyper::ext::on_informational;
use tokio::time::sleep;

use super::present::{Field, Present};
use crate::runtime::spawn;

/// A caller that waits to be asked for its body.
///
/// RFC 9110 §10.1.1: a proxy forwards the expectation, and "a client that sends a 100-continue
/// expectation is not required to wait for any specific length of time; such a client MAY proceed
/// to send the content even if it has not yet received a response." Some upstreams never ask, so
/// after a moment the caller is asked all the same.
#[derive(Debug, Clone)]
pub(super) struct Expectation(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    asked: bool,
    waiting: Option<Waker>,
}

impl Expectation {
    /// The expectation of a request, if it has one.
    pub(super) fn of(headers: &HeaderMap, present: Present) -> Option<Self> {
        let expected = present.value(Field::Expect, headers)?;
        let to_be_asked = expected.as_bytes().eq_ignore_ascii_case(b"100-continue");
        to_be_asked.then(|| Self(Arc::default()))
    }

    /// Listens for the upstream's word.
    pub(super) fn await_word<B>(&self, request: &mut Request<B>) {
        let upstreams = self.clone();
        on_informational(request, move |word| {
            if word.status() == StatusCode::CONTINUE {
                upstreams.ask();
            }
        });
        let waiting = Arc::downgrade(&self.0);
        spawn(async move {
            sleep(PATIENCE).await;
            if let Some(state) = Weak::upgrade(&waiting) {
                Self(state).ask();
            }
        });
    }

    fn ask(&self) {
        let waiting = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.asked = true;
            state.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Ready when the caller may be asked.
    pub(super) fn poll_asked(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.asked {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// As long as common clients wait by themselves.
const PATIENCE: Duration = Duration::from_secs(1);
