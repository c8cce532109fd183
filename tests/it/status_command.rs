//! `gatepass status`

use crate::support::gatepass::{Finished, run};
use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get, simple_config};

async fn status(gatepass: &Gatepass, arguments: &[&'static str]) -> Finished {
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
