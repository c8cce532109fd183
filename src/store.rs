//! Where a refresh token outlives the process.

mod file;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

pub use file::{SessionFile, StoreError};

/// What is kept of a session with a provider.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedSession {
    /// Whose session it is: a digest of what the configuration says about it. One that was begun
    /// with another user, client or provider is not continued.
    pub identity: String,
    /// What gets the next token.
    pub refresh_token: SecretString,
}

impl SavedSession {
    /// Whether nothing has changed.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.identity == other.identity
            && self.refresh_token.expose_secret() == other.refresh_token.expose_secret()
    }
}

/// The one place where a secret is written out on purpose.
impl Serialize for SavedSession {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            identity: &'a str,
            refresh_token: &'a str,
        }
        let written = Written {
            identity: &self.identity,
            refresh_token: self.refresh_token.expose_secret(),
        };
        written.serialize(serializer)
    }
}
