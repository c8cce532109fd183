//! A token that someone else renews, such as the one that Kubernetes projects into a pod.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::secret;
use super::{AnswerSettings, token_response};
use crate::runtime::Disk;
use crate::token::clock;
use crate::token::source::{
    Changed, FailureKind, FetchError, FetchFuture, FetchedToken, Occasion, TokenSource,
};
use crate::watch::WatchedFiles;

/// Reads the token from its file, again whenever that changes.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    disk: Disk,
    answer: AnswerSettings,
    scheme: String,
    watched: WatchedFiles,
}

impl TokenFile {
    pub(super) fn new(path: PathBuf, answer: AnswerSettings, scheme: String) -> Self {
        Self {
            watched: WatchedFiles::new(vec![path.clone()]),
            path,
            disk: Disk::default(),
            answer,
            scheme,
        }
    }

    async fn read(&self) -> Result<FetchedToken, FetchError> {
        self.watched.look().await;
        let read = secret::read_dated(&self.path, &self.disk).await;
        let (text, written) = read.map_err(|error| {
            FailureKind::Misconfigured
                .because(format!("the token file {error}"))
                .advise("have whoever renews it write a token there")
        })?;
        let bytes = text.expose_secret().as_bytes().to_vec();
        let age = clock::since(written);
        let received = token_response::read_kept(bytes, age, &self.answer).map_err(|error| {
            let path = self.path.display();
            FetchError {
                kind: FailureKind::Misconfigured,
                message: format!("the token file {path} {}", error.message),
                advice: error.advice.or_else(|| Some(WRITE_A_GOOD_ONE.into())),
                ..error
            }
        })?;
        Ok(received.sent_as(&self.scheme))
    }
}

impl TokenSource for TokenFile {
    fn fetch(&self, _: Occasion) -> FetchFuture<'_> {
        Box::pin(async {
            let read = timeout(LONGEST_READ, self.read()).await;
            read.unwrap_or_else(|_| {
                let path = self.path.display();
                Err(FailureKind::Misconfigured
                    .because(format!(
                        "the token file {path} could not be read within {LONGEST_READ:?}"
                    ))
                    .advise("check the file system that it is on"))
            })
        })
    }

    /// Nobody else is asked.
    fn changes_per_minute(&self) -> u32 {
        60
    }

    fn changed(&self) -> Changed<'_> {
        Box::pin(async {
            self.watched.change().await;
            Some("the token file has changed")
        })
    }
}

const WRITE_A_GOOD_ONE: &str = "have whoever writes the file write a token that is still good";

/// A disk that takes longer is one that hangs.
const LONGEST_READ: Duration = Duration::from_secs(10);
