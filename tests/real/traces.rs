//! PyPI's Rotel, a collector of OpenTelemetry, takes the spans of a real gatepass and says what is in
//! them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::HeaderValue;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::server::directory;
use crate::support::client::{PATIENCE, get_request, request};
use crate::support::{AuthorizationServer, Gatepass, Upstream, eventually, get, simple_config};

struct Rotel {
    child: Child,
    http: SocketAddr,
    directory: TempDir,
}

impl Rotel {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [http, grpc] = [free_address(), free_address()];
        let told = fs::File::create(directory.path().join("told")).unwrap();
        let child = Command::new(agent())
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .arg(format!("--otlp-http-endpoint={http}"))
            .arg(format!("--otlp-grpc-endpoint={grpc}"))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(told)
            .spawn()
            .unwrap();
        let rotel = Self {
            child,
            http,
            directory,
        };
        eventually("Rotel listens", async || {
            TcpStream::connect(http).await.is_ok()
        })
        .await;
        rotel
    }

    /// All that it says of spans, once there are so many.
    async fn told_of(&self, count: usize) -> String {
        let told = || fs::read_to_string(self.directory.path().join("told")).unwrap();
        let all = async {
            while told().matches("\nAttributes:\n").count() < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = timeout(PATIENCE, all).await;
        in_time.unwrap_or_else(|_| panic!("not {count} spans in {}", told()));
        told()
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Wherever this version of Python has its packages.
fn agent() -> PathBuf {
    let versions = fs::read_dir(directory().join(".venv/lib"))
        .into_iter()
        .flatten();
    let agents = versions.map(|version| {
        let packages = version.unwrap().path().join("site-packages");
        packages.join("rotel/rotel-agent")
    });
    let mut there = agents.filter(|agent| agent.exists());
    there
        .next()
        .expect("Rotel: run tests/real/run, which installs it")
}

/// Free a moment ago; nothing else here takes ports by number.
fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_understands_the_spans() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let rotel = Rotel::start().await;
    let config = format!(
        "traces = {{ enabled = true, endpoint = \"http://{}\", service_name = \"orders-gatepass\" }}\n{}",
        rotel.http,
        simple_config(&provider, &upstream)
    );
    let mut gatepass = Gatepass::start(&config).ready().await;
    let mut traced = get_request("/orders/7?page=2");
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let parent = HeaderValue::from_static(parent);
    traced.headers_mut().insert("traceparent", parent);
    assert_eq!(request(gatepass.proxy(), traced).await.status(), 200);
    let sent = upstream.last().all("traceparent")[0].to_owned();
    // Large numbers, and more spans than one batch takes.
    for _ in 0..300 {
        get(gatepass.proxy(), "/").await;
    }
    gatepass.signal(Signal::TERM);
    assert!(gatepass.ended().await.success());

    let told = rotel.told_of(1 + 2 * 301).await;
    assert!(
        told.contains("-> service.name: Str(orders-gatepass)"),
        "{told}"
    );
    let spans: Vec<_> = told.split("\nSpan #").skip(1).collect();
    assert_eq!(spans.len(), 1 + 2 * 301);
    let with = |line: &str| {
        let found = spans.iter().find(|span| span.contains(line));
        *found.unwrap_or_else(|| panic!("no {line} in {told}"))
    };
    let server = with("Parent ID      : 00f067aa0ba902b7");
    let client = with(&format!(
        "ID             : {}",
        sent.split('-').nth(2).unwrap()
    ));
    for (span, lines) in [
        (
            server,
            [
                "Trace ID       : 4bf92f3577b34da6a3ce929d0e0e4736",
                "Name           : GET /\n",
                "Kind           : SPAN_KIND_SERVER",
                "-> http.response.status_code: Int(200)",
                "-> url.path: Str(/orders/7)",
            ],
        ),
        (
            client,
            [
                "Trace ID       : 4bf92f3577b34da6a3ce929d0e0e4736",
                "Name           : GET\n",
                "Kind           : SPAN_KIND_CLIENT",
                "-> gatepass.token.generation: Int(1)",
                "-> server.address: Str(127.0.0.1)",
            ],
        ),
    ] {
        for line in lines {
            assert!(span.contains(line), "no {line:?} in {span}");
        }
    }
    let fetch = with("-> gatepass.outcome: Str(success)");
    assert!(
        fetch.contains("Kind           : SPAN_KIND_INTERNAL"),
        "{fetch}"
    );
}
