//! Neither a secret nor a token appears in anything that gatepass prints or serves.
//!
//! [`Gatepass`] looks through all that a process printed when it is dropped, at the finest log
//! level, in every test. What is served is looked through here.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::support::{
    AuthorizationServer, CANARY, CLIENT_SECRET, Gatepass, Reply, Upstream, get, raw,
    shows_a_secret, simple_config,
};

/// What all these tests look for is found in every place of a text that Base64 has been made of.
#[test]
fn a_secret_is_known_in_base64_as_well() {
    assert!(shows_a_secret(&format!("Bearer {CANARY}-token-1")));
    assert!(!shows_a_secret("Bearer •••"));
    for before in ["", "t", "tm", "tms", "tms:"] {
        for after in ["", "+", " 42", "\u{ff}"] {
            let clear = format!("{before}{CANARY}{after}");
            for engine in [STANDARD, URL_SAFE_NO_PAD] {
                let encoded = engine.encode(&clear);
                assert!(shows_a_secret(&encoded), "{clear:?}: {encoded}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_served_holds_a_secret() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    get(gatepass.proxy(), "/").await;
    raw(gatepass.proxy(), "GET / HTTP/1.1\r\n\x00\r\n\r\n", |_| {
        false
    })
    .await;
    for path in [
        "/metrics",
        "/readyz",
        "/startupz",
        "/livez",
        "/",
        "/api/status",
        "/api/config",
        "/nothing",
    ] {
        let answer = get(gatepass.admin(), path).await;
        assert!(
            !shows_a_secret(&format!("{answer:?}")),
            "{path}: {answer:?}"
        );
    }
    let answer = get(gatepass.proxy(), "/").await;
    assert!(!shows_a_secret(&format!("{answer:?}")), "{answer:?}");

    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(2).await;
    let listen = "GET /api/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0\r\n\r\n";
    let whole = |text: &str| text.matches("\"new token\"").count() == 2;
    let told = raw(gatepass.admin(), listen, whole).await;
    assert!(whole(&told), "{told}");
    assert!(!shows_a_secret(&told), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_repeats_the_secret_is_not_quoted_with_it() {
    let basic = "dG1zOmNhbmFyeSUyQnMzY3JldCUyRiUyNSUzQSUzRCUyNis0Mg==";
    let encoded = "canary%2Bs3cret%2F%25%3A%3D%26+42";
    for said in [CLIENT_SECRET, basic, encoded] {
        let provider = AuthorizationServer::start();
        let body = format!(r#"{{"error":"invalid_client","error_description":"not {said}"}}"#);
        provider.otherwise(Reply::Json(401, body));
        let upstream = Upstream::start().await;
        let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
        provider.wait_for_requests(1).await;
        gatepass.output_with("invalid_client");
        let ready = get(gatepass.admin(), "/readyz").await.into_body();
        let answer = get(gatepass.proxy(), "/").await.into_body();
        for shown in [ready, answer, gatepass.output()] {
            assert!(shown.contains("not •••"), "{shown}");
            assert!(!shown.contains(CANARY) && !shown.contains(basic), "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_as_an_answer_is_not_quoted() {
    let page = format!("<html>{CANARY}</html>");
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Json(500, page));
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
    gatepass.output_with("answered 500");
    for address in [gatepass.proxy(), gatepass.admin()] {
        let answer = get(address, "/readyz").await;
        assert_eq!(answer.status(), 503);
        assert!(!answer.body().contains(CANARY), "{}", answer.body());
    }
}
