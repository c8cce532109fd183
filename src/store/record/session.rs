//! The session that an entry holds, and what may come in its place.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::store::{HeldSession, SavedSession};

/// A session that any of them may continue, one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) struct StoredSession {
    pub(in crate::store) saved: SavedSession,
    /// Who has begun to use the refresh token and not yet said how that ended.
    pub(in crate::store) taken_by: Option<String>,
}

impl Record {
    /// Forgets all, and takes no session in again until somebody logs in.
    pub(in crate::store) fn log_out(&mut self) {
        self.clear();
        self.is_logged_out = true;
    }

    /// Keeps a session for whoever comes next.
    pub(in crate::store) fn keep(&mut self, saved: SavedSession) {
        self.is_logged_out = false;
        self.session = Some(StoredSession {
            saved,
            taken_by: None,
        });
    }

    /// Takes in what a replica holds and could not store, or what a store has lost that came back as
    /// it was before: the refresh token that stands here then is used up. `false` if nothing has
    /// changed.
    ///
    /// RFC 9700 §4.14.2 on a refresh token that is used twice: the authorization server "cannot
    /// determine which party submitted the invalid refresh token, but it will revoke the active
    /// refresh token".
    pub(in crate::store) fn catch_up(&mut self, held: &HeldSession) -> bool {
        let is_behind = match &self.session {
            Some(there) => held.has_followed(&there.saved),
            None => !held.is_kept && !self.is_logged_out,
        };
        if is_behind {
            self.keep(held.session.clone());
        }
        is_behind
    }
}
