//! The status page in a headless Chromium; see `status-page.mjs`.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::time::{interval, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::support::gatepass::project;
use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get, simple_config};

/// A browser that does what `status-page.mjs` says, step by step.
struct Browser {
    process: Child,
    told: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// Screenshots are kept beside what is built: one of them stands in the README.
    fn start(admin: SocketAddr, silent: SocketAddr) -> Self {
        let shots = project().join("target/status-page");
        fs::create_dir_all(&shots).unwrap();
        let directory = project().join("tests/real");
        assert!(
            directory.join("node_modules/playwright-core").exists(),
            "playwright-core is not installed: run tests/real/run"
        );
        let settings = json!({
            "url": format!("http://{admin}"),
            "silent": format!("http://{silent}"),
            "shots": shots,
            "browser": "/usr/bin/chromium",
        });
        let mut process = Command::new("node")
            .arg("status-page.mjs")
            .arg(settings.to_string())
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            told: process.stdin.take().unwrap(),
            said: BufReader::new(process.stdout.take().unwrap()).lines(),
            process,
        }
    }

    fn says(&mut self) -> Value {
        let line = self.said.next().expect("another line").unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn has_done(&mut self, step: &str) {
        assert_eq!(self.says(), json!({ "step": step }));
    }

    fn go_on(&mut self) {
        writeln!(self.told, "go on").unwrap();
    }
}

/// Two credentials of two providers, of which one hands out tokens that can be read.
fn config(opaque: &AuthorizationServer, readable: &AuthorizationServer, up: &Upstream) -> String {
    format!(
        r#"{}
        [credentials.trips]
        token_endpoint = "{}"
        client_id = "dispatch"
        client_secret = "canary"
        scope = ["trips/read", "trips/write"]

        [[routes]]
        path = "/trips"
        upstream = "{}"
        credential = "trips"

        [[routes]]
        path = "/public"
        upstream = "{}"
        credential = "none"
        "#,
        simple_config(opaque, up),
        readable.token_endpoint(),
        up.origin(),
        up.origin(),
    )
}

fn readable_tokens() -> AuthorizationServer {
    let provider = AuthorizationServer::start();
    let payload = json!({
        "iss": "https://id.example/",
        "aud": "https://api.example",
        "scope": "trips/read trips/write",
        "sub": "dispatch",
    });
    let token = BASE64_URL_SAFE_NO_PAD.encode(payload.to_string());
    let words = format!(r#"{{"access_token":"e30.{token}.c2ln","expires_in":1800}}"#);
    provider.otherwise(Reply::Words(1800.0, words));
    provider
}

/// Some requests again and again, now more and now fewer.
fn traffic(proxy: SocketAddr) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(250));
        for round in 0_usize.. {
            ticks.tick().await;
            for _ in 0..1 + round % 30 / 4 {
                get(proxy, "/order").await;
            }
            get(proxy, "/trips/7").await;
        }
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_those_who_do_not_see_can_use_it() {
    let (provider, readable) = (AuthorizationServer::start(), readable_tokens());
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&provider, &readable, &upstream));
    let gatepass = gatepass.ready().await;
    let silent = format!(
        "admin.event_streams = 0\n{}",
        simple_config(&readable, &upstream)
    );
    let silent = Gatepass::start(&silent).ready().await;
    let _traffic = traffic(gatepass.proxy());
    // There is something in the plots then.
    sleep(Duration::from_secs(30)).await;
    let mut browser = Browser::start(gatepass.admin(), silent.admin());
    browser.has_done("light");
    browser.go_on();
    browser.has_done("looked");
    assert_eq!(
        provider.count(),
        3,
        "two refreshes, with scripts and without"
    );
    let refusal = || Reply::Json(401, r#"{"error":"invalid_client"}"#.into());
    provider.otherwise(refusal());
    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(4).await;
    browser.go_on();
    browser.has_done("outage");
    browser.go_on();
    browser.has_done("deaf");
    drop(silent);
    browser.go_on();
    let found = browser.says();
    assert_eq!(found["faults"], json!([]), "{found:#}");
    let size = found["size"].as_u64().unwrap();
    println!("the page has {size} bytes");
    assert!(size < 60 * 1024, "{size}");
    assert!(browser.process.wait().unwrap().success());
}
