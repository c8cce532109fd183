//! Redirects that lead back to the upstream, told in the way in which the caller came.

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, Uri};

use super::route::Route;

/// A caller that follows a redirect to the upstream itself would come there without a token, and
/// one with a path of the upstream's would miss the route. So `Location` becomes the path by which
/// the caller reaches the same through gatepass.
pub(super) fn rewrite(headers: &mut HeaderMap, route: &Route) {
    if !route.settings.rewrite_location {
        return;
    }
    let Some(location) = headers.get(LOCATION) else {
        return;
    };
    let rewritten = location
        .to_str()
        .ok()
        .and_then(|text| through_gatepass(text, route));
    if let Some(value) = rewritten.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(LOCATION, value);
    }
}

/// `None` if it does not lead to this upstream, or not to where this route leads.
fn through_gatepass(location: &str, route: &Route) -> Option<String> {
    let settings = &route.settings;
    let path = path_at_upstream(location, route)?;
    let below_base = path.strip_prefix(settings.origin.base_path())?;
    let is_boundary = below_base.is_empty() || below_base.starts_with(['/', '?', '#']);
    if !is_boundary {
        return None;
    }
    let prefix = match settings.strip_path {
        true => settings.prefix.as_str().trim_end_matches('/'),
        false => "",
    };
    let slash = match prefix.is_empty() && !below_base.starts_with('/') {
        true => "/",
        false => "",
    };
    let asked = format!("{prefix}{slash}{below_base}");
    let path = asked.split(['?', '#']).next().unwrap_or_default();
    settings.prefix.covers(path).then_some(asked)
}

/// The path and what follows it, if this is an address of the upstream. Other relative references
/// than absolute paths mean the same on either side.
fn path_at_upstream<'a>(location: &'a str, route: &Route) -> Option<&'a str> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(location);
    }
    let uri: Uri = location.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    if !route.settings.origin.is_at(scheme, authority) {
        return None;
    }
    // By position, because a `Uri` leaves the fragment out.
    location.get(scheme.len() + "://".len() + authority.as_str().len()..)
}
