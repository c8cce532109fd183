//! `gatepass status`

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::client::PATIENCE;
use crate::support::gatepass::{Finished, command, run};
use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get, simple_config};

pub async fn status(gatepass: &Gatepass, arguments: &[&'static str]) -> Finished {
    let admin = gatepass.admin().to_string();
    let arguments = arguments.to_vec();
    let running = tokio::task::spawn_blocking(move || {
        run(
            &[&["status", "--admin-listen", &admin], &arguments[..]].concat(),
            &[],
        )
    });
    running.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_credential_and_route_has_its_line() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let ended = r#"gatepass_requests_total{route="root",status_class="2xx"}"#;
    gatepass.wait_for_metric(ended, 1.0).await;
    let shown = status(&gatepass, &[]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let lines: Vec<Vec<_>> = shown
        .stdout
        .lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    let state = format!(
        "gatepass {} at {} is ready,",
        env!("CARGO_PKG_VERSION"),
        gatepass.admin()
    );
    assert!(shown.stdout.starts_with(&state), "{}", shown.stdout);
    let headings = [
        "CREDENTIAL",
        "TOKEN",
        "ENDS IN",
        "NEXT ATTEMPT IN",
        "NUMBER",
        "FROM",
        "ATTEMPTS",
    ];
    assert_eq!(lines[2], headings, "{}", shown.stdout);
    let [name, health, ends, _, number, from, attempts] = lines[3][..] else {
        panic!("{}", shown.stdout);
    };
    assert_eq!(
        [name, health, number, from, attempts],
        ["envase", "fresh", "1", "-", "success 1"]
    );
    assert!(ends.starts_with("59m "), "{ends}");
    let origin = upstream.origin();
    let route = ["root", "/", &origin, "envase", "0", "2xx 1", "-"];
    assert_eq!(lines[6][..7], route, "{}", shown.stdout);
    assert!(lines[6][7].ends_with(" ms"), "{}", shown.stdout);
    // Nobody looks: no colours.
    assert!(!shown.stdout.contains('\x1b'), "{}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Json(400, r#"{"error":"invalid_client"}"#.into()));
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
    gatepass.wait_for_probe("/startupz").await;
    let shown = status(&gatepass, &[]).await;
    for part in [
        "is not ready",
        "credential \"envase\" has no token yet",
        "check client_id",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    let json = status(&gatepass, &["--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["state"], "not_ready");
}

#[test]
fn nobody_there_is_said_as_such() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let finished = run(&["status", "--admin-listen", &address], &[]);
    assert_eq!(finished.code, Some(69));
    insta::assert_snapshot!(finished.stderr.replace(&address, "ADDRESS"), @r"
    gatepass: the gatepass at ADDRESS tells no status
        why       it cannot be asked: Connection refused (os error 111)
        next      see that it runs, and that it listens there
    ");
}

/// The proxy's port is the likeliest slip, and what is behind it may answer anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_admin_listener_is_not_believed() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let said = told_by_a_stranger(&["status"], &gatepass.proxy().to_string()).await;
    assert!(said.contains(NO_ADMIN_LISTENER), "{said}");
    let page = stranger("<!doctype html>\n<title>no gatepass</title>").await;
    insta::assert_snapshot!(told_by_a_stranger(&["status"], &page).await, @r"
    gatepass: the gatepass at ADDRESS tells no status
        why       what answers there is not a gatepass's admin listener; it says: <!doctype html>
        next      see admin.listen of the configuration, or say with --admin-listen where that is (proxy.listen is another)
    ");
    let json = stranger(r#"{"state":"ready","version":"1"}"#).await;
    for command in [&["status"][..], &["status", "--json"]] {
        let said = told_by_a_stranger(command, &json).await;
        assert!(said.contains(NO_ADMIN_LISTENER), "{said}");
    }
}

/// As any other command that prints.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_printed_is_no_success() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
    let admin = gatepass.admin().to_string();
    for further in [&[][..], &["--json"], &["--watch"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut status = tokio::process::Command::from(command());
        status
            .args(["status", "--admin-listen", &admin])
            .args(further)
            .stdout(full.unwrap())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let status = status.spawn().unwrap().wait_with_output();
        let ended = timeout(PATIENCE, status).await.unwrap().unwrap();
        assert_eq!(ended.status.code(), Some(69), "{ended:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("could not be printed"), "{said}");
    }
}

pub const NO_ADMIN_LISTENER: &str = "what answers there is not a gatepass's admin listener";

/// What is said of an address that belongs to somebody else; nothing is printed as an answer.
pub async fn told_by_a_stranger(command: &[&'static str], address: &str) -> String {
    let (command, asked) = (command.to_vec(), address.to_owned());
    let running = tokio::task::spawn_blocking(move || {
        run(&[&command[..], &["--admin-listen", &asked]].concat(), &[])
    });
    let finished = running.await.unwrap();
    assert_eq!(finished.code, Some(69), "{}", finished.stdout);
    assert_eq!(finished.stdout, "");
    finished.stderr.replace(address, "ADDRESS")
}

/// A server that answers everything with 200 and this; its address.
pub async fn stranger(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            // All of the question is taken, or the answer might be lost with it.
            let mut question = [0; 1024];
            let _ = stream.read(&mut question).await;
            let _ = stream.write_all((head + body).as_bytes()).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_says_nothing_is_not_waited_for_for_ever() {
    // The kernel takes connections that nobody speaks on.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = silent.local_addr().unwrap().to_string();
    let asking = tokio::process::Command::from(command())
        .args(["status", "--admin-listen", &admin])
        .kill_on_drop(true)
        .output();
    let told = timeout(PATIENCE, asking).await.expect("an end").unwrap();
    assert_eq!(told.status.code(), Some(69), "{told:?}");
}
