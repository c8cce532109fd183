//! The request that a browser carries to the provider, and what it comes back with.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use form_urlencoded::Serializer;
use http::StatusCode;
use secrecy::SecretString;
use url::Url;

use super::super::token_response::clean;
use super::super::transport::{Answer, bare};
use super::super::unguessable::unguessable;
use super::{Flow, Login};
use crate::token::source::{FailureKind, FetchError};
use crate::wording::Confidential;

/// A login that was begun in a browser.
pub struct Authorization {
    /// Where the browser is to go.
    pub url: Url,
    pub(super) redirect_uri: String,
    pub(super) nonce: String,
    pub(super) verifier: SecretString,
    /// Who the provider says that it is.
    pub(super) issuer: Option<String>,
    state: String,
    /// RFC 9207 §2.4: an answer without `iss` must be refused.
    names_issuer: bool,
}

/// What somebody has called the redirect URI with.
#[derive(Debug, PartialEq, Eq)]
pub enum Returned {
    /// It does not belong to this login.
    Foreign,
    /// The provider, or the person, said no; or another provider has answered.
    Refused(FetchError),
    /// The answer.
    Answer(Vec<(String, String)>),
}

impl Login {
    /// Begins a login in a browser, which will come back to this address.
    ///
    /// # Errors
    ///
    /// Nobody says where people log in, or the provider does not answer.
    pub async fn authorization(&self, redirect_uri: &Url) -> Result<Authorization, FetchError> {
        let metadata = self.client.metadata().await?;
        let known = self.settings.authorization_endpoint.clone();
        let by_metadata = || metadata.as_ref()?.authorization_endpoint();
        let mut url = known.or_else(by_metadata).ok_or_else(|| {
            FailureKind::Misconfigured
                .because("the provider does not say where people log in")
                .advise("set authorization_endpoint")
        })?;
        // RFC 7636 §4.1: a verifier has 43 characters at least.
        let random = unguessable::<32>;
        let (state, nonce, verifier) = (random()?, random()?, random()?);
        let redirect_uri = redirect_uri.to_string();
        let provider = self.provider();
        let request = &provider.request;
        {
            let mut query = url.query_pairs_mut();
            query.append_pair(
                "response_type",
                match self.settings.flow {
                    Flow::Implicit => &self.settings.response_type,
                    Flow::Code | Flow::Device => "code",
                },
            );
            query.append_pair(
                "client_id",
                provider.client_id.as_deref().unwrap_or_default(),
            );
            query.append_pair("redirect_uri", &redirect_uri);
            for (name, value) in [("scope", &request.scope), ("audience", &request.audience)] {
                if let Some(value) = value {
                    query.append_pair(name, value);
                }
            }
            for resource in &request.resource {
                query.append_pair("resource", resource);
            }
            query.append_pair("state", &state);
            query.append_pair("nonce", &nonce);
            if self.settings.flow == Flow::Code {
                query.append_pair("code_challenge", &challenge(&verifier));
                query.append_pair("code_challenge_method", "S256");
            }
        }
        Ok(Authorization {
            url,
            redirect_uri,
            nonce,
            verifier: verifier.into(),
            names_issuer: metadata
                .as_ref()
                .is_some_and(|of| of.authorization_response_iss_parameter_supported),
            issuer: metadata.map(|of| of.issuer),
            state,
        })
    }
}

impl Authorization {
    /// Judges what the redirect URI was called with.
    pub fn judge(&self, fields: Vec<(String, String)>) -> Returned {
        let value = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        // RFC 6749 §10.12: who does not know it has not begun this login.
        if value("state") != Some(self.state.as_str()) {
            return Returned::Foreign;
        }
        let refused = |why: String, advice| {
            Returned::Refused(FailureKind::Refused.because(why).advise(advice))
        };
        let suspicious = |why| refused(why, "log in again, and do not if it stays so");
        if let Some(issuer) = &self.issuer {
            match value("iss") {
                Some(iss) if iss != issuer => {
                    return suspicious(format!("another provider than {issuer} has answered"));
                }
                // RFC 9207 §2: an id token that comes with it says so as well, and is checked.
                None if self.names_issuer && value("id_token").is_none() => {
                    return suspicious(format!("the answer does not say that it is from {issuer}"));
                }
                _ => {}
            }
        }
        if let Some(error) = value("error") {
            let plain = |text: &str| clean(text, &Confidential::default());
            let description = value("error_description").map(plain);
            let said = description.map_or_else(String::new, |said| format!(" (\"{said}\")"));
            let why = format!("{} says {}{said}", bare(&self.url), plain(error));
            return refused(why, advice(error));
        }
        Returned::Answer(fields)
    }
}

/// RFC 6749 §4.1.2.1, OpenID Connect Core 1.0 §3.1.2.6.
fn advice(error: &str) -> &'static str {
    match error {
        "access_denied" => "log in again, unless consent was denied on purpose",
        "invalid_scope" => "check scope against what the client may have",
        "unauthorized_client" | "unsupported_response_type" => {
            "have the provider allow this grant_type for this client"
        }
        "server_error" | "temporarily_unavailable" => "try again later",
        _ => "check client_id, scope and redirect_uri",
    }
}

/// What came in an address, as if the token endpoint had answered with it.
pub(super) fn in_a_form(fields: &[(String, String)]) -> Answer {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(fields);
    Answer {
        status: StatusCode::OK,
        retry_after: None,
        content_type: Some("application/x-www-form-urlencoded".into()),
        body: form.finish().into_bytes(),
    }
}

/// RFC 7636 §4.2.
fn challenge(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// Shows where the browser goes, and none of the secrets.
impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authorization({})", bare(&self.url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, Appendix B.
    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    fn judged(names_issuer: bool, fields: &[(&str, &str)]) -> Returned {
        let authorization = Authorization {
            url: "https://id.example/authorize?state=s".parse().unwrap(),
            redirect_uri: String::new(),
            nonce: String::new(),
            verifier: "".into(),
            issuer: Some("https://id.example".into()),
            state: "s".into(),
            names_issuer,
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        authorization.judge(fields.iter().map(owned).collect())
    }

    #[test]
    fn only_what_belongs_to_this_login_is_taken() {
        assert_eq!(judged(false, &[("code", "c")]), Returned::Foreign);
        assert_eq!(
            judged(false, &[("code", "c"), ("state", "t")]),
            Returned::Foreign
        );
        let good = [("code", "c"), ("state", "s"), ("iss", "https://id.example")];
        for names_issuer in [true, false] {
            assert!(matches!(judged(names_issuer, &good), Returned::Answer(_)));
        }
        assert!(matches!(judged(false, &good[..2]), Returned::Answer(_)));
        assert!(matches!(judged(true, &good[..2]), Returned::Refused(_)));
        let by_id_token = [("id_token", "i"), ("state", "s")];
        assert!(matches!(judged(true, &by_id_token), Returned::Answer(_)));
        let other = [
            ("code", "c"),
            ("state", "s"),
            ("iss", "https://evil.example"),
        ];
        assert!(matches!(judged(false, &other), Returned::Refused(_)));
    }
}
