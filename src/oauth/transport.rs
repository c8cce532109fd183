//! HTTP towards an identity provider: one request, one answer, whatever it says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use reqwest::{Client, Proxy, RequestBuilder, Response, redirect, retry};
use rustls::ClientConfig;
use serde::de::IgnoredAny;
use tokio::time::Instant;
use url::{Host, Url};

use super::in_time::in_time;
use super::refusal::{SEE_PROVIDER, SLOWER};
use super::retry_after;
use super::token_request::TokenRequest;
use crate::tls;
use crate::token::source::{FailureKind, FetchError};
use crate::wording::{harmless, innermost, out_of_descriptors};

/// How a provider is reached.
#[derive(Clone)]
pub struct TransportSettings {
    /// How long one attempt may take, from the name look-up to the last byte of the answer.
    pub timeout: Duration,
    /// Whom to trust, and the certificate to show.
    pub tls: Arc<ClientConfig>,
    /// The HTTP proxy on the way, if there is one. A password may stand in it.
    pub egress_proxy: Option<Url>,
    /// Whether the provider may be reached without TLS: only on loopback, and only if the
    /// configuration names such an address.
    pub plain_http: bool,
}

#[cfg(test)]
impl TransportSettings {
    /// To nobody who has to show a certificate.
    pub(super) fn trusting_nobody(timeout: Duration) -> Self {
        let nobody = crate::tls::Trust::Nobody;
        Self {
            timeout,
            tls: crate::tls::client_config(&nobody, None).unwrap(),
            egress_proxy: None,
            plain_http: false,
        }
    }
}

impl fmt::Debug for TransportSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportSettings")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The way to one provider.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    timeout: Duration,
    /// Whether it leads through a proxy.
    is_proxied: bool,
    /// Whether that is told a name and a password.
    is_known_to_proxy: bool,
    /// Who is called, or was last.
    called: RefCell<Option<Peer>>,
}

/// What is called, as messages name it: without what may be secret in an address (user, password,
/// query).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    name: String,
    /// The key of the configuration that says where it is.
    key: &'static str,
    /// Whether it may be called without TLS.
    is_loopback: bool,
    /// Whether it is.
    is_plain: bool,
}

impl Peer {
    pub(super) fn token_endpoint(url: &Url) -> Self {
        Self::new("token endpoint", url, "token_endpoint")
    }

    pub(super) fn device_authorization(url: &Url) -> Self {
        Self::new(
            "device authorization endpoint",
            url,
            "device_authorization_endpoint",
        )
    }

    pub(super) fn revocation(url: &Url) -> Self {
        Self::new("revocation endpoint", url, "revocation_endpoint")
    }

    pub(super) fn discovery(url: &Url) -> Self {
        Self::new("discovery document", url, "issuer")
    }

    pub(super) fn key_set(url: &Url) -> Self {
        Self::new("key set", url, "jwks_uri")
    }

    fn new(what: &str, url: &Url, key: &'static str) -> Self {
        Self {
            name: format!("{what} {}", bare(url)),
            key,
            is_loopback: is_loopback(url),
            is_plain: url.scheme() == "http",
        }
    }

    /// Puts its name in front of what is said about it.
    pub(super) fn named(&self, error: FetchError) -> FetchError {
        FetchError {
            message: format!("{} {}", self.name, error.message),
            ..error
        }
    }

    /// What is said when an attempt takes too long.
    fn too_late(&self, limit: Duration) -> FetchError {
        let message = format!("did not answer within {limit:?}");
        self.named(
            FailureKind::Unavailable
                .because(message)
                .advise("check whether the provider is up"),
        )
    }
}

/// An address without its query and what else may be secret.
pub fn bare(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// Whether an address is on this machine, where there is nobody to listen in.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        // RFC 6761 §6.3 says the same of names below it, but not every resolver keeps to it.
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// What was answered. A token may stand in it, so it has no `Debug`.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// How long the provider asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What the body claims to be, such as `text/html`.
    pub content_type: Option<String>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Answer {
    /// Why this is not the public document that was asked for; `key` is the one to check.
    pub(super) fn not_published(&self, key: &str) -> FetchError {
        let status = self.status.as_u16();
        let (kind, advice) = match status {
            429 => (FailureKind::Throttled, SLOWER.into()),
            408 | 500.. => (FailureKind::Unavailable, SEE_PROVIDER.into()),
            _ => (FailureKind::Misconfigured, format!("check {key}")),
        };
        FetchError {
            retry_after: self.retry_after,
            ..kind.because(format!("answered {status}")).advise(advice)
        }
    }
}

impl Transport {
    /// Prepares an HTTP client; nothing is sent yet.
    pub(super) fn new(settings: &TransportSettings) -> Result<Self, reqwest::Error> {
        let builder = Client::builder()
            .user_agent(concat!("gatepass/", env!("CARGO_PKG_VERSION")))
            // A redirect would hand the client's secret to whomever it names.
            .redirect(redirect::Policy::none())
            // The refresher decides when to try again, so that one attempt is one request.
            .retry(retry::never())
            // Proxy variables of the environment are meant for other programs.
            .no_proxy()
            .https_only(!settings.plain_http)
            .tls_backend_preconfigured((*settings.tls).clone())
            .http1_only()
            // Minutes lie between two requests: a kept connection would only be found dead.
            .pool_max_idle_per_host(0)
            // Shared out among the addresses of a name: one that is silent must not cost the attempt.
            .connect_timeout(settings.timeout / 2);
        let builder = match &settings.egress_proxy {
            Some(proxy) => builder.proxy(Proxy::all(proxy.clone())?),
            None => builder,
        };
        Ok(Self {
            client: builder.build()?,
            timeout: settings.timeout,
            is_proxied: settings.egress_proxy.is_some(),
            is_known_to_proxy: settings
                .egress_proxy
                .as_ref()
                .is_some_and(|proxy| !proxy.username().is_empty()),
            called: RefCell::new(None),
        })
    }

    /// The part of an attempt's time that is spent on asking anew for what is known already.
    pub(super) fn share(&self) -> Duration {
        self.timeout / 4
    }

    /// What is said when an attempt takes too long.
    pub(super) fn too_late(&self) -> FetchError {
        match &*self.called.borrow() {
            Some(peer) => peer.too_late(self.timeout),
            None => FailureKind::Misconfigured
                .because(format!(
                    "a secret's file could not be read within {:?}",
                    self.timeout
                ))
                .advise("check the file system that it is on"),
        }
    }

    /// To be called when an attempt begins.
    pub(super) fn begin(&self) {
        self.called.replace(None);
    }

    /// Sends a token request.
    pub(super) async fn post(
        &self,
        peer: &Peer,
        request: &TokenRequest,
    ) -> Result<Answer, FetchError> {
        let call = self
            .client
            .request(Method::POST, request.url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone());
        self.exchange(peer, call).await
    }

    /// Gets a public JSON document.
    pub(super) async fn get(&self, peer: &Peer, url: &Url) -> Result<Answer, FetchError> {
        let call = self
            .client
            .request(Method::GET, url.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        self.exchange(peer, call).await
    }

    async fn exchange(&self, peer: &Peer, call: RequestBuilder) -> Result<Answer, FetchError> {
        self.called.replace(Some(peer.clone()));
        let answer = async {
            let response = call.send().await;
            let response = response.map_err(|error| self.failed(peer, error))?;
            self.read(peer, response).await
        };
        let answer = in_time(Instant::now() + self.timeout, answer).await;
        answer.unwrap_or_else(|| Err(peer.too_late(self.timeout)))
    }

    async fn read(&self, peer: &Peer, mut response: Response) -> Result<Answer, FetchError> {
        let mut answer = Answer {
            status: response.status(),
            retry_after: retry_after::read(response.headers()),
            content_type: response
                .headers()
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .map(ToOwned::to_owned),
            body: Vec::new(),
        };
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // RFC 9112 §9.8: "A response that has neither chunked transfer coding nor Content-Length is
                // complete only if a valid closure alert has been received." Old servers send none. JSON
                // says by its last brace that nothing is missing, which is what the alert is for.
                Err(error) if is_unended(&innermost(&error)) && is_object(&answer.body) => break,
                Err(error) => return Err(self.failed(peer, error)),
            };
            if answer.body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(peer.named(
                    FailureKind::Malformed
                        .because("answered with more than 256 KiB, which no answer of its kind has")
                        .advise("check whether this is the right address"),
                ));
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    fn failed(&self, peer: &Peer, error: reqwest::Error) -> FetchError {
        // A key may stand in the address.
        let error = error.without_url();
        if error.is_timeout() {
            return peer.too_late(self.timeout);
        }
        // The names of a certificate are in it.
        let cause = harmless(&innermost(&error));
        let (what, advice) = match error.is_connect() {
            true => ("cannot be reached", self.way_to_reach(peer, &cause)),
            false if is_unended(&cause) => ("gave no usable answer", TELL_THE_END.into()),
            false => ("gave no usable answer", way_to_an_answer(peer)),
        };
        let error = FailureKind::Unavailable.because(format!("{what}: {cause}"));
        peer.named(error.advise(advice))
    }

    fn way_to_reach(&self, peer: &Peer, cause: &str) -> String {
        let Peer {
            key, is_loopback, ..
        } = peer;
        if let Some(advice) = tls::advice(cause, *is_loopback) {
            advice.into()
        } else if let Some(advice) = out_of_descriptors(cause) {
            advice.into()
        } else if cause.contains("Connection refused") && self.is_proxied {
            "check egress_proxy: nothing listens there".into()
        } else if cause.contains("proxy authorization required") && self.is_known_to_proxy {
            "check the name and the password in egress_proxy; a password is written there with %40 for @, %3A \
             for :, %2F for / and %25 for %"
                .into()
        } else if cause.contains("proxy authorization required") {
            "egress_proxy wants a name and a password: http://NAME:PASSWORD@HOST:PORT".into()
        } else if cause.contains("tunnel error") {
            "check egress_proxy, and whether it lets gatepass through to this address".into()
        } else if cause.contains("Connection refused") {
            // The name has been found by then.
            format!("check {key}, and whether the provider is up: nothing listens there")
        } else {
            format!("check {key}, the DNS, and whether the provider is up")
        }
    }
}

/// Whether the other side has closed the connection without TLS's word for that.
fn is_unended(cause: &str) -> bool {
    cause.contains("close_notify")
}

/// Whether this is a whole JSON object.
fn is_object(body: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body).is_ok()
}

fn way_to_an_answer(peer: &Peer) -> String {
    let or_tls = match peer.is_plain {
        true => format!("; if it speaks TLS there, write https:// in {}", peer.key),
        false => String::new(),
    };
    format!("check whether the provider is up, and what is on the way to it{or_tls}")
}

const TELL_THE_END: &str = "have the provider say how long its answers are (Content-Length), or end its \
                            connections as TLS asks: this one may have been cut";

/// Token answers have a few kilobytes. The rest is room for providers that put a whole profile
/// beside the token.
const LARGEST_ANSWER: usize = 256 * 1024;
