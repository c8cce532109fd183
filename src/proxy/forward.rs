//! What changes in a message on its way through (RFC 9110 §7.6): as little as the RFC allows.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, EXPECT, HOST, TE, TRANSFER_ENCODING, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderValue, Response, StatusCode, Uri, Version};
use hyper::body::Body;

use super::hop_by_hop::{
    Coding, announced_keep_alive, lists, remove_hop_by_hop, take_transfer_coding,
};
use super::present::{Field, Present};
use super::rejection::Rejection;
use super::route::{Forwarded, Route};
use super::{location, provenance, upgrade};
use crate::server::CallerBody;

/// Turns the head of a caller's request into the head of the request that is sent on; all but the
/// token.
///
/// # Errors
///
/// It cannot be sent on: it has a coding that would be lost, or its target becomes too long.
pub fn prepare_request(
    head: &mut Parts,
    present: Present,
    body: &CallerBody,
    route: &Route,
) -> Result<(), Rejection> {
    let asked = head.uri.authority().cloned();
    head.uri = target(&head.uri, route).ok_or_else(|| Rejection::target_too_long(route))?;
    let received = head.version;
    // RFC 9110 §2.5: an intermediary "MUST send [its] own HTTP-version in forwarded messages".
    head.version = Version::HTTP_11;
    // hyper's own notes about the caller's connection mean nothing on another one.
    head.extensions = Extensions::new();
    let coding = take_transfer_coding(&mut head.headers, present);
    if coding == Coding::Unknown {
        return Err(Rejection::unknown_coding(route));
    }
    let takes_trailers = present.has(Field::Te) && lists(&head.headers, &TE, b"trailers");
    remove_hop_by_hop(&mut head.headers, present);
    if takes_trailers {
        // RFC 9110 §10.1.4: "A sender of TE MUST also send a "TE" connection option".
        head.headers
            .insert(TE, HeaderValue::from_static("trailers"));
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if received != Version::HTTP_11 {
        // RFC 9110 §10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0
        // request MUST ignore that expectation." Over HTTP/2 hyper has no way to say 100.
        head.headers.remove(EXPECT);
    }
    if received == Version::HTTP_2 {
        join_crumbs(&mut head.headers);
    }
    if let Some(asked) = asked {
        // RFC 9112 §3.2.2: a proxy "MUST ignore the received Host header field (if any) and instead
        // replace it with the host information of the request-target". The same holds for
        // ":authority".
        if let Ok(host) = HeaderValue::try_from(asked.as_str()) {
            head.headers.insert(HOST, host);
        }
    }
    if route.settings.forwarded != Forwarded::Nothing {
        let host = head.headers.get(HOST).cloned();
        let host = host.as_ref().and_then(|host| host.to_str().ok());
        provenance::tell(
            &mut head.headers,
            route.settings.forwarded,
            body.caller(),
            host,
        );
    }
    adapt(&mut head.headers, route);
    // RFC 9110 §7.6.3: "An HTTP-to-HTTP gateway MUST send an appropriate Via header field in each
    // inbound request message". Answers get none, which is left to it.
    head.headers.append(VIA, via(received));
    // Without this hyper takes a GET or HEAD whose length is not known to have no body at all.
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        head.headers
            .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(())
}

/// RFC 9113 §8.2.3: "If there are multiple Cookie header fields after decompression, these MUST be
/// concatenated into a single octet string using the two-octet delimiter of 0x3b, 0x20 (the ASCII
/// string "; ") before being passed into a non-HTTP/2 context".
fn join_crumbs(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(_)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut cookie = first.as_bytes().to_vec();
    for crumb in headers.get_all(COOKIE).iter().skip(1) {
        cookie.extend(b"; ");
        cookie.extend(crumb.as_bytes());
    }
    if let Ok(cookie) = HeaderValue::from_maybe_shared(Bytes::from(cookie)) {
        headers.insert(COOKIE, cookie);
    }
}

/// What the route changes in a request's fields.
fn adapt(headers: &mut HeaderMap, route: &Route) {
    let settings = &route.settings;
    // A caller in HTTP/1.0 need have none to keep. RFC 9112 §3.2: "A client MUST send a Host header
    // field in all HTTP/1.1 request messages."
    if !(settings.keep_host && headers.contains_key(HOST)) {
        headers.insert(HOST, settings.origin.host_field().clone());
    }
    for name in &settings.remove_headers {
        headers.remove(name);
    }
    for (name, value) in &settings.headers {
        headers.insert(name.clone(), value.clone());
    }
}

fn via(received: Version) -> HeaderValue {
    HeaderValue::from_static(match received {
        Version::HTTP_10 => "1.0 gatepass",
        Version::HTTP_2 => "2.0 gatepass",
        _ => "1.1 gatepass",
    })
}

/// Turns the head of an upstream's answer into the head of the answer that the caller gets. Says how
/// long the upstream keeps its connection when it is not used, if it tells.
pub(super) fn prepare_response<B>(
    response: &mut Response<B>,
    asks_to_switch: bool,
    route: &Route,
) -> Result<Option<Duration>, Rejection> {
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switches && !(asks_to_switch && upgrade::is_agreed(response)) {
        return Err(Rejection::unasked_upgrade(route));
    }
    let present = Present::of(response.headers());
    if take_transfer_coding(response.headers_mut(), present) == Coding::Unknown {
        return Err(Rejection::unknown_answer_coding(route));
    }
    // As for requests: an upstream's HTTP/1.0 is no reason to give up the caller's connection.
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    let keep_alive = announced_keep_alive(headers, present);
    remove_hop_by_hop(headers, present);
    if switches {
        upgrade::ask(headers);
    }
    if present.has(Field::Location) {
        location::rewrite(headers, route);
    }
    for name in &route.settings.remove_response_headers {
        headers.remove(name);
    }
    for (name, value) in &route.settings.response_headers {
        headers.insert(name.clone(), value.clone());
    }
    Ok(keep_alive)
}

/// The upstream's address of what the caller asked for. Path and query go on byte for byte; only
/// the configured prefixes come and go.
///
/// `None` if the result is longer than a request's target may be.
fn target(uri: &Uri, route: &Route) -> Option<Uri> {
    let asked = uri.path_and_query();
    let base = route.settings.origin.base_path();
    if !route.settings.strip_path && base.is_empty() {
        return Some(asked.cloned().map_or_else(Uri::default, Uri::from));
    }
    let asked = asked.map_or("/", PathAndQuery::as_str);
    let rest = match route.settings.strip_path {
        true => route.settings.prefix.rest_of(asked).unwrap_or(asked),
        false => asked,
    };
    let mut target = String::with_capacity(base.len() + 1 + rest.len());
    target.push_str(base);
    if base.is_empty() && !rest.starts_with('/') {
        target.push('/');
    }
    target.push_str(rest);
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target)).ok()?;
    Some(Uri::from(target))
}
