//! A request as it goes on to its upstream, but for the token.

use std::rc::Rc;

use http::{Method, Request, Version};
use hyper::body::Body;

use super::body::{Handling, OutgoingBody, Progress};
use super::expectation::Expectation;
use super::present::Present;
use super::rejection::Rejection;
use super::replay::SentHead;
use super::route::{Protocol, Route};
use super::{forward, upgrade};
use crate::server::CallerBody;
use crate::token::{RefusedBy, TokenReader};

/// A request that is ready to go on, and what is to be known on its way.
pub(super) struct Outgoing {
    /// Boxed, because every level that it is handed down would make room for it otherwise.
    pub(super) request: Box<Request<OutgoingBody>>,
    /// That the caller wants to speak another protocol.
    pub(super) switch: Option<upgrade::Asked>,
    /// Whether it may go over HTTP/2.
    pub(super) http2: bool,
    /// What is needed to send it once more, if that may be.
    pub(super) head: Option<SentHead>,
    /// How far its body has come, if it has one.
    pub(super) progress: Option<Rc<Progress>>,
}

impl Outgoing {
    /// Makes a caller's request ready.
    ///
    /// Not async: what is handed to a function that is has room in its future twice.
    ///
    /// # Errors
    ///
    /// It cannot be sent on.
    pub(super) fn of(
        mut request: Box<Request<CallerBody>>,
        present: Present,
        route: &Route,
    ) -> Result<Self, Rejection> {
        // RFC 9113 §8.6: there is no upgrade in HTTP/2, so where nothing else is spoken there is
        // nothing to agree to, and RFC 9110 §7.8 lets a server ignore what it was asked.
        let switch = match route.settings.origin.speaks_http2() {
            true => None,
            false => upgrade::Asked::of(&mut request, present),
        };
        let http2 = switch.is_none() && may_use_http2(route, request.version());
        let (mut head, body) = request.into_parts();
        forward::prepare_request(&mut head, present, &body, route)?;
        if switch.is_some() {
            upgrade::ask(&mut head.headers);
        }
        let most = route.settings.max_body;
        if most.is_some_and(|most| body.size_hint().lower() > most) {
            return Err(Rejection::body_too_large(route));
        }
        // Nobody knows what an upstream has begun that was asked to switch.
        let repeatable = switch.is_none() && may_be_repeated(route, &head.method, http2);
        let expectation = Expectation::of(&head.headers, present);
        let handling = Handling {
            keep: match repeatable {
                true => route.settings.replay_limit,
                false => 0,
            },
            most,
            expectation: expectation.clone(),
        };
        let (body, progress) = OutgoingBody::new(body, handling, route);
        let mut request = Box::new(Request::from_parts(head, body));
        if let Some(expectation) = &expectation {
            expectation.await_word(&mut request);
        }
        Ok(Self {
            head: repeatable.then(|| SentHead::of(&*request)),
            request,
            switch,
            http2,
            progress,
        })
    }
}

/// Whether a request may go over HTTP/2. By default it goes on as it came: nothing is lost in
/// translation, an application that speaks HTTP/1.1 has its interim answers and its WebSocket, and
/// gRPC its trailers.
fn may_use_http2(route: &Route, received: Version) -> bool {
    route.settings.origin.speaks_http2()
        || match route.settings.protocol {
            Protocol::AsCalled => received == Version::HTTP_2,
            Protocol::Http1 => false,
            Protocol::Http2 => true,
        }
}

/// Whether anything could make it necessary to send a request again.
fn may_be_repeated(route: &Route, method: &Method, http2: bool) -> bool {
    let refusable = |reader: &TokenReader| reader.refused_by() != RefusedBy::Nothing;
    method.is_idempotent() || http2 || route.token.as_ref().is_some_and(refusable)
}
