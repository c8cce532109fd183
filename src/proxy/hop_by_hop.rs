//! What concerns one connection only and ends there (RFC 9110 §7.6.1).

use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

use super::present::{Field, Present};

/// RFC 9110 §7.6.1: "Intermediaries MUST parse a received Connection header field before a message
/// is forwarded and, for each connection-option in this field, remove any header or trailer
/// field(s) from the message with the same name as the connection-option, and then remove the
/// Connection header field itself (or replace it with the intermediary's own control options for
/// the forwarded message)."
///
/// "Furthermore, intermediaries SHOULD remove or replace fields that are known to require removal
/// before forwarding, whether or not they appear as a connection-option, after applying those
/// fields' semantics."
///
/// The token is put in afterwards, so `Connection: authorization` cannot take it out.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap, present: Present) {
    if present.has(Field::Connection) {
        for named in named_by_connection(headers) {
            headers.remove(named);
        }
        headers.remove(CONNECTION);
    }
    for field in HOP_BY_HOP {
        if present.has(field) {
            headers.remove(field.name());
        }
    }
}

/// Without what only says how long the connection lasts, which is all that most say.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let is_name = |option: &[u8]| {
        !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
    };
    let lines = headers.get_all(CONNECTION).into_iter();
    lines
        .filter(|line| is_name(line.as_bytes()))
        .flat_map(members_of)
        .filter(|option| is_name(option))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .collect()
}

/// What draft-thomson-hybi-http-timeout-03 §2.1 tells of, which RFC 9110 leaves to others, and which
/// Apache, Tomcat and Node send: "A host sets the value of the "timeout" parameter to the time that
/// the host will allow an idle connection to remain open before it is closed."
pub(super) fn announced_keep_alive(headers: &HeaderMap, present: Present) -> Option<Duration> {
    let parameters = present.value(Field::KeepAlive, headers)?;
    let timeout = members_of(parameters).find_map(|parameter| {
        let (name, value) = parameter.split_at_checked("timeout=".len())?;
        name.eq_ignore_ascii_case(b"timeout=").then_some(value)
    })?;
    let seconds = std::str::from_utf8(timeout).ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Whether a word stands in a field that holds a list of them, in whatever case.
pub(super) fn lists(headers: &HeaderMap, field: &HeaderName, word: &[u8]) -> bool {
    members(headers, field).any(|member| member.eq_ignore_ascii_case(word))
}

/// What stands in a field that holds a list (RFC 9110 §5.6.1), on one line or on several.
fn members<'a>(headers: &'a HeaderMap, field: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(field).into_iter().flat_map(members_of)
}

fn members_of(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let members = line.as_bytes().split(|byte| *byte == b',');
    members.map(<[u8]>::trim_ascii)
}

/// Beside Connection. RFC 9110 §7.6.1 names Proxy-Connection, Keep-Alive, TE, Transfer-Encoding and
/// Upgrade. The Proxy-Auth… fields are meant for the next proxy (§11.7), which is gatepass.
const HOP_BY_HOP: [Field; 8] = [
    Field::KeepAlive,
    Field::ProxyAuthenticate,
    Field::ProxyAuthenticationInfo,
    Field::ProxyAuthorization,
    Field::ProxyConnection,
    Field::Te,
    Field::TransferEncoding,
    Field::Upgrade,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// None, or the one that hyper has taken off already.
    Known,
    /// One that would still be on the body when its name is gone.
    Unknown,
}

/// RFC 9112 §6.3: "If a message is received with both a Transfer-Encoding and a Content-Length
/// header field, the Transfer-Encoding overrides the Content-Length. […] An intermediary that
/// chooses to forward the message MUST first remove the received Content-Length field".
pub(super) fn take_transfer_coding(headers: &mut HeaderMap, present: Present) -> Coding {
    let Some(coding) = present.value(Field::TransferEncoding, headers) else {
        return Coding::Known;
    };
    let only_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked")
        && headers.get_all(TRANSFER_ENCODING).iter().count() == 1;
    headers.remove(CONTENT_LENGTH);
    if only_chunked {
        Coding::Known
    } else {
        Coding::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

    fn after_removal(fields: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let present = Present::of(&headers);
        remove_hop_by_hop(&mut headers, present);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        left
    }

    #[test]
    fn end_to_end_fields_stay() {
        let fields = [
            ("accept", "*/*"),
            ("cookie", "a"),
            ("cookie", "b"),
            ("trailer", "x"),
        ];
        assert_eq!(after_removal(&fields).len(), fields.len());
    }

    #[test]
    fn hop_by_hop_fields_go() {
        let fields = [
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "nextnonce=x"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("connection", "upgrade"),
            ("accept", "*/*"),
        ];
        assert_eq!(after_removal(&fields), ["accept: */*"]);
    }

    #[test]
    fn the_time_that_a_connection_is_kept_is_read_where_it_is_told() {
        for (field, seconds) in [
            ("timeout=5", Some(5)),
            ("Timeout=5, max=100", Some(5)),
            ("max=100,timeout=0", Some(0)),
            ("timeout=99999999999", Some(99_999_999_999)),
            ("timeout=99999999999999999999999", None),
            ("timeout=", None),
            ("timeout=-1", None),
            ("timeout=\u{e9}", None),
            ("max=100", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(KEEP_ALIVE, HeaderValue::from_str(field).unwrap());
            let present = Present::of(&headers);
            let announced = announced_keep_alive(&headers, present);
            assert_eq!(announced, seconds.map(Duration::from_secs), "{field}");
        }
        let nothing = HeaderMap::new();
        assert_eq!(announced_keep_alive(&nothing, Present::of(&nothing)), None);
    }

    #[test]
    fn a_length_beside_a_coding_goes() {
        for (coding, left) in [
            ("chunked", Coding::Known),
            ("Chunked", Coding::Known),
            ("gzip, chunked", Coding::Unknown),
            ("identity", Coding::Unknown),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static(coding));
            let present = Present::of(&headers);
            assert_eq!(
                take_transfer_coding(&mut headers, present),
                left,
                "{coding}"
            );
            assert!(!headers.contains_key(CONTENT_LENGTH), "{coding}");
        }
        let mut plain = HeaderMap::new();
        plain.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        let present = Present::of(&plain);
        assert_eq!(take_transfer_coding(&mut plain, present), Coding::Known);
        assert!(plain.contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn fields_that_connection_names_go_too() {
        let fields = [
            ("connection", "X-One , close,,"),
            ("connection", "x-two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-two", "2 again"),
            ("x-three", "3"),
        ];
        assert_eq!(after_removal(&fields), ["x-three: 3"]);
    }
}
