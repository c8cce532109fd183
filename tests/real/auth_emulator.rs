//! The Auth emulator of npm's firebase-tools as a process; see `auth-emulator.mjs`.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::server::{Server, get_json};
use crate::support::request;

pub struct AuthEmulator {
    server: Server,
}

/// The demo projects of Firebase have no counterpart outside.
const PROJECT: &str = "demo-gatepass";

impl AuthEmulator {
    pub async fn start() -> Self {
        Self::start_with(json!({ "project": PROJECT })).await
    }

    /// Starts one in the place of another that has ended.
    pub async fn start_at(port: u16) -> Self {
        Self::start_with(json!({ "project": PROJECT, "port": port })).await
    }

    async fn start_with(settings: Value) -> Self {
        let needed = "node_modules/firebase-tools";
        let emulator = Self {
            server: Server::start("node", "auth-emulator.mjs", needed, &settings),
        };
        // As new projects have it: whether the user exists is not told apart from the password.
        let config = json!({ "emailPrivacyConfig": { "enableImprovedEmailPrivacy": true } });
        let path = format!("/emulator/v1/projects/{PROJECT}/config");
        emulator.administer("PATCH", &path, &config).await;
        emulator
    }

    pub fn port(&self) -> u16 {
        self.server.address("port").port()
    }

    pub fn sign_in_endpoint(&self) -> String {
        let address = self.server.address("port");
        format!("http://{address}{TOOLKIT}/accounts:signInWithPassword")
    }

    pub fn refresh_endpoint(&self) -> String {
        let address = self.server.address("port");
        format!("http://{address}/securetoken.googleapis.com/v1/token")
    }

    /// Creates a user and returns the user's identifier.
    pub async fn create_user(&self, email: &str, password: &str) -> String {
        let user = json!({ "email": email, "password": password });
        let path = format!("{TOOLKIT}/projects/{PROJECT}/accounts");
        let created = self.administer("POST", &path, &user).await;
        created["localId"].as_str().unwrap().to_owned()
    }

    /// Locks a user out, or lets the user in again.
    pub async fn disable(&self, user: &str, disabled: bool) {
        let update = json!({ "localId": user, "disableUser": disabled });
        let path = format!("{TOOLKIT}/projects/{PROJECT}/accounts:update");
        self.administer("POST", &path, &update).await;
    }

    /// How often it did what.
    pub async fn counts(&self) -> Value {
        get_json(self.server.address("port"), "/stats").await
    }

    pub async fn count(&self, name: &str) -> u64 {
        self.counts().await[name].as_u64().unwrap()
    }

    async fn administer(&self, method: &str, path: &str, body: &Value) -> Value {
        let address = self.server.address("port");
        let order = Request::builder()
            .method(method)
            .uri(path)
            .header("host", address.to_string())
            // The emulator's word for an administrator.
            .header("authorization", "Bearer owner")
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(body.to_string()))
            .unwrap();
        let answer = request(address, order).await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        serde_json::from_str(answer.body()).unwrap()
    }
}

const TOOLKIT: &str = "/identitytoolkit.googleapis.com/v1";
