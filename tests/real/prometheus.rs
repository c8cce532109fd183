//! Debian's Prometheus scrapes a real gatepass: every query of the dashboard has an answer, and every
//! rule is loaded.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::gatepass::project;
use crate::support::{AuthorizationServer, Gatepass, Upstream, get, simple_config};

/// Long enough for several scrapes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Prometheus {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Free a moment ago; nothing else here takes ports by number.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let rules = project().join("deploy/prometheus/gatepass.rules.yml");
        let config = format!(
            "global: {{ scrape_interval: 500ms, evaluation_interval: 500ms }}\n\
             rule_files: [ \"{}\" ]\n\
             scrape_configs:\n\
             - job_name: gatepass\n  static_configs: [ {{ targets: [ \"{target}\" ] }} ]\n",
            rules.display()
        );
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("prometheus cannot be started ({error}): install prometheus")
            });
        Self {
            child,
            address,
            _directory: directory,
        }
    }

    /// What stands under `data` in an answer of its API.
    async fn ask(&self, path: &str) -> Value {
        let answer = get(self.address, path).await;
        let body: Value = serde_json::from_str(answer.body()).unwrap();
        assert_eq!(body["status"], "success", "{path}: {body}");
        body["data"].clone()
    }

    async fn has_data(&self, query: &str) -> bool {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let data = self.ask(&format!("/api/v1/query?query={query}")).await;
        data["result"]
            .as_array()
            .is_some_and(|found| !found.is_empty())
    }

    async fn up(&self) {
        while tokio::net::TcpStream::connect(self.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while get(self.address, "/-/ready").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The dashboard's queries, with everything selected and a window that a test can wait for.
fn queries() -> Vec<String> {
    let text = fs::read_to_string(project().join("deploy/grafana/gatepass.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries = targets.flatten().map(|target| {
        let mut query = target["expr"].as_str().unwrap().to_owned();
        for variable in ["$job", "$namespace", "$instance", "$credential", "$route"] {
            query = query.replace(variable, ".*");
        }
        query.replace("$__rate_interval", "10s")
    });
    queries.collect()
}

/// With a store, so that nothing is missing that there can be.
#[tokio::test(flavor = "multi_thread")]
async fn promtool_has_nothing_to_say_about_the_metrics() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    fs::create_dir(directory.path().join("tokens")).unwrap();
    let config = simple_config(&provider, &upstream).replace(
        "client_id",
        "store = \"machine\"\ntoken_requests_per_hour = 100\nclient_id",
    );
    let store = format!(
        "[stores.machine]\nkind = \"file\"\ndirectory = \"{}\"\nkey_file = \"{}\"\n",
        directory.path().join("tokens").display(),
        key.display()
    );
    let gatepass = Gatepass::start(&(config + &store)).ready().await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let metrics = get(gatepass.admin(), "/metrics").await.into_body();
    assert!(metrics.contains("\ngatepass_store_failing{"), "{metrics}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("install prometheus");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(metrics.as_bytes()).unwrap();
    drop(input);
    let said = promtool.wait_with_output().unwrap();
    let words = [said.stdout, said.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&words), "");
    assert!(said.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_has_an_answer_and_every_rule_is_loaded() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let prometheus = Prometheus::start(gatepass.admin());
    timeout(PATIENCE, prometheus.up())
        .await
        .expect("Prometheus is up");
    let queries = queries();
    assert!(queries.len() >= 20, "{queries:#?}");
    let mut open: BTreeSet<_> = queries.into_iter().collect();
    let all_answered = async {
        while !open.is_empty() {
            get(gatepass.proxy(), "/").await;
            let mut still_open = BTreeSet::new();
            for query in open.iter() {
                if !prometheus.has_data(query).await {
                    still_open.insert(query.clone());
                }
            }
            open = still_open;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = timeout(PATIENCE, all_answered).await;
    assert!(in_time.is_ok(), "no data for {open:#?}");

    // It prefers OpenMetrics, in which a counter's family goes without an ending.
    let families = prometheus.ask("/api/v1/metadata").await;
    assert_eq!(families["gatepass_requests"][0]["type"], "counter");
    assert_eq!(
        families["gatepass_request_duration_seconds"][0]["type"],
        "histogram"
    );

    let rules = prometheus.ask("/api/v1/rules").await;
    let groups = rules["groups"].as_array().unwrap();
    let rules: Vec<_> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(rules.len() >= 11);
    for rule in rules {
        assert_ne!(rule["health"], "err", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}

/// The time of its end is 0, which is 1970.
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_without_a_token_is_not_shown_as_57_years_late() {
    let provider = AuthorizationServer::down();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
    let prometheus = Prometheus::start(gatepass.admin());
    let scraped = async {
        prometheus.up().await;
        while !prometheus
            .has_data("gatepass_token_expiry_timestamp_seconds == 0")
            .await
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, scraped).await.expect("it is scraped");
    let mut queries = queries();
    queries.retain(|query| query.contains("gatepass_token_expiry_timestamp_seconds"));
    assert!(queries.len() >= 2, "{queries:#?}");
    for query in queries {
        assert!(!prometheus.has_data(&query).await, "{query}");
    }
}
