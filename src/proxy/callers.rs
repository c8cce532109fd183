//! What callers have to show before anything is done for them: whoever reaches the proxy acts with
//! its credentials.
//!
//! A certificate is asked for earlier, while TLS is agreed on ([`crate::tls::server_config`]).

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::rejection::Rejection;
use crate::server::Peer;

/// What callers have to show.
#[derive(Debug, Clone, Default)]
pub struct Callers {
    /// A key in a header field, whichever way they come.
    pub key: Option<CallerKey>,
    /// On Unix sockets, that their process is one of these users'; any user's if there is none.
    pub uids: Option<Vec<u32>>,
}

/// A key that callers and gatepass share.
#[derive(Clone)]
pub struct CallerKey {
    header: HeaderName,
    value: SecretString,
}

impl CallerKey {
    /// The key, and the field that carries it. It goes no further than gatepass.
    pub fn new(header: HeaderName, value: SecretString) -> Self {
        Self { header, value }
    }

    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let mut shown = headers.get_all(&self.header).iter();
        let (Some(only), None) = (shown.next(), shown.next()) else {
            return false;
        };
        // How long it takes must not tell how much of it was right.
        verify_slices_are_equal(only.as_bytes(), self.value.expose_secret().as_bytes()).is_ok()
    }
}

impl fmt::Debug for CallerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerKey")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl Callers {
    pub(super) fn admit(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Rejection> {
        if let (Some(uids), Peer::Unix { uid }) = (&self.uids, peer)
            && !uid.is_some_and(|uid| uids.contains(&uid))
        {
            let who = uid.map_or("an unknown user".into(), |uid| format!("user {uid}"));
            return Err(Rejection::unknown_caller(&format!(
                "{who} is not among proxy.callers.uids"
            )));
        }
        match &self.key {
            Some(key) if !key.is_shown(headers) => Err(Rejection::unknown_caller(&format!(
                "the right key has to be in the field {}, once",
                key.header
            ))),
            _ => Ok(()),
        }
    }

    /// Takes off what was meant for gatepass alone.
    pub(super) fn keep_to_ourselves(&self, headers: &mut HeaderMap<HeaderValue>) {
        if let Some(key) = &self.key {
            headers.remove(&key.header);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(callers: &Callers, peer: Peer, keys: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append("x-gatepass-key", HeaderValue::from_str(key).unwrap());
        }
        callers.admit(peer, &headers).is_ok()
    }

    #[test]
    fn the_key_has_to_be_there_once_and_right() {
        let header = HeaderName::from_static("x-gatepass-key");
        let callers = Callers {
            key: Some(CallerKey::new(header, "correct".into())),
            uids: None,
        };
        let peer = Peer::Ip(([192, 0, 2, 1], 1).into());
        assert!(taken(&callers, peer, &["correct"]));
        for wrong in [&[] as &[&str], &[""], &["correc"], &["correct", "correct"]] {
            assert!(!taken(&callers, peer, wrong), "{wrong:?}");
        }
        assert!(!format!("{callers:?}").contains("correct"));
    }

    #[test]
    fn users_are_asked_for_on_unix_sockets_alone() {
        let callers = Callers {
            key: None,
            uids: Some(vec![1000]),
        };
        for (peer, is_taken) in [
            (Peer::Unix { uid: Some(1000) }, true),
            (Peer::Unix { uid: Some(0) }, false),
            (Peer::Unix { uid: None }, false),
            (Peer::Ip(([127, 0, 0, 1], 1).into()), true),
        ] {
            assert_eq!(taken(&callers, peer, &[]), is_taken, "{peer:?}");
        }
    }
}
