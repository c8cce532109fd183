//! The status page in a headless Chromium; see `status-page.mjs`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::gatepass::project;
use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get, simple_config};

#[tokio::test(flavor = "multi_thread")]
async fn people_and_those_who_do_not_see_can_use_it() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    for _ in 0..20 {
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    }
    // Kept beside what is built: one of them stands in the README.
    let shots = project().join("target/status-page");
    fs::create_dir_all(&shots).unwrap();
    let settings = json!({
        "url": format!("http://{}", gatepass.admin()),
        "shots": shots,
        "browser": "/usr/bin/chromium",
    });
    let directory = project().join("tests/real");
    assert!(
        directory.join("node_modules/playwright-core").exists(),
        "playwright-core is not installed: run tests/real/run"
    );
    let mut browser = Command::new("node")
        .arg("status-page.mjs")
        .arg(settings.to_string())
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(browser.stdout.take().unwrap()).lines();
    let mut next = || -> Value {
        let line = said.next().expect("another line").unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next(), json!({ "looked": true }));
    assert_eq!(provider.count(), 2, "one refresh was ordered, by the page");
    let refusal = || Reply::Json(401, r#"{"error":"invalid_client"}"#.into());
    provider.otherwise(refusal());
    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(3).await;
    writeln!(browser.stdin.take().unwrap(), "the provider refuses").unwrap();
    let found = next();
    assert_eq!(found["faults"], json!([]), "{found:#}");
    let size = found["size"].as_u64().unwrap();
    assert!(size < 60 * 1024, "{size}");
    assert!(browser.wait().unwrap().success());
}
