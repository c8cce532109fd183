//! What a provider says about itself: OpenID Connect Discovery 1.0 and RFC 8414.

use http::StatusCode;
use serde::Deserialize;
use url::Url;

use super::published::Published;
use super::transport::{Answer, Peer, Transport, bare, is_loopback};
use crate::token::source::{FailureKind, FetchError};

/// A provider that is known by its issuer's name.
#[derive(Debug)]
pub(super) struct Discovery {
    issuer: Url,
    known: Published<Metadata>,
}

/// The parts of a provider's metadata that are used.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) token_endpoint: Url,
    jwks_uri: Option<String>,
    mtls_endpoint_aliases: Option<Aliases>,
    authorization_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    /// RFC 9207 §3.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

/// RFC 8705 §5: other addresses for clients that show a certificate.
#[derive(Debug, Clone, Default, Deserialize)]
struct Aliases {
    token_endpoint: Option<Url>,
}

impl Metadata {
    /// Where a client that shows a certificate asks for tokens.
    pub(super) fn mtls_token_endpoint(&self) -> &Url {
        let aliases = self.mtls_endpoint_aliases.as_ref();
        let alias = aliases.and_then(|aliases| aliases.token_endpoint.as_ref());
        alias.unwrap_or(&self.token_endpoint)
    }

    /// Where people log in.
    pub(super) fn authorization_endpoint(&self) -> Option<Url> {
        safe_address(self.authorization_endpoint.as_ref())
    }

    /// Where a login on another device begins.
    pub(super) fn device_authorization_endpoint(&self) -> Option<Url> {
        safe_address(self.device_authorization_endpoint.as_ref())
    }

    /// Where refresh tokens are taken back.
    pub(super) fn revocation_endpoint(&self) -> Option<Url> {
        safe_address(self.revocation_endpoint.as_ref())
    }

    /// Where the keys are, if that is a place where they can be had.
    pub(super) fn key_set(&self) -> Option<Url> {
        self.jwks_uri.as_ref()?.parse().ok()
    }
}

impl Discovery {
    pub(super) fn new(issuer: Url) -> Self {
        Self {
            issuer,
            known: Published::new(),
        }
    }

    /// What the provider says, asked for if it is not known or was said too long ago.
    pub(super) async fn metadata(&self, transport: &Transport) -> Result<Metadata, FetchError> {
        self.known.get(transport.share(), self.ask(transport)).await
    }

    /// To be called when an address that it gave does not answer: it may have moved.
    pub(super) fn doubt(&self) {
        self.known.doubt();
    }

    async fn ask(&self, transport: &Transport) -> Result<Metadata, FetchError> {
        let [openid, oauth] = places(&self.issuer);
        let (peer, answer) = get(transport, &openid).await?;
        if !matches!(answer.status.as_u16(), 404 | 405 | 410) {
            return self.read(&answer).map_err(|error| peer.named(error));
        }
        let (peer, answer) = get(transport, &oauth).await?;
        self.read(&answer).map_err(|error| {
            let error = peer.named(error);
            FetchError {
                message: format!("{}, nor is there one at {}", error.message, bare(&openid)),
                ..error
            }
        })
    }

    fn read(&self, answer: &Answer) -> Result<Metadata, FetchError> {
        if answer.status != StatusCode::OK {
            return Err(answer.not_published("issuer"));
        }
        let metadata: Metadata = serde_json::from_slice(&answer.body).map_err(|_| {
            FailureKind::Malformed
                .because("is no JSON object with issuer and token_endpoint in it")
                .advise("check issuer")
        })?;
        // RFC 8414 §3.3: "The "issuer" value returned MUST be identical to the authorization
        // server's issuer identifier value […]. If these values are not identical, the data
        // contained in the response MUST NOT be used." A slash at the end is what the address of
        // a bare host has in any case.
        let same = |issuer: &str| issuer.trim_end_matches('/').to_owned();
        if same(&metadata.issuer) != same(self.issuer.as_str()) {
            return Err(FailureKind::Misconfigured
                .because(format!(
                    "speaks of another issuer, {:?}",
                    metadata.issuer.chars().take(200).collect::<String>()
                ))
                .advise("write that into issuer if you trust it"));
        }
        for url in [&metadata.token_endpoint, metadata.mtls_token_endpoint()] {
            self.check_endpoint(url)?;
        }
        Ok(metadata)
    }

    /// A provider that is reached over TLS cannot send secrets elsewhere in the clear.
    fn check_endpoint(&self, url: &Url) -> Result<(), FetchError> {
        let safe = url.scheme() == "https" || (is_loopback(url) && is_loopback(&self.issuer));
        match safe {
            true => Ok(()),
            false => Err(FailureKind::Malformed.because(format!(
                "names {}, which has no TLS, so that no secret is sent there",
                bare(url)
            ))),
        }
    }
}

/// An address to which secrets may be sent.
fn safe_address(written: Option<&String>) -> Option<Url> {
    let url: Url = written?.parse().ok()?;
    (url.scheme() == "https" || is_loopback(&url)).then_some(url)
}

async fn get(transport: &Transport, url: &Url) -> Result<(Peer, Answer), FetchError> {
    let peer = Peer::discovery(url);
    let answer = transport.get(&peer, url).await?;
    Ok((peer, answer))
}

/// OpenID Connect Discovery 1.0 §4 puts the words behind the issuer's path, RFC 8414 §3 before it.
fn places(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    [
        at(format!("{path}/.well-known/openid-configuration")),
        at(format!("/.well-known/oauth-authorization-server{path}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(issuer: &str, body: &str) -> Result<Metadata, FetchError> {
        Discovery::new(issuer.parse().unwrap()).read(&Answer {
            status: StatusCode::OK,
            retry_after: None,
            content_type: None,
            body: body.as_bytes().to_vec(),
        })
    }

    #[test]
    fn the_words_go_behind_or_before_the_path() {
        let places = |issuer: &str| places(&issuer.parse().unwrap()).map(String::from).join(" ");
        assert_eq!(
            places("https://id.example"),
            "https://id.example/.well-known/openid-configuration \
             https://id.example/.well-known/oauth-authorization-server"
        );
        assert_eq!(
            places("https://id.example/realms/a/"),
            "https://id.example/realms/a/.well-known/openid-configuration \
             https://id.example/.well-known/oauth-authorization-server/realms/a"
        );
    }

    #[test]
    fn another_issuer_and_unsafe_endpoints_are_refused() {
        let body = |issuer: &str, endpoint: &str| {
            format!(r#"{{"issuer":"{issuer}","token_endpoint":"{endpoint}"}}"#)
        };
        let good = body("https://id.example/", "https://id.example/token");
        assert!(read("https://id.example", &good).is_ok());
        let local = body("http://127.0.0.1:9", "http://127.0.0.1:9/token");
        assert!(read("http://127.0.0.1:9", &local).is_ok());
        let mut said = Vec::new();
        for (issuer, endpoint) in [
            ("https://evil.example", "https://id.example/token"),
            ("https://id.example", "http://id.example/token"),
            ("https://id.example", "http://127.0.0.1/token"),
            ("https://id.example", "no address"),
        ] {
            said.push(
                read("https://id.example", &body(issuer, endpoint))
                    .unwrap_err()
                    .message,
            );
        }
        insta::assert_snapshot!(said.join("\n"));

        let alias = r#","mtls_endpoint_aliases":{"token_endpoint":"http://id.example/token"}}"#;
        let of_certificates = good.replace('}', alias);
        let error = read("https://id.example", &of_certificates).unwrap_err();
        assert!(error.message.contains("which has no TLS"), "{error}");
    }
}
