//! The access log: a line for each request that is over, as far as the configuration asks for it.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::client::{get_request, request};
use crate::support::upstream::Refusal;
use crate::support::wire::{Wire, read_until};
use crate::support::{
    AuthorizationServer, Gatepass, Upstream, eventually, get, raw, simple_config,
};

/// The lines so far.
fn lines(gatepass: &Gatepass) -> Vec<Value> {
    let output = gatepass.output();
    let events = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["target"] == "gatepass::access")
        .collect()
}

/// The line of a request by its path, once it is there.
fn line_of(gatepass: &Gatepass, path: &str) -> Value {
    gatepass.output_with(&format!("\"path\":\"{path}\""));
    let mut lines = lines(gatepass).into_iter();
    lines.find(|line| line["path"] == path).unwrap()
}

/// The line without what is another each time.
fn steady(mut line: Value) -> Value {
    let line_as_object = line.as_object_mut().unwrap();
    for another in ["timestamp", "duration_ms", "upstream_ms", "request_id"] {
        line_as_object.remove(another);
    }
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_a_line_if_all_are_asked_for() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let config = format!("log.access = {{ requests = \"all\", caller = true }}\n{config}");
    let gatepass = Gatepass::start(&config).ready().await;

    let answer = get(gatepass.proxy(), "/orders/7?key=canary").await;
    let line = line_of(&gatepass, "/orders/7");
    // The upstream and the caller can tell which one it was.
    let id = line["request_id"].as_str().unwrap();
    assert_eq!(upstream.last().all("x-request-id"), [id]);
    assert_eq!(answer.headers()["x-request-id"], id);
    let (whole, part) = (&line["duration_ms"], &line["upstream_ms"]);
    assert!(part.as_f64().unwrap() > 0.0, "{line}");
    assert!(whole.as_f64().unwrap() >= part.as_f64().unwrap(), "{line}");
    assert_eq!(
        steady(line),
        json!({
          "caller": "127.0.0.1",
          "generation": 1,
          "level": "INFO",
          "message": "a request is over",
          "method": "GET",
          "path": "/orders/7",
          "route": "root",
          "status": 200,
          "target": "gatepass::access",
          "token_age_s": 0
        })
    );

    // Who has an identifier keeps it; what is too long of it is not logged.
    let mut named = get_request("/named");
    let long = "i".repeat(500);
    named
        .headers_mut()
        .insert("x-request-id", long.parse().unwrap());
    request(gatepass.proxy(), named).await;
    assert_eq!(upstream.last().all("x-request-id"), [long]);
    assert_eq!(
        line_of(&gatepass, "/named")["request_id"],
        "i".repeat(128).as_str()
    );

    // A second token, and a request that is sent twice.
    upstream.refuse(Refusal::OfEverything);
    get(gatepass.proxy(), "/refused").await;
    let line = line_of(&gatepass, "/refused");
    assert_eq!(
        [&line["attempts"], &line["status"], &line["generation"]],
        [2, 401, 2],
        "{line}"
    );

    // What is no request at all.
    raw(gatepass.proxy(), "nonsense\r\n\r\n", |_| false).await;
    gatepass.output_with("\"status\":400");
    assert_eq!(
        steady(lines(&gatepass).pop().unwrap()),
        json!({
          "level": "INFO",
          "message": "a request is over",
          "reason": "bad_request",
          "route": "(none)",
          "status": 400,
          "target": "gatepass::access"
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_ones_alone_and_by_a_reload() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let config = config.replace("path = \"/\"", "path = \"/api\"");
    let gatepass = Gatepass::start(&config).ready().await;
    get(gatepass.proxy(), "/api/before").await;
    assert_eq!(upstream.last().all("x-request-id"), [""; 0]);
    get(gatepass.proxy(), "/nowhere").await;

    let failed = format!("log.access.requests = \"failed\"\n{config}");
    gatepass.reload(&failed).await;
    get(gatepass.proxy(), "/api/good").await;
    get(gatepass.proxy(), "/nowhere?key=canary").await;
    let line = line_of(&gatepass, "/nowhere");
    assert_eq!(lines(&gatepass).len(), 1, "{:?}", lines(&gatepass));
    assert_eq!(
        steady(line),
        json!({
          "level": "INFO",
          "message": "a request is over",
          "method": "GET",
          "path": "/nowhere",
          "reason": "no_route",
          "route": "(none)",
          "status": 404,
          "target": "gatepass::access"
        })
    );

    // With the query, for those who ask for it.
    let keys = "log.access = { requests = \"failed\", target = \"path_and_query\" }";
    gatepass.reload(&format!("{keys}\n{config}")).await;
    get(gatepass.proxy(), "/nowhere?page=2").await;
    line_of(&gatepass, "/nowhere?page=2");
    let keys = "log.access = { requests = \"failed\", target = \"none\" }";
    gatepass.reload(&format!("{keys}\n{config}")).await;
    get(gatepass.proxy(), "/nowhere?page=3").await;
    let last = || lines(&gatepass).pop().unwrap();
    eventually("a third line", async || lines(&gatepass).len() >= 3).await;
    assert!(last()["path"].is_null(), "{}", last());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_and_a_caller_that_leaves() {
    let wire = Wire::start_with("log.access.requests = \"failed\"", "").await;
    let mut caller = wire
        .call(b"GET /broken HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut upstream = wire.accept().await;
    read_until(&mut upstream, "\r\n\r\n").await;
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        .await
        .unwrap();
    read_until(&mut caller, "half").await;
    drop(upstream);
    let line = line_of(&wire.gatepass, "/broken");
    assert_eq!(line["broken"], true, "{line}");
    assert_eq!(line["status"], 200, "{line}");

    let caller = wire
        .call(b"GET /left HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut upstream = wire.accept().await;
    read_until(&mut upstream, "\r\n\r\n").await;
    drop(caller);
    let line = line_of(&wire.gatepass, "/left");
    assert!(line["status"].is_null(), "{line}");
}
