//! The operators' listener.

use http::Request;
use http_body_util::Full;

use crate::support::client::raw;
use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get, request, simple_config};

#[tokio::test(flavor = "multi_thread")]
async fn probes_have_three_meanings() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Silence);
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
    provider.wait_for_requests(1).await;
    let probe = async |path| {
        let answer = get(gatepass.admin(), path).await;
        format!("{path} {}\n{}", answer.status().as_u16(), answer.body())
    };
    let found = [
        probe("/livez").await,
        probe("/startupz").await,
        probe("/readyz").await,
    ];
    insta::assert_snapshot!(found.join("\n"), @r#"
    /livez 200
    alive

    /startupz 503
    starting

    credential "envase": first attempt to get a token: under way

    /readyz 503
    not ready

    credential "envase" has no token yet: the next one is on its way
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_gatepass_says_so() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    for path in ["/livez", "/startupz", "/readyz"] {
        let answer = get(gatepass.admin(), path).await;
        assert_eq!(answer.status(), 200, "{path}");
        // It is true for this moment only.
        assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
    }
    let metrics = get(gatepass.admin(), "/metrics").await;
    assert_eq!(
        metrics.headers()["vary"],
        "accept",
        "they come in two forms"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_no_route_needs_is_neither_fetched_nor_awaited() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let unused = format!(
        "{}\n[credentials.unused]\ntoken_endpoint = \"{}\"\nclient_id = \"x\"\nclient_secret = \"canary\"",
        simple_config(&provider, &upstream),
        provider.token_endpoint(),
    );
    let gatepass = Gatepass::start(&unused).ready().await;
    assert_eq!(provider.count(), 1);
    gatepass.wait_for_event("no route uses credential \"unused\": no token is fetched for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_credentials_that_fails_is_named() {
    let good = AuthorizationServer::start();
    let bad = AuthorizationServer::start();
    bad.otherwise(Reply::Json(401, r#"{"error":"invalid_client"}"#.into()));
    let upstream = Upstream::start().await;
    let config = format!(
        r#"{}
        [credentials.broken]
        token_endpoint = "{}"
        client_id = "x"
        client_secret = "canary"

        [[routes]]
        path = "/broken"
        upstream = "{}"
        credential = "broken"
        "#,
        simple_config(&good, &upstream),
        bad.token_endpoint(),
        upstream.origin(),
    );
    let gatepass = Gatepass::start(&config);
    gatepass.output_with("invalid_client");
    gatepass.output_with("new token");
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 503);
    assert!(
        ready
            .body()
            .contains("credential \"broken\" has no token yet"),
        "{}",
        ready.body()
    );
    assert!(!ready.body().contains("envase"), "{}", ready.body());
    // The other route is not touched by it.
    assert_eq!(get(gatepass.proxy(), "/fine").await.status(), 200);
    assert_eq!(get(gatepass.proxy(), "/broken").await.status(), 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_get_is_served() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let post = Request::post("/metrics").body(Full::default()).unwrap();
    assert_eq!(request(gatepass.admin(), post).await.status(), 405);
    assert_eq!(get(gatepass.admin(), "/elsewhere").await.status(), 404);
}

/// The status of a request's head to which nothing is added.
async fn status(gatepass: &Gatepass, head: &str) -> u16 {
    let text = format!("{head}\r\nConnection: close\r\n\r\n");
    let answer = raw(gatepass.admin(), text, |_| false).await;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status.parse().expect(&answer)
}

/// Browsers take names for hosts that are none by the grammar of addresses, and a page whose name leads
/// here is told by its name alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_no_name_of_this_machine_is_refused_whatever_it_is() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = format!("admin.quit = true\n{}", simple_config(&provider, &upstream));
    let gatepass = Gatepass::start(&config).ready().await;
    for host in [
        "evil.example",
        "a{b.evil.example",
        "a\"b.evil.example:28090",
        "a`b.evil.example",
        "a b.evil.example",
        "ä.evil.example",
        "localhost@",
        "",
    ] {
        for path in ["/", "/api/config", "/metrics"] {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {host}");
            assert_eq!(status(&gatepass, &head).await, 421, "{head}");
        }
        for path in ["/quit", "/api/credentials/envase/refresh"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
                 Sec-Fetch-Site: same-origin\r\nContent-Length: 0"
            );
            assert_eq!(status(&gatepass, &head).await, 421, "{head}");
        }
    }
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 421),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
            421,
        ),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost", 421),
        ("GET http://localhost/ HTTP/1.1\r\nHost: evil.example", 421),
        ("GET http://localhost/ HTTP/1.1\r\nHost: localhost", 200),
        ("GET / HTTP/1.1\r\nHost: LocalHost:28090", 200),
        ("GET / HTTP/1.1\r\nHost: [::1]:28090", 200),
        ("GET / HTTP/1.0", 200),
    ] {
        assert_eq!(status(&gatepass, head).await, expected, "{head}");
    }
    assert_eq!(provider.count(), 1, "no command was obeyed");
}
