//! The status at one look, as people see it.
#![expect(clippy::print_stdout, reason = "it is read for its figures")]

use http::Request;
use http_body_util::Full;

use crate::status::{fail_to_refresh, start};
use crate::support::client::{Answer, request};
use crate::support::{AuthorizationServer, CANARY, Gatepass, Reply, Upstream, get};

#[tokio::test(flavor = "multi_thread")]
async fn people_see_what_is_wrong_and_what_to_do() {
    let provider = AuthorizationServer::start();
    provider.plan([Reply::Json(
        400,
        r#"{"error":"invalid_client","error_description":"<b>who?</b>"}"#.into(),
    )]);
    let (gatepass, _upstream) = start(&provider).await;
    let answer = get(gatepass.admin(), "/").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    let page = answer.body();
    for part in [
        "✗ not ready",
        "✗ none yet",
        "invalid_client",
        "Refresh now",
        "check client_id",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(
        !page.contains("<b>who"),
        "what others write is text: {page}"
    );
    assert!(!page.contains(CANARY), "{page}");
    assert!(page.len() < 60 * 1024, "{}", page.len());
    // Nothing is fetched from anywhere else, and nothing runs but what is known.
    for fetched in ["src=", "href=\"http", "url(", "@import"] {
        assert!(!page.contains(fetched), "{fetched}: {page}");
    }
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
}

/// Twenty credentials and as many routes, each with something to tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_much_on_it_stays_small() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let mut config = String::new();
    for number in 0..20 {
        config += &format!(
            "[credentials.partner-{number}]\ntoken_endpoint = \"{}\"\nclient_id = \"tms\"\n\
             client_secret = \"canary\"\nscope = \"orders/read orders/write\"\n",
            provider.token_endpoint()
        );
    }
    for number in 0..20 {
        config += &format!(
            "[[routes]]\npath = \"/partner/{number}\"\nupstream = \"{}\"\n\
             credential = \"partner-{number}\"\n",
            upstream.origin(),
        );
    }
    let gatepass = Gatepass::start(&config).ready().await;
    for number in 0..20 {
        let path = format!("/partner/{number}/orders");
        assert_eq!(get(gatepass.proxy(), &path).await.status(), 200);
    }
    for number in 0..20 {
        gatepass.order_refresh(&format!("partner-{number}")).await;
    }
    provider.wait_for_requests(40).await;
    let page = get(gatepass.admin(), "/").await.into_body();
    println!("20 credentials and 20 routes: {} bytes", page.len());
    assert!(page.len() < 60 * 1024, "{}", page.len());
}

/// A bar of the token's life and the last attempts, in words for those who do not see them.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_life_of_a_token_and_its_refreshes() {
    let provider = AuthorizationServer::start();
    let (gatepass, _upstream) = start(&provider).await;
    provider.otherwise(Reply::Json(400, r#"{"error":"invalid_client"}"#.into()));
    fail_to_refresh(&gatepass).await;
    let page = get(gatepass.admin(), "/").await.into_body();
    for part in [
        "s of 59 min 59 s are over, the next attempt is due after",
        "✗ refused",
        "✓ success",
        "<b>0.0</b> req/s",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let (refused, success) = (page.find("✗ refused"), page.find("✓ success"));
    assert!(refused < success, "the last one comes first");
}

async fn order(gatepass: &Gatepass, host: &str, fields: &[(&str, &str)]) -> Answer {
    let mut order = Request::post("/api/credentials/envase/refresh").header("host", host);
    for (name, value) in fields {
        order = order.header(*name, *value);
    }
    request(gatepass.admin(), order.body(Full::default()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_ordered_by_its_own_page_and_by_no_other() {
    let provider = AuthorizationServer::start();
    let (gatepass, _upstream) = start(&provider).await;
    let own = gatepass.admin().to_string();
    let origin = format!("http://{own}");
    for (host, fields) in [
        (own.as_str(), &[("origin", "http://evil.example")] as &[_]),
        (
            own.as_str(),
            &[("origin", "null"), ("sec-fetch-site", "cross-site")],
        ),
        (
            own.as_str(),
            &[("origin", origin.as_str()), ("sec-fetch-site", "same-site")],
        ),
        (own.as_str(), &[("sec-fetch-site", "same-origin")]),
        // By a name that somebody else has made lead here.
        (
            "evil.example",
            &[
                ("origin", "http://evil.example"),
                ("sec-fetch-site", "same-origin"),
            ],
        ),
    ] {
        let refused = order(&gatepass, host, fields).await.status();
        let expected = if host == own { 403 } else { 421 };
        assert_eq!(refused, expected, "{fields:?}");
    }
    // Nor can a page that has made its own name lead here read anything.
    for path in ["/", "/api/status", "/metrics"] {
        let read = Request::get(path).header("host", "evil.example:9090");
        let read = request(gatepass.admin(), read.body(Full::default()).unwrap()).await;
        assert_eq!(read.status(), 421, "{path}");
    }
    assert_eq!(provider.count(), 1);
    let fields = [
        ("origin", origin.as_str()),
        ("sec-fetch-site", "same-origin"),
    ];
    let answer = order(&gatepass, &own, &fields).await;
    assert_eq!(answer.status(), 303);
    assert_eq!(answer.headers()["location"], "/");
    provider.wait_for_requests(2).await;
}
