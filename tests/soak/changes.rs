//! Promise: 20 reloads of the configuration, 10 replaced secrets, 10 replaced certificates and 5
//! restarts of an upstream with two addresses, all under constant load, cost no request; and the log
//! tells the story.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::certificates::Authority;
use crate::names::names_from;
use crate::server::Server;
use crate::support::{AuthorizationServer, Gatepass, Reply, within};
use crate::traffic::{Account, Traffic};

const TAKEN_UP: &str = r#"gatepass_config_reloads_total{outcome="success"}"#;
const OBTAINED: &str = r#"gatepass_token_refreshes_total{credential="a",outcome="success"}"#;

/// As Kubernetes does it: all at once.
fn replace(file: &Path, content: &str) {
    let beside = file.with_extension("next");
    fs::write(&beside, content).unwrap();
    fs::rename(beside, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_changes_and_no_request_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let provider = AuthorizationServer::start();
    // Refreshed every few seconds by itself, besides.
    provider.otherwise(Reply::Token(5.0));
    fs::write(file("secret"), "canary-0").unwrap();

    let clients = Authority::new();
    let mut authority = Authority::new();
    let tls = Server::start_with(
        "127.0.0.1:0",
        Some(authority.server(&clients)),
        Duration::ZERO,
    );
    let write_client = || {
        let (certificate, key) = clients.client();
        replace(&file("tls.crt"), &certificate);
        replace(&file("tls.key"), &key);
    };
    fs::write(file("ca.pem"), authority.pem()).unwrap();
    write_client();

    // One upstream by name, at two addresses.
    let first = Server::start("127.0.0.2:0");
    let second = Server::start(&format!("127.0.0.3:{}", first.address.port()));
    let mut upstreams = [first, second];
    fs::write(
        file("hosts"),
        "127.0.0.1 localhost\n127.0.0.2 upstream.test\n127.0.0.3 upstream.test\n",
    )
    .unwrap();
    fs::write(file("nsswitch"), "hosts: files\n").unwrap();

    let config = |version: usize| {
        format!(
            r#"
            [credentials.a]
            token_endpoint = "{}"
            client_id = "a"
            client_secret_file = "{}"

            [[routes]]
            path = "/plain"
            upstream = "http://upstream.test:{}"
            credential = "a"
            headers = {{ x-version = "{version}" }}

            [[routes]]
            path = "/tls"
            upstream = "https://localhost:{}"
            credential = "a"
            tls.ca_file = "{}"
            tls.client_cert_file = "{}"
            tls.client_key_file = "{}"
            "#,
            provider.token_endpoint(),
            file("secret").display(),
            upstreams[0].address.port(),
            tls.address.port(),
            file("ca.pem").display(),
            file("tls.crt").display(),
            file("tls.key").display(),
        )
    };
    let configs: Vec<_> = (0..=20).map(config).collect();
    let gatepass = Gatepass::start_with_mounts(&names_from(&directory), &configs[0])
        .ready()
        .await;
    let pause = Duration::from_millis(2);
    let traffic = Traffic::start(gatepass.proxy(), &["/plain", "/tls"], 16, pause);

    for config in &configs[1..] {
        gatepass.reload(config).await;
        traffic.goes_on().await;
    }
    println!("20 reloads: {} requests so far", traffic.answered());

    for number in 1..=10 {
        // Every other time the provider does not know it yet.
        let refused = Reply::Json(401, r#"{"error":"invalid_client"}"#.into());
        provider.plan((number % 2 == 0).then_some(refused));
        replace(&file("secret"), &format!("canary-{number}"));
        let before = gatepass.metric(OBTAINED).await;
        gatepass.order_refresh("a").await;
        let is_obtained = async || gatepass.metric(OBTAINED).await > before;
        within(Duration::from_secs(20), "a new token", is_obtained).await;
        traffic.goes_on().await;
    }
    println!("10 secrets: {} requests so far", traffic.answered());

    for _ in 0..10 {
        let next = Authority::new();
        let before = gatepass.metric(TAKEN_UP).await;
        // First it is believed, then it is shown, and the client has a new one as well. Its two files
        // do not change at once: what is read in between does not fit, and is not taken up.
        replace(&file("ca.pem"), &(authority.pem() + &next.pem()));
        write_client();
        let is_taken_up = async || gatepass.metric(TAKEN_UP).await > before;
        within(Duration::from_secs(20), "a change is taken up", is_taken_up).await;
        *tls.tls.as_ref().unwrap().lock().unwrap() = next.server(&clients);
        authority = next;
        traffic.goes_on().await;
    }
    println!("10 certificates: {} requests so far", traffic.answered());

    for round in 0..5 {
        let upstream = &mut upstreams[round % 2];
        upstream.go_down().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        upstream.come_up();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let Account { answered, lost } = traffic.stop().await;
    println!(
        "5 restarts: {answered} requests in all, {} lost",
        lost.len()
    );
    assert_eq!(lost, Vec::<String>::new());
    assert!(answered > 5_000, "{answered}");
    assert!(gatepass.metric(TAKEN_UP).await >= 30.0);
    let log = gatepass.output();
    let told = |what: &str| log.matches(what).count();
    assert_eq!(told("the previous secret is in use"), 5);
    assert_eq!(told("\"the newer secret is accepted\""), 5);
    assert_eq!(told("no token to send"), 0);
}
