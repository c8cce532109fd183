//! What replicas of one client stand on: a provider, an upstream and a key that they have in common.

use tempfile::TempDir;

use super::{AuthorizationServer, Upstream};

/// As `openssl rand -base64 32` prints one.
pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub const TAKEN_OVER: &str = r#"gatepass_token_origins_total{credential="envase",origin="store"}"#;
pub const FAILING: &str = r#"gatepass_store_failing{credential="envase"}"#;
pub const LEASE: &str = r#"gatepass_store_lease_held{credential="envase"}"#;

pub struct Stage {
    pub provider: AuthorizationServer,
    pub upstream: Upstream,
    pub directory: TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        let provider = AuthorizationServer::start();
        let upstream = Upstream::start().await;
        upstream.check_tokens(provider.introspection());
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), KEY).unwrap();
        Self {
            provider,
            upstream,
            directory,
        }
    }

    /// A configuration with these lines about the store, and these about the credential.
    pub fn config(&self, store: &str, credential: &str) -> String {
        format!(
            r#"
            [stores.fleet]
            {store}
            key_file = "{}"

            [credentials.envase]
            {credential}
            token_endpoint = "{}"
            client_id = "tms"
            client_secret = "canary-secret"
            store = "fleet"

            [[routes]]
            path = "/"
            upstream = "{}"
            credential = "envase"
            "#,
            self.directory.path().join("key").display(),
            self.provider.token_endpoint(),
            self.upstream.origin(),
        )
    }
}
