//! What an upstream is told about the caller, if the route says so.

use std::fmt::Write;
use std::net::IpAddr;

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::route::Forwarded;
use crate::server::{Caller, Peer};

/// Adds it to what proxies before this one have told.
///
/// `asked` is the host that was asked for, as the caller has written it.
pub(super) fn tell(headers: &mut HeaderMap, how: Forwarded, caller: Caller, asked: Option<&str>) {
    match how {
        Forwarded::Nothing => {}
        Forwarded::Standard => {
            let element = element(caller, asked);
            if let Ok(element) = HeaderValue::try_from(element) {
                headers.append(FORWARDED, element);
            }
        }
        Forwarded::XForwarded => {
            if let Peer::Ip(address) = caller.peer {
                let address = without_mapping(address.ip()).to_string();
                if let Ok(address) = HeaderValue::try_from(address) {
                    headers.append(FOR, address);
                }
            }
            // What is said of the first hop stays as it is.
            if !headers.contains_key(&X_HOST) {
                let host = asked.and_then(|host| HeaderValue::from_str(host).ok());
                headers.extend(host.map(|host| (X_HOST, host)));
            }
            if !headers.contains_key(&PROTO) {
                headers.insert(PROTO, HeaderValue::from_static(scheme(caller)));
            }
        }
    }
}

/// RFC 7239 §4: `forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )`. §6.3: "unknown"
/// stands for somebody without an address.
fn element(caller: Caller, asked: Option<&str>) -> String {
    let mut element = match caller.peer {
        Peer::Unix { .. } => "for=unknown".to_owned(),
        Peer::Ip(address) => match without_mapping(address.ip()) {
            IpAddr::V4(address) => format!("for={address}"),
            // §6: "Note that an IPv6 address is always enclosed in square brackets", and so has to
            // be quoted.
            IpAddr::V6(address) => format!("for=\"[{address}]\""),
        },
    };
    if let Some(host) = asked {
        let _ = write!(element, ";host=\"{host}\"");
    }
    let _ = write!(element, ";proto={}", scheme(caller));
    element
}

/// A listener for both families sees callers of IPv4 as addresses of IPv6.
fn without_mapping(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn scheme(caller: Caller) -> &'static str {
    if caller.tls { "https" } else { "http" }
}

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn told(how: Forwarded, peer: Peer, before: &[(&'static str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        tell(
            &mut headers,
            how,
            Caller {
                peer,
                port: Some(8443),
                tls: true,
            },
            Some("api.example:8443"),
        );
        let mut fields: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort();
        fields
    }

    fn ip(address: &str) -> Peer {
        Peer::Ip(SocketAddr::new(address.parse().unwrap(), 1))
    }

    #[test]
    fn by_the_standard_field() {
        for (peer, element) in [
            (ip("192.0.2.1"), "for=192.0.2.1"),
            (ip("::ffff:192.0.2.1"), "for=192.0.2.1"),
            (ip("2001:db8::1"), "for=\"[2001:db8::1]\""),
            (Peer::Unix { uid: Some(0) }, "for=unknown"),
        ] {
            let expected = format!("forwarded: {element};host=\"api.example:8443\";proto=https");
            assert_eq!(told(Forwarded::Standard, peer, &[]), [expected]);
        }
        let before = [("forwarded", "for=192.0.2.9")];
        assert_eq!(told(Forwarded::Standard, ip("192.0.2.1"), &before).len(), 2);
    }

    #[test]
    fn by_the_customary_fields() {
        let before = [
            ("x-forwarded-for", "192.0.2.9"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(
            told(Forwarded::XForwarded, ip("192.0.2.1"), &before),
            [
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-for: 192.0.2.9",
                "x-forwarded-host: api.example:8443",
                "x-forwarded-proto: http",
            ]
        );
        let socket = Peer::Unix { uid: None };
        assert_eq!(told(Forwarded::XForwarded, socket, &[]).len(), 2);
    }

    #[test]
    fn nothing_unless_asked_for() {
        assert!(told(Forwarded::Nothing, ip("192.0.2.1"), &[]).is_empty());
    }
}
