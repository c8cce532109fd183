//! A session that replicas share: whose refresh token it is to use, and what a login brings.

use secrecy::SecretString;

use super::{Change, Entry};
use crate::store::record::StoredSession;
use crate::store::{SavedSession, StoreError};
use crate::token::source::FetchedToken;

impl Entry {
    /// The refresh token that is there for this replica to use, marked so that no other uses it as
    /// well. One that another has begun to use, and has not come back from, is left alone unless
    /// it `is_the_only_way`.
    ///
    /// # Errors
    ///
    /// The store does not answer, or it is not this replica's turn.
    pub async fn take_session(
        &self,
        identity: &str,
        is_the_only_way: bool,
    ) -> Result<Option<SecretString>, StoreError> {
        let turn = self.turn.get().ok_or(StoreError::NotHeld)?;
        let taken = self.update(|record, _| {
            if !record.is_turn(turn) {
                return Change::Leave(Err(StoreError::NotHeld));
            }
            let own = record.session.as_mut();
            let Some(own) = own.filter(|session| session.saved.identity == identity) else {
                return Change::Leave(Ok(None));
            };
            let doubtful = own.taken_by.as_deref().is_some_and(|by| by != self.replica);
            if doubtful && !is_the_only_way {
                return Change::Leave(Ok(None));
            }
            own.taken_by = Some(self.replica.clone());
            Change::Write {
                outcome: Ok(Some(own.saved.refresh_token.clone())),
                is_news: false,
            }
        });
        taken.await?
    }

    /// Keeps a refresh token for whoever comes next.
    ///
    /// # Errors
    ///
    /// The store does not answer, or another's turn has begun.
    pub async fn keep_session(&self, session: SavedSession) -> Result<(), StoreError> {
        let turn = self.turn.get().ok_or(StoreError::NotHeld)?;
        let kept = self.update(|record, _| {
            if !record.is_turn(turn) {
                return Change::Leave(Err(StoreError::NotHeld));
            }
            record.session = Some(StoredSession {
                saved: session.clone(),
                taken_by: None,
            });
            Change::Write {
                outcome: Ok(()),
                is_news: false,
            }
        });
        kept.await?
    }

    /// Whether it can be written.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn check(&self) -> Result<(), StoreError> {
        let checked = self.update(|_, _| Change::Write {
            outcome: (),
            is_news: false,
        });
        checked.await
    }

    /// Puts what somebody has logged in with in the place of what is there, whoever's turn it is.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn adopt(
        &self,
        token: &FetchedToken,
        session: Option<SavedSession>,
    ) -> Result<(), StoreError> {
        let adopted = self.update(|record, now| {
            record.adopt(&self.replica, token, session.clone(), now);
            Change::Write {
                outcome: (),
                is_news: true,
            }
        });
        adopted.await
    }

    /// Takes out token and session, whoever's turn it is; returns the refresh token that was there.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn clear(&self) -> Result<Option<SecretString>, StoreError> {
        let cleared = self.update(|record, _| {
            let session = record.session.as_ref();
            let outcome = session.map(|session| session.saved.refresh_token.clone());
            record.clear();
            Change::Write {
                outcome,
                is_news: true,
            }
        });
        cleared.await
    }

    /// Takes away a refresh token that the provider takes no longer.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn forget_session(&self) -> Result<(), StoreError> {
        let Some(turn) = self.turn.get() else {
            return Ok(());
        };
        let forgotten = self.update(|record, _| {
            if !record.is_turn(turn) || record.session.take().is_none() {
                return Change::Leave(());
            }
            Change::Write {
                outcome: (),
                is_news: false,
            }
        });
        forgotten.await
    }
}
