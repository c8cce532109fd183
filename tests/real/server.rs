//! A server that others wrote, as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::Answer;
use crate::support::gatepass::project;
use crate::support::{get, request};

/// A running server. It is killed when this is dropped; and as it ends with its standard input, it
/// does not outlive a test that is killed itself.
pub struct Server {
    child: Child,
    /// Kept open: node ends with an error when it cannot write a warning.
    output: BufReader<ChildStdout>,
    /// What it said when it was up.
    up: Value,
    _scratch: TempDir,
}

impl Server {
    /// Runs a program of this folder, with its settings as the only argument, and waits until it
    /// says in a line of JSON that it is up. `needed` is what has to be installed for it.
    pub fn start(interpreter: &str, program: &str, needed: &str, settings: &Value) -> Self {
        let directory = directory();
        assert!(
            directory.join(needed).exists(),
            "{needed} is not installed: run tests/real/run"
        );
        // Where it keeps what it keeps in files, so that nothing is left when it is killed.
        let scratch = tempfile::tempdir().unwrap();
        let mut child = Command::new(interpreter)
            .arg(program)
            .arg(settings.to_string())
            .current_dir(directory)
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{interpreter} cannot be started ({error}): run tests/real/run")
            });
        let output = BufReader::new(child.stdout.take().unwrap());
        // Whole before anything is waited for, so that the process ends if it does not come.
        let mut server = Self {
            child,
            output,
            up: Value::Null,
            _scratch: scratch,
        };
        let mut line = String::new();
        server.output.read_line(&mut line).unwrap();
        server.up = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("{program} does not start; run it by hand with these settings: {settings}")
        });
        server
    }

    /// One of the ports that it said, on loopback.
    pub fn address(&self, name: &str) -> SocketAddr {
        let port = self.up[name].as_u64().unwrap();
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This folder, where what is needed is installed.
pub fn directory() -> PathBuf {
    project().join("tests/real")
}

/// GET of JSON.
pub async fn get_json(address: SocketAddr, path: &str) -> Value {
    serde_json::from_str(get(address, path).await.body()).unwrap()
}

/// POST without a body.
pub async fn post(address: SocketAddr, path: &str) -> Answer {
    let order = Request::post(path).header("host", address.to_string());
    request(address, order.body(Full::<Bytes>::default()).unwrap()).await
}
