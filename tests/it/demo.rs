//! The demo, as the README's first command starts it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::gatepass::command;
use crate::support::get;

#[tokio::test(flavor = "multi_thread")]
async fn shows_tokens_rolling_over_and_what_the_upstream_saw() {
    let mut child = command()
        .args([
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut curl = lines
        .by_ref()
        .filter_map(|line| line.trim().strip_prefix("curl http://").map(str::to_owned));
    let proxy = curl.next().unwrap();
    let proxy = proxy.strip_suffix("/hello").unwrap().parse().unwrap();
    curl.next().unwrap();
    let admin = curl.next().unwrap();
    let admin = admin.strip_suffix("/metrics").unwrap().parse().unwrap();

    lines
        .by_ref()
        .find(|line| line.contains("number 1 handed out"))
        .unwrap();
    while get(admin, "/readyz").await.status() != 200 {}
    let answer = get(proxy, "/any/path?x").await;
    assert_eq!(answer.status(), 200);
    let seen: Value = serde_json::from_str(answer.body()).unwrap();
    assert_eq!(seen["upstream_saw"]["path"], "/any/path?x");
    let authorization = seen["upstream_saw"]["headers"]["authorization"]
        .as_str()
        .unwrap();
    assert!(
        authorization.starts_with("Bearer ••• (token number 1,"),
        "{authorization}"
    );
    lines
        .by_ref()
        .find(|line| line.contains("GET /any/path?x with token number 1: 200"))
        .unwrap();

    lines
        .by_ref()
        .find(|line| line.contains("number 2 handed out"))
        .unwrap();
    assert_eq!(get(proxy, "/").await.status(), 200);

    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
}
