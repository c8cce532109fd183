//! Providers that are known by their issuer, and those that are reached through a proxy.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::support::wire::read_until;
use crate::support::{AuthorizationServer, CANARY, Gatepass, Reply, Upstream, get, simple_config};

const OPENID: &str = "/realms/a/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server/realms/a";

fn issuer(provider: &AuthorizationServer) -> String {
    format!("http://{}/realms/a", provider.address())
}

fn metadata(provider: &AuthorizationServer) -> serde_json::Value {
    json!({ "issuer": issuer(provider), "token_endpoint": provider.token_endpoint() })
}

/// With the issuer in the place of the token endpoint.
fn config(provider: &AuthorizationServer, upstream: &Upstream) -> String {
    let endpoint = format!("token_endpoint = \"{}\"", provider.token_endpoint());
    let config = simple_config(provider, upstream);
    assert!(config.contains(&endpoint));
    config.replace(&endpoint, &format!("issuer = \"{}\"", issuer(provider)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_endpoint_is_where_the_issuer_says() {
    for path in [OPENID, OAUTH] {
        let provider = AuthorizationServer::start();
        provider.publish(path, metadata(&provider));
        let upstream = Upstream::start().await;
        upstream.check_tokens(provider.introspection());
        let gatepass = Gatepass::start(&config(&provider, &upstream)).ready().await;
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
        assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
        assert!(
            provider.requests()[0]
                .head
                .starts_with("POST /oauth2/token ")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_or_says_nothing_useful_is_asked_again() {
    let mut provider = AuthorizationServer::down();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&provider, &upstream));
    gatepass.output_with("cannot be reached");
    assert_eq!(get(gatepass.admin(), "/livez").await.status(), 200);
    provider.publish(OPENID, "<html>");
    provider.come_up();
    gatepass.output_with("is no JSON object with issuer and token_endpoint");
    let other =
        json!({ "issuer": "https://evil.example", "token_endpoint": provider.token_endpoint() });
    provider.publish(OPENID, other);
    gatepass.output_with("speaks of another issuer");
    assert_eq!(provider.count(), 0, "no secret has left");
    provider.publish(OPENID, metadata(&provider));
    gatepass.wait_for_probe("/readyz").await;
    assert_eq!(provider.count(), 1);
}

/// Discovery costs a request a day, not one a token.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_issuer_said_is_remembered() {
    let provider = AuthorizationServer::start();
    provider.publish(OPENID, metadata(&provider));
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&provider, &upstream)).ready().await;
    provider.publish(OPENID, "gone");
    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_has_moved_is_found_when_the_old_one_is_silent() {
    let mut provider = AuthorizationServer::start();
    let (issuer_of_both, moved) = (AuthorizationServer::start(), AuthorizationServer::start());
    let names = |provider: &AuthorizationServer| {
        let endpoint = provider.token_endpoint();
        json!({ "issuer": issuer(&issuer_of_both), "token_endpoint": endpoint })
    };
    issuer_of_both.publish(OPENID, names(&provider));
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&issuer_of_both, &upstream));
    let gatepass = gatepass.ready().await;
    assert_eq!(provider.count(), 1);
    issuer_of_both.publish(OPENID, names(&moved));
    provider.go_down().await;
    gatepass.order_refresh("envase").await;
    moved.wait_for_requests(1).await;
}

/// The token endpoint is asked nevertheless, and in time.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_silent_does_not_hold_up_what_it_said() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let issuer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", issuer.local_addr().unwrap());
    let document =
        json!({ "issuer": address, "token_endpoint": provider.token_endpoint() }).to_string();
    let said = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{document}",
        document.len()
    );
    let _issuer = AbortOnDropHandle::new(tokio::spawn(async move {
        let (mut first, _) = issuer.accept().await.unwrap();
        read_until(&mut first, "\r\n\r\n").await;
        first.write_all(said.as_bytes()).await.unwrap();
        let mut silent = Vec::new();
        loop {
            silent.push(issuer.accept().await.unwrap());
        }
    }));
    let endpoint = format!("token_endpoint = \"{}\"", provider.token_endpoint());
    let config = simple_config(&provider, &upstream);
    let config = config.replace(
        &endpoint,
        &format!("timeout = \"2s\"\nissuer = \"{address}\""),
    );
    let gatepass = Gatepass::start(&config).ready().await;
    // It may have moved.
    provider.plan([Reply::HangUp]);
    gatepass.order_refresh("envase").await;
    let successes = r#"gatepass_token_refreshes_total{credential="envase",outcome="success"}"#;
    gatepass.wait_for_metric(successes, 2.0).await;
    let failures = r#"gatepass_token_refreshes_total{credential="envase",outcome="unavailable"}"#;
    assert_eq!(gatepass.metric(failures).await, 1.0);
}

/// The provider plays the proxy: it is asked for another address than its own.
#[tokio::test(flavor = "multi_thread")]
async fn token_requests_go_through_a_proxy_of_their_own() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let elsewhere = "token_endpoint = \"http://127.0.0.1:9/oauth2/token\"";
    let endpoint = format!("token_endpoint = \"{}\"", provider.token_endpoint());
    let proxy = format!(
        "{elsewhere}\negress_proxy = \"http://tms:{CANARY}-pw@{}\"",
        provider.address()
    );
    let config = simple_config(&provider, &upstream).replace(&endpoint, &proxy);
    // Meant for other programs.
    let environment = [
        ("http_proxy", "http://127.0.0.1:9"),
        ("ALL_PROXY", "http://127.0.0.1:9"),
    ];
    let gatepass = Gatepass::start_with(&config, &environment).ready().await;
    let request = &provider.requests()[0];
    let line = "POST http://127.0.0.1:9/oauth2/token HTTP/1.1\r\n";
    assert!(request.head.starts_with(line), "{}", request.head);
    assert!(request.header("proxy-authorization").is_some());
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(
        upstream.last().all("proxy-authorization"),
        Vec::<&str>::new()
    );
}
