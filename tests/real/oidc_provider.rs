//! npm's oidc-provider as a process; see `oidc-provider.mjs`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::gatepass::project;
use crate::support::get;

pub struct OidcProvider {
    child: Child,
    address: SocketAddr,
}

impl OidcProvider {
    /// Starts a provider with one client; its tokens live for so many seconds.
    pub fn start(client: &Value, token_seconds: u32) -> Self {
        let directory = project().join("tests/real");
        assert!(
            directory.join("node_modules/oidc-provider").exists(),
            "oidc-provider is not installed: run tests/real/run, or `npm ci` in tests/real"
        );
        let settings = json!({ "clients": [client], "token_seconds": token_seconds });
        let mut child = Command::new("node")
            .arg("oidc-provider.mjs")
            .arg(settings.to_string())
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("node cannot be started ({error}): install Node.js"));
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let up: Value = serde_json::from_str(&line).expect("oidc-provider says its port");
        let port = u16::try_from(up["port"].as_u64().unwrap()).unwrap();
        Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    pub fn token_endpoint(&self) -> String {
        format!("http://{}/token", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many tokens it handed out, and how many of those that upstreams asked about were good.
    pub async fn stats(&self) -> Stats {
        let stats: Value = serde_json::from_str(get(self.address, "/stats").await.body()).unwrap();
        let count = |name: &str| stats[name].as_u64().unwrap();
        Stats {
            issued: count("issued"),
            good: count("good"),
            bad: count("bad"),
        }
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Stats {
    pub issued: u64,
    pub good: u64,
    pub bad: u64,
}
