//! Promise: a name that vanishes costs nothing while connections last and tokens are good; and one that
//! comes back with another address is found without a restart.

use std::fs;
use std::time::Duration;

use crate::server::Server;
use crate::support::{AuthorizationServer, Gatepass, get};

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_vanishes_and_comes_back_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let provider = AuthorizationServer::start();
    let mut first = Server::start("127.0.0.2:0");
    let port = first.address.port();
    // In the same file, which the process sees by its mount.
    let names = |upstream: &str, provider: &str| {
        let provider = format!("{provider} localhost\n");
        fs::write(file("hosts"), format!("{provider}{upstream}")).unwrap();
    };
    names("127.0.0.2 upstream.test\n", "127.0.0.1");
    fs::write(file("nsswitch"), "hosts: files\n").unwrap();
    let endpoint = provider.token_endpoint().replace("127.0.0.1", "localhost");
    let config = format!(
        "[credentials.a]\ntoken_endpoint = \"{endpoint}\"\nclient_id = \"a\"\n\
         client_secret = \"canary\"\n[[routes]]\npath = \"/\"\ncredential = \"a\"\n\
         upstream = \"http://upstream.test:{port}\"\ntimeouts.keep_alive = \"1s\"\n"
    );
    let mounts = format!(
        "mount --bind {} /etc/hosts; mount --bind {} /etc/nsswitch.conf",
        file("hosts").display(),
        file("nsswitch").display()
    );
    let gatepass = Gatepass::start_with_mounts(&mounts, &config).ready().await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);

    // Its name is gone, and so is the provider's: the token is good, and so is what was looked up.
    fs::write(file("hosts"), "").unwrap();
    gatepass.order_refresh("a").await;
    gatepass.output_with("cannot be reached");
    assert_eq!(get(gatepass.admin(), "/readyz").await.status(), 200);
    first.go_down().await;
    let vanished = get(gatepass.proxy(), "/").await;
    assert_eq!(vanished.status(), 502, "{}", vanished.body());

    // Both are back, at other addresses.
    let second = Server::start(&format!("127.0.0.3:{port}"));
    names("127.0.0.3 upstream.test\n", "127.0.0.1");
    let found = async {
        while get(gatepass.proxy(), "/").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let start = tokio::time::Instant::now();
    tokio::time::timeout(Duration::from_secs(20), found)
        .await
        .expect("the new address is found");
    println!(
        "the upstream's new address was found after {:?}",
        start.elapsed()
    );
    assert_eq!(second.address.port(), port);
    let failures = r#"gatepass_token_consecutive_failures{credential="a"}"#;
    gatepass.wait_for_metric(failures, 0.0).await;
}
