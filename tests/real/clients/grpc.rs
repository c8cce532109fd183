//! gRPC between a client and a server of Python's grpcio, straight and through gatepass.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::bench::{config, run_script};
use crate::server::{Server, directory, get_json};
use crate::support::certificates::Authority;
use crate::support::{AuthorizationServer, Gatepass};

#[tokio::test(flavor = "multi_thread")]
async fn in_the_clear() {
    let server = start(&json!({}));
    let provider = AuthorizationServer::start();
    let config = config(&provider, &format!("h2c://{}", server.address("port")));
    let gatepass = Gatepass::start(&config).ready().await;
    compare(&server, &gatepass, &json!({})).await;
}

/// With TLS on both sides, where HTTP/2 is agreed on by ALPN.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let scratch = certificates();
    let file = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let identity = json!({ "certificate": file("server.crt"), "key": file("server.key") });
    let server = start(&json!({ "tls": identity }));
    let provider = AuthorizationServer::start();
    let upstream = format!("https://localhost:{}", server.address("port").port());
    let trusted = format!("tls.ca_file = \"{}\"\ncredential", file("ca.pem"));
    let config = format!(
        "proxy.tls.cert_file = \"{}\"\nproxy.tls.key_file = \"{}\"\n{}",
        file("server.crt"),
        file("server.key"),
        config(&provider, &upstream).replace("credential =", &format!("{trusted} ="))
    );
    let listen = [("GATEPASS__PROXY__LISTEN", "tls:127.0.0.1:0")];
    let gatepass = Gatepass::start_with(&config, &listen).ready().await;
    compare(&server, &gatepass, &json!({ "ca": file("ca.pem") })).await;
}

fn certificates() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.server().write(scratch.path(), "server");
    std::fs::write(scratch.path().join("ca.pem"), authority.pem()).unwrap();
    scratch
}

async fn compare(server: &Server, gatepass: &Gatepass, settings: &Value) {
    let run = async |port: u16| {
        let mut settings = settings.clone();
        settings["target"] = format!("localhost:{port}").into();
        run_script(&python(), "clients/grpc-client.py", &settings).await
    };
    let straight = run(server.address("port").port()).await;
    assert_complete(&straight);
    let expected = calls(server).await;
    assert_eq!(expected.len(), CALLS, "{expected:?}");

    let through = run(gatepass.proxy().port()).await;
    for (step, expected) in straight.as_object().unwrap() {
        assert_eq!(&through[step], expected, "{step}");
    }
    let seen = calls(server).await;
    assert_eq!(seen.len(), expected.len());
    for (mut seen, expected) in seen.into_iter().zip(expected) {
        let fields = seen["fields"].as_array_mut().unwrap();
        let mut take = |name: &str| {
            let of_it = |field: &mut Value| field[0] == name;
            fields.extract_if(.., of_it).collect::<Vec<_>>()
        };
        let token = take("authorization");
        assert_eq!(token, [json!(["authorization", "Bearer canary-token-1"])]);
        assert_eq!(take("via"), [json!(["via", "2.0 gatepass"])]);
        assert_eq!(seen, expected);
    }
    let in_flight = r#"gatepass_requests_in_flight{route="root"}"#;
    gatepass.wait_for_metric(in_flight, 0.0).await;
}

/// Whether the steps are those that were meant, so that what is compared is worth it.
fn assert_complete(told: &Value) {
    for step in ["unary", "empty", "large", "squeezed"] {
        assert_eq!(told[step]["same"], true, "{step}: {told}");
    }
    let unary = &told["unary"];
    assert_eq!(
        unary["first"],
        json!([["first", "words"], ["first-bin", "00ff"]])
    );
    assert_eq!(
        unary["last"],
        json!([["last", "words"], ["last-bin", "ff00"]])
    );
    assert_eq!(told["counted"]["in_order"], true);
    assert_eq!(told["totalled"]["response"], "200 messages, 19900000 bytes");
    assert_eq!(told["chatted"]["answered"], 200);
    let failed = &told["failed"];
    assert_eq!(failed["code"], "FAILED_PRECONDITION");
    assert_eq!(failed["details"], "Grüße: 100 % vergeblich\n");
    assert_eq!(failed["last"], unary["last"]);
    assert_eq!(told["unknown"]["code"], "UNIMPLEMENTED");
    let ended = |code| json!({ "first": "begun", "code": code });
    assert_eq!(told["out of time"], ended("DEADLINE_EXCEEDED"));
    assert_eq!(told["cancelled"], ended("CANCELLED"));
}

/// How many calls the server notes: one for each step, fifty for that of many at once, and none for
/// the method that it does not know.
const CALLS: usize = 10 + 50;

/// The calls that the server has had since it was asked last, of which those that came at once are
/// in no order.
async fn calls(server: &Server) -> Vec<Value> {
    let calls = get_json(server.address("report"), "/calls").await;
    let calls = calls.as_array().unwrap().clone();
    for call in &calls {
        assert_eq!(call["ended"], true, "{call}");
        assert_eq!(call["outlasted"], false, "{call}: nobody told it to end");
    }
    let cancelled = |call: &&Value| call["method"] == "hang" && call["has_deadline"] == false;
    assert_eq!(calls.iter().filter(cancelled).count(), 1, "{calls:?}");
    calls
}

fn start(settings: &Value) -> Server {
    Server::start(
        &python(),
        "clients/grpc-server.py",
        ".venv/bin/python",
        settings,
    )
}

fn python() -> String {
    let python = directory().join(".venv/bin/python");
    python.to_str().unwrap().to_owned()
}
