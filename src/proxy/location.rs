//! Redirects that lead back to the upstream, told in the way in which the caller came.

use bytes::Bytes;
use http::header::LOCATION;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

use super::route::Route;

/// A caller that follows a redirect to the upstream itself would come there without a token, and
/// one with a path of the upstream's would miss the route. So `Location` becomes the path by which
/// the caller reaches the same through gatepass.
///
/// It is looked at as bytes: servers write spaces and letters of any coding into it, and clients
/// follow.
pub(super) fn rewrite(headers: &mut HeaderMap, route: &Route) {
    if !route.settings.rewrite_location {
        return;
    }
    let Some(location) = headers.get(LOCATION) else {
        return;
    };
    let rewritten = through_gatepass(location.as_bytes(), route);
    if let Some(value) = rewritten.and_then(|bytes| HeaderValue::from_maybe_shared(bytes).ok()) {
        headers.insert(LOCATION, value);
    }
}

/// `None` if it does not lead to this upstream, or not to where this route leads.
fn through_gatepass(location: &[u8], route: &Route) -> Option<Bytes> {
    let settings = &route.settings;
    let path = path_at_upstream(location, route)?;
    let below_base = path.strip_prefix(settings.origin.base_path().as_bytes())?;
    if !matches!(below_base, [] | [b'/' | b'?' | b'#', ..]) {
        return None;
    }
    let prefix = match settings.strip_path {
        true => settings.prefix.as_str().trim_end_matches('/'),
        false => "",
    };
    let between = match below_base {
        // RFC 3986 §4.2: "A relative reference that begins with two slash characters is termed a
        // network-path reference": what follows would be taken for a host.
        [b'/', b'/', ..] if prefix.is_empty() => "/.",
        [b'/', ..] => "",
        _ if prefix.is_empty() => "/",
        _ => "",
    };
    let asked = [prefix.as_bytes(), between.as_bytes(), below_base].concat();
    let path = asked.split(|byte| matches!(byte, b'?' | b'#')).next();
    // What is none of UTF-8 is none of a prefix either.
    let path = String::from_utf8_lossy(path.unwrap_or_default());
    let is_covered = settings.prefix.covers(&path);
    is_covered.then(|| asked.into())
}

/// The path and what follows it, if this is an address of the upstream. Other relative references
/// than absolute paths mean the same on either side.
fn path_at_upstream<'a>(location: &'a [u8], route: &Route) -> Option<&'a [u8]> {
    let origin = &route.settings.origin;
    let own_scheme = origin.scheme();
    let (scheme, rest) = match location {
        // It means what the upstream takes it for: the same way as the request has come by.
        [b'/', b'/', rest @ ..] => (own_scheme.as_str(), rest),
        [b'/', ..] => return Some(location),
        _ => {
            let end = location.windows(3).position(|bytes| bytes == b"://")?;
            let (scheme, rest) = location.split_at(end);
            (std::str::from_utf8(scheme).ok()?, rest.get(3..)?)
        }
    };
    let ends = |byte: &u8| matches!(byte, b'/' | b'?' | b'#');
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = Authority::try_from(authority).ok()?;
    origin.is_at(scheme, &authority).then_some(path)
}
