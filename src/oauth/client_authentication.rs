//! How the client proves to the token endpoint who it is.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::token_request::{Draft, encode};

/// The methods, by their names in RFC 7591 §2 (`token_endpoint_auth_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuthentication {
    /// `client_secret_basic`: identifier and secret by HTTP Basic, encoded as RFC 6749 asks.
    #[default]
    SecretBasic,
    /// The same for providers that do not decode what RFC 6749 has encoded.
    SecretBasicRaw,
    /// `client_secret_post`: identifier and secret as parameters of the body.
    SecretPost,
}

impl ClientAuthentication {
    /// Every method with its name: the registered one, or one of our own where there is none.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("client_secret_basic", Self::SecretBasic),
        ("client_secret_basic_raw", Self::SecretBasicRaw),
        ("client_secret_post", Self::SecretPost),
    ];

    /// Adds the proof to a request: in one place only, because RFC 6749 §2.3 says that "the client
    /// MUST NOT use more than one authentication method in each request", and strict servers
    /// refuse those that do.
    pub(super) fn prove(self, draft: &mut Draft, id: &str, secret: &SecretString) {
        let secret = secret.expose_secret();
        draft.secret(secret);
        let pair = match self {
            // RFC 6749 §2.3.1: "The client identifier is encoded using the
            // "application/x-www-form-urlencoded" encoding algorithm per Appendix B, and the
            // encoded value is used as the username; the client secret is encoded using the same
            // algorithm and used as the password."
            Self::SecretBasic => basic(&encode(id), &encode(secret)),
            Self::SecretBasicRaw => basic(id, secret),
            Self::SecretPost => {
                draft.parameter("client_id", id);
                draft.parameter("client_secret", secret);
                return;
            }
        };
        // Base64 has no character that a header could not hold.
        if let Ok(value) = HeaderValue::try_from(format!("Basic {pair}")) {
            draft.authorization(value);
        }
        draft.confidential(pair);
    }
}

fn basic(id: &str, secret: &str) -> String {
    BASE64_STANDARD.encode(format!("{id}:{secret}"))
}
