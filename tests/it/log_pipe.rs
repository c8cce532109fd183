//! A log that nobody reads stops nothing, and nothing that happens all the time fills it.

use std::io::Read;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::client::{PATIENCE, get};
use crate::support::gatepass::command;
use crate::support::{AuthorizationServer, Gatepass, Upstream, eventually, simple_config};

/// Some pipes hold 64 KiB; every request writes more than 1,000 bytes here, and each of the unread
/// lines would be one that both planes wait for.
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
         log = {{ format = \"json\", access.requests = \"all\" }}\n{}",
        simple_config(&provider, &upstream)
    );
    std::fs::write(&file, config).unwrap();
    let mut gatepass = command()
        .args(["run", "--config"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let listens = async || tokio::net::TcpStream::connect(proxy).await.is_ok();
    eventually("it listens", listens).await;
    let is_ready = async || get(admin, "/readyz").await.status() == 200;
    eventually("it is ready", is_ready).await;

    let dropped = async || {
        let metrics = get(admin, "/metrics").await.into_body();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("gatepass_log_lines_dropped_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let path = format!("/{}", "x".repeat(1_000));
    let waiting = async {
        while dropped().await == 0 {
            for _ in 0..200 {
                assert_eq!(get(proxy, &path).await.status(), 200);
            }
        }
    };
    tokio::time::timeout(3 * PATIENCE, waiting).await.unwrap();

    // The end does not wait for a reader either.
    let quit = http::Request::post("/quit").header("host", "localhost");
    let quit = quit.body(http_body_util::Full::default()).unwrap();
    assert_eq!(crate::support::request(admin, quit).await.status(), 202);
    let has_ended = || std::future::ready(gatepass.try_wait().unwrap().is_some());
    eventually("it ends", has_ended).await;
    assert_eq!(gatepass.wait().unwrap().code(), Some(0));

    // What was written is whole lines, from the beginning.
    let mut text = Vec::new();
    gatepass.stderr.unwrap().read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\"listening\""), "{}", text.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_again_and_again_is_held_back_and_counted() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let mut gatepass = Gatepass::start(&config).ready().await;
    for _ in 0..20 {
        gatepass.order_refresh("envase").await;
    }
    gatepass.signal(Signal::TERM);
    gatepass.ended().await;
    let line = "an operator asks for a new token credential=\"envase\"";
    let told = gatepass.wait_for_event("the same was said again and is held back");
    assert_eq!((&told["line"], &told["times"]), (&line.into(), &15.into()));
    let output = gatepass.output();
    let said = output.matches("\"an operator asks for a new token\"");
    assert_eq!(said.count(), 5, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_is_told_while_it_runs() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    for _ in 0..20 {
        gatepass.order_refresh("envase").await;
    }
    // When the ten seconds are over.
    gatepass.wait_for_event("the same was said again and is held back");
}

fn free_address() -> std::net::SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}
