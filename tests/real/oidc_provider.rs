//! npm's oidc-provider as a process; see `oidc-provider.mjs`.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{Server, get_json, post};

pub struct OidcProvider {
    server: Server,
    tls: bool,
}

impl OidcProvider {
    /// Starts a provider with one client, whose tokens live for so many whole seconds.
    pub fn start(client: &Value, life: Duration) -> Self {
        Self::start_with(&json!({ "clients": [client], "token_seconds": life.as_secs() }))
    }

    /// Starts a provider with any of its settings.
    pub fn start_with(settings: &Value) -> Self {
        let needed = "node_modules/oidc-provider";
        Self {
            server: Server::start("node", "oidc-provider.mjs", needed, settings),
            tls: settings.get("tls").is_some(),
        }
    }

    /// Its name, and where its metadata is.
    pub fn issuer(&self) -> String {
        let address = self.server.address("port");
        match self.tls {
            true => format!("https://localhost:{}", address.port()),
            false => format!("http://{address}"),
        }
    }

    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.issuer())
    }

    /// Where tokens are judged: at `/verify`.
    pub fn address(&self) -> SocketAddr {
        self.server.address("side_port")
    }

    /// How many tokens it handed out, and how many of those that upstreams asked about were good.
    pub async fn stats(&self) -> Stats {
        let stats = self.counts().await;
        let count = |name: &str| stats[name].as_u64().unwrap();
        Stats {
            issued: count("issued"),
            good: count("good"),
            bad: count("bad"),
        }
    }

    /// The same and more: by grant, by client authentication, by error.
    pub async fn counts(&self) -> Value {
        get_json(self.address(), "/stats").await
    }

    /// A refresh token as a user's consent would yield it.
    pub async fn grant_refresh_token(&self, client_id: &str) -> String {
        let path = format!("/grant-refresh-token?client_id={client_id}");
        let granted = post(self.address(), &path).await;
        let granted: Value = serde_json::from_str(granted.body()).unwrap();
        granted["refresh_token"].as_str().unwrap().to_owned()
    }

    /// Signs with new keys from now on. The old ones stay in its key set.
    pub async fn rotate_keys(&self) {
        assert_eq!(post(self.address(), "/rotate-keys").await.status(), 200);
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Stats {
    pub issued: u64,
    pub good: u64,
    pub bad: u64,
}
