//! A login on another device (RFC 8628), for machines without a browser.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;

use super::super::grant::DEVICE_CODE;
use super::super::token_request;
use super::super::token_response::{self, clean, duration};
use super::super::transport::Peer;
use super::{Login, Outcome};
use crate::token::source::{FailureKind, FetchError};
use crate::wording::Confidential;

/// What a person is told, and what the provider is asked with meanwhile.
pub struct DeviceAuthorization {
    /// What to type in there.
    pub user_code: String,
    /// Where to go.
    pub verification_uri: String,
    /// The same with the code in it, if there is such an address.
    pub verification_uri_complete: Option<String>,
    /// How long there is for it.
    pub lifetime: Duration,
    device_code: SecretString,
    interval: Duration,
    begun: Instant,
}

/// RFC 8628 §3.2.
#[derive(Deserialize)]
struct Begun {
    device_code: SecretString,
    user_code: String,
    verification_uri: Option<String>,
    /// What Google calls it.
    verification_url: Option<String>,
    verification_uri_complete: Option<String>,
    expires_in: Value,
    interval: Option<Value>,
}

impl Login {
    pub(super) async fn device_endpoint(&self) -> Result<Url, FetchError> {
        if let Some(url) = &self.settings.device_authorization_endpoint {
            return Ok(url.clone());
        }
        let metadata = self.client.metadata().await?;
        let known = metadata.and_then(|of| of.device_authorization_endpoint());
        known.ok_or_else(|| {
            FailureKind::Misconfigured
                .because("the provider does not say where logins on other devices begin")
                .advise("set device_authorization_endpoint, or log in with a browser")
        })
    }

    /// Begins a login on another device.
    ///
    /// # Errors
    ///
    /// Nobody says where, or the provider refuses.
    pub async fn begin_on_device(&self) -> Result<DeviceAuthorization, FetchError> {
        let endpoint = self.device_endpoint().await?;
        let request = &self.provider().request;
        let mut parameters = Vec::new();
        for (name, value) in [("scope", &request.scope), ("audience", &request.audience)] {
            parameters.extend(value.as_deref().map(|value| (name, value)));
        }
        let resources = request.resource.iter();
        parameters.extend(resources.map(|resource| ("resource", resource.as_str())));
        let request =
            token_request::with_parameters(self.provider(), &endpoint, &parameters, &[]).await?;
        let peer = Peer::device_authorization(&endpoint);
        let begun = Instant::now();
        let answer = self.client.transport.post(&peer, &request).await?;
        let read: Option<Begun> = serde_json::from_slice(&answer.body).ok();
        let read = read.and_then(|mut read| {
            let address = read
                .verification_uri
                .take()
                .or(read.verification_url.take());
            Some((address?, token_response::seconds(&read.expires_in)?, read))
        });
        let Some((verification_uri, expires_in, read)) = read else {
            // What it says instead is read as a refusal.
            let says_no =
                token_response::fields(&answer).is_some_and(|of| of.contains_key("error"));
            if says_no || !answer.status.is_success() {
                // Such as a 404, which is read as one of a token endpoint.
                let misplaced = |error: FetchError| match error.kind {
                    FailureKind::Misconfigured => error.advise(CHECK_ENDPOINT),
                    _ => error,
                };
                self.read(&answer, &request.confidential)
                    .map_err(misplaced)?;
            }
            let nonsense = FailureKind::Malformed
                .because("answered without a device_code")
                .advise(CHECK_ENDPOINT);
            return Err(peer.named(nonsense));
        };
        let interval = read.interval.as_ref().and_then(token_response::seconds);
        let interval = interval.and_then(duration);
        let plain = |text: &str| clean(text, &Confidential::default());
        Ok(DeviceAuthorization {
            user_code: plain(&read.user_code),
            verification_uri: plain(&verification_uri),
            verification_uri_complete: read.verification_uri_complete.as_deref().map(plain),
            lifetime: duration(expires_in).unwrap_or_default().min(LONGEST),
            device_code: read.device_code,
            interval: interval.unwrap_or(INTERVAL).clamp(SHORTEST, LONGEST),
            begun,
        })
    }

    /// Asks again and again whether the person has logged in.
    ///
    /// # Errors
    ///
    /// It was not done in time, the person or the provider said no, or what was handed out cannot be
    /// used.
    pub async fn finish_on_device(
        &self,
        device: &DeviceAuthorization,
    ) -> Result<Outcome, FetchError> {
        let mut interval = device.interval;
        let mut left_alone_for = Duration::ZERO;
        loop {
            let left = device.lifetime.saturating_sub(device.begun.elapsed());
            sleep(interval.max(left_alone_for).min(left)).await;
            left_alone_for = Duration::ZERO;
            if device.begun.elapsed() >= device.lifetime {
                return Err(too_late());
            }
            let asked = Instant::now();
            let parameters = [("grant_type", DEVICE_CODE)];
            let secrets = [("device_code", device.device_code.expose_secret())];
            let (answer, confidential) = match self.post(&parameters, &secrets).await {
                Ok(answered) => answered,
                Err(error) if passes(&error) => {
                    interval = longer(interval);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let fields = token_response::fields(&answer).unwrap_or_default();
            match fields.get("error").and_then(Value::as_str) {
                Some("authorization_pending") => {}
                // "the interval MUST be increased by 5 seconds for this and all subsequent requests"
                Some("slow_down") => interval += SLOWER,
                Some("expired_token") => return Err(too_late()),
                Some("access_denied") => {
                    let why = "consent was denied, or the person may not do this";
                    return Err(FailureKind::Refused
                        .because(why)
                        .advise("log in again, unless consent was denied on purpose"));
                }
                _ => match self.read(&answer, &confidential) {
                    Ok(received) => return self.keep(received, asked).await,
                    Err(error) if passes(&error) => {
                        interval = longer(interval);
                        left_alone_for = error.retry_after.unwrap_or_default();
                    }
                    Err(error) => return Err(error),
                },
            }
        }
    }
}

/// Whether the person may go on typing meanwhile.
fn passes(error: &FetchError) -> bool {
    matches!(
        error.kind,
        FailureKind::Unavailable | FailureKind::Throttled
    )
}

/// RFC 8628 §3.5: "On encountering a connection timeout, clients MUST unilaterally reduce their polling
/// frequency before retrying. The use of an exponential backoff algorithm to achieve this, such as
/// doubling the polling interval on each such connection timeout, is RECOMMENDED." Who answers that it
/// cannot answer has no more to do with the login.
fn longer(interval: Duration) -> Duration {
    (interval * 2).min(LONGEST_INTERVAL).max(interval)
}

fn too_late() -> FetchError {
    FailureKind::Refused
        .because("the code has run out before somebody has logged in with it")
        .advise("begin again")
}

const CHECK_ENDPOINT: &str = "check device_authorization_endpoint";

const SLOWER: Duration = Duration::from_secs(5);

/// RFC 8628 §3.2: "If no value is provided, clients MUST use 5 as the default."
const INTERVAL: Duration = Duration::from_secs(5);

const SHORTEST: Duration = Duration::from_secs(1);

const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// Nobody waits longer for a person.
const LONGEST: Duration = Duration::from_secs(3600);
