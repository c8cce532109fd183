//! A log that nobody reads stops nothing.

use std::io::Read;
use std::process::Stdio;

use crate::support::client::{PATIENCE, get};
use crate::support::gatepass::command;
use crate::support::{AuthorizationServer, Upstream, simple_config};

/// Some pipes hold 64 KiB; at the finest level every request writes some hundred bytes, and each of
/// the unread lines would be one that both planes wait for.
#[tokio::test(flavor = "multi_thread")]
async fn requests_and_probes_go_on_and_the_end_comes() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gatepass.toml");
    let admin = free_address();
    let proxy = free_address();
    let config = format!(
        "proxy.listen = \"{proxy}\"\nadmin.listen = \"{admin}\"\nadmin.quit = true\n\
         log = {{ level = \"trace\", format = \"json\" }}\n{}",
        simple_config(&provider, &upstream)
    );
    std::fs::write(&file, config).unwrap();
    let mut gatepass = command()
        .args(["run", "--config"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let waiting = async {
        while tokio::net::TcpStream::connect(proxy).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        while get(admin, "/readyz").await.status() != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();

    let order = || http::Request::post("/api/credentials/envase/refresh");
    let dropped = async || {
        let metrics = get(admin, "/metrics").await.into_body();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("gatepass_log_lines_dropped_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let waiting = async {
        while dropped().await == 0 {
            for _ in 0..200 {
                let order = order().header("host", "localhost");
                let order = order.body(http_body_util::Full::default()).unwrap();
                assert_eq!(crate::support::request(admin, order).await.status(), 202);
            }
            assert_eq!(get(proxy, "/").await.status(), 200);
        }
    };
    tokio::time::timeout(3 * PATIENCE, waiting).await.unwrap();

    // The end does not wait for a reader either.
    let quit = http::Request::post("/quit").header("host", "localhost");
    let quit = quit.body(http_body_util::Full::default()).unwrap();
    assert_eq!(crate::support::request(admin, quit).await.status(), 202);
    let ended = async {
        loop {
            if let Some(status) = gatepass.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let status = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(status.code(), Some(0));

    // What was written is whole lines, from the beginning.
    let mut text = Vec::new();
    gatepass.stderr.unwrap().read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\"listening\""), "{}", text.len());
}

fn free_address() -> std::net::SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}
