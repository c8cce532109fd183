//! The refresh token between two sign-ins: where it is, and when it is given up.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use tracing::{info, warn};

use super::grant::Grant;
use super::{EndpointSettings, ProviderSettings};
use crate::store::{SavedSession, SessionFile};

/// What a credential has of a session with its provider.
#[derive(Debug)]
pub(super) struct Session {
    credential: String,
    file: Option<SessionFile>,
    loaded: Cell<bool>,
    current: RefCell<Option<SavedSession>>,
}

impl Session {
    pub(super) fn new(credential: String, file: Option<PathBuf>) -> Self {
        Self {
            credential,
            file: file.map(SessionFile::new),
            loaded: Cell::new(false),
            current: RefCell::default(),
        }
    }

    /// The refresh token at hand, if it belongs to this identity.
    pub(super) async fn refresh_token(&self, identity: &str) -> Option<SecretString> {
        if !self.loaded.replace(true)
            && let Some(file) = &self.file
        {
            match file.load().await {
                Ok(saved) => drop(self.current.replace(saved)),
                Err(error) => warn!(
                    credential = self.credential,
                    "{error}; gatepass signs in anew"
                ),
            }
        }
        let current = self.current.borrow();
        let saved = current.as_ref().filter(|saved| saved.identity == identity);
        saved.map(|saved| saved.refresh_token.clone())
    }

    /// Keeps a refresh token, before the access token that came with it is used: the provider may
    /// count the one before as used up from now on.
    ///
    /// In memory it is kept in any case. That a disk is full costs the session at the next start,
    /// and no request now.
    pub(super) async fn keep(&self, identity: &str, refresh_token: SecretString) {
        let session = SavedSession {
            identity: identity.to_owned(),
            refresh_token,
        };
        let known = self.current.replace(Some(session.clone()));
        let is_new = known.is_none_or(|known| {
            known.refresh_token.expose_secret() != session.refresh_token.expose_secret()
                || known.identity != session.identity
        });
        if let Some(file) = &self.file
            && is_new
            && let Err(error) = file.save(session).await
        {
            warn!(
                credential = self.credential,
                "{error}; the session goes on, and ends with this process"
            );
        }
    }

    /// Gives up a refresh token that the provider refused. What is in the file stays until there is
    /// another: it is refused again at the next start, no more.
    pub(super) fn forget(&self) {
        info!(
            credential = self.credential,
            "the provider takes the refresh token no longer: signing in again"
        );
        self.current.replace(None);
    }
}

/// Tells sessions apart by all that decides whose they are. A secret may be part of it (the first
/// refresh token), so it is a digest.
pub(super) fn identity(provider: &ProviderSettings, first: Option<&SecretString>) -> String {
    let endpoint = match &provider.endpoint {
        EndpointSettings::At(url) | EndpointSettings::OfIssuer(url) => url.as_str(),
    };
    let first = first.map_or("", |first| first.expose_secret());
    let client_id = provider.client_id.as_deref().unwrap_or_default();
    let parts = [endpoint, client_id, provider.grant.user(), first];
    // JSON keeps the parts apart, whatever they are made of.
    let whole = serde_json::Value::from(parts.as_slice()).to_string();
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, whole.as_bytes()))
}

impl Grant {
    /// The refresh token that the configuration brings along.
    pub(super) fn first_refresh_token(&self) -> Option<&super::Secret> {
        match self {
            Self::RefreshToken { first } => Some(first),
            _ => None,
        }
    }
}
