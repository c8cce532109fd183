//! Whether a request is taken at all: its target and its Host are what they must be, and whoever
//! sends it is no web page of somebody else's.

use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

use super::callers::Callers;
use super::present::{Field, Present};
use super::rejection::Rejection;
use super::route::RouteTable;
use crate::server::{Caller, CallerBody, Peer};

/// Who may call, as far as a request says who it is.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The names by which this proxy is called, in small letters and without ports; any name if
    /// there are none.
    pub names: Option<Vec<String>>,
    /// The origins of web pages that may call, such as `http://localhost:3000`.
    pub allowed_origins: Vec<String>,
    /// What callers have to show.
    pub callers: Callers,
}

impl Admission {
    /// Takes a request or refuses it. Returns the host that it asks for, without a port.
    pub(super) fn admit<'a>(
        &self,
        request: &'a Request<CallerBody>,
        present: Present,
        table: &RouteTable,
    ) -> Result<&'a str, Rejection> {
        let Caller { peer, port, tls } = request.body().caller();
        self.callers.admit(peer, request.headers())?;
        refuse_what_is_not_forwarded(request.method())?;
        let field = host_field(request)?;
        let asked = match request.uri().authority() {
            // RFC 9113 §8.3.1: ":authority" conveys "the authority portion of the target URI", which
            // is what Host does elsewhere.
            Some(_) if request.version() >= Version::HTTP_2 => field,
            // RFC 9112 §3.2.2: "When an origin server receives a request with an absolute-form of
            // request-target, the origin server MUST ignore the received Host header field (if
            // any) and instead use the host information of the request-target."
            Some(authority) => in_absolute_form(request.uri(), authority)?,
            None => field,
        };
        check_path(request)?;
        let host = asked.map_or("", host_of);
        // A page in a browser reaches no Unix socket, and what calls one has no name for it.
        if matches!(peer, Peer::Unix { .. }) {
            return Ok(host);
        }
        let is_proxied = request.version() < Version::HTTP_2 && request.uri().authority().is_some();
        if !table.names_host(host) {
            if !self.is_known(host) {
                let names = self.names.as_deref();
                return Err(Rejection::unknown_host(host, is_proxied, names, table));
            }
            // Whoever takes gatepass for its proxy sends it what is meant for its neighbours, too.
            if let Some(own) = port.filter(|_| is_proxied && self.names.is_some())
                && port_of(request.uri()) != own
            {
                return Err(Rejection::other_port(asked.unwrap_or_default(), own));
            }
        }
        let is_of_a_page = present.has(Field::Origin) || present.has(Field::SecFetchSite);
        if is_of_a_page {
            self.refuse_other_sites(request.headers(), field, tls)?;
        }
        Ok(host)
    }

    /// A page of the web that reaches loopback by a name of its own (DNS rebinding) is told from an
    /// application by that name. HTTP/1.0 may do without one, and no browser does.
    fn is_known(&self, host: &str) -> bool {
        let Some(names) = &self.names else {
            return true;
        };
        host.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Browsers say which page a request comes from (Fetch, `Origin`; Fetch Metadata,
    /// `Sec-Fetch-Site`); applications have no reason to. Whatever page is open in a developer's
    /// browser can reach loopback, and would act with the credential.
    fn refuse_other_sites(
        &self,
        headers: &HeaderMap,
        host: Option<&str>,
        tls: bool,
    ) -> Result<(), Rejection> {
        let origin = headers.get(ORIGIN).map(HeaderValue::as_bytes);
        let site = headers.get(&SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        let is_allowed = |origin: &[u8]| {
            let mut allowed = self.allowed_origins.iter();
            allowed.any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
        };
        let is_own = |origin: &[u8]| {
            let host = host.unwrap_or_default().as_bytes();
            let scheme = if tls { "https://" } else { "http://" };
            let origin = origin.strip_prefix(scheme.as_bytes());
            origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        };
        let by_origin = origin.is_none_or(|origin| is_allowed(origin) || is_own(origin));
        let by_site = match site {
            None | Some(b"none" | b"same-origin") => true,
            Some(_) => origin.is_some_and(is_allowed),
        };
        match by_origin && by_site {
            true => Ok(()),
            false => Err(Rejection::cross_site()),
        }
    }
}

/// RFC 9110 §9.3.8: "A client MUST NOT generate fields in a TRACE request containing sensitive data
/// that might be disclosed by the response." The answer to it would show the token to the caller.
///
/// CONNECT asks for a tunnel, in which gatepass could add nothing.
fn refuse_what_is_not_forwarded(method: &Method) -> Result<(), Rejection> {
    if method == Method::TRACE || method == Method::CONNECT {
        return Err(Rejection::not_forwarded(method));
    }
    Ok(())
}

/// RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
/// request message that lacks a Host header field and to any request message that contains more
/// than one Host header field line or a Host header field with an invalid field value."
///
/// RFC 9113 §8.3.1: "A server SHOULD treat a request as malformed if it contains a Host header field
/// that identifies an entity that differs from the entity in the ":authority" pseudo-header field."
fn host_field<B>(request: &Request<B>) -> Result<Option<&str>, Rejection> {
    let version = request.version();
    let authority = match version {
        Version::HTTP_2 => request.uri().authority().map(Authority::as_str),
        _ => None,
    };
    let mut fields = request.headers().get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (None, _) if authority.is_some() => None,
        (None, _) if version < Version::HTTP_11 => return Ok(None),
        (None, _) => return Err(Rejection::bad_host("it has no Host field")),
        (Some(_), Some(_)) => return Err(Rejection::bad_host("it has more than one Host field")),
        (Some(field), None) => Some(str::from_utf8(field.as_bytes()).unwrap_or_default()),
    };
    let text = match (field, authority) {
        (Some(field), Some(authority)) if !field.eq_ignore_ascii_case(authority) => {
            return Err(Rejection::bad_host(
                "its Host field and its :authority differ",
            ));
        }
        (field, authority) => authority.or(field).unwrap_or_default(),
    };
    match is_authority(text) {
        true => Ok(Some(text)),
        false => Err(Rejection::bad_host("its Host field holds no host and port")),
    }
}

/// uri-host [ ":" port ], without the user information that RFC 9110 §4.2.4 has a recipient treat
/// as an error.
fn is_authority(text: &str) -> bool {
    is_plain_authority(text.as_bytes()) || is_any_authority(text)
}

/// A name or an IPv4 address, and a port if there is one: what nearly every request has, and worth
/// no more than a look at each byte.
fn is_plain_authority(text: &[u8]) -> bool {
    let colon = text.iter().position(|byte| *byte == b':');
    let (host, port) = text.split_at(colon.unwrap_or(text.len()));
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let number = port.iter().skip(1).try_fold(0_u16, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        number.checked_mul(10)?.checked_add(u16::from(digit))
    });
    !host.is_empty() && host.iter().all(is_of_name) && number.is_some()
}

fn is_any_authority(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else {
        return false;
    };
    let after_host = text.get(authority.host().len()..).unwrap_or_default();
    let port = after_host.strip_prefix(':').unwrap_or_default();
    let has_port = after_host.is_empty() || port.is_empty() || port.parse::<u16>().is_ok();
    !authority.host().is_empty() && !text.contains('@') && has_port
}

/// An application that can only be given a proxy asks for `http://host/path`; the route that names
/// the host says how it is spoken to.
fn in_absolute_form<'a>(
    target: &Uri,
    authority: &'a Authority,
) -> Result<Option<&'a str>, Rejection> {
    let is_plain = target
        .scheme_str()
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
    if !is_plain {
        return Err(Rejection::bad_target(
            "it asks for an address that does not begin with http://; the route's upstream says \
             whether TLS is spoken to it",
        ));
    }
    if !is_authority(authority.as_str()) {
        return Err(Rejection::bad_target(
            "there is no host and port in its target",
        ));
    }
    Ok(Some(authority.as_str()))
}

/// RFC 9112 §3.2: a target is a path, an address, or `*` with OPTIONS.
fn check_path<B>(request: &Request<B>) -> Result<(), Rejection> {
    let path = request.uri().path();
    let is_path = path.starts_with('/');
    let is_asterisk = path == "*" && request.method() == Method::OPTIONS;
    match is_path || is_asterisk {
        true => Ok(()),
        false => Err(Rejection::bad_target("its target is no path")),
    }
}

/// RFC 9110 §4.2.1: "If the port subcomponent is empty or not given, TCP port 80 […] is the default."
fn port_of(target: &Uri) -> u16 {
    target.port_u16().unwrap_or(80)
}

/// Without the port.
fn host_of(authority: &str) -> &str {
    let end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let host = authority.get(..end).unwrap_or(authority);
    // RFC 1034 §3.1: with a dot at its end a name is the same, and merely complete.
    host.strip_suffix('.').unwrap_or(host)
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_ports() {
        for (text, host) in [
            ("localhost", "localhost"),
            ("api.example.:80", "api.example"),
            ("localhost:8080", "localhost"),
            ("127.0.0.1:", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
        ] {
            assert!(is_authority(text), "{text}");
            assert!(is_any_authority(text), "{text}");
            assert_eq!(host_of(text), host);
        }
        for text in [
            "", ":", ":80", "a@b", "a:b@c:80", "a:99999", "a:8x", "a b", "a/b", "[::1",
        ] {
            assert!(!is_authority(text), "{text}");
        }
    }
}
