//! A session that replicas share: whose refresh token it is to use, and what a login brings.

use secrecy::SecretString;

use super::{Change, Entry};
use crate::store::record::StoredSession;
use crate::store::{SavedSession, StoreError, is_same};
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
        let is_used_up = |used_up: &SecretString| is_same(used_up, &before.refresh_token);
        self.session.identity == before.identity && self.follows.as_ref().is_some_and(is_used_up)
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
            let is_over = |there: &mut StoredSession| is_same(&there.saved.refresh_token, refused);
            if !record.is_turn(turn) || record.session.take_if(is_over).is_none() {
                return Change::Leave(());
            }
            Change::Write(())
        });
        forgotten.await
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use prometheus::Registry;
    use secrecy::ExposeSecret;
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::store::record::{Claim, Claimant};
    use crate::store::{Memory, Seal, StoresMetrics};

    const TURN: Duration = Duration::from_secs(3);

    fn replicas() -> [Entry; 2] {
        let store = Rc::new(Memory::new());
        let metrics = StoresMetrics::register(&Registry::new()).unwrap();
        [(); 2].map(|()| {
            let metrics = metrics.for_credential("a", None);
            Entry::new(store.clone(), Seal::Clear, TURN, "a".into(), "id", metrics)
        })
    }

    async fn take_turn(entry: &Entry) {
        let claimed = entry.update(|record, now| {
            let claimant = Claimant {
                name: entry.replica(),
                known: 0,
                lease: TURN,
                overrides_rest: true,
                per_hour: None,
                cannot_wait: true,
            };
            Change::Write(record.claim(&claimant, now))
        });
        let Claim::Granted(turn) = claimed.await.unwrap() else {
            panic!("it is nobody else's");
        };
        entry.has_turn(Some(turn.generation));
    }

    fn saved(refresh_token: &str) -> SavedSession {
        SavedSession {
            identity: "user".into(),
            refresh_token: refresh_token.into(),
        }
    }

    async fn taken(entry: &Entry) -> Option<String> {
        let taken = entry.take_session("user", true, None).await.unwrap();
        taken.map(|taken| taken.expose_secret().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_lost_its_turn_touches_no_session() {
        let [stalled, other] = replicas();
        take_turn(&stalled).await;
        stalled.keep_session(saved("refresh-1")).await.unwrap();
        advance(TURN).await;
        take_turn(&other).await;
        let taken_late = stalled.take_session("user", true, None).await;
        assert_eq!(taken_late.unwrap_err(), StoreError::NotHeld);
        let kept_late = stalled.keep_session(saved("refresh-9")).await;
        assert_eq!(kept_late.unwrap_err(), StoreError::NotHeld);
        assert!(stalled.owes_session());
        stalled.forget_session(&"refresh-1".into()).await.unwrap();
        assert_eq!(taken(&other).await.as_deref(), Some("refresh-1"));

        other.keep_session(saved("refresh-2")).await.unwrap();
        assert!(!other.owes_session());
        other.forget_session(&"refresh-1".into()).await.unwrap();
        assert_eq!(taken(&other).await.as_deref(), Some("refresh-2"));
        other.forget_session(&"refresh-2".into()).await.unwrap();
        assert_eq!(taken(&other).await, None);
    }

    /// Those who run use the session of the login at once, and theirs no more after a logout.
    #[tokio::test(start_paused = true)]
    async fn a_login_is_news_and_so_is_its_end() {
        let [person, running] = replicas();
        let token = FetchedToken::fresh("token", Duration::from_secs(3_600));
        let hears = || timeout(TURN, running.news());
        let logs_in = person.adopt(&token, Some(saved("refresh-1")));
        let (heard, adopted) = tokio::join!(hears(), logs_in);
        heard.unwrap();
        adopted.unwrap();
        let (heard, cleared) = tokio::join!(hears(), person.clear());
        heard.unwrap();
        assert_eq!(cleared.unwrap().unwrap().expose_secret(), "refresh-1");
        let held = HeldSession {
            session: saved("refresh-2"),
            follows: Some("refresh-1".into()),
            is_kept: false,
        };
        assert!(!running.catch_up(&held).await.unwrap());
        take_turn(&running).await;
        assert_eq!(taken(&running).await, None);
    }
}
