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
use crate::support::certificates::Authority;
use crate::support::{AuthorizationServer, CLIENT_SECRET, Gatepass};

/// Where a client is to send its requests.
pub struct Destination {
    /// What stands before each path.
    pub base: String,
    /// The proxy that it is told to use.
    pub proxy: Option<String>,
    /// The Unix socket that it is told to use.
    pub socket: Option<String>,
}

/// How a client speaks to the upstream and to gatepass, and gatepass to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriage {
    Http1,
    /// On a Unix socket where gatepass listens; the upstream has an address all the same.
    Http1OnUnixSocket,
    /// Because each knows it beforehand.
    Http2,
    /// Agreed on by ALPN.
    Http2OverTls,
}

impl Carriage {
    fn version(self) -> Version {
        match self {
            Self::Http1 | Self::Http1OnUnixSocket => Version::HTTP_11,
            Self::Http2 | Self::Http2OverTls => Version::HTTP_2,
        }
    }
}

/// gatepass before an upstream, and a file that clients may send.
pub struct Bench {
    carriage: Carriage,
    upstream: Upstream,
    gatepass: Gatepass,
    _provider: AuthorizationServer,
    scratch: TempDir,
}

impl Bench {
    pub async fn start(carriage: Carriage) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join(FILE), megabyte()).unwrap();
        let authority = Authority::new();
        std::fs::write(scratch.path().join(CA), authority.pem()).unwrap();
        let identity = authority.server();
        identity.write(scratch.path(), "server");
        let tls = (carriage == Carriage::Http2OverTls).then(|| identity.server_tls(&["h2"]));
        let upstream = Upstream::start(carriage.version(), tls).await;
        let scheme = match carriage {
            Carriage::Http1 | Carriage::Http1OnUnixSocket => "http",
            Carriage::Http2 => "h2c",
            Carriage::Http2OverTls => "https",
        };
        let provider = AuthorizationServer::start();
        let config = config(&provider, &format!("{scheme}://{}", upstream.authority()));
        let path = |name| path(&scratch, name);
        let (listen, config) = match carriage {
            Carriage::Http1 | Carriage::Http2 => ("127.0.0.1:0".to_owned(), config),
            Carriage::Http1OnUnixSocket => (format!("unix:{}", path(SOCKET)), config),
            Carriage::Http2OverTls => {
                let trusted = format!("tls.ca_file = \"{}\"\ncredential =", path(CA));
                let config = format!(
                    "proxy.tls.cert_file = \"{}\"\nproxy.tls.key_file = \"{}\"\n{}",
                    path("server.crt"),
                    path("server.key"),
                    config.replace("credential =", &trusted)
                );
                ("tls:127.0.0.1:0".to_owned(), config)
            }
        };
        let environment = [("GATEPASS__PROXY__LISTEN", listen.as_str())];
        Self {
            carriage,
            upstream,
            gatepass: Gatepass::start_with(&config, &environment).ready().await,
            _provider: provider,
            scratch,
        }
    }

    /// Where the megabyte stands that clients may send.
    pub fn file(&self) -> String {
        path(&self.scratch, FILE)
    }

    /// Where the certificate of the authority stands that a client has to trust for TLS.
    pub fn ca(&self) -> String {
        path(&self.scratch, CA)
    }

    /// The ways in which an application can be led to gatepass, each with how it would be led to
    /// the upstream.
    fn ways(&self) -> Vec<(&'static str, Destination, Destination)> {
        let (scheme, host) = match self.carriage {
            Carriage::Http2OverTls => ("https", "localhost"),
            _ => ("http", "127.0.0.1"),
        };
        let upstream = format!("{scheme}://{}", self.upstream.authority());
        let gatepass = format!("{scheme}://{host}:{}", self.gatepass.proxy().port());
        let led_to = |path: &str| match self.carriage {
            // The name is for nobody to look up.
            Carriage::Http1OnUnixSocket => Destination {
                socket: Some(self::path(&self.scratch, SOCKET)),
                ..at(&format!("http://anything.example{path}"))
            },
            _ => at(&format!("{gatepass}{path}")),
        };
        let mut ways = vec![
            ("at the root", at(&upstream), led_to("")),
            // Its route takes the path off, so that the upstream sees what it sees otherwise.
            ("below a path", at(&upstream), led_to("/connect")),
        ];
        if self.carriage == Carriage::Http1 {
            ways.push(("as a proxy", behind(&upstream), behind(&gatepass)));
        }
        ways
    }

    /// Has a client do its work with the upstream itself and through gatepass, in every way in
    /// which an application can be led to gatepass. Returns what the client told and what the
    /// upstream saw, which was the same each time.
    pub async fn compare(&self, client: impl AsyncFn(&Destination) -> Value) -> (Value, Vec<Seen>) {
        let mut first = None;
        for (way, straight, through) in self.ways() {
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
            assert_eq!(seen.version, self.carriage.version(), "{what}");
            let headers = forwarded(expected, &self.upstream.authority());
            let mut came = seen.headers.clone();
            // By the first request over a connection gatepass asks for itself.
            came.remove(CONNECTION)
                .inspect(|asked| assert_eq!(asked, "keep-alive", "{what}"));
            assert_eq!(came, headers, "{what}");
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
        Version::HTTP_2 => "2.0 gatepass",
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
        socket: None,
    }
}

fn behind(proxy: &str) -> Destination {
    Destination {
        base: "http://api.example".to_owned(),
        proxy: Some(proxy.to_owned()),
        socket: None,
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

fn path(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

const FILE: &str = "megabyte";
const CA: &str = "ca.pem";
const SOCKET: &str = "proxy.sock";

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
