//! A token that someone else renews, such as the one that Kubernetes projects into a pod.

use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::secret::Secret;
use super::watch::WatchedFiles;
use super::{AnswerSettings, token_response};
use crate::token::source::{
    Changed, FailureKind, FetchError, FetchFuture, FetchedToken, TokenSource,
};

/// Reads the token from its file, again whenever that changes.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    answer: AnswerSettings,
    scheme: String,
    watched: WatchedFiles,
}

impl TokenFile {
    pub(super) fn new(path: PathBuf, answer: AnswerSettings, scheme: String) -> Self {
        Self {
            watched: WatchedFiles::new(vec![path.clone()]),
            path,
            answer,
            scheme,
        }
    }

    async fn read(&self) -> Result<FetchedToken, FetchError> {
        self.watched.look().await;
        let text = Secret::File(self.path.clone()).read().await;
        let text = text.map_err(|error| {
            FetchError::new(
                FailureKind::Misconfigured,
                format!("the token file {error}; have whoever renews it write a token there"),
            )
        })?;
        let bytes = text.expose_secret().as_bytes().to_vec();
        let received = token_response::read_kept(bytes, &self.answer).map_err(|error| {
            let path = self.path.display();
            FetchError::new(
                FailureKind::Misconfigured,
                format!("the token file {path} {}", error.message),
            )
        })?;
        Ok(FetchedToken {
            secret: received.secret,
            scheme: self.scheme.clone(),
            lifetime: received.lifetime,
            refresh_in: received.refresh_in,
        })
    }
}

impl TokenSource for TokenFile {
    fn fetch(&self) -> FetchFuture<'_> {
        Box::pin(self.read())
    }

    fn changed(&self) -> Changed<'_> {
        Box::pin(self.watched.change())
    }
}
