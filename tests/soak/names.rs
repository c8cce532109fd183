//! Promises: a name that vanishes costs nothing while connections last and tokens are good; one that
//! comes back with another address is found without a restart; a provider is reached at its second
//! address if its first is silent; and of several addresses of an upstream, one that is of no use costs no
//! request that may be repeated.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::server::Server;
use crate::support::{AuthorizationServer, Gatepass, get, within};

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
    let gatepass = Gatepass::start_with_mounts(&names_from(&directory), &config)
        .ready()
        .await;
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
    let start = tokio::time::Instant::now();
    within(
        Duration::from_secs(20),
        "the new address is found",
        async || get(gatepass.proxy(), "/").await.status() == 200,
    )
    .await;
    println!(
        "the upstream's new address was found after {:?}",
        start.elapsed()
    );
    assert_eq!(second.address.port(), port);
    let failures = r#"gatepass_token_consecutive_failures{credential="a"}"#;
    gatepass.wait_for_metric(failures, 0.0).await;
}

/// A queue without room takes nobody, and tells nobody: its kernel drops what asks for a connection.
fn silent_at(address: SocketAddr) -> (Socket, TcpStream) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(0).unwrap();
    let only = TcpStream::connect(address).unwrap();
    TcpStream::connect_timeout(&address, Duration::from_millis(100)).expect_err("it is silent");
    (socket, only)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_first_address_is_silent_is_reached_at_its_second() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let mut provider = AuthorizationServer::down_at(Ipv4Addr::new(127, 0, 0, 9));
    provider.come_up();
    let address = provider.address();
    // glibc puts this one first: it is the one that is called from.
    let _silent = silent_at((Ipv4Addr::LOCALHOST, address.port()).into());
    let hosts = format!("127.0.0.1 localhost\n{} localhost\n", address.ip());
    fs::write(file("hosts"), hosts).unwrap();
    fs::write(file("nsswitch"), "hosts: files\n").unwrap();
    let config = format!(
        "[credentials.a]\ntoken_endpoint = \"http://localhost:{}\"\nclient_id = \"a\"\n\
         client_secret = \"canary\"\ntimeout = \"2s\"\n[[routes]]\npath = \"/\"\n\
         credential = \"a\"\nupstream = \"http://127.0.0.1:9\"\n",
        address.port()
    );
    let gatepass = Gatepass::start_with_mounts(&names_from(&directory), &config)
        .ready()
        .await;
    let failed = r#"gatepass_token_refreshes_total{credential="a",outcome="unavailable"}"#;
    assert_eq!(gatepass.metric(failed).await, 0.0);
}

/// What has a process look names up in the files of a directory.
pub fn names_from(directory: &TempDir) -> String {
    let file = |name: &str| directory.path().join(name);
    format!(
        "mount --bind {} /etc/hosts; mount --bind {} /etc/nsswitch.conf",
        file("hosts").display(),
        file("nsswitch").display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_addresses_takes_connections_and_closes_them() {
    let provider = AuthorizationServer::start();
    for (good, bad) in [("127.0.0.2", "127.0.0.3"), ("127.0.0.3", "127.0.0.2")] {
        let directory = tempfile::tempdir().unwrap();
        let hosts = directory.path().join("hosts");
        fs::write(&hosts, "127.0.0.2 upstream.test\n127.0.0.3 upstream.test\n").unwrap();
        let server = Server::start(&format!("{good}:0"));
        let port = server.address.port();
        let closing = TcpListener::bind(format!("{bad}:{port}")).await.unwrap();
        tokio::spawn(async move { while closing.accept().await.is_ok() {} });
        let config = format!(
            "[credentials.a]\ntoken_endpoint = \"{}\"\nclient_id = \"a\"\n\
             client_secret = \"canary\"\n[[routes]]\npath = \"/\"\ncredential = \"a\"\n\
             upstream = \"http://upstream.test:{port}\"\ntimeouts.keep_alive = \"1ms\"\n",
            provider.token_endpoint()
        );
        let mounts = format!("mount --bind {} /etc/hosts", hosts.display());
        let gatepass = Gatepass::start_with_mounts(&mounts, &config).ready().await;
        for _ in 0..20 {
            assert_eq!(get(gatepass.proxy(), "/").await.status(), 200, "not {bad}");
        }
        let retries = r#"gatepass_upstream_retries_total{reason="closed",route="root"}"#;
        assert!(gatepass.metric(retries).await <= 1.0, "{bad} is remembered");
    }
}
