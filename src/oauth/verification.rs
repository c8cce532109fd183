//! Checks what a provider hands out before it is used: the signature by the provider's published
//! keys (RFC 7517), the issuer, the audience.

use http::StatusCode;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::Value;
use url::Url;

use super::published::Published;
use super::transport::{Peer, Transport};
use crate::token::source::{FailureKind, FetchError};

/// How tokens are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationSettings {
    /// Where the provider publishes its keys; where its metadata says if nothing stands here.
    pub key_set: Option<Url>,
    /// Who must have issued the token; whoever the metadata names if nothing stands here.
    pub issuer: Option<String>,
    /// Whom the token must be meant for: one of these.
    pub audience: Vec<String>,
}

/// Checks tokens by keys that it keeps.
#[derive(Debug)]
pub(super) struct Verifier {
    settings: VerificationSettings,
    keys: Published<JwkSet>,
}

/// Who signs, as far as the provider's metadata says so.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    pub(super) issuer: Option<String>,
    pub(super) key_set: Option<Url>,
}

impl Verifier {
    pub(super) fn new(settings: VerificationSettings) -> Self {
        Self {
            settings,
            keys: Published::new(),
        }
    }

    /// The provider's keys. To be had before a token is asked for: a key set that cannot be had then
    /// costs no token requests.
    pub(super) async fn keys(
        &self,
        publisher: &Publisher,
        transport: &Transport,
    ) -> Result<JwkSet, FetchError> {
        let fetch = self.fetch(publisher, transport);
        self.keys.get(transport.share(), fetch).await
    }

    /// Checks a token by these keys; and by those that the provider publishes now if it does not
    /// pass, once: providers rotate their keys, and not all of them give new ones new names.
    pub(super) async fn verify(
        &self,
        token: &str,
        keys: &JwkSet,
        publisher: &Publisher,
        transport: &Transport,
    ) -> Result<(), FetchError> {
        let header = signed_header(token)?;
        match self.judge(token, &header, keys, publisher) {
            Ok(()) => return Ok(()),
            Err(Verdict::Unknown(_)) => {}
            Err(Verdict::Wrong(error)) => return Err(error),
        }
        let keys = self
            .fetch(publisher, transport)
            .await
            .map_err(|error| FetchError {
                advice: error.advice,
                ..unverified(format!("its key is not known, and {}", error.message))
            })?;
        self.keys.keep(keys.clone());
        self.judge(token, &header, &keys, publisher)
            .map_err(|(Verdict::Unknown(error) | Verdict::Wrong(error))| error)
    }

    fn judge(
        &self,
        token: &str,
        header: &Header,
        keys: &JwkSet,
        publisher: &Publisher,
    ) -> Result<(), Verdict> {
        let validation = self.validation(header, publisher);
        let mut verdict = Verdict::Unknown(unverified(
            "it is signed with a key that is not in the provider's key set",
        ));
        for key in keys.keys.iter().filter(|key| fits(key, header)) {
            let Ok(key) = DecodingKey::from_jwk(key) else {
                continue;
            };
            match jsonwebtoken::decode::<Value>(token, &key, &validation) {
                Ok(_) => return Ok(()),
                Err(error) => verdict = self.verdict(error.kind(), publisher),
            }
        }
        Err(verdict)
    }

    fn validation(&self, header: &Header, publisher: &Publisher) -> Validation {
        let mut validation = Validation::new(header.alg);
        // How long a token lives is asked elsewhere, and of the provider's own clock.
        validation.validate_exp = false;
        validation.validate_nbf = true;
        validation.validate_aud = !self.settings.audience.is_empty();
        let mut required = Vec::new();
        if let Some(issuer) = self.issuer(publisher) {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if validation.validate_aud {
            validation.set_audience(&self.settings.audience);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    fn issuer<'a>(&'a self, publisher: &'a Publisher) -> Option<&'a str> {
        let issuer = self.settings.issuer.as_ref().or(publisher.issuer.as_ref());
        issuer.map(String::as_str)
    }

    fn verdict(&self, refusal: &ErrorKind, publisher: &Publisher) -> Verdict {
        Verdict::Wrong(match refusal {
            ErrorKind::InvalidSignature => {
                let why = "its signature is not that of the provider";
                return Verdict::Unknown(unverified(why));
            }
            ErrorKind::InvalidAudience => {
                let audience = self.settings.audience.join(" or ");
                unverified(format!("it is not meant for {audience}"))
                    .advise("check verify.audience, or what the token is asked for with")
            }
            ErrorKind::InvalidIssuer => {
                let issuer = self.issuer(publisher).unwrap_or_default();
                unverified(format!("it was not issued by {issuer}")).advise("check verify.issuer")
            }
            ErrorKind::ImmatureSignature => {
                unverified("it is not valid yet, by this machine's clock").advise("set the clock")
            }
            ErrorKind::MissingRequiredClaim(claim) => {
                unverified(format!("it does not say {claim}"))
                    .advise("leave that out of verify if it never does")
            }
            _ => unverified("its claims cannot be read"),
        })
    }

    async fn fetch(
        &self,
        publisher: &Publisher,
        transport: &Transport,
    ) -> Result<JwkSet, FetchError> {
        let url = self.settings.key_set.as_ref();
        let url = url.or(publisher.key_set.as_ref()).ok_or_else(|| {
            FailureKind::Misconfigured
                .because("the provider does not say where its keys are")
                .advise("set verify.jwks_uri")
        })?;
        let peer = Peer::key_set(url);
        let answer = transport.get(&peer, url).await?;
        if answer.status != StatusCode::OK {
            return Err(peer.named(answer.not_published("verify.jwks_uri")));
        }
        serde_json::from_slice(&answer.body).map_err(|_| {
            let error = FailureKind::Malformed.because("is no JSON Web Key Set");
            peer.named(error.advise("check verify.jwks_uri"))
        })
    }
}

/// Why a token does not pass.
enum Verdict {
    /// By these keys; others may say otherwise.
    Unknown(FetchError),
    /// Whatever the keys.
    Wrong(FetchError),
}

/// The header of a token that only the holder of a private key can have signed.
fn signed_header(token: &str) -> Result<Header, FetchError> {
    let header = jsonwebtoken::decode_header(token)
        .map_err(|_| unverified("it is no signed JWT, so verify cannot check it"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(unverified(format!(
            "it is signed with {:?}, which says nothing about who signed it",
            header.alg
        )));
    }
    // RFC 7515 §4.1.11: "If any of the listed extension Header Parameters are not understood and
    // supported by the recipient, then the JWS is invalid."
    if header.crit.is_some() {
        return Err(unverified(
            "its header holds `crit`, which gatepass does not support",
        ));
    }
    Ok(header)
}

/// Whether a token may be signed with this key: the one that it names, or any of its kind.
fn fits(key: &Jwk, header: &Header) -> bool {
    let is_named = match &header.kid {
        Some(kid) => key.common.key_id.as_ref() == Some(kid),
        None => true,
    };
    let signs = !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption));
    let algorithm = key.common.key_algorithm;
    let by_algorithm =
        algorithm.is_none_or(|algorithm| algorithm.to_string() == format!("{:?}", header.alg));
    is_named && signs && by_algorithm
}

fn unverified(why: impl std::fmt::Display) -> FetchError {
    FailureKind::Unverified.because(format!("handed out a token that is not used: {why}"))
}

/// Those whose key only the signer has. With a secret that others know as well (HS256), anyone who
/// can read the public key set could sign.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
