//! An upstream refuses a token before its end, and operators ask for a new one.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::client::{PATIENCE, connect, get_request, read};
use crate::support::upstream::Refusal;
use crate::support::wire::{GET, Wire, read_until};
use crate::support::{
    AuthorizationServer, Gatepass, Reply, Upstream, get, raw, request, simple_config,
};

const CHALLENGE: &str = r#"Bearer realm="api", error="invalid_token""#;

async fn start(keys: &str) -> (Gatepass, AuthorizationServer, Upstream) {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    upstream.refuse(Refusal::OfBadTokens(CHALLENGE));
    let config =
        simple_config(&provider, &upstream).replace("client_id", &format!("{keys}\n client_id"));
    (Gatepass::start(&config).ready().await, provider, upstream)
}

fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post("/").header("host", "localhost");
    request.body(Full::from(body.into())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_costs_one_token_request_and_no_request() {
    let (gatepass, provider, _upstream) = start("").await;
    // Each caller has its connection, so that all of them ask at the same moment.
    let mut callers = Vec::new();
    for _ in 0..200 {
        let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
        let answer = caller.send_request(get_request("/")).await.unwrap();
        assert_eq!(read(answer).await.status(), 200);
        callers.push(caller);
    }
    // Long enough for all of them to be refused before another token is there.
    provider.think_for(Duration::from_millis(500));
    provider.introspection().revoke_all();
    let mut answers = JoinSet::new();
    for mut caller in callers {
        answers.spawn(async move {
            let mut statuses = Vec::new();
            for _ in 0..50 {
                caller.ready().await.unwrap();
                let answer = caller.send_request(post("an order")).await.unwrap();
                let answer = read(answer).await;
                statuses.push((answer.status().as_u16(), answer.into_body()));
            }
            statuses
        });
    }
    let answers = timeout(PATIENCE, answers.join_all())
        .await
        .expect("all in time")
        .concat();
    assert_eq!(answers.len(), 10_000);
    let failed = answers
        .iter()
        .find(|(status, body)| *status != 200 || body != "an order");
    assert_eq!(failed, None);
    assert_eq!(provider.count(), 2);
    // Those who asked before the other token was there; on a busy machine not all of them did.
    let replays = gatepass
        .metric(r#"gatepass_replays_total{route="root"}"#)
        .await;
    assert!((1.0..=200.0).contains(&replays), "{replays}");
}

/// Tokens are copied to its servers, or begin by a clock that is ahead of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_upstream_does_not_know_yet_costs_no_request() {
    let (gatepass, provider, upstream) = start("").await;
    upstream.refuse(Refusal::Of("-token-2"));
    let order = Request::post("/api/credentials/envase/refresh");
    let order = order.body(Full::<Bytes>::default()).unwrap();
    assert_eq!(request(gatepass.admin(), order).await.status(), 202);
    gatepass
        .wait_for_metric("gatepass_token_generation{credential=\"envase\"}", 2.0)
        .await;
    for _ in 0..20 {
        let answer = request(gatepass.proxy(), post("an order")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.body(), "an order");
    }
    // Neither is another fetched, which would be newer still.
    assert_eq!(provider.count(), 2);
    assert_eq!(upstream.requests(), 20 + 1);
    gatepass.wait_for_event(
        "an upstream does not take a new token yet: the one before it is sent for a while",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_to_keep_gets_the_refusal_itself() {
    let (gatepass, provider, upstream) = start("").await;
    provider.introspection().revoke_all();
    let answer = request(gatepass.proxy(), post(vec![b'x'; 100_000])).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["www-authenticate"], CHALLENGE);
    assert_eq!(answer.body(), "refused");
    assert_eq!(upstream.requests(), 1);
    // It was told to the refresher nevertheless.
    provider.wait_for_requests(2).await;
    gatepass
        .wait_for_metric(
            "gatepass_token_refreshes_total{credential=\"envase\",outcome=\"success\"}",
            2.0,
        )
        .await;
    let answer = request(gatepass.proxy(), post(vec![b'x'; 100_000])).await;
    assert_eq!(answer.status(), 200);
}

/// What keeping a piece costs counts as well: of many small ones it is more than they have.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_body_in_very_many_pieces_is_too_large_to_keep() {
    let (gatepass, provider, _upstream) = start("").await;
    for (pieces, status) in [(500, 200), (2_000, 401)] {
        provider.introspection().revoke_all();
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = "1\r\nx\r\n".repeat(pieces) + "0\r\n\r\n";
        let whole = |told: &str| told.contains("\r\n\r\n");
        let told = raw(gatepass.proxy(), format!("{head}{body}"), whole).await;
        let wanted = format!("HTTP/1.1 {status} ");
        assert!(told.starts_with(&wanted), "{pieces}: {told}");
    }
}

/// Trailers are not kept, and without them it would be another request.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_trailers_is_sent_once() {
    let (gatepass, provider, upstream) = start("").await;
    provider.introspection().revoke_all();
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
                4\r\nbody\r\n0\r\nX-Checksum: 1\r\n\r\n";
    let told = raw(gatepass.proxy(), post, |told| told.contains("refused")).await;
    assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_no_token_mends_costs_no_more_than_the_budget() {
    let (gatepass, provider, upstream) = start("refreshes_on_401_per_minute = 2").await;
    upstream.refuse(Refusal::OfEverything);
    for _ in 0..20 {
        let answer = get(gatepass.proxy(), "/").await;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.body(), "refused");
    }
    assert_eq!(provider.count(), 1 + 2);
    let refusals = |outcome: &str| {
        format!(r#"gatepass_token_refusals_total{{credential="envase",outcome="{outcome}"}}"#)
    };
    assert_eq!(gatepass.metric(&refusals("refreshed")).await, 2.0);
    assert_eq!(gatepass.metric(&refusals("held_back")).await, 18.0);
}

const NO_TOKEN_MENDS: &str = "the upstream refuses new tokens as well, and callers get its 401: rather a \
                              permission, an audience or a scope is missing; gatepass doctor --call looks";

/// A permission that is missing is what operators ask most about.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_token_mends_is_told_once_and_of_which_route() {
    let (gatepass, _provider, upstream) = start("").await;
    upstream.refuse(Refusal::OfEverything);
    for _ in 0..8 {
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 401);
    }
    let refused = "an upstream refuses the token before its end: another one is fetched";
    let first = gatepass.wait_for_event(refused);
    assert_eq!(first["route"], "root");
    let told = gatepass.wait_for_event(NO_TOKEN_MENDS);
    assert_eq!(told["route"], "root");
    assert_eq!(told["credential"], "envase");
    for once in [refused, NO_TOKEN_MENDS] {
        assert_eq!(gatepass.output().matches(once).count(), 1, "{once}");
    }
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 200);
    let wanted = "ready\n\nroute \"root\" has an upstream that refuses new tokens of credential \
                  \"envase\" as well (401): rather a permission, an audience or a scope is missing";
    assert!(ready.body().starts_with(wanted), "{}", ready.body());
}

/// Those that cannot be sent again never meet the new token themselves.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_token_mends_is_told_of_requests_that_are_sent_once() {
    let (gatepass, _provider, upstream) = start("refreshes_on_401_per_minute = 1").await;
    upstream.refuse(Refusal::OfEverything);
    let large = || post(vec![b'x'; 100_000]);
    assert_eq!(request(gatepass.proxy(), large()).await.status(), 401);
    let successes = r#"gatepass_token_refreshes_total{credential="envase",outcome="success"}"#;
    gatepass.wait_for_metric(successes, 2.0).await;
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
    assert_eq!(request(gatepass.proxy(), large()).await.status(), 401);
    gatepass.wait_for_event(NO_TOKEN_MENDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_another_token_mends_is_no_finding() {
    let (gatepass, provider, _upstream) = start("").await;
    provider.introspection().revoke_all();
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
    assert!(!gatepass.output().contains(NO_TOKEN_MENDS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_leaves_the_refusal_as_it_is() {
    let (gatepass, provider, _upstream) = start("").await;
    provider.otherwise(Reply::HangUp);
    provider.introspection().revoke_all();
    let answer = get(gatepass.proxy(), "/").await;
    assert_eq!(
        (answer.status().as_u16(), answer.body().as_str()),
        (401, "refused")
    );
}

/// The upstream may have acted on the request by then.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_with_another_token_is_not_sent_a_third_time() {
    let wire = Wire::start("").await;
    let (mut caller, mut first) = wire.exchange(GET).await;
    let refusal = format!(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {CHALLENGE}\r\nContent-Length: 0\r\n\r\n"
    );
    first.write_all(refusal.as_bytes()).await.unwrap();
    let mut second = wire.accept().await;
    let head = read_until(&mut second, "\r\n\r\n").await;
    assert!(head.contains("canary-token-2"), "{head}");
    drop(second);
    let told = read_until(&mut caller, "}").await;
    assert!(told.starts_with("HTTP/1.1 502 "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_is_not_waited_for_until_no_time_is_left() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    upstream.refuse(Refusal::OfBadTokens(CHALLENGE));
    let config = simple_config(&provider, &upstream);
    let config = format!("{config}\ntimeouts.request = \"1s\"");
    let gatepass = Gatepass::start(&config).ready().await;
    provider.otherwise(Reply::Silence);
    provider.introspection().revoke_all();
    let answer = get(gatepass.proxy(), "/").await;
    assert_eq!(
        (answer.status().as_u16(), answer.body().as_str()),
        (401, "refused")
    );
    provider.wait_for_requests(2).await;
}

/// No token comes of what they wait for any more; the caller has the answer that there is.
#[tokio::test(flavor = "multi_thread")]
async fn another_token_is_not_waited_for_once_its_credential_is_replaced() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    upstream.refuse(Refusal::OfBadTokens(CHALLENGE));
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    provider.plan([Reply::Silence]);
    provider.introspection().revoke_all();
    let waiting = tokio::spawn(get(gatepass.proxy(), "/"));
    provider.wait_for_requests(2).await;
    let changed = config.replace("client_id = \"tms\"", "client_id = \"another\"");
    gatepass.reload(&changed).await;
    // The provider would have been waited for until ten seconds are over.
    let answer = timeout(Duration::from_secs(3), waiting).await;
    assert_eq!(answer.expect("at once").unwrap().status(), 401);
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn which_401s_count_is_configured() {
    for (written, challenge, fetched) in [
        ("always", "Basic", 2),
        ("invalid_token", CHALLENGE, 2),
        ("invalid_token", r#"Bearer error="insufficient_scope""#, 1),
        ("never", CHALLENGE, 1),
    ] {
        let (gatepass, provider, upstream) =
            start(&format!("refresh_on_401 = \"{written}\"")).await;
        upstream.refuse(Refusal::OfBadTokens(challenge));
        provider.introspection().revoke_all();
        let answer = get(gatepass.proxy(), "/").await;
        let expected = if fetched == 2 { 200 } else { 401 };
        assert_eq!(answer.status(), expected, "{written} {challenge}");
        assert_eq!(provider.count(), fetched, "{written} {challenge}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_cancels_no_refresh() {
    let (gatepass, provider, _upstream) = start("").await;
    provider.think_for(Duration::from_millis(300));
    provider.introspection().revoke_all();
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let waiting = tokio::spawn(caller.send_request(get_request("/")));
    provider.wait_for_requests(2).await;
    waiting.abort();
    drop(caller);
    gatepass
        .wait_for_metric(
            "gatepass_token_refreshes_total{credential=\"envase\",outcome=\"success\"}",
            2.0,
        )
        .await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_can_ask_for_a_new_token() {
    let (gatepass, provider, upstream) = start("").await;
    let order = |path: &str| Request::post(path).body(Full::<Bytes>::default()).unwrap();
    let path = "/api/credentials/envase/refresh";
    assert_eq!(request(gatepass.admin(), order(path)).await.status(), 202);
    provider.wait_for_requests(2).await;
    gatepass.signal(Signal::USR1);
    provider.wait_for_requests(3).await;
    let successes = r#"gatepass_token_refreshes_total{credential="envase",outcome="success"}"#;
    gatepass.wait_for_metric(successes, 3.0).await;
    get(gatepass.proxy(), "/").await;
    assert_eq!(
        upstream.last().all("authorization"),
        ["Bearer canary-token-3"]
    );

    assert_eq!(get(gatepass.admin(), path).await.status(), 405);
    let unknown = order("/api/credentials/other/refresh");
    let unknown = request(gatepass.admin(), unknown).await;
    assert_eq!(unknown.status(), 404);
    assert_eq!(
        unknown.body(),
        "no route needs a credential \"other\"; routes need envase\n"
    );
    for field in ["origin", "sec-fetch-site"] {
        let mut from_a_page = order(path);
        let value = http::HeaderValue::from_static("null");
        from_a_page.headers_mut().insert(field, value);
        assert_eq!(
            request(gatepass.admin(), from_a_page).await.status(),
            403,
            "{field}"
        );
    }
    assert_eq!(provider.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_others_reach_takes_no_orders() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let wide = [("GATEPASS__ADMIN__LISTEN", "0.0.0.0:0")];
    let gatepass = Gatepass::start_with(&simple_config(&provider, &upstream), &wide);
    let admin = (std::net::Ipv4Addr::LOCALHOST, gatepass.admin().port()).into();
    let order = Request::post("/api/credentials/envase/refresh");
    let answer = request(admin, order.body(Full::default()).unwrap()).await;
    assert_eq!(answer.status(), 403);
    assert!(answer.body().contains("SIGUSR1"), "{}", answer.body());
}
