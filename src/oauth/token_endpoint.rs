//! One HTTP call to the token endpoint.

use std::error::Error;
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use reqwest::{Client, Response, redirect, retry};
use rustls::ClientConfig;
use url::Url;

use super::retry_after;
use super::token_request::TokenRequest;
use crate::tls;
use crate::token::source::{FailureKind, FetchError};

/// The way to a token endpoint.
#[derive(Debug)]
pub struct TokenEndpoint {
    url: Url,
    /// The address without what may be secret in it (user, password, query), for messages.
    name: String,
    client: Client,
    timeout: Duration,
}

/// What the token endpoint answered. A token may stand in it, so it has no `Debug`.
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

impl TokenEndpoint {
    /// Prepares an HTTP client for this endpoint alone.
    ///
    /// # Errors
    ///
    /// The client could not be set up.
    pub fn new(url: Url, timeout: Duration, tls: &ClientConfig) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("gatepass/", env!("CARGO_PKG_VERSION")))
            // A redirect would hand the client's secret to whomever it names.
            .redirect(redirect::Policy::none())
            // The refresher decides when to try again, so that one attempt is one request.
            .retry(retry::never())
            // Proxy variables of the environment are meant for other programs.
            .no_proxy()
            .https_only(url.scheme() == "https")
            .tls_backend_preconfigured(tls.clone())
            .http1_only()
            // Minutes lie between two requests: a kept connection would only be found dead.
            .pool_max_idle_per_host(0)
            .timeout(timeout)
            .build()?;
        let name = format!(
            "token endpoint {}{}",
            url.origin().ascii_serialization(),
            url.path()
        );
        Ok(Self {
            url,
            name,
            client,
            timeout,
        })
    }

    /// Sends a request and reads the answer, whatever it says.
    ///
    /// # Errors
    ///
    /// There was no answer, or one that is too large to be one.
    pub async fn post(&self, request: &TokenRequest) -> Result<Answer, FetchError> {
        let call = self
            .client
            .post(self.url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone());
        let response = call.send().await.map_err(|error| self.failed(&error))?;
        self.read(response).await
    }

    /// Puts the endpoint's name in front of what is said about it.
    pub fn named(&self, error: FetchError) -> FetchError {
        FetchError {
            message: format!("{} {}", self.name, error.message),
            ..error
        }
    }

    async fn read(&self, mut response: Response) -> Result<Answer, FetchError> {
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
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failed(&error))?
        {
            if answer.body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(self.named(FetchError::new(
                    FailureKind::Malformed,
                    "answered with more than 256 KiB, which no token answer has; \
                     is this address a token endpoint?",
                )));
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    /// What is said when an attempt takes too long.
    pub fn too_late(&self) -> FetchError {
        self.named(FetchError::new(
            FailureKind::Unavailable,
            format!(
                "did not answer within {:?}; check whether the provider is up",
                self.timeout
            ),
        ))
    }

    fn failed(&self, error: &reqwest::Error) -> FetchError {
        if error.is_timeout() {
            return self.too_late();
        }
        let cause = innermost(error);
        let message = if error.is_connect() {
            format!("cannot be reached: {cause}; {}", advice(&cause))
        } else {
            format!("gave no usable answer: {cause}")
        };
        self.named(FetchError::new(FailureKind::Unavailable, message))
    }
}

fn advice(cause: &str) -> &'static str {
    if let Some(advice) = tls::advice(cause) {
        advice
    } else if cause.contains("Too many open files") {
        "raise the limit of open files (ulimit -n, LimitNOFILE)"
    } else {
        "check token_endpoint, the DNS, and whether the provider is up"
    }
}

/// The outer errors repeat what the message says already; the innermost one is the news.
fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Token answers have a few kilobytes. The rest is room for providers that put a whole profile
/// beside the token.
const LARGEST_ANSWER: usize = 256 * 1024;
