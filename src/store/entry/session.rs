//! A session that replicas share: whose refresh token it is to use, and what a login brings.

use secrecy::{ExposeSecret, SecretString};

use super::{Change, Entry};
use crate::store::record::StoredSession;
use crate::store::{SavedSession, StoreError};
use crate::token::source::FetchedToken;

/// A session as this replica has it, whatever the store says.
#[derive(Debug, Clone)]
pub struct HeldSession {
    /// The session.
    pub session: SavedSession,
    /// The refresh token that was used up for this one, if it stood in the store.
    pub follows: Option<SecretString>,
    /// The store, or the file, has it, as far as is known.
    pub is_kept: bool,
}

impl HeldSession {
    /// The same, once the store has it.
    #[must_use]
    pub fn kept(self) -> Self {
        Self {
            is_kept: true,
            ..self
        }
    }

    /// Whether it has come in the place of this one.
    pub(in crate::store) fn has_followed(&self, before: &SavedSession) -> bool {
        let used_up = self.follows.as_ref().map(ExposeSecret::expose_secret);
        self.session.identity == before.identity
            && used_up == Some(before.refresh_token.expose_secret())
    }
}

impl Entry {
    /// The refresh token that is there for this replica to use, marked so that no other uses it as
    /// well. One that another has begun to use, and has not come back from, is left alone unless
    /// it `is_the_only_way`. What this replica has `held` since goes first, if the store is behind it.
    ///
    /// # Errors
    ///
    /// The store does not answer, or it is not this replica's turn.
    pub async fn take_session(
        &self,
        identity: &str,
        is_the_only_way: bool,
        held: Option<&HeldSession>,
    ) -> Result<Option<SecretString>, StoreError> {
        let turn = self.turn.get().ok_or(StoreError::NotHeld)?;
        let taken = self.update(|record, _| {
            if !record.is_turn(turn) {
                return Change::Leave(Err(StoreError::NotHeld));
            }
            if let Some(held) = held {
                record.catch_up(held);
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
            Change::Write(Ok(Some(own.saved.refresh_token.clone())))
        });
        let taken = taken.await??;
        if taken.is_some() {
            self.owes_session.set(false);
        }
        Ok(taken)
    }

    /// Keeps a refresh token for whoever comes next.
    ///
    /// # Errors
    ///
    /// The store does not answer, or another's turn has begun.
    pub async fn keep_session(&self, session: SavedSession) -> Result<(), StoreError> {
        self.owes_session.set(true);
        let turn = self.turn.get().ok_or(StoreError::NotHeld)?;
        let kept = self.update(|record, _| {
            if !record.is_turn(turn) {
                return Change::Leave(Err(StoreError::NotHeld));
            }
            record.keep(session.clone());
            Change::Write(Ok(()))
        });
        kept.await??;
        self.owes_session.set(false);
        Ok(())
    }

    /// Does later what [`Self::keep_session`] could not do, whoever's turn it is. `false` if that is
    /// over: another session stands there, or somebody has logged out.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn catch_up(&self, held: &HeldSession) -> Result<bool, StoreError> {
        let caught_up = self.update(|record, _| match record.catch_up(held) {
            true => Change::Write(true),
            false => {
                let there = record.session.as_ref();
                Change::Leave(there.is_some_and(|there| there.saved.is_same_as(&held.session)))
            }
        });
        let is_there = caught_up.await?;
        self.owes_session.set(false);
        Ok(is_there)
    }

    /// Whether the refresh token that stands in the store is used up, as far as this replica knows.
    pub(in crate::store) fn owes_session(&self) -> bool {
        self.owes_session.get()
    }

    /// Whether it can be written.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn check(&self) -> Result<(), StoreError> {
        let checked = self.update(|_, _| Change::Write(()));
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
            Change::Announce(())
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
            record.log_out();
            Change::Announce(outcome)
        });
        cleared.await
    }

    /// Takes away a refresh token that the provider takes no longer, and not what somebody may have
    /// put in its place meanwhile.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn forget_session(&self, refused: &SecretString) -> Result<(), StoreError> {
        let Some(turn) = self.turn.get() else {
            return Ok(());
        };
        let forgotten = self.update(|record, _| {
            let refused = refused.expose_secret();
            let is_over =
                |there: &mut StoredSession| there.saved.refresh_token.expose_secret() == refused;
            if !record.is_turn(turn) || record.session.take_if(is_over).is_none() {
                return Change::Leave(());
            }
            Change::Write(())
        });
        forgotten.await
    }
}
