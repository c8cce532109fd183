//! How the client proves to the token endpoint who it is.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use form_urlencoded::byte_serialize;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::token_request::TokenRequest;

/// The methods, by their names in RFC 7591 §2 (`token_endpoint_auth_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuthentication {
    /// `client_secret_basic`: identifier and secret by HTTP Basic.
    #[default]
    SecretBasic,
    /// `client_secret_post`: identifier and secret as parameters of the body.
    SecretPost,
}

impl ClientAuthentication {
    /// Every method with its registered name.
    pub const NAMES: [(&'static str, Self); 2] = [
        ("client_secret_basic", Self::SecretBasic),
        ("client_secret_post", Self::SecretPost),
    ];

    /// Adds the proof to a request: in one place only, because RFC 6749 §2.3 says that "the client
    /// MUST NOT use more than one authentication method in each request", and strict servers
    /// refuse those that do.
    pub(super) fn prove(self, request: &mut TokenRequest, id: &str, secret: &SecretString) {
        let secret = secret.expose_secret();
        request.confidential.push(secret.to_owned());
        request.confidential.push(encode(secret));
        match self {
            Self::SecretBasic => {
                let value = basic(id, secret);
                request.confidential.push(value.clone());
                // Base64 has no character that a header could not hold.
                request.authorization = HeaderValue::try_from(format!("Basic {value}"))
                    .map(|mut header| {
                        header.set_sensitive(true);
                        header
                    })
                    .ok();
            }
            Self::SecretPost => {
                request.parameter("client_id", id);
                request.parameter("client_secret", secret);
            }
        }
    }
}

/// RFC 6749 §2.3.1: "The client identifier is encoded using the
/// "application/x-www-form-urlencoded" encoding algorithm per Appendix B, and the encoded value is
/// used as the username; the client secret is encoded using the same algorithm and used as the
/// password."
fn basic(id: &str, secret: &str) -> String {
    BASE64_STANDARD.encode(format!("{}:{}", encode(id), encode(secret)))
}

fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_of_basic_are_encoded_before_they_are_joined() {
        let decode = |value: String| String::from_utf8(BASE64_STANDARD.decode(value).unwrap());
        assert_eq!(decode(basic("app", "s3cret")).unwrap(), "app:s3cret");
        assert_eq!(
            decode(basic("a:b", "p+q %/=&ü")).unwrap(),
            "a%3Ab:p%2Bq+%25%2F%3D%26%C3%BC"
        );
    }
}
