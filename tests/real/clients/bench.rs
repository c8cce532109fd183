//! A client between two ways to the same upstream: straight, and through gatepass.

use std::collections::HashSet;
use std::process::{Output, Stdio};
use std::time::Duration;

use http::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderName, PROXY_AUTHORIZATION, TE, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue, Version};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::upstream::{Seen, Upstream};
use crate::server::directory;
use crate::support::{AuthorizationServer, CLIENT_SECRET, Gatepass};

/// Where a client is to send its requests.
pub struct Destination {
    /// What stands before each path.
    pub base: String,
    /// The proxy that it is told to use.
    pub proxy: Option<String>,
}

/// gatepass before an upstream, and a file that clients may send.
pub struct Bench {
    pub upstream: Upstream,
    pub gatepass: Gatepass,
    _provider: AuthorizationServer,
    scratch: TempDir,
}

impl Bench {
    pub async fn start() -> Self {
        let upstream = Upstream::start().await;
        let provider = AuthorizationServer::start();
        let config = config(&provider, &format!("http://{}", upstream.authority()));
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join(FILE), megabyte()).unwrap();
        Self {
            upstream,
            gatepass: Gatepass::start(&config).ready().await,
            _provider: provider,
            scratch,
        }
    }

    /// Where the megabyte stands that clients may send.
    pub fn file(&self) -> String {
        let file = self.scratch.path().join(FILE);
        file.to_str().unwrap().to_owned()
    }

    /// Has a client do its work with the upstream itself and through gatepass, in every way in
    /// which an application can be led to gatepass. Returns what the client told and what the
    /// upstream saw, which was the same each time.
    pub async fn compare(&self, client: impl AsyncFn(&Destination) -> Value) -> (Value, Vec<Seen>) {
        let upstream = format!("http://{}", self.upstream.authority());
        let gatepass = format!("http://{}", self.gatepass.proxy());
        let mut first = None;
        for (way, straight, through) in [
            ("at the root", at(&upstream), at(&gatepass)),
            // Its route takes the path off, so that the upstream sees what it sees otherwise.
            (
                "below a path",
                at(&upstream),
                at(&format!("{gatepass}/connect")),
            ),
            ("as a proxy", behind(&upstream), behind(&gatepass)),
        ] {
            let told = client(&straight).await;
            let expected = self.upstream.take_seen();
            let told_through = client(&through).await;
            let seen = self.upstream.take_seen();
            assert_same(&told_through, &told, way);
            self.assert_forwarded(&seen, &expected, way);
            first.get_or_insert((told, seen));
        }
        first.unwrap()
    }

    /// What arrived through gatepass is what arrives without it, but for what a gateway changes.
    fn assert_forwarded(&self, seen: &[Seen], expected: &[Seen], way: &str) {
        let targets = |all: &[Seen]| all.iter().map(|one| one.target.clone()).collect::<Vec<_>>();
        assert_eq!(targets(seen), targets(expected), "{way}");
        for (seen, expected) in seen.iter().zip(expected) {
            let what = format!("{way}: {} {}", expected.method, expected.target);
            let tokens: Vec<_> = seen.headers.get_all(AUTHORIZATION).iter().collect();
            assert_eq!(tokens, ["Bearer canary-token-1"], "{what}");
            assert_eq!(seen.method, expected.method, "{what}");
            assert_eq!(seen.version, Version::HTTP_11, "{what}");
            let headers = forwarded(expected, &self.upstream.authority());
            assert_eq!(seen.headers, headers, "{what}");
            assert!(seen.body == expected.body, "{what}: another body");
        }
        let connections: HashSet<_> = seen.iter().map(|seen| seen.connection).collect();
        // One after the other they need one; a refused body may cost it.
        assert!(connections.len() <= 3, "{way}: {connections:?}");
    }
}

/// The fields that the upstream is to see (RFC 9110 §7.6).
fn forwarded(request: &Seen, authority: &str) -> HeaderMap {
    let mut headers = request.headers.clone();
    for name in [
        CONNECTION,
        TE,
        UPGRADE,
        PROXY_AUTHORIZATION,
        HeaderName::from_static("http2-settings"),
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
    let via = match request.version {
        Version::HTTP_10 => "1.0 gatepass",
        _ => "1.1 gatepass",
    };
    headers.insert(VIA, HeaderValue::from_static(via));
    headers.insert(HOST, authority.try_into().unwrap());
    let token = HeaderValue::from_static("Bearer canary-token-1");
    headers.insert(AUTHORIZATION, token);
    headers
}

/// Step by step, so that a difference can be read.
fn assert_same(told: &Value, expected: &Value, way: &str) {
    let (told, expected) = (told.as_object().unwrap(), expected.as_object().unwrap());
    for (step, expected) in expected {
        let told = told.get(step).unwrap_or(&Value::Null);
        assert_eq!(told, expected, "{way}: {step}");
    }
    assert_eq!(told.len(), expected.len(), "{way}");
}

fn at(origin: &str) -> Destination {
    Destination {
        base: origin.to_owned(),
        proxy: None,
    }
}

fn behind(proxy: &str) -> Destination {
    Destination {
        base: "http://api.example".to_owned(),
        proxy: Some(proxy.to_owned()),
    }
}

/// The same upstream at the root, below a path, and under a name for those who know a proxy only.
pub fn config(provider: &AuthorizationServer, upstream: &str) -> String {
    let mut config = format!(
        r#"
        [credentials.envase]
        token_endpoint = "{}"
        client_id = "tms"
        client_secret = "{CLIENT_SECRET}"
        "#,
        provider.token_endpoint()
    );
    for keys in [
        "path = \"/\"",
        "path = \"/connect\"\nstrip_path = true",
        "path = \"/\"\nhost = \"api.example\"\nname = \"proxied\"",
    ] {
        let fixed = format!("credential = \"envase\"\nupstream = \"{upstream}\"");
        config += &format!("\n[[routes]]\n{keys}\n{fixed}\n");
    }
    config
}

const FILE: &str = "megabyte";

/// Without a pattern that a piece in the wrong place could hide in.
pub fn megabyte() -> Vec<u8> {
    (0..1_000_000_u32)
        .map(|index| index.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}

/// Runs a client in this folder to its end. It finds nothing in its environment that would lead it
/// elsewhere: no proxy, no settings of whoever runs the tests.
pub async fn run(program: &str, arguments: &[String], environment: &[(&str, &str)]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let running = Command::new(program)
        .args(arguments)
        .current_dir(directory())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(BOUND, running).await;
    let output = output.unwrap_or_else(|_| panic!("{program} {arguments:?} was not done in time"));
    output.unwrap_or_else(|error| {
        panic!("{program} cannot be started ({error}): run tests/real/run, which installs it")
    })
}

/// Runs a program that tells in JSON what it got.
pub async fn run_script(interpreter: &str, script: &str, settings: &Value) -> Value {
    let arguments = [script.to_owned(), settings.to_string()];
    let output = run(interpreter, &arguments, &[]).await;
    assert!(
        output.status.success(),
        "{interpreter} {script} failed; if it misses something, run tests/real/run\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The slowest starts by compiling itself, on a machine that does other things.
const BOUND: Duration = Duration::from_secs(60);
