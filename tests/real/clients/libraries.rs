//! Python's requests and httpx, Node's fetch, Java's HttpURLConnection and HttpClient: each with a
//! script in this folder that does what its library can.

use std::collections::HashSet;

use http::header::{CONTENT_LENGTH, EXPECT};
use serde_json::{Value, json};

use super::bench::{Bench, Carriage, Destination, megabyte, run_script};
use super::upstream::Seen;
use crate::server::directory;

/// Odd, and legal.
pub const ODD: &str = "/a%2Fb//c;v=1?q=%20";
/// Before the number of each of the twenty requests that are to share a connection.
pub const REUSED: &str = "/reuse/";

#[tokio::test(flavor = "multi_thread")]
async fn python_requests() {
    python("requests", Carriage::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_httpx() {
    python("httpx", Carriage::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_httpx_in_http2() {
    python("httpx", Carriage::Http2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_httpx_in_http2_over_tls() {
    python("httpx", Carriage::Http2OverTls).await;
}

async fn python(library: &str, carriage: Carriage) {
    let python = directory().join(".venv/bin/python");
    let python = python.to_str().unwrap();
    compare(python, "clients/client.py", library, carriage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_fetch() {
    compare("node", "clients/client.mjs", "fetch", Carriage::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn java_http_url_connection() {
    let seen = java("HttpURLConnection").await;
    assert!(seen.iter().any(|seen| seen.headers.contains_key(EXPECT)));
}

/// This one asks to go on in HTTP/2 with its first request.
#[tokio::test(flavor = "multi_thread")]
async fn java_http_client() {
    let seen = java("HttpClient").await;
    assert!(seen.iter().any(|seen| seen.headers.contains_key(EXPECT)));
}

async fn java(library: &str) -> Vec<Seen> {
    compare("java", "clients/Client.java", library, Carriage::Http1).await
}

/// What all of them do. Returns what the upstream saw.
async fn compare(interpreter: &str, script: &str, library: &str, carriage: Carriage) -> Vec<Seen> {
    let bench = Bench::start(carriage).await;
    let client = async |to: &Destination| {
        let settings = json!({
            "library": library,
            "base": to.base,
            "proxy": to.proxy,
            "file": bench.file(),
            "http2": matches!(carriage, Carriage::Http2 | Carriage::Http2OverTls),
            "ca": bench.ca(),
        });
        run_script(interpreter, script, &settings).await
    };
    let (told, seen) = bench.compare(client).await;

    assert_eq!(seen[0].target, ODD);
    let posted = seen.iter().filter(|seen| seen.body == megabyte());
    let tells_length = posted.map(|seen| seen.headers.contains_key(CONTENT_LENGTH));
    let tells_length: HashSet<_> = tells_length.collect();
    assert_eq!(tells_length.len(), 2, "as a whole, and piece by piece");
    for (step, status, body) in [
        ("odd", 200, format!("GET {ODD}")),
        ("posted", 200, "the file".to_owned()),
        ("streamed", 200, "the file".to_owned()),
        ("head", 200, String::new()),
        ("none", 204, String::new()),
        ("unchanged", 304, String::new()),
        ("squeezed", 200, "squeezed for gatepass\n".repeat(20)),
        ("fields", 200, "GET /fields".to_owned()),
        ("led on", 200, "GET /landed?from=here".to_owned()),
        ("led on with a body", 200, "once more".to_owned()),
        ("signed in", 200, "GET /signed-in".to_owned()),
        ("reused", 200, format!("GET {REUSED}20")),
    ] {
        let outcome = &told[step];
        assert_eq!(outcome["status"], status, "{step}: {outcome}");
        assert_eq!(outcome["body"], Value::from(body), "{step}");
    }
    assert_reused(&seen);
    seen
}

/// Twenty requests, and the same connection for all of them.
pub fn assert_reused(seen: &[Seen]) {
    let of_one = seen.iter().filter(|seen| seen.target.starts_with(REUSED));
    let mut connections: Vec<_> = of_one.map(|seen| seen.connection).collect();
    assert_eq!(connections.len(), 20);
    connections.dedup();
    assert_eq!(connections.len(), 1, "{connections:?}");
}
