//! Signed statements (RFC 7523): who a client is, or on whose behalf it acts.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::unguessable::unguessable;
use crate::token::clock;
use crate::token::source::{FailureKind, FetchError};

/// A private key and how it signs. It is read at each use, so that a new one is found.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// Where the key is.
    pub key: KeySource,
    /// The algorithm; what is usual for a key of its kind if nothing stands here.
    pub algorithm: Option<SigningAlgorithm>,
    /// The name by which the other side knows the key (`kid`).
    pub key_id: Option<String>,
}

/// Where a private key is found.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// In PEM form: PKCS#8, or PKCS#1 for RSA.
    Pem(Secret),
    /// In the JSON file that Google makes for a service account.
    ServiceAccount(Secret),
}

/// The algorithms of RFC 7518 and RFC 8037 that sign with a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// RSA with PKCS#1 v1.5 padding, the most common.
    Rs256,
    /// RSA with PSS padding.
    Ps256,
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl SigningAlgorithm {
    /// Every algorithm with its registered name.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("RS256", Self::Rs256),
        ("PS256", Self::Ps256),
        ("ES256", Self::Es256),
        ("EdDSA", Self::EdDsa),
    ];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        let name = Self::NAMES.iter().find(|(_, algorithm)| *algorithm == self);
        name.map_or("", |(name, _)| name)
    }

    fn of_library(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Ps256 => Algorithm::PS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

impl SigningKey {
    /// The secret that holds it.
    pub(super) fn secret(&self) -> &Secret {
        match &self.key {
            KeySource::Pem(secret) | KeySource::ServiceAccount(secret) => secret,
        }
    }

    /// The same, to put another in its place.
    pub(super) fn secret_mut(&mut self) -> &mut Secret {
        match &mut self.key {
            KeySource::Pem(secret) | KeySource::ServiceAccount(secret) => secret,
        }
    }

    /// Reads the key.
    ///
    /// # Errors
    ///
    /// There is no key there, or not of the kind that the algorithm needs.
    pub(super) async fn load(&self) -> Result<LoadedKey, FetchError> {
        let secret = self.secret().read().await.map_err(cannot_sign)?;
        self.parse(&secret)
    }

    /// The same before anything runs: it blocks. Whether the key is usable is all that it says.
    ///
    /// # Errors
    ///
    /// There is no key there, or not of the kind that the algorithm needs.
    pub fn check_blocking(&self) -> Result<(), FetchError> {
        let secret = self.secret().read_blocking().map_err(cannot_sign)?;
        let loaded = self.parse(&secret)?;
        // Some keys are found out only when they are used.
        let trial = loaded.sign(&Claims::about_client("trial", "trial"));
        trial.map(drop)
    }

    fn parse(&self, secret: &SecretString) -> Result<LoadedKey, FetchError> {
        match &self.key {
            KeySource::Pem(_) => self.parse_pem(secret.expose_secret(), None, None),
            KeySource::ServiceAccount(_) => {
                let account: ServiceAccount = serde_json::from_str(secret.expose_secret())
                    .map_err(|_| cannot_sign(NO_SERVICE_ACCOUNT))?;
                let pem = account.private_key.expose_secret();
                self.parse_pem(pem, account.private_key_id, Some(account.client_email))
            }
        }
    }

    fn parse_pem(
        &self,
        pem: &str,
        key_id: Option<String>,
        account: Option<String>,
    ) -> Result<LoadedKey, FetchError> {
        let pem = private_part(pem)?;
        let (key, usual) = read_pem(pem.as_bytes()).ok_or_else(no_pem)?;
        let algorithm = self.algorithm.map_or(usual, SigningAlgorithm::of_library);
        if algorithm.family() != key.family() {
            return Err(
                cannot_sign(format!("the private key cannot sign with {algorithm:?}"))
                    .advise("leave signing_algorithm out, or use another key"),
            );
        }
        Ok(LoadedKey {
            key,
            algorithm,
            key_id: self.key_id.clone().or(key_id),
            account,
        })
    }
}

/// The private key of a file that may hold its certificate as well.
fn private_part(pem: &str) -> Result<&str, FetchError> {
    let label = "PRIVATE KEY-----";
    let Some(end_of_label) = pem.find(label) else {
        return Err(match pem.contains("PUBLIC KEY-----") {
            true => cannot_sign("private_key_file holds the public key")
                .advise("the private one is needed"),
            false => no_pem(),
        });
    };
    let before = pem.get(..end_of_label).unwrap_or_default();
    let start = before.rfind("-----BEGIN ").unwrap_or_default();
    let key = pem.get(start..).unwrap_or_default();
    let encrypted = ["ENCRYPTED", "Proc-Type: 4,ENCRYPTED"];
    match encrypted.iter().any(|word| key.contains(word)) {
        true => Err(cannot_sign("the private key is encrypted")
            .advise("`openssl pkey -in KEY` takes the passphrase off")),
        false => Ok(key),
    }
}

fn read_pem(pem: &[u8]) -> Option<(EncodingKey, Algorithm)> {
    let rsa = |pem| EncodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256));
    let ec = |pem| EncodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256));
    let ed = |pem| EncodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA));
    rsa(pem).or_else(|_| ec(pem)).or_else(|_| ed(pem)).ok()
}

/// The parts of Google's file that are used.
#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: SecretString,
    private_key_id: Option<String>,
}

/// A key, ready to sign.
pub(super) struct LoadedKey {
    key: EncodingKey,
    algorithm: Algorithm,
    key_id: Option<String>,
    account: Option<String>,
}

impl LoadedKey {
    /// The account that the key belongs to, where its file says so.
    pub(super) fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    pub(super) fn sign(&self, claims: &Claims<'_>) -> Result<String, FetchError> {
        let header = Header {
            kid: self.key_id.clone(),
            ..Header::new(self.algorithm)
        };
        claims.sign(&header, &self.key)
    }
}

/// Signs with a secret that both sides know.
pub(super) fn sign_with_secret(secret: &str, claims: &Claims<'_>) -> Result<String, FetchError> {
    let key = EncodingKey::from_secret(secret.as_bytes());
    claims.sign(&Header::new(Algorithm::HS256), &key)
}

/// What is stated.
pub(super) struct Claims<'a> {
    pub(super) issuer: Option<&'a str>,
    pub(super) subject: Option<&'a str>,
    pub(super) audience: &'a str,
    pub(super) scope: Option<&'a str>,
    pub(super) further: &'a BTreeMap<String, String>,
}

impl<'a> Claims<'a> {
    /// RFC 7523 §3: "For client authentication, the subject MUST be the "client_id" of the OAuth
    /// client", and so is the issuer.
    pub(super) fn about_client(id: &'a str, audience: &'a str) -> Self {
        const NONE: &BTreeMap<String, String> = &BTreeMap::new();
        Self {
            issuer: Some(id),
            subject: Some(id),
            audience,
            scope: None,
            further: NONE,
        }
    }

    fn sign(&self, header: &Header, key: &EncodingKey) -> Result<String, FetchError> {
        let now = clock::unix_now().as_secs();
        let written = WrittenClaims {
            iss: self.issuer,
            sub: self.subject,
            aud: self.audience,
            scope: self.scope,
            // RFC 7523 §3: it tells statements apart, so that none can be used twice.
            jti: &unguessable::<16>()?,
            // RFC 7523 §3: "The JWT MAY contain an "iat" (issued at) claim". Servers without tolerance
            // refuse one that is ahead of their clock by a fraction of a second.
            iat: now.saturating_sub(ALLOWED_SKEW_SECONDS),
            exp: now + LIFETIME_SECONDS,
            further: self.further,
        };
        jsonwebtoken::encode(header, &written, key).map_err(|_| {
            cannot_sign("this key does not sign")
                .advise("RSA of 2048 bits or more, P-256 and Ed25519 do")
        })
    }
}

#[derive(Serialize)]
struct WrittenClaims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    jti: &'a str,
    iat: u64,
    exp: u64,
    #[serde(flatten)]
    further: &'a BTreeMap<String, String>,
}

fn no_pem() -> FetchError {
    cannot_sign(
        "private_key_file holds no private key that can be used: PEM with a PKCS#8 key (RSA, P-256, \
         Ed25519) is",
    )
    .advise("`openssl pkcs8 -topk8 -nocrypt -in KEY` makes it of others")
}

fn cannot_sign(why: impl std::fmt::Display) -> FetchError {
    FailureKind::Misconfigured.because(format!("cannot sign a request for a token: {why}"))
}

/// Claims that gatepass makes itself.
pub const RESERVED_CLAIMS: [&str; 6] = ["aud", "exp", "iat", "iss", "jti", "sub"];

/// Long enough for clocks that differ a little, too short for a thief.
const LIFETIME_SECONDS: u64 = 120;

/// By how much this machine's clock may be ahead. Some servers count the age of a statement from its `iat`,
/// and take none that is a minute old.
const ALLOWED_SKEW_SECONDS: u64 = 10;

const NO_SERVICE_ACCOUNT: &str = "service_account_file is not the JSON key file of a service \
                                  account, with client_email and private_key in it";

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::Value;

    use super::*;

    fn signing_key(pem: String, algorithm: Option<SigningAlgorithm>) -> SigningKey {
        SigningKey {
            key: KeySource::Pem(Secret::Value(pem.into())),
            algorithm,
            key_id: Some("key-1".into()),
        }
    }

    fn generated(algorithm: &'static rcgen::SignatureAlgorithm) -> rcgen::KeyPair {
        rcgen::KeyPair::generate_for(algorithm).unwrap()
    }

    /// Signs, and has the library verify it with the public key.
    fn round_trip(key: &SigningKey, public: &DecodingKey) -> (Header, Value) {
        let secret = key.secret().read_blocking().unwrap();
        let loaded = key.parse(&secret).unwrap();
        let audience = "https://id.example/token";
        let token = loaded.sign(&Claims::about_client("tms", audience)).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[audience]);
        let decoded = jsonwebtoken::decode::<Value>(&token, public, &validation).unwrap();
        (decoded.header, decoded.claims)
    }

    #[test]
    fn every_algorithm_signs_what_its_public_key_verifies() {
        use SigningAlgorithm::{EdDsa, Es256, Ps256, Rs256};
        for (pair, algorithm, name) in [
            (&rcgen::PKCS_RSA_SHA256, None, "RS256"),
            (&rcgen::PKCS_RSA_SHA256, Some(Rs256), "RS256"),
            (&rcgen::PKCS_RSA_SHA256, Some(Ps256), "PS256"),
            (&rcgen::PKCS_ECDSA_P256_SHA256, None, "ES256"),
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(Es256), "ES256"),
            (&rcgen::PKCS_ED25519, None, "EdDSA"),
            (&rcgen::PKCS_ED25519, Some(EdDsa), "EdDSA"),
        ] {
            let pair = generated(pair);
            let public = pair.public_key_pem();
            let public = match name {
                "ES256" => DecodingKey::from_ec_pem(public.as_bytes()),
                "EdDSA" => DecodingKey::from_ed_pem(public.as_bytes()),
                _ => DecodingKey::from_rsa_pem(public.as_bytes()),
            };
            let key = signing_key(pair.serialize_pem(), algorithm);
            let (header, claims) = round_trip(&key, &public.unwrap());
            assert_eq!(format!("{:?}", header.alg), name);
            assert_eq!(header.kid.as_deref(), Some("key-1"));
            assert_eq!(
                (&claims["iss"], &claims["sub"]),
                (&"tms".into(), &"tms".into())
            );
            // Ten seconds are for a server whose clock is behind.
            let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
            assert_eq!(life, 10 + 120);
            assert!(claims["iat"].as_u64().unwrap() + 10 <= clock::unix_now().as_secs());
        }
    }

    #[test]
    fn no_two_statements_are_the_same() {
        let pair = generated(&rcgen::PKCS_ED25519);
        let public = DecodingKey::from_ed_pem(pair.public_key_pem().as_bytes()).unwrap();
        let key = signing_key(pair.serialize_pem(), None);
        let (_, first) = round_trip(&key, &public);
        let (_, second) = round_trip(&key, &public);
        assert_ne!(first["jti"], second["jti"]);
    }

    #[test]
    fn a_key_that_does_not_fit_is_told_without_showing_it() {
        let pair = generated(&rcgen::PKCS_ED25519);
        let wrong = signing_key(pair.serialize_pem(), Some(SigningAlgorithm::Rs256));
        let no_key = signing_key("canary".into(), None);
        let curve = generated(&rcgen::PKCS_ECDSA_P384_SHA384);
        let curve = signing_key(curve.serialize_pem(), None);
        let account = SigningKey {
            key: KeySource::ServiceAccount(Secret::Value(r#"{"client_email":"canary"}"#.into())),
            ..no_key.clone()
        };
        let said = [wrong, no_key, account].map(|key| key.check_blocking().unwrap_err().message);
        insta::assert_snapshot!(said.join("\n"));
        let secret = curve.secret().read_blocking().unwrap();
        let refused = match curve.parse(&secret) {
            Err(error) => error,
            Ok(loaded) => loaded.sign(&Claims::about_client("a", "b")).unwrap_err(),
        };
        assert_eq!(refused.kind, FailureKind::Misconfigured);
    }
}
