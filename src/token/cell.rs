//! Where the control plane leaves a token and the data plane finds it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::{AccessToken, Setback, TokenState};

/// Makes a credential's cell, with no token in it.
pub fn channel(credential: &str) -> (TokenWriter, TokenReader) {
    let reader = TokenReader {
        credential: credential.into(),
        state: Arc::new(ArcSwap::from_pointee(TokenState::Pending(None))),
    };
    (TokenWriter(reader.clone()), reader)
}

/// The writing end. There is one, and the credential's refresher has it.
#[derive(Debug)]
pub struct TokenWriter(TokenReader);

impl TokenWriter {
    /// Publishes a new token: requests that are sent from now on carry it.
    pub fn store(&self, token: AccessToken) {
        self.put(TokenState::Valid(token, None));
    }

    /// Takes the token away because its life is over.
    pub fn expire(&self) {
        let setback = self.current().setback().cloned();
        self.put(TokenState::Expired(setback));
    }

    /// Tells readers of a failure. A token that is still valid stays: a failed refresh takes
    /// nothing from the requests.
    pub fn record_setback(&self, setback: Setback) {
        let setback = Some(setback);
        let state = match &**self.current() {
            TokenState::Pending(_) => TokenState::Pending(setback),
            TokenState::Valid(token, _) => TokenState::Valid(token.clone(), setback),
            TokenState::Expired(_) => TokenState::Expired(setback),
        };
        self.put(state);
    }

    /// What readers see.
    pub fn current(&self) -> Guard<Arc<TokenState>> {
        self.0.load()
    }

    /// The credential's name.
    pub fn credential(&self) -> &str {
        &self.0.credential
    }

    fn put(&self, state: TokenState) {
        self.0.state.store(Arc::new(state));
    }
}

/// The reading end. Clones read the same cell; reading takes no lock and no clock.
#[derive(Debug, Clone)]
pub struct TokenReader {
    credential: Arc<str>,
    state: Arc<ArcSwap<TokenState>>,
}

impl TokenReader {
    /// The state at this moment.
    pub fn load(&self) -> Guard<Arc<TokenState>> {
        self.state.load()
    }

    /// The credential's name.
    pub fn credential(&self) -> &str {
        &self.credential
    }
}
