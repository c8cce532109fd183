//! A request's head as HTTP/2 has it (RFC 9113 §8).

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Request, Uri, Version};
use hyper::body::Body;

use super::Origin;

/// RFC 9113 §8.3.1: the target becomes ":scheme", ":authority" and ":path", "clients that generate
/// HTTP/2 requests directly MUST use the ":authority" pseudo-header field […] and MUST NOT generate a
/// request with a Host header field that differs".
///
/// §8.2.2: "An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header
/// fields." Only TE stays, "and MUST NOT contain any value other than "trailers"".
pub(super) fn dress<B>(request: &mut Request<B>, origin: &Origin) {
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    let asked = headers.remove(HOST);
    let asked = asked.filter(|host| host != origin.host_field());
    let authority = asked.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(origin.scheme());
    parts.authority = Some(authority.unwrap_or_else(|| origin.authority().clone()));
    // Path and query are those of an address already; with the other two they are one again.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = Version::HTTP_2;
}

/// The other way, for a request that has not been sent after all.
pub(super) fn undress<B: Body>(request: &mut Request<B>) {
    let parts = std::mem::take(request.uri_mut()).into_parts();
    let host = parts.authority.as_ref().map(Authority::as_str);
    let host = host.and_then(|host| HeaderValue::try_from(host).ok());
    let target = parts.path_and_query.map_or_else(Uri::default, Uri::from);
    *request.uri_mut() = target;
    *request.version_mut() = Version::HTTP_11;
    let is_chunked =
        !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    let headers = request.headers_mut();
    headers.extend(host.map(|host| (HOST, host)));
    if headers.contains_key(TE) {
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if is_chunked {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;
    use crate::tls::{Trust, client_config};

    #[test]
    fn undressed_it_is_what_it_was() {
        let tls = client_config(&Trust::Nobody, None).unwrap();
        let origin = Origin::new(&"https://api.example".parse().unwrap(), &tls, None).unwrap();
        for (target, host) in [
            ("/a//b/../%2F?x=%3F", "api.example"),
            ("/", "kept.example:8080"),
            ("*", "api.example"),
        ] {
            let request = Request::options(target)
                .header("host", host)
                .header("te", "trailers")
                .header("connection", "te");
            let mut request = request.body(Full::<Bytes>::default()).unwrap();
            let before = format!("{request:?}");
            dress(&mut request, &origin);
            assert_eq!(request.uri().scheme_str(), Some("https"));
            assert_eq!(request.uri().authority().unwrap(), host);
            assert!(!request.headers().contains_key("host"), "{request:?}");
            assert!(!request.headers().contains_key("connection"), "{request:?}");
            undress(&mut request);
            let mut fields: Vec<_> = request
                .headers()
                .keys()
                .map(http::HeaderName::as_str)
                .collect();
            fields.sort_unstable();
            assert_eq!(fields, ["connection", "host", "te"], "{before}");
            assert_eq!(request.uri(), target);
            assert_eq!(request.headers()["host"], host);
        }
    }
}
