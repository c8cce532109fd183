//! The demo, as the README's first command starts it.

use std::process::Stdio;

use http::Request;
use http_body_util::Full;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::client::PATIENCE;
use crate::support::gatepass::command;
use crate::support::{eventually, get, request};

struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Demo {
    fn start() -> Self {
        let mut command = command();
        command
            .args([
                "demo",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .stdout(Stdio::piped());
        let mut child = Command::from(command).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line_with(&mut self, wanted: &str) -> String {
        let reading = async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line = line.expect("the demo goes on");
                if line.contains(wanted) {
                    return line;
                }
            }
        };
        let line = timeout(PATIENCE, reading).await;
        line.unwrap_or_else(|_| panic!("no line with {wanted:?} in time"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_tokens_rolling_over_and_what_the_upstream_saw() {
    let mut demo = Demo::start();
    let address = |line: String| line.split('/').nth(2).unwrap().parse().unwrap();
    let proxy = address(demo.line_with("curl http://").await);
    let admin = address(demo.line_with("/metrics").await);

    demo.line_with("number 1 handed out").await;
    let is_ready = async || get(admin, "/readyz").await.status() == 200;
    eventually("it is ready", is_ready).await;
    let answer = get(proxy, "/any/path?x").await;
    assert_eq!(answer.status(), 200);
    let seen: Value = serde_json::from_str(answer.body()).unwrap();
    assert_eq!(seen["upstream_saw"]["path"], "/any/path?x");
    let authorization = &seen["upstream_saw"]["headers"]["authorization"];
    let authorization = authorization.as_str().unwrap();
    assert!(
        authorization.starts_with("Bearer ••• (token number "),
        "{authorization}"
    );
    let told = demo.line_with("GET /any/path?x").await;
    assert!(told.ends_with(": 200"), "{told}");

    demo.line_with("number 2 handed out").await;
    assert_eq!(get(proxy, "/").await.status(), 200);

    // Too large to be shown, and read to its end all the same: an upstream that closes in the midst
    // of a request may take its own answer back.
    for _ in 0..5 {
        let upload = Request::post("/upload").header("host", "localhost");
        let upload = upload.body(Full::from(vec![b'x'; 3_000_000])).unwrap();
        let answer = request(proxy, upload).await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        let seen: Value = serde_json::from_str(answer.body()).unwrap();
        assert_eq!(seen["upstream_saw"]["body"], "(not shown: 3000000 bytes)");
    }

    let pid = i32::try_from(demo.child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    assert!(demo.child.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_with_its_reader() {
    let Demo { mut child, lines } = Demo::start();
    drop(lines);
    // The next token is told to nobody.
    let ended = timeout(PATIENCE, child.wait()).await.expect("it ends");
    assert!(ended.unwrap().success());
}
