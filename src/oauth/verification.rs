//! Checks what a provider hands out before it is used: the signature by the provider's published
//! keys (RFC 7517), the issuer, the audience.

use std::cell::RefCell;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

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
    keys: RefCell<Option<(Instant, JwkSet)>>,
}

/// What the provider says about itself, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) issuer: Option<String>,
    pub(super) key_set: Option<Url>,
}

impl Verifier {
    pub(super) fn new(settings: VerificationSettings) -> Self {
        Self {
            settings,
            keys: RefCell::default(),
        }
    }

    /// Sees to it that there are keys. To be done before a token is asked for: a key set that cannot
    /// be had then costs no token requests.
    pub(super) async fn prepare(
        &self,
        published: &Published,
        transport: &Transport,
    ) -> Result<(), FetchError> {
        let kept = self.keys.borrow().as_ref().map(|(at, _)| at.elapsed());
        match kept {
            Some(age) if age < LONGEST_KEPT => Ok(()),
            // Old keys are better than none: those that are gone from the set are merely not known
            // to be.
            Some(_) => {
                let _ = self.fetch(published, transport).await;
                Ok(())
            }
            None => self.fetch(published, transport).await,
        }
    }

    /// Checks a token.
    pub(super) async fn verify(
        &self,
        token: &str,
        published: &Published,
        transport: &Transport,
    ) -> Result<(), FetchError> {
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| unverified("it is no signed JWT, so verify cannot check it"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(unverified(format!(
                "it is signed with {:?}, which says nothing about who signed it",
                header.alg
            )));
        }
        // Providers rotate their keys: one that is not known yet is looked for once.
        if self.candidates(&header).is_empty() {
            self.fetch(published, transport).await?;
        }
        let candidates = self.candidates(&header);
        if candidates.is_empty() {
            return Err(unverified(
                "it is signed with a key that is not in the provider's key set",
            ));
        }
        let validation = self.validation(&header, published);
        let mut refusal = None;
        for key in candidates {
            match jsonwebtoken::decode::<Value>(token, &key, &validation) {
                Ok(_) => return Ok(()),
                Err(error) => refusal = Some(error.into_kind()),
            }
        }
        Err(unverified(self.why(refusal.as_ref(), published)))
    }

    /// The keys that may have signed it: the one that it names, or those of its kind.
    fn candidates(&self, header: &Header) -> Vec<DecodingKey> {
        let keys = self.keys.borrow();
        let keys = keys.iter().flat_map(|(_, set)| &set.keys);
        let fitting = keys.filter(|key| match &header.kid {
            Some(kid) => key.common.key_id.as_ref() == Some(kid),
            None => is_for_signatures(key),
        });
        fitting
            .filter_map(|key| DecodingKey::from_jwk(key).ok())
            .filter(|key| key.family() == header.alg.family())
            .collect()
    }

    fn validation(&self, header: &Header, published: &Published) -> Validation {
        let mut validation = Validation::new(header.alg);
        // How long a token lives is asked elsewhere, and of the provider's own clock.
        validation.validate_exp = false;
        validation.validate_aud = !self.settings.audience.is_empty();
        let mut required = Vec::new();
        if let Some(issuer) = self.issuer(published) {
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

    fn issuer<'a>(&'a self, published: &'a Published) -> Option<&'a str> {
        let issuer = self.settings.issuer.as_ref().or(published.issuer.as_ref());
        issuer.map(String::as_str)
    }

    fn why(&self, refusal: Option<&ErrorKind>, published: &Published) -> String {
        match refusal {
            Some(ErrorKind::InvalidAudience) => format!(
                "it is not meant for {}; check verify.audience, or what the token is asked for with",
                self.settings.audience.join(" or ")
            ),
            Some(ErrorKind::InvalidIssuer) => format!(
                "it was not issued by {}; check verify.issuer",
                self.issuer(published).unwrap_or_default()
            ),
            Some(ErrorKind::MissingRequiredClaim(claim)) => {
                format!("it does not say {claim}; leave that out of verify if it never does")
            }
            Some(ErrorKind::InvalidSignature) | None => {
                "its signature is not that of the provider".into()
            }
            Some(_) => "its claims cannot be read".into(),
        }
    }

    async fn fetch(&self, published: &Published, transport: &Transport) -> Result<(), FetchError> {
        let url = self.settings.key_set.as_ref();
        let url = url.or(published.key_set.as_ref()).ok_or_else(|| {
            FetchError::new(
                FailureKind::Misconfigured,
                "the provider does not say where its keys are; set verify.jwks_uri",
            )
        })?;
        let peer = Peer::key_set(url);
        let answer = transport.get(&peer, url).await?;
        let status = answer.status.as_u16();
        let keys = match status {
            200 => serde_json::from_slice(&answer.body).map_err(|_| {
                FetchError::new(
                    FailureKind::Malformed,
                    "is no JSON Web Key Set; check the address",
                )
            }),
            404 | 405 | 410 => Err(FetchError::new(
                FailureKind::Misconfigured,
                format!("answered {status}; check verify.jwks_uri"),
            )),
            _ => Err(FetchError {
                retry_after: answer.retry_after,
                ..FetchError::new(
                    FailureKind::Unavailable,
                    format!("answered {status}; gatepass keeps trying"),
                )
            }),
        };
        let keys = keys.map_err(|error| peer.named(error))?;
        self.keys.replace(Some((Instant::now(), keys)));
        Ok(())
    }
}

fn is_for_signatures(key: &Jwk) -> bool {
    !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption))
}

fn unverified(why: impl std::fmt::Display) -> FetchError {
    FetchError::new(
        FailureKind::Unverified,
        format!("handed out a token that is not used: {why}"),
    )
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

/// A key that was withdrawn is known to be within this time.
const LONGEST_KEPT: Duration = Duration::from_secs(24 * 3600);
