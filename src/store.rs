//! Where a token is shared by several processes, and where a refresh token outlives its own.
//!
//! A [`Backend`] keeps bytes under names: a [`Directory`] of one machine, a [`Redis`] of a fleet, or
//! [`Memory`]. [`Entry`] is what one credential has there, sealed ([`Seal`]) and changed by the rules
//! of `record`: whose turn it is to ask the provider, what came of it, and until when all wait after
//! a failure. [`SharedSource`] is the source that lives by it. A [`SessionFile`] is for a refresh
//! token of one process.

mod backend;
mod directory;
mod entry;
mod hourly;
mod memory;
mod metrics;
mod private_file;
mod record;
pub mod redis;
mod seal;
mod session_file;
mod shared;
mod standing;
mod stores;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

pub use backend::{Answer, Backend, Reading, StoreError, Swap};
pub use directory::Directory;
pub use entry::{Entry, HeldSession};
pub use memory::Memory;
pub use metrics::{StoreMetrics, StoresMetrics};
pub use record::MOST_PER_HOUR;
pub use redis::{Redis, RedisSettings};
pub use seal::{KeyFile, Seal};
pub use session_file::{SessionFile, SessionFileError};
pub use shared::{SharedSource, SharingSettings};
pub use standing::{Standing, Standings};
pub use stores::{Place, Settings, Stores};

/// What is kept of a session with a provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedSession {
    /// Whose session it is: a digest of what the configuration says about it. One that was begun
    /// with another user, client or provider is not continued.
    pub identity: String,
    /// What gets the next token.
    #[serde(serialize_with = "written_out")]
    pub refresh_token: SecretString,
}

impl SavedSession {
    /// Whether nothing has changed.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.identity == other.identity && is_same(&self.refresh_token, &other.refresh_token)
    }
}

/// Whether two secrets are the same. Whoever has brought one knows it: how long it takes tells nobody
/// anything.
pub(crate) fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

/// The one place where a secret is written out on purpose; what holds it is sealed, or a file of its own.
fn written_out<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}
