//! What the metrics and the log say of callers' connections.

use std::path::Path;
use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::certificates::{Authority, Identity};
use crate::support::wire::{GET, Wire, read_until};
use crate::support::{AuthorizationServer, Gatepass, Upstream, client, simple_config};

fn connections(what: &str) -> String {
    format!("gatepass_listener_connections_{what}{{listener=\"proxy\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_and_those_that_wait_for_a_place() {
    let wire = Wire::start_with("proxy.limits.connections = 1", "").await;
    let (mut first, mut upstream) = wire.exchange(GET).await;
    assert_eq!(wire.gatepass.metric(&connections("open")).await, 1.0);
    let mut second = wire.call(GET.as_bytes()).await;
    let waited = connections("waited_total");
    wire.gatepass.wait_for_metric(&waited, 1.0).await;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    upstream.write_all(answer).await.unwrap();
    read_until(&mut first, "ok").await;
    drop(first);
    read_until(&mut upstream, "\r\n\r\n").await;
    upstream.write_all(answer).await.unwrap();
    read_until(&mut second, "ok").await;
    assert_eq!(
        wire.gatepass.metric(&connections("accepted_total")).await,
        2.0
    );
    drop(second);
    wire.gatepass
        .wait_for_metric(&connections("open"), 0.0)
        .await;
    let admin = "gatepass_listener_connections_open{listener=\"admin\"}";
    assert!(wire.gatepass.metric(admin).await >= 1.0);
}

/// The descriptors are for callers.
#[tokio::test(flavor = "multi_thread")]
async fn operators_have_a_hundred_places_and_no_more() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    let mut operator = client::connect(gatepass.admin()).await;
    let mut metrics = async || {
        let answer = operator.send_request(client::get_request("/metrics"));
        let body = answer.await.unwrap().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    };
    metrics().await;
    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(TcpStream::connect(gatepass.admin()).await.unwrap());
    }
    let nobody = "gatepass_listener_connections_waited_total{listener=\"admin\"} 0\n";
    for _ in 0..1_000 {
        if !metrics().await.contains(nobody) {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits:\n{}", metrics().await);
}

/// A listener that asks for certificates of this authority.
async fn start(authority: &Authority, directory: &Path) -> Gatepass {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    authority.server().write(directory, "tls");
    std::fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    let config = simple_config(&provider, &upstream);
    let directory = directory.display();
    let config = format!(
        "proxy.tls = {{ cert_file = \"{directory}/tls.crt\", key_file = \"{directory}/tls.key\", \
         client_ca_file = \"{directory}/ca.pem\" }}\nproxy.timeouts.header_read = \"1s\"\n{config}"
    );
    let environment = [("GATEPASS__PROXY__LISTEN", "tls:127.0.0.1:0")];
    Gatepass::start_with(&config, &environment).ready().await
}

/// Tries to be served with this certificate by one who is believed by whom `trusted` says.
async fn call(gatepass: &Gatepass, trusted: &Authority, identity: Option<&Identity>) {
    let stream = TcpStream::connect(gatepass.proxy()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let connector = trusted.client_tls(identity, &[]);
    // In TLS 1.3 a client is told only after it has begun to speak.
    if let Ok(stream) = connector.connect(name, stream).await {
        let mut caller = client::connect_over(stream).await;
        let request = caller.send_request(client::get_request("/"));
        request.await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_fail_are_counted_by_cause_and_told_with_what_to_do() {
    let (ours, others) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let gatepass = start(&ours, directory.path()).await;
    let shown = [
        ("no_certificate", None),
        ("expired_certificate", Some(ours.expired_client())),
        (
            "unknown_authority",
            Some(others.client("gatepass tests", "stranger")),
        ),
        ("bad_certificate", Some(ours.client_of_version_1())),
    ];
    for (_, identity) in &shown {
        call(&gatepass, &ours, identity.as_ref()).await;
    }
    let known = ours.client("gatepass tests", "tms");
    call(&gatepass, &others, Some(&known)).await;
    client::raw(gatepass.proxy(), GET, |_| false).await;
    client::raw(gatepass.proxy(), "\u{16}", |_| false).await;
    drop(TcpStream::connect(gatepass.proxy()).await.unwrap());
    let others = ["refused_by_caller", "not_tls", "too_late", "broken_off"];
    for cause in shown.map(|(cause, _)| cause).into_iter().chain(others) {
        let counted =
            format!("gatepass_listener_tls_failures_total{{cause=\"{cause}\",listener=\"proxy\"}}");
        gatepass.wait_for_metric(&counted, 1.0).await;
    }
    let told = gatepass.output_with("broken_off");
    let told = told.lines().filter_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let advice = event["message"].as_str()?.split_once("); ")?.1;
        let (level, cause) = (event["level"].as_str()?, event["cause"].as_str()?);
        Some(format!("{level} {cause}: {advice}"))
    });
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r"
    WARN no_certificate: let the caller show a certificate that an authority of proxy.tls.client_ca_file has signed
    WARN expired_certificate: the caller's certificate has run out or is not valid yet, or this machine's clock is wrong
    WARN unknown_authority: the caller's certificate leads to no authority of proxy.tls.client_ca_file; if there are certificates between, the caller has to send them, too
    WARN bad_certificate: the caller's certificate is of X.509 version 1, which has no extensions to say what it is for; have it signed anew as version 3 (openssl x509 -req -extfile …)
    WARN refused_by_caller: the caller does not take this listener's certificate; let it trust the authority of proxy.tls.cert_file, and call a name that stands in the certificate
    WARN not_tls: what came is no TLS; let the caller use https://, or a listener without tls:
    ");
}
