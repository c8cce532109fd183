//! What arrives at the upstream, compared with what the caller sent.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;

use crate::support::client::{connect, get_request, read};
use crate::support::{
    AuthorizationServer, Gatepass, Upstream, get, problem, raw, request, simple_config,
};

async fn start(config: impl Fn(&AuthorizationServer, &Upstream) -> String) -> (Gatepass, Upstream) {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&provider, &upstream)).ready().await;
    (gatepass, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_arrives_with_the_token() {
    let (gatepass, upstream) = start(simple_config).await;
    let order = Request::post("/orders?x=1")
        .header("host", "localhost")
        .header("x-order", "7")
        .body(Full::from("container=MSKU1234565"))
        .unwrap();
    let answer = request(gatepass.proxy(), order).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body(), "container=MSKU1234565");

    let seen = upstream.last();
    assert_eq!(seen.method, Method::POST);
    assert_eq!(seen.target, "/orders?x=1");
    assert_eq!(seen.all("authorization"), ["Bearer canary-token-1"]);
    assert_eq!(seen.all("host"), [upstream.authority()]);
    assert_eq!(seen.all("x-order"), ["7"]);
    assert_eq!(seen.all("content-length"), ["21"]);
    assert_eq!(seen.body, "container=MSKU1234565");
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_authorization_leaves_whatever_the_caller_sent() {
    let (gatepass, upstream) = start(simple_config).await;
    for fields in [
        "",
        "Authorization: Basic dXNlcjpwYXNz\r\n",
        "authorization: Bearer theirs\r\nAUTHORIZATION: Bearer also-theirs\r\n",
        "Authorization: Bearer theirs\r\nConnection: authorization\r\n",
        "Connection: close, Authorization\r\n",
        "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let answer = raw(gatepass.proxy(), head, |text| text.contains("\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{fields:?}: {answer}");
        let seen = upstream.last();
        assert_eq!(
            seen.all("authorization"),
            ["Bearer canary-token-1"],
            "{fields:?}"
        );
        assert!(seen.all("proxy-authorization").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_fields_stay_on_their_hop() {
    let (gatepass, upstream) = start(simple_config).await;
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\n\
                Keep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: h2c\r\nX-End: 2\r\n\
                Proxy-Connection: keep-alive\r\nAccept: a\r\nAccept: b\r\n\r\n";
    raw(gatepass.proxy(), head, |text| text.contains("\r\n\r\n")).await;
    let seen = upstream.last();
    let mut names: Vec<_> = seen.headers.keys().map(ToString::to_string).collect();
    names.sort();
    // `connection` says that `te` is for the upstream itself.
    let expected = [
        "accept",
        "authorization",
        "connection",
        "host",
        "te",
        "via",
        "x-end",
    ];
    assert_eq!(names, expected);
    assert_eq!(seen.all("connection"), ["te"]);
    assert_eq!(
        seen.all("accept"),
        ["a", "b"],
        "repeated fields keep their order"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_pass_byte_for_byte() {
    let (gatepass, upstream) = start(simple_config).await;
    for target in [
        "/a%2Fb/%7euser//c;v=1/?q=%20&r=a+b&&",
        "/.well-known/../x/./y",
        "/?",
        "/a?b?c=/d/../e",
        "/%E2%82%AC",
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        raw(gatepass.proxy(), head, |text| text.contains("\r\n\r\n")).await;
        assert_eq!(upstream.last().target, target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_come_and_go_as_configured() {
    let (gatepass, upstream) = start(|provider, upstream| {
        let simple = simple_config(provider, upstream);
        let origin = upstream.origin();
        format!(
            r#"{simple}
            [[routes]]
            path = "/strip"
            strip_path = true
            upstream = "{origin}"
            credential = "envase"

            [[routes]]
            path = "/both/"
            strip_path = true
            upstream = "{origin}/base/v1/"
            credential = "envase"

            [[routes]]
            path = "/public"
            upstream = "{origin}/base"
            credential = "none"
            "#
        )
    })
    .await;
    for (asked, arrives) in [
        ("/other?a", "/other?a"),
        ("/stripped", "/stripped"),
        ("/strip", "/"),
        ("/strip?a=/", "/?a=/"),
        ("/strip/", "/"),
        ("/strip/a//b%2F?c", "/a//b%2F?c"),
        ("/both", "/base/v1"),
        ("/both?a", "/base/v1?a"),
        ("/both/a", "/base/v1/a"),
        ("/public/a", "/base/public/a"),
    ] {
        assert_eq!(get(gatepass.proxy(), asked).await.status(), 200, "{asked}");
        assert_eq!(upstream.last().target, arrives, "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_without_credential_adds_nothing_and_takes_nothing() {
    let (gatepass, upstream) = start(|provider, upstream| {
        simple_config(provider, upstream)
            .replace("credential = \"envase\"", "credential = \"none\"")
    })
    .await;
    get(gatepass.proxy(), "/").await;
    assert!(upstream.last().all("authorization").is_empty());

    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic theirs\r\n\r\n";
    raw(gatepass.proxy(), head, |text| text.contains("\r\n\r\n")).await;
    assert_eq!(upstream.last().all("authorization"), ["Basic theirs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_every_framing_arrive() {
    let (gatepass, upstream) = start(simple_config).await;
    for (method, framing, body) in [
        ("POST", "Content-Length: 5\r\n\r\nhello", "hello"),
        (
            "POST",
            "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "hello",
        ),
        ("POST", "Content-Length: 0\r\n\r\n", ""),
        ("GET", "Content-Length: 5\r\n\r\nhello", "hello"),
        (
            "GET",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "DELETE",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        ("PROPFIND", "\r\n", ""),
    ] {
        let request = format!("{method} / HTTP/1.1\r\nHost: localhost\r\n{framing}");
        let answer = raw(gatepass.proxy(), &request, |text| {
            text.split_once("\r\n\r\n")
                .is_some_and(|(_, rest)| rest.ends_with(body))
        })
        .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{request:?}: {answer}");
        assert_eq!(upstream.last().body, body, "{request:?}");
        assert_eq!(upstream.last().method.as_str(), method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_caller_is_served() {
    let (gatepass, upstream) = start(simple_config).await;
    let answer = raw(gatepass.proxy(), "GET /old HTTP/1.0\r\n\r\n", |_| false).await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert_eq!(upstream.last().target, "/old");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_a_length_and_no_body() {
    let (gatepass, _upstream) = start(simple_config).await;
    let head = "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(gatepass.proxy(), head, |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_on_both_sides() {
    let (gatepass, upstream) = start(simple_config).await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    for _ in 0..50 {
        caller.ready().await.unwrap();
        let response = caller.send_request(get_request("/")).await.unwrap();
        assert_eq!(read(response).await.status(), 200);
    }
    assert_eq!(upstream.requests(), 50);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_and_connect_are_refused() {
    let (gatepass, upstream) = start(simple_config).await;
    let trace = "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = raw(gatepass.proxy(), trace, |text| text.contains('}')).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(answer.contains("would show the token"), "{answer}");

    let connect = "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n";
    let answer = raw(gatepass.proxy(), connect, |text| text.contains('}')).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_without_a_route_is_answered_with_those_that_there_are() {
    let (gatepass, _upstream) = start(|provider, upstream| {
        simple_config(provider, upstream).replace("path = \"/\"", "path = \"/connect\"")
    })
    .await;
    let answer = get(gatepass.proxy(), "/connected").await;
    assert_eq!(answer.status(), 404);
    insta::assert_snapshot!(format!("{:#}", problem(&answer)), @r#"
    {
      "detail": "no route matches /connected; there are routes for /connect",
      "reason": "no_route",
      "status": 404,
      "title": "Not Found"
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_is_named() {
    let provider = AuthorizationServer::start();
    // Reserves a port on which nothing listens.
    let nobody = AuthorizationServer::down();
    let address = nobody.token_endpoint().replace("/oauth2/token", "");
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream).replace(&upstream.origin(), &address);
    let gatepass = Gatepass::start(&config).ready().await;
    let answer = get(gatepass.proxy(), "/").await;
    assert_eq!(answer.status(), 502);
    let port = address.rsplit(':').next().unwrap();
    insta::assert_snapshot!(format!("{:#}", problem(&answer)).replace(port, "PORT"), @r#"
    {
      "detail": "upstream http://127.0.0.1:PORT cannot be reached: no connection (127.0.0.1:PORT: Connection refused (os error 111)); check upstream, and whether it is up",
      "reason": "upstream_unreachable",
      "route": "root",
      "status": 502,
      "title": "Bad Gateway"
    }
    "#);
    let counted = r#"gatepass_rejections_total{reason="upstream_unreachable",route="root"}"#;
    assert_eq!(gatepass.metric(counted).await, 1.0);
}
