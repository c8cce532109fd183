//! WebSocket between npm's ws and Python's websockets: the client of each with the server of the
//! other, straight and through gatepass.

use serde_json::{Value, json};

use super::bench::{config, run_script};
use crate::server::{Server, directory, get_json};
use crate::support::{AuthorizationServer, Gatepass};

/// How many messages go there and come back.
const MESSAGES: u32 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn websockets_of_python_with_ws_of_node() {
    let server = Server::start(
        "node",
        "clients/ws-server.mjs",
        "node_modules/ws",
        &json!({}),
    );
    compare(&server, &python(), "clients/websockets-client.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ws_of_node_with_websockets_of_python() {
    let needed = ".venv/bin/python";
    let server = Server::start(
        &python(),
        "clients/websockets-server.py",
        needed,
        &json!({}),
    );
    compare(&server, "node", "clients/ws-client.mjs").await;
}

fn python() -> String {
    let python = directory().join(".venv/bin/python");
    python.to_str().unwrap().to_owned()
}

async fn compare(server: &Server, interpreter: &str, script: &str) {
    let address = server.address("port");
    let provider = AuthorizationServer::start();
    let config = config(&provider, &format!("http://{address}"));
    let gatepass = Gatepass::start(&config).ready().await;
    let run = async |base: String| {
        let settings = json!({ "base": base, "messages": MESSAGES });
        run_script(interpreter, script, &settings).await
    };

    let straight = run(format!("ws://{address}")).await;
    assert_eq!(straight["same"], MESSAGES, "{straight}");
    assert_eq!(straight["protocol"], "echo.v2", "{straight}");
    let extensions = straight["extensions"].as_str().unwrap();
    assert!(extensions.contains("permessage-deflate"), "{straight}");
    assert_eq!(straight["pong"], true, "{straight}");
    assert_eq!(straight["closed"], json!([4001, "as asked"]), "{straight}");
    assert_eq!(straight["declined"], 403, "{straight}");
    let expected = handshakes(server).await;
    assert_eq!(expected.len(), 2, "{expected:?}");
    assert_eq!(expected[0]["target"], "/chat?room=1");

    for base in [
        format!("ws://{}", gatepass.proxy()),
        format!("ws://{}/connect", gatepass.proxy()),
    ] {
        assert_eq!(run(base).await, straight);
        let mut seen = handshakes(server).await;
        assert_eq!(seen.len(), expected.len());
        for (seen, expected) in seen.iter_mut().zip(&expected) {
            let fields = seen["fields"].as_object_mut().unwrap();
            let token = fields.remove("authorization");
            assert_eq!(token, Some(json!(["Bearer canary-token-1"])));
            assert_eq!(fields.remove("via"), Some(json!(["1.1 gatepass"])));
            assert_eq!(seen, expected);
        }
    }
    let ended = r#"gatepass_requests_total{route="root",status_class="1xx"}"#;
    gatepass.wait_for_metric(ended, 1.0).await;
}

/// The requests for WebSocket that the server has had since it was asked last. What is new in each
/// of them, or said in other words on the way, is left out.
async fn handshakes(server: &Server) -> Vec<Value> {
    let mut handshakes = get_json(server.address("port"), "/handshakes").await;
    let handshakes = handshakes.as_array_mut().unwrap();
    for handshake in handshakes.iter_mut() {
        let fields = handshake["fields"].as_object_mut().unwrap();
        assert!(fields.remove("sec-websocket-key").is_some());
        let upgrade = fields.remove("upgrade").unwrap();
        assert_eq!(upgrade, json!(["websocket"]));
        let connection = fields.remove("connection").unwrap();
        let connection = connection[0].as_str().unwrap().to_lowercase();
        assert_eq!(connection, "upgrade");
    }
    std::mem::take(handshakes)
}
