//! Where people log in, and how a browser gets about there.

use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;
use tempfile::TempDir;
use url::Url;

use crate::support::client::Answer;
use crate::support::{AuthorizationServer, LoggingIn, Reply, Upstream, get};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// A provider, an upstream, and a store for one session.
pub(super) struct Place {
    pub(super) provider: AuthorizationServer,
    pub(super) upstream: Upstream,
    pub(super) directory: TempDir,
    grant: &'static str,
}

impl Place {
    pub(super) async fn new(grant: &'static str) -> Self {
        let endpoints = [
            ("authorization", "authorize"),
            ("device_authorization", "device"),
            ("revocation", "revoke"),
        ];
        Self::with(grant, &endpoints).await
    }

    /// Where the provider tells of these endpoints alone.
    pub(super) async fn with(grant: &'static str, endpoints: &[(&str, &str)]) -> Self {
        let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
        let issuer = format!("http://{}", provider.address());
        let mut metadata = json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/token"),
            "authorization_response_iss_parameter_supported": true,
        });
        for (name, path) in endpoints {
            metadata[format!("{name}_endpoint")] = format!("{issuer}/{path}").into();
        }
        provider.publish("/.well-known/openid-configuration", metadata);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), KEY).unwrap();
        std::fs::create_dir(directory.path().join("store")).unwrap();
        let place = Self {
            provider,
            upstream,
            directory,
            grant,
        };
        std::fs::write(place.directory.path().join("gatepass.toml"), place.config()).unwrap();
        place
    }

    pub(super) fn issuer(&self) -> String {
        format!("http://{}", self.provider.address())
    }

    pub(super) fn config(&self) -> String {
        let directory = self.directory.path().display();
        // A busy machine is not what these tests are about.
        format!(
            r#"
            [stores.here]
            kind = "file"
            directory = "{directory}/store"
            key_file = "{directory}/key"
            timeout = "10s"
            [credentials.clerk]
            grant_type = "{}"
            issuer = "{}"
            client_id = "tms"
            scope = "openid offline_access"
            store = "here"

            [[routes]]
            path = "/"
            upstream = "{}"
            credential = "clerk"
            "#,
            self.grant,
            self.issuer(),
            self.upstream.origin(),
        )
    }

    pub(super) fn log_in(&self, arguments: &[&str]) -> LoggingIn {
        LoggingIn::begin(self.directory.path(), arguments)
    }

    /// The answer of a token endpoint to a login, with an id token that says this.
    pub(super) fn tokens(&self, nonce: &str) -> Reply {
        let claims = json!({ "iss": self.issuer(), "aud": "tms", "nonce": nonce });
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        let words = json!({
            "access_token": "TOKEN", "refresh_token": "REFRESH", "token_type": "Bearer",
            "expires_in": 3600, "id_token": format!("e30.{claims}.sig"),
        });
        Reply::Words(3600.0, words.to_string())
    }
}

pub(super) fn parameter(url: &Url, name: &str) -> String {
    let found = url.query_pairs().find(|(found, _)| found == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {url}"))
        .1
        .into_owned()
}

/// Comes back as a browser does.
pub(super) async fn come_back(url: &Url, fields: &[(&str, &str)]) -> Answer {
    let redirect: Url = parameter(url, "redirect_uri").parse().unwrap();
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    get(address(&redirect), &format!("{}?{query}", redirect.path())).await
}

pub(super) fn address(url: &Url) -> SocketAddr {
    let host = url.host_str().unwrap();
    format!("{host}:{}", url.port().unwrap()).parse().unwrap()
}
