//! PyPI's django-oauth-toolkit as a process; see `django/server.py`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::server::{Server, directory, get_json, post};

pub struct Django {
    server: Server,
}

/// The only client.
pub const CLIENT_ID: &str = "masmovil:app";
/// Its secret, with all that has to be encoded.
pub const SECRET: &str = "canary+/%:=& s3cret";
/// The only user.
pub const USER: &str = "driver";
/// The user's password, with more that has to be encoded.
pub const PASSWORD: &str = "canary pässwörd+/&=%";

impl Django {
    /// Starts a server whose tokens live for so many seconds. `further` settings go on top.
    pub fn start(token_seconds: u32, further: &Value) -> Self {
        let mut settings = json!({
            "client_id": CLIENT_ID,
            "client_secret": SECRET,
            "user": USER,
            "password": PASSWORD,
            "token_seconds": token_seconds,
        });
        for (name, value) in further.as_object().unwrap() {
            settings[name] = value.clone();
        }
        let python = directory().join(".venv/bin/python");
        let python = python.to_str().unwrap();
        Self {
            server: Server::start(python, "django/server.py", ".venv/bin/python", &settings),
        }
    }

    pub fn token_endpoint(&self) -> String {
        format!("http://{}/o/token/", self.address())
    }

    /// Where tokens are judged: at `/verify`.
    pub fn address(&self) -> SocketAddr {
        self.server.address("port")
    }

    /// How often it did what.
    pub async fn counts(&self) -> Value {
        get_json(self.address(), "/stats").await
    }

    pub async fn count(&self, name: &str) -> u64 {
        self.counts().await[name].as_u64().unwrap()
    }

    /// Forgets every refresh token; the access tokens go on.
    pub async fn break_session(&self) {
        assert_eq!(post(self.address(), "/break-session").await.status(), 200);
    }
}
