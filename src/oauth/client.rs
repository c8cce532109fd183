//! Gets tokens from a provider: signs in, refreshes, signs in again when it must.

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tracing::warn;
use url::Url;

use super::discovery::Metadata;
use super::in_time::in_time;
use super::refusal::Refusal;
use super::rotation::{self, Accepted};
use super::session::{Session, SessionError, identity};
use super::token_request::TokenRequest;
use super::token_response::ReceivedToken;
use super::transport::{Peer, Transport};
use super::verification::{Publisher, Verifier};
use super::whereabouts::{Endpoint, Whereabouts};
use super::{AnswerSettings, Grant, ProviderSettings, token_request, token_response};
use crate::store::Entry;
use crate::token::schedule::{self, Promptness};
use crate::token::source::{
    Changed, FailureKind, FetchError, FetchFuture, FetchedToken, Occasion, TokenSource,
};
use crate::watch::WatchedFiles;

/// The client of one provider, for one credential.
#[derive(Debug)]
pub(super) struct Client {
    credential: String,
    pub(super) provider: ProviderSettings,
    pub(super) answer: AnswerSettings,
    scheme: String,
    pub(super) transport: Transport,
    endpoint: Endpoint,
    session: Session,
    verifier: Option<Verifier>,
    accepted: Accepted,
    secrets: WatchedFiles,
    /// The last attempt failed, or all but failed, for a reason that another secret may mend.
    awaits_secrets: Cell<bool>,
    /// How long it took to get the last tokens.
    promptness: Cell<Promptness>,
    /// When the attempt that is under way is given up.
    end: Cell<Instant>,
}

impl Client {
    pub(super) fn new(
        credential: String,
        provider: ProviderSettings,
        answer: AnswerSettings,
        scheme: String,
        shared: Option<Rc<Entry>>,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            transport: Transport::new(&provider.transport)?,
            endpoint: Endpoint::new(&provider.endpoint),
            session: Session::new(credential.clone(), provider.session_file.clone(), shared),
            credential,
            verifier: provider.verification.clone().map(Verifier::new),
            accepted: Accepted::default(),
            secrets: WatchedFiles::new(rotation::secret_files(&provider)),
            awaits_secrets: Cell::new(false),
            promptness: Cell::default(),
            end: Cell::new(Instant::now()),
            provider,
            answer,
            scheme,
        })
    }

    async fn attempt(&self) -> Result<FetchedToken, FetchError> {
        let whereabouts = self.locate().await?;
        let keys = self.keys(&whereabouts.publisher).await?;
        let (received, refused_secret) = self.obtain(&whereabouts.token_endpoint).await?;
        let fetched = self.accept(received, keys, &whereabouts).await?;
        Ok(FetchedToken {
            refused_secret,
            ..fetched
        })
    }

    /// Takes a token that was got in another way than by asking alone.
    pub(super) async fn take(&self, received: ReceivedToken) -> Result<FetchedToken, FetchError> {
        let whereabouts = self.locate().await?;
        let keys = self.keys(&whereabouts.publisher).await?;
        self.accept(received, keys, &whereabouts).await
    }

    async fn keys(&self, publisher: &Publisher) -> Result<Option<JwkSet>, FetchError> {
        match &self.verifier {
            Some(verifier) => Ok(Some(verifier.keys(publisher, &self.transport).await?)),
            None => Ok(None),
        }
    }

    async fn accept(
        &self,
        received: ReceivedToken,
        keys: Option<JwkSet>,
        whereabouts: &Whereabouts,
    ) -> Result<FetchedToken, FetchError> {
        if let Some((verifier, keys)) = self.verifier.as_ref().zip(keys) {
            let token = received.secret.expose_secret();
            let publisher = &whereabouts.publisher;
            let verified = verifier.verify(token, &keys, publisher, &self.transport);
            let peer = Peer::token_endpoint(&whereabouts.token_endpoint);
            verified.await.map_err(|error| peer.named(error))?;
        }
        Ok(received.sent_as(&self.scheme))
    }

    /// What the provider says about itself, if it is asked.
    pub(super) async fn metadata(&self) -> Result<Option<Metadata>, FetchError> {
        self.endpoint.metadata(&self.transport).await
    }

    /// Where tokens are asked for at this moment.
    pub(super) async fn token_endpoint(&self) -> Result<Url, FetchError> {
        Ok(self.locate().await?.token_endpoint)
    }

    async fn locate(&self) -> Result<Whereabouts, FetchError> {
        let client = &self.provider.client_authentication;
        self.endpoint.locate(&self.transport, client).await
    }

    /// With the secrets as they are; while the provider refuses these, or they are not there, with those
    /// before them. Then why that was so comes with the token.
    async fn obtain(&self, endpoint: &Url) -> Result<(ReceivedToken, Option<String>), FetchError> {
        let current = rotation::with_values(&self.provider).await;
        let mut refusal = match self.ask(&current, endpoint).await {
            Ok(received) => {
                self.accepted.remember(current);
                return Ok((received, None));
            }
            Err(error) if error.kind != FailureKind::Refused && !error.unasked => {
                return Err(error);
            }
            Err(refusal) => refusal,
        };
        for before in self.accepted.before(&current).await {
            match self.ask(&before, endpoint).await {
                Ok(received) => {
                    self.accepted.remember(before);
                    return Ok((received, Some(refusal.to_string())));
                }
                Err(error) if error.kind == FailureKind::Refused => self.accepted.forget(),
                Err(_) => {}
            }
            refusal
                .message
                .push_str(", and the secret before it is not taken either");
        }
        Err(refusal)
    }

    /// By the refresh token if there is one, else by signing in.
    async fn ask(
        &self,
        provider: &ProviderSettings,
        endpoint: &Url,
    ) -> Result<ReceivedToken, FetchError> {
        let grant = &provider.grant;
        if !grant.keeps_session() {
            let request = token_request::sign_in(provider, endpoint).await?;
            return self.call(&request).await.map_err(|refusal| refusal.error);
        }
        let secret = match grant.session_secret() {
            Some(secret) => Some(secret.read().await.map_err(misconfigured)?),
            None => None,
        };
        let identity = identity(provider, secret.as_ref());
        if let Some(kept) = self.kept(grant, &identity).await? {
            let request = token_request::refresh(provider, endpoint, &kept).await?;
            match self.call_in_session(&identity, &request).await {
                Err(refusal) if self.is_over(&kept, &refusal) => {
                    self.session.forget(&kept, &refusal.error).await;
                }
                outcome => return outcome.map_err(|refusal| refusal.error),
            }
        }
        let request = token_request::sign_in(provider, endpoint).await;
        let request = request.map_err(|error| match grant {
            Grant::Login(_) => self.nobody_logged_in(error),
            _ => error,
        })?;
        let outcome = self.call_in_session(&identity, &request).await;
        outcome.map_err(|refusal| refusal.error)
    }

    /// The refresh token at hand, if there is one.
    async fn kept(
        &self,
        grant: &Grant,
        identity: &str,
    ) -> Result<Option<SecretString>, FetchError> {
        let is_the_only_way = !grant.can_sign_in_again();
        match self.session.refresh_token(identity, is_the_only_way).await {
            Err(error) if !is_the_only_way => {
                warn!(credential = self.credential, "{error}; signing in anew");
                Ok(None)
            }
            kept => kept.map_err(no_session),
        }
    }

    /// Whether it is time to give the refresh token up. A client that is refused, as while its secret is
    /// replaced, has not heard anything of its session.
    ///
    /// Where another sign-in costs a request, the provider's word is enough. Where it takes a person, or
    /// only a refresh token is left that was used before, a provider may be mistaken for a while: one
    /// of its replicas may not know yet what another has handed out, and who shows a used refresh token
    /// ends the session with providers that look for reuse.
    fn is_over(&self, kept: &SecretString, refusal: &Refusal) -> bool {
        let refused_for_long = |least| self.session.refused_for_long(kept, least);
        if !self.provider.grant.can_sign_in_again() {
            return refusal.of_the_grant && refused_for_long(LONGEST_MISTAKE);
        }
        // Not every provider has a word for a refresh token that is over.
        let is_unclear = refusal.error.kind == FailureKind::Refused && !refusal.of_the_client;
        refusal.of_the_grant || (is_unclear && refused_for_long(Duration::ZERO))
    }

    /// What the provider said at the end of a session tells more than that there is none.
    fn nobody_logged_in(&self, mut error: FetchError) -> FetchError {
        if let Some(said) = self.session.why_ended() {
            error.message = format!("cannot ask for a token: the session is over: {said}");
        }
        error.advise(format!("run `gatepass login {}`", self.credential))
    }

    /// Sends a request and keeps the refresh token that comes back, whatever else is wrong with the
    /// answer: the one before may be used up. An answer without one leaves the one before in force
    /// (RFC 6749 §6).
    async fn call_in_session(
        &self,
        identity: &str,
        request: &TokenRequest,
    ) -> Result<ReceivedToken, Refusal> {
        let outcome = self.call(request).await;
        let refresh_token = match &outcome {
            Ok(received) => &received.refresh_token,
            Err(refusal) => &refusal.refresh_token,
        };
        if outcome.is_ok() {
            self.session.has_worked();
        }
        if let Some(refresh_token) = refresh_token {
            // The provider has answered: what the disk needs does not count against it.
            let limit = self.provider.transport.timeout / 2;
            self.end.set(self.end.get() + limit);
            let keep = self.session.keep(identity, refresh_token.clone(), limit);
            keep.await;
        }
        outcome
    }

    /// The HTTP client has the same limit for each of its calls. This one covers all of them and the
    /// rest: a secret file on a file system that has gone away may never be read.
    async fn in_time(
        &self,
        attempt: impl Future<Output = Result<FetchedToken, FetchError>>,
    ) -> Result<FetchedToken, FetchError> {
        self.end
            .set(Instant::now() + self.provider.transport.timeout);
        let mut attempt = pin!(attempt);
        loop {
            let end = self.end.get();
            match in_time(end, attempt.as_mut()).await {
                Some(outcome) => return outcome,
                None if self.end.get() == end => return Err(self.transport.too_late()),
                None => {}
            }
        }
    }

    /// Has the next token asked for so early that it is there in time, whatever the provider takes.
    fn leave_room(&self, mut fetched: FetchedToken, took: Duration) -> FetchedToken {
        let promptness = self.promptness.get().after(took);
        self.promptness.set(promptness);
        let takes = promptness.expected();
        let latest = schedule::latest_where_asking_takes(takes, fetched.lifetime);
        fetched.refresh_in = Some(fetched.refresh_in.map_or(latest, |wish| wish.min(latest)));
        fetched
    }

    async fn call(&self, request: &TokenRequest) -> Result<ReceivedToken, Refusal> {
        let peer = Peer::token_endpoint(&request.url);
        let answer = self.transport.post(&peer, request).await;
        let (grant, confidential) = (&self.provider.grant, &request.confidential);
        let outcome = match answer {
            Err(error) => Err(Refusal::new(error)),
            Ok(answer) => token_response::read(&answer, &self.answer, grant, confidential).map_err(
                |refusal| Refusal {
                    error: peer.named(refusal.error),
                    ..refusal
                },
            ),
        };
        if let Err(refusal) = &outcome
            && let FailureKind::Unavailable | FailureKind::Misconfigured = refusal.error.kind
        {
            self.endpoint.doubt();
        }
        outcome
    }
}

/// A file can be mended here; a store comes back by itself.
fn no_session(error: SessionError) -> FetchError {
    match error {
        SessionError::File(error) => misconfigured(error),
        SessionError::Store(error) => {
            FailureKind::Unavailable.because(format!("cannot ask for a token: {error}"))
        }
    }
}

fn misconfigured(error: impl std::fmt::Display) -> FetchError {
    FailureKind::Misconfigured
        .because(format!("cannot ask for a token: {error}"))
        .before_asking()
}

impl TokenSource for Client {
    fn fetch(&self, _: Occasion) -> FetchFuture<'_> {
        Box::pin(async {
            self.transport.begin();
            let attempt = async {
                self.secrets.look().await;
                self.attempt().await
            };
            let began = Instant::now();
            let outcome = self.in_time(attempt).await;
            let outcome = outcome.map(|fetched| self.leave_room(fetched, began.elapsed()));
            self.awaits_secrets.set(match &outcome {
                Ok(fetched) => fetched.refused_secret.is_some(),
                Err(error) => matches!(
                    error.kind,
                    FailureKind::Refused | FailureKind::Misconfigured
                ),
            });
            outcome
        })
    }

    fn changed(&self) -> Changed<'_> {
        Box::pin(async {
            let secrets_change = self.secrets.change();
            let catching_up = async {
                self.session.catch_up().await;
                pending().await
            };
            tokio::select! {
                () = secrets_change, if self.awaits_secrets.get() => {
                    Some("a file has changed that a token is got with")
                }
                never = catching_up => never,
            }
        })
    }

    fn must_finish(&self) -> bool {
        self.provider.grant.keeps_session()
    }
}

/// For how long a provider may call a refresh token invalid that is good. Most tokens have as much left
/// to live when they are refreshed.
const LONGEST_MISTAKE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
