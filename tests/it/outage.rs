//! The provider is down, silent, wrong or strange: what requests and operators see meanwhile.

use std::time::Duration;

use rustix::process::Signal;

use crate::status_command;
use crate::support::client::PATIENCE;
use crate::support::{
    AuthorizationServer, Gatepass, Reply, Upstream, get, problem, simple_config, within,
};

/// The longest step of the pace at which an unavailable provider is asked again.
const BACKOFF_STEP: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn starts_without_the_provider_and_works_when_it_comes() {
    let mut provider = AuthorizationServer::down();
    let upstream = Upstream::start().await;
    let mut gatepass = Gatepass::start(&simple_config(&provider, &upstream));
    // The first attempt to get a token is over.
    gatepass.wait_for_probe("/startupz").await;

    assert!(gatepass.is_alive());
    assert_eq!(get(gatepass.admin(), "/livez").await.status(), 200);
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 503);
    let endpoint = provider.token_endpoint();
    assert!(
        ready
            .body()
            .contains("credential \"envase\" has no token yet"),
        "{}",
        ready.body()
    );
    assert!(ready.body().contains(&endpoint), "{}", ready.body());

    let answer = get(gatepass.proxy(), "/").await;
    assert_eq!(answer.status(), 503);
    let wait: u64 = answer.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    let shown = format!("{:#}", problem(&answer))
        .replace(&endpoint, "ENDPOINT")
        .replace(&endpoint_address(&endpoint), "ADDRESS");
    let (before, seconds) = shown.split_once("next attempt in ").unwrap();
    let after = seconds.trim_start_matches(|c: char| c.is_ascii_digit());
    insta::assert_snapshot!(format!("{before}next attempt in N{after}"), @r#"
    {
      "credential": "envase",
      "detail": "credential \"envase\" has no token yet: token endpoint ENDPOINT cannot be reached: Connection refused (os error 111); check token_endpoint, and whether the provider is up: nothing listens there; next attempt in N s",
      "reason": "no_token",
      "route": "root",
      "status": 503,
      "title": "Service Unavailable"
    }
    "#);
    assert_eq!(upstream.requests(), 0, "nothing leaves without a token");

    provider.come_up();
    within(BACKOFF_STEP, "one backoff step", async || {
        get(gatepass.proxy(), "/").await.status() == 200
    })
    .await;
    assert_eq!(get(gatepass.admin(), "/readyz").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_shorter_than_the_token_costs_nothing() {
    let provider = AuthorizationServer::start();
    // Refreshed after 1.5 s and sent for 2.25 s: time enough for the first retry.
    provider.plan([Reply::Token(3.0), Reply::HangUp]);
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let mut requests = 0;
    while provider.count() < 3 {
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
        assert_eq!(get(gatepass.admin(), "/readyz").await.status(), 200);
        requests += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(requests > 20, "{requests}");
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
    let unavailable =
        r#"gatepass_token_refreshes_total{credential="envase",outcome="unavailable"}"#;
    assert_eq!(gatepass.metric(unavailable).await, 1.0);
}

/// At this moment the first alerts page, and their runbooks send whoever is called here.
#[tokio::test(flavor = "multi_thread")]
async fn why_the_next_token_does_not_come_is_told_while_the_one_at_hand_lives() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    provider.otherwise(Reply::Json(400, r#"{"error":"invalid_client"}"#.into()));
    gatepass.signal(Signal::USR1);
    let failures = r#"gatepass_token_consecutive_failures{credential="envase"}"#;
    gatepass.wait_for_metric(failures, 1.0).await;

    let told = format!(
        "credential \"envase\" has no next token yet: token endpoint {} answered 400 \
         invalid_client; check client_id",
        provider.token_endpoint()
    );
    let and_when = ["; next attempt in ", "the one at hand is sent for 59m "];
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 200, "no request fails");
    let ready = ready.into_body();
    assert!(ready.starts_with(&format!("ready\n\n{told}")), "{ready}");
    assert!(and_when.iter().all(|part| ready.contains(part)), "{ready}");
    let shown = status_command::status(&gatepass, &[]).await.stdout;
    assert!(shown.contains(" is ready,"), "{shown}");
    assert!(shown.contains(&told), "{shown}");
    assert!(and_when.iter().all(|part| shown.contains(part)), "{shown}");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);

    provider.otherwise(Reply::Token(3_600.0));
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(failures, 0.0).await;
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_is_told_beside_another_that_has_no_token_at_all() {
    let (provider, down) = (AuthorizationServer::start(), AuthorizationServer::down());
    let upstream = Upstream::start().await;
    let other = simple_config(&down, &upstream)
        .replace("envase", "other")
        .replace("path = \"/\"", "path = \"/other\"");
    let both = format!("{}{other}", simple_config(&provider, &upstream));
    let gatepass = Gatepass::start(&both);
    gatepass.wait_for_probe("/startupz").await;
    provider.otherwise(Reply::HangUp);
    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(2).await;
    gatepass.output_with("token refresh failed, the token at hand stays in use");
    let ready = get(gatepass.admin(), "/readyz").await.into_body();
    assert!(ready.starts_with("not ready\n"), "{ready}");
    for told in [
        "\"other\" has no token yet: ",
        "\"envase\" has no next token yet: ",
    ] {
        assert!(ready.contains(&format!("credential {told}")), "{ready}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_not_sent() {
    let provider = AuthorizationServer::start();
    provider.plan([Reply::Token(1.0)]);
    provider.otherwise(Reply::HangUp);
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let mut answers = Vec::new();
    let waiting = async {
        loop {
            let answer = get(gatepass.proxy(), "/").await;
            answers.push(answer.status().as_u16());
            if answer.status() == 503 {
                return answer.into_body();
            }
        }
    };
    let body = tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it expires");
    let wanted = r#"credential \"envase\" has no token since the last one expired: token endpoint"#;
    assert!(body.contains(wanted), "{body}");
    assert!(body.contains("next attempt in"), "{body}");
    assert!(answers.len() > 10, "{answers:?}");
    assert!(
        answers[..answers.len() - 1]
            .iter()
            .all(|status| *status == 200),
        "{answers:?}"
    );
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
    // The data plane sees the end by itself; the control plane tells it a moment later.
    let usable = r#"gatepass_token_usable{credential="envase"}"#;
    gatepass.wait_for_metric(usable, 0.0).await;
    // There has been one, whatever the number of the one at hand is.
    let page = get(gatepass.admin(), "/").await.into_body();
    assert!(page.contains("<dd>success 1, "), "{page}");
    assert!(!page.contains("tokens so far"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_strange_answer_is_survived_and_tried_again() {
    let page = "<html>canary: please sign in</html>";
    let html = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    );
    let huge = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(1_000_000));
    let newline = r#"{"access_token":"canary\nX-Injected: 1"}"#;
    let redirect =
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    // {"access_token":"canary","expires_in":3600}
    let mut gzip =
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 62\r\n\r\n".to_vec();
    gzip.extend(
        b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabVJLNN-.\x8e/\xc9\xcfN\xcdS\xb2RJN\xccK,\xaaT\xd2QJ\
          \xad(\xc8,J-\x8e\xcf\x04\x8a\x1a\x9b\x19\x18\xd4\x02\0s\x0e\xc8_+\0\0\0",
    );
    for (outcome, reply) in [
        ("malformed", Reply::Bytes(html.into_bytes())),
        ("malformed", Reply::Bytes(gzip)),
        ("malformed", Reply::Bytes(huge.into_bytes())),
        (
            "unavailable",
            Reply::Bytes(b"\x16\x03\x01\x02\x00\x01\x00".to_vec()),
        ),
        (
            "unavailable",
            Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"acc".to_vec()),
        ),
        ("unavailable", Reply::HangUp),
        ("malformed", Reply::Json(200, newline.into())),
        (
            "malformed",
            Reply::Json(200, r#"{"access_token":"canary","expires_in":0}"#.into()),
        ),
        (
            "malformed",
            Reply::Json(200, r#"{"access_token":""}"#.into()),
        ),
        ("misconfigured", Reply::Bytes(redirect.into())),
    ] {
        let provider = AuthorizationServer::start();
        provider.plan([reply]);
        let upstream = Upstream::start().await;
        let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
            .ready()
            .await;
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
        assert_eq!(provider.count(), 2, "{outcome}");
        let counted =
            format!(r#"gatepass_token_refreshes_total{{credential="envase",outcome="{outcome}"}}"#);
        assert_eq!(
            gatepass.metric(&counted).await,
            1.0,
            "{}",
            gatepass.output()
        );
    }
}

/// As servers answer that do not know how long it will be.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_chunks_is_one() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                  11\r\n{\"access_token\":\"\r\n\
                  1a\r\ncanary\",\"expires_in\":3600}\r\n0\r\n\r\n";
    let provider = AuthorizationServer::start();
    provider.plan([Reply::Bytes(answer.into())]);
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(upstream.last().all("authorization"), ["Bearer canary"]);
    assert_eq!(provider.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_provider_is_given_up_in_time() {
    let provider = AuthorizationServer::start();
    provider.plan([Reply::Silence]);
    let upstream = Upstream::start().await;
    let config =
        simple_config(&provider, &upstream).replace("client_id", "timeout = \"300ms\"\n client_id");
    let gatepass = Gatepass::start(&config).ready().await;
    assert_eq!(provider.count(), 2);
    assert!(gatepass.output().contains("did not answer within 300ms"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_asks_for_patience_gets_it() {
    let busy = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 2\r\n\r\n{}";
    let provider = AuthorizationServer::start();
    provider.plan([Reply::Bytes(busy.into())]);
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
    gatepass.output_with("answered 429");
    let answer = get(gatepass.proxy(), "/").await;
    let wait: u64 = answer.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    // At least what the provider asks for, and the pace for those who are throttled may be slower.
    assert!((1..=5).contains(&wait), "{wait}");
    provider.wait_for_requests(2).await;
    let requests = provider.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(2));
}

fn endpoint_address(endpoint: &str) -> String {
    endpoint.split('/').nth(2).unwrap().to_owned()
}
