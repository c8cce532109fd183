//! The refresh token between two sign-ins: where it is, and when it is given up.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::ProviderSettings;
use super::sharing::digest_of;
use crate::store::{
    Entry, HeldSession, SavedSession, SessionFile, SessionFileError, StoreError, is_same,
};
use crate::token::source::FetchError;

/// What a credential has of a session with its provider.
#[derive(Debug)]
pub(super) struct Session {
    credential: String,
    keeper: Keeper,
    /// What the keeper says has been taken into account.
    loaded: Cell<bool>,
    current: RefCell<Option<HeldSession>>,
    /// The refresh token that was taken from the store last.
    taken: RefCell<Option<SecretString>>,
    /// The refresh token that was refused last, and how often in a row.
    refused: RefCell<Option<Refused>>,
    /// What the provider said at the end of a session, until there is another.
    ended: RefCell<Option<String>>,
}

/// A refresh token that was refused, and may be good all the same.
#[derive(Debug)]
struct Refused {
    refresh_token: SecretString,
    times: u32,
    since: Instant,
}

/// What has the refresh token beside the memory of this process.
#[derive(Debug)]
enum Keeper {
    Nothing,
    File(SessionFile),
    /// Others use it as well, one after the other.
    Store(Rc<Entry>),
}

/// Why the refresh token is not to be had, or not to be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    File(#[from] SessionFileError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Session {
    pub(super) fn new(
        credential: String,
        file: Option<PathBuf>,
        shared: Option<Rc<Entry>>,
    ) -> Self {
        let keeper = match (shared, file) {
            (Some(entry), _) => Keeper::Store(entry),
            (None, Some(file)) => Keeper::File(SessionFile::new(file)),
            (None, None) => Keeper::Nothing,
        };
        Self {
            credential,
            keeper,
            loaded: Cell::new(false),
            current: RefCell::default(),
            taken: RefCell::default(),
            refused: RefCell::default(),
            ended: RefCell::default(),
        }
    }

    /// The refresh token at hand, if it belongs to this identity. One that another replica may have
    /// used up is at hand only if it `is_the_only_way`.
    ///
    /// # Errors
    ///
    /// What the keeper says cannot be told yet.
    pub(super) async fn refresh_token(
        &self,
        identity: &str,
        is_the_only_way: bool,
    ) -> Result<Option<SecretString>, SessionError> {
        match &self.keeper {
            // Asked each time: others change it.
            Keeper::Store(entry) => {
                let held = self.current.borrow().clone();
                let taken = entry.take_session(identity, is_the_only_way, held.as_ref());
                let taken = taken.await?;
                if let Some(taken) = &taken {
                    self.has_taken(taken);
                }
                return Ok(taken);
            }
            Keeper::File(file) if !self.loaded.get() => {
                let saved = file.load().await?;
                self.loaded.set(true);
                self.current.replace(saved.map(|session| HeldSession {
                    session,
                    follows: None,
                    is_kept: true,
                }));
            }
            Keeper::File(_) | Keeper::Nothing => {}
        }
        let current = self.current.borrow();
        let current = current.as_ref().map(|held| &held.session);
        let own = current.filter(|session| session.identity == identity);
        Ok(own.map(|session| session.refresh_token.clone()))
    }

    /// Notes what stands in the store. What is held is either that, or of the past.
    fn has_taken(&self, taken: &SecretString) {
        let mut current = self.current.borrow_mut();
        let is_held = |held: &HeldSession| is_same(&held.session.refresh_token, taken);
        *current = current.take().filter(is_held).map(HeldSession::kept);
        self.taken.replace(Some(taken.clone()));
    }

    /// Keeps a refresh token, before the access token that came with it is used: the provider may
    /// count the one before as used up from now on.
    ///
    /// In memory it is kept in any case. That a disk is full, or hangs for longer than the limit,
    /// costs the session at the next start, and no request now.
    pub(super) async fn keep(&self, identity: &str, refresh_token: SecretString, limit: Duration) {
        let session = SavedSession {
            identity: identity.to_owned(),
            refresh_token,
        };
        self.loaded.set(true);
        self.has_worked();
        let known = self.current.take();
        let held = known.filter(|known| known.session.is_same_as(&session));
        let held = held.unwrap_or_else(|| HeldSession {
            session: session.clone(),
            follows: self.used_up_for(&session.refresh_token),
            is_kept: false,
        });
        let is_kept = held.is_kept;
        self.current.replace(Some(held));
        if is_kept {
            return;
        }
        let saved = timeout(limit, self.save(session)).await;
        match saved.unwrap_or_else(|_| self.hangs(limit)) {
            Ok(()) => self.note_kept(),
            Err(error @ SessionError::File(_)) => warn!(
                credential = self.credential,
                "{error}; the session goes on, and ends with this process"
            ),
            Err(error @ SessionError::Store(_)) => warn!(
                credential = self.credential,
                "{error}; until the store has the new refresh token, no other replica can go on with \
                 this session, nor can this one once it is started again"
            ),
        }
    }

    /// What stands in the store, if this one has come for it; some providers hand out the same again.
    fn used_up_for(&self, refresh_token: &SecretString) -> Option<SecretString> {
        let taken = self.taken.borrow().clone();
        taken.filter(|taken| !is_same(taken, refresh_token))
    }

    fn note_kept(&self) {
        let held = self.current.take();
        self.current.replace(held.map(HeldSession::kept));
    }

    async fn save(&self, session: SavedSession) -> Result<(), SessionError> {
        let entry = match &self.keeper {
            Keeper::Nothing => return Ok(()),
            Keeper::File(file) => return Ok(file.save(session).await?),
            Keeper::Store(entry) => entry,
        };
        // The one before may be used up, and the others know no other.
        for attempt in 1..STORE_TRIES {
            match entry.keep_session(session.clone()).await {
                Err(
                    StoreError::TooLate(_) | StoreError::Unavailable(_) | StoreError::Directory(_),
                ) => {}
                kept => return Ok(kept?),
            }
            // One that refuses connections, as while it starts again, says so at once.
            sleep(STORE_PAUSE * attempt).await;
        }
        Ok(entry.keep_session(session).await?)
    }

    fn hangs(&self, limit: Duration) -> Result<(), SessionError> {
        match &self.keeper {
            Keeper::Nothing => Ok(()),
            Keeper::File(file) => Err(file.hangs(limit).into()),
            Keeper::Store(_) => Err(StoreError::TooLate(limit).into()),
        }
    }

    /// Goes on with that between two attempts, until the store has it or another one.
    pub(super) async fn catch_up(&self) {
        let Keeper::Store(entry) = &self.keeper else {
            return;
        };
        while let Some(held) = self.unkept() {
            sleep(NEXT_TRY).await;
            match entry.catch_up(&held).await {
                Ok(true) => {
                    self.note_kept();
                    info!(
                        credential = self.credential,
                        "the store has the refresh token now: others can go on with this session"
                    );
                }
                Ok(false) => drop(self.current.take()),
                // That the store is no help has been said where it was found.
                Err(_) => {}
            }
        }
    }

    fn unkept(&self) -> Option<HeldSession> {
        let held = self.current.borrow().clone();
        held.filter(|held| !held.is_kept)
    }

    /// Gives up a refresh token that the provider takes no longer. What is in a file stays until
    /// there is another: it is refused again at the next start, no more. Of a store, others would
    /// take it.
    pub(super) async fn forget(&self, refused: &SecretString, refusal: &FetchError) {
        let said = &refusal.message;
        info!(
            credential = self.credential,
            "the provider takes the refresh token no longer, and it is given up: {said}"
        );
        self.ended.replace(Some(said.clone()));
        self.current.replace(None);
        self.refused.replace(None);
        if let Keeper::Store(entry) = &self.keeper
            && let Err(error) = entry.forget_session(refused).await
        {
            warn!(credential = self.credential, "{error}");
        }
    }

    /// Notes that the provider has handed out a token: what it refused before, it did not mean.
    pub(super) fn has_worked(&self) {
        self.refused.replace(None);
        self.ended.replace(None);
    }

    /// What the provider said at the end of the last session, if there is none since.
    pub(super) fn why_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Notes that this refresh token was refused, for a reason that may pass. `true` if that has
    /// lasted, for so long at least. Another that has come meanwhile, from a replica or from a person
    /// who has logged in, begins anew.
    pub(super) fn refused_for_long(&self, refresh_token: &SecretString, least: Duration) -> bool {
        let mut refused = self.refused.borrow_mut();
        let before = refused.take();
        let before = before.filter(|before| is_same(&before.refresh_token, refresh_token));
        let now = Instant::now();
        let (times, since) = before.map_or((1, now), |before| (before.times + 1, before.since));
        *refused = Some(Refused {
            refresh_token: refresh_token.clone(),
            times,
            since,
        });
        times >= PATIENCE && now - since >= least
    }
}

/// Tells sessions apart by all that decides whose they are and what they are good for. A secret may
/// be part of it, so it is a digest.
pub(super) fn identity(provider: &ProviderSettings, secret: Option<&SecretString>) -> String {
    let request = &provider.request;
    let whole = json!([
        provider.endpoint.address().as_str(),
        provider.client_id,
        provider.grant.user(),
        request.scope,
        request.audience,
        request.resource,
        secret.map(ExposeSecret::expose_secret),
    ]);
    digest_of(&whole)
}

/// How often a store is asked to keep what would be lost.
const STORE_TRIES: u32 = 3;

/// How long it is left alone after the first of them.
const STORE_PAUSE: Duration = Duration::from_millis(250);

/// How long it is left alone after the last of them, again and again.
const NEXT_TRY: Duration = Duration::from_secs(2);

/// How many refusals are taken for one that lasts.
const PATIENCE: u32 = 3;

#[cfg(test)]
mod tests;
