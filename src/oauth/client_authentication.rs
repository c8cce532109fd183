//! How the client proves to the token endpoint who it is.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::jwt_assertion::{Claims, SigningKey, sign_with_secret};
use super::secret::Secret;
use super::token_request::{Draft, encode};
use crate::token::source::FetchError;

/// The methods, by their names in RFC 7591 §2 (`token_endpoint_auth_method`).
#[derive(Debug, Clone)]
pub enum ClientAuthentication {
    /// `client_secret_basic`: identifier and secret by HTTP Basic, encoded as RFC 6749 asks.
    SecretBasic(Secret),
    /// The same for providers that do not decode what RFC 6749 has encoded.
    SecretBasicRaw(Secret),
    /// `client_secret_post`: identifier and secret as parameters of the body.
    SecretPost(Secret),
    /// `client_secret_jwt`: a statement that is signed with the secret (HMAC with SHA-256).
    SecretJwt {
        /// The client's secret.
        secret: Secret,
        /// To whom it is said; the token endpoint if nothing stands here.
        audience: Option<String>,
    },
    /// `private_key_jwt`: a statement that is signed with a private key (RFC 7523 §2.2).
    PrivateKeyJwt {
        /// The key.
        key: SigningKey,
        /// To whom it is said; the token endpoint if nothing stands here.
        audience: Option<String>,
    },
    /// The same, signed by somebody else and kept in a file that is read again at each use:
    /// a Kubernetes service account's token, a SPIFFE JWT-SVID.
    AssertionFile {
        /// The file.
        file: Secret,
        /// What it is, as `client_assertion_type`.
        kind: String,
    },
    /// `tls_client_auth` and `self_signed_tls_client_auth` (RFC 8705): the TLS certificate says it.
    Certificate,
    /// `none`: the client has nothing to prove itself with, or need not.
    Nothing,
}

impl ClientAuthentication {
    /// Its name in a configuration (`token_endpoint_auth_method`).
    pub fn name(&self) -> &'static str {
        match self {
            Self::SecretBasic(_) => "client_secret_basic",
            Self::SecretBasicRaw(_) => "client_secret_basic_raw",
            Self::SecretPost(_) => "client_secret_post",
            Self::SecretJwt { .. } => "client_secret_jwt",
            Self::PrivateKeyJwt { .. } | Self::AssertionFile { .. } => "private_key_jwt",
            Self::Certificate => "tls_client_auth",
            Self::Nothing => "none",
        }
    }

    /// Adds the proof to a request: in one place only, because RFC 6749 §2.3 says that "the client
    /// MUST NOT use more than one authentication method in each request", and strict servers
    /// refuse those that do.
    pub(super) async fn prove(
        &self,
        client_id: Option<&str>,
        draft: &mut Draft,
    ) -> Result<(), FetchError> {
        let id = client_id.unwrap_or_default();
        match self {
            // RFC 6749 §2.3.1: "The client identifier is encoded using the
            // "application/x-www-form-urlencoded" encoding algorithm per Appendix B, and the
            // encoded value is used as the username; the client secret is encoded using the same
            // algorithm and used as the password."
            Self::SecretBasic(secret) => {
                let secret = draft.read(secret).await?;
                draft.authorize_basic(basic(&encode(id), &encode(&secret)));
            }
            Self::SecretBasicRaw(secret) => {
                let secret = draft.read(secret).await?;
                draft.authorize_basic(basic(id, &secret));
            }
            Self::SecretPost(secret) => {
                draft.parameter("client_id", id);
                draft.secret_parameter("client_secret", secret).await?;
            }
            Self::SecretJwt { secret, audience } => {
                let secret = draft.read(secret).await?;
                let endpoint = draft.endpoint();
                let claims = Claims::about_client(id, audience.as_deref().unwrap_or(&endpoint));
                let assertion = sign_with_secret(&secret, &claims)?;
                assert(draft, id, JWT_BEARER, &assertion);
            }
            Self::PrivateKeyJwt { key, audience } => {
                let endpoint = draft.endpoint();
                let claims = Claims::about_client(id, audience.as_deref().unwrap_or(&endpoint));
                let assertion = key.load().await?.sign(&claims)?;
                assert(draft, id, JWT_BEARER, &assertion);
            }
            Self::AssertionFile { file, kind } => {
                let assertion = draft.read(file).await?;
                assert(draft, id, kind, &assertion);
            }
            // RFC 8705 §2: the request "MUST include […] client_id"; RFC 6749 §3.2.1 has a public
            // client do the same.
            Self::Certificate | Self::Nothing => {
                if let Some(id) = client_id {
                    draft.parameter("client_id", id);
                }
            }
        }
        Ok(())
    }

    /// The same with another client secret; nothing if it has none.
    pub(super) fn with_client_secret(&self, secret: Secret) -> Option<Self> {
        Some(match self {
            Self::SecretBasic(_) => Self::SecretBasic(secret),
            Self::SecretBasicRaw(_) => Self::SecretBasicRaw(secret),
            Self::SecretPost(_) => Self::SecretPost(secret),
            Self::SecretJwt { audience, .. } => Self::SecretJwt {
                secret,
                audience: audience.clone(),
            },
            Self::PrivateKeyJwt { .. }
            | Self::AssertionFile { .. }
            | Self::Certificate
            | Self::Nothing => return None,
        })
    }

    /// The secret that it needs.
    pub(super) fn secret_mut(&mut self) -> Option<&mut Secret> {
        match self {
            Self::SecretBasic(secret)
            | Self::SecretBasicRaw(secret)
            | Self::SecretPost(secret)
            | Self::SecretJwt { secret, .. } => Some(secret),
            Self::PrivateKeyJwt { key, .. } => Some(key.secret_mut()),
            Self::AssertionFile { file, .. } => Some(file),
            Self::Certificate | Self::Nothing => None,
        }
    }
}

fn basic(id: &str, secret: &str) -> String {
    BASE64_STANDARD.encode(format!("{id}:{secret}"))
}

/// RFC 7521 §4.2. The identifier is optional there, and some providers want it.
fn assert(draft: &mut Draft, id: &str, kind: &str, assertion: &str) {
    draft.parameter("client_id", id);
    draft.parameter("client_assertion_type", kind);
    draft.secret(assertion);
    draft.parameter("client_assertion", assertion);
}

/// RFC 7523 §2.2.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
