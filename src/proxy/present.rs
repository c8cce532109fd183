//! Which of the fields that gatepass looks at a head has.

use http::{HeaderMap, HeaderValue};

/// A field that gatepass looks at in the head of every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Field {
    Connection,
    Expect,
    KeepAlive,
    Location,
    Origin,
    ProxyAuthenticate,
    ProxyAuthenticationInfo,
    ProxyAuthorization,
    ProxyConnection,
    RequestId,
    SecFetchSite,
    Te,
    TransferEncoding,
    Upgrade,
}

/// Those of them that are there.
///
/// One walk over the fields of a head costs less than a look-up for each that might be among them,
/// and hardly any is.
#[derive(Debug, Clone, Copy)]
pub struct Present(u16);

impl Present {
    /// Looks through a head.
    pub fn of(headers: &HeaderMap) -> Self {
        let fields = headers
            .keys()
            .filter_map(|name| Field::named(name.as_str()));
        Self(fields.fold(0, |present, field| present | field.bit()))
    }

    pub(super) fn has(self, field: Field) -> bool {
        self.0 & field.bit() != 0
    }

    /// The first value of a field in the head that was looked through.
    pub(super) fn value(self, field: Field, headers: &HeaderMap) -> Option<&HeaderValue> {
        match self.has(field) {
            true => headers.get(field.name()),
            false => None,
        }
    }
}

impl Field {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Expect => "expect",
            Self::KeepAlive => "keep-alive",
            Self::Location => "location",
            Self::Origin => "origin",
            Self::ProxyAuthenticate => "proxy-authenticate",
            Self::ProxyAuthenticationInfo => "proxy-authentication-info",
            Self::ProxyAuthorization => "proxy-authorization",
            Self::ProxyConnection => "proxy-connection",
            Self::RequestId => "x-request-id",
            Self::SecFetchSite => "sec-fetch-site",
            Self::Te => "te",
            Self::TransferEncoding => "transfer-encoding",
            Self::Upgrade => "upgrade",
        }
    }

    /// Constant texts are told apart by their length first, and compared a word at a time.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "connection" => Self::Connection,
            "expect" => Self::Expect,
            "keep-alive" => Self::KeepAlive,
            "location" => Self::Location,
            "origin" => Self::Origin,
            "proxy-authenticate" => Self::ProxyAuthenticate,
            "proxy-authentication-info" => Self::ProxyAuthenticationInfo,
            "proxy-authorization" => Self::ProxyAuthorization,
            "proxy-connection" => Self::ProxyConnection,
            "sec-fetch-site" => Self::SecFetchSite,
            "te" => Self::Te,
            "transfer-encoding" => Self::TransferEncoding,
            "upgrade" => Self::Upgrade,
            "x-request-id" => Self::RequestId,
            _ => return None,
        })
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    const ALL: [Field; 14] = [
        Field::Connection,
        Field::Expect,
        Field::KeepAlive,
        Field::Location,
        Field::Origin,
        Field::ProxyAuthenticate,
        Field::ProxyAuthenticationInfo,
        Field::ProxyAuthorization,
        Field::ProxyConnection,
        Field::RequestId,
        Field::SecFetchSite,
        Field::Te,
        Field::TransferEncoding,
        Field::Upgrade,
    ];

    #[test]
    fn each_is_found_and_no_other() {
        for there in ALL {
            let mut headers = HeaderMap::new();
            let others = ["a", "accept", "cookie", "user-agent", "content-length"];
            for name in others.iter().chain([&there.name()]) {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.insert(name, HeaderValue::from_static("x"));
            }
            let present = Present::of(&headers);
            for field in ALL {
                assert_eq!(present.has(field), field == there, "{field:?} of {there:?}");
                let value = present.value(field, &headers);
                assert_eq!(value.is_some(), field == there, "{field:?} of {there:?}");
            }
        }
        let nothing = Present::of(&HeaderMap::new());
        assert!(ALL.iter().all(|field| !nothing.has(*field)));
    }
}
