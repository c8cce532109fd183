//! The status at one look, as programs read it.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::gatepass::project;
use crate::support::upstream::Refusal;
use crate::support::{
    AuthorizationServer, CANARY, Gatepass, Reply, Upstream, eventually, get, simple_config,
};

pub async fn start(provider: &AuthorizationServer) -> (Gatepass, Upstream) {
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(provider, &upstream));
    gatepass.wait_for_probe("/startupz").await;
    (gatepass, upstream)
}

async fn status(gatepass: &Gatepass) -> Value {
    let answer = get(gatepass.admin(), "/api/status").await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    serde_json::from_str(answer.body()).unwrap()
}

/// Orders a token from a provider that refuses, and waits for the refusal.
pub async fn fail_to_refresh(gatepass: &Gatepass) {
    gatepass.order_refresh("envase").await;
    let failures = r#"gatepass_token_consecutive_failures{credential="envase"}"#;
    gatepass.wait_for_metric(failures, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_see_how_each_credential_and_route_is_doing() {
    let provider = AuthorizationServer::start();
    let (gatepass, upstream) = start(&provider).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let ended = r#"gatepass_requests_total{route="root",status_class="2xx"}"#;
    gatepass.wait_for_metric(ended, 1.0).await;
    let status = status(&gatepass).await;
    assert_eq!(status["state"], "ready");
    assert_eq!(status["findings"], Value::Array(Vec::new()));
    let credential = &status["credentials"][0];
    assert_eq!(credential["name"], "envase");
    assert_eq!(credential["state"], "fresh");
    assert_eq!(credential["generation"], 1);
    assert_eq!(credential["attempts"]["success"], 1);
    assert_eq!(credential["lives_seconds"], 3_599);
    assert_eq!(credential["token"]["form"], "opaque");
    let refresh = &credential["refreshes"][0];
    assert_eq!(refresh["outcome"], "success");
    assert!(refresh["took_seconds"].as_f64().unwrap() > 0.0);
    let left = credential["ends_in_seconds"].as_u64().unwrap();
    assert!((3_500..3_600).contains(&left), "{left}");
    assert!(credential["next_attempt_in_seconds"].as_u64().unwrap() < left);
    let route = &status["routes"][0];
    assert_eq!(route["name"], "root");
    assert_eq!(route["matches"], "/");
    assert_eq!(route["upstream"], upstream.origin());
    assert_eq!(route["credential"], "envase");
    assert_eq!(route["requests"]["2xx"], 1);
    assert_eq!(route["in_flight"], 0);
    assert!(route["mean_seconds"].as_f64().unwrap() > 0.0);
}

/// What the routes at work have come to is noted every few seconds.
#[tokio::test(flavor = "multi_thread")]
async fn programs_see_what_each_route_did_lately() {
    let provider = AuthorizationServer::start();
    let (gatepass, _upstream) = start(&provider).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    eventually("a request is seen", async || {
        let status = status(&gatepass).await;
        let rate = status["routes"][0]["trend"]["rate"].as_array().unwrap();
        rate.iter().any(|rate| rate.as_f64() > Some(0.0))
    })
    .await;
}

/// The names of all members: of what is counted by a word, and of lists of numbers, that of the whole.
fn members(value: &Value, name: &str, found: &mut BTreeSet<String>) {
    let counted = [
        "attempts",
        "origins",
        "store_errors",
        "requests",
        "rejections",
        "fields",
    ];
    let is_counted = counted.iter().any(|of| name.ends_with(&format!(".{of}")));
    match value {
        Value::Object(inner) if !is_counted => {
            let dot = if name.is_empty() { "" } else { "." };
            for (key, value) in inner {
                members(value, &format!("{name}{dot}{key}"), found);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for value in list {
                members(value, &format!("{name}[]"), found);
            }
        }
        _ => {
            found.insert(name.to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_is_documented() {
    let provider = AuthorizationServer::start();
    provider.plan([Reply::Json(400, r#"{"error":"invalid_client"}"#.into())]);
    let (gatepass, _upstream) = start(&provider).await;
    let mut all = BTreeSet::new();
    members(&status(&gatepass).await, "", &mut all);
    gatepass.order_refresh("envase").await;
    let gatepass = gatepass.ready().await;
    members(&status(&gatepass).await, "", &mut all);
    // What was empty the one time had members the other time.
    let has_members = |name: &str| {
        let inner = |of: &String| of.strip_prefix(name).and_then(|rest| rest.chars().next());
        all.iter().any(|of| matches!(inner(of), Some('.' | '[')))
    };
    let served = all.iter().filter(|name| !has_members(name)).cloned();
    let page = project().join("docs/status.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented = rows.map(|row| row.split('`').next().unwrap().to_owned());
    assert_eq!(
        documented.collect::<BTreeSet<_>>(),
        served.collect::<BTreeSet<_>>()
    );
}

/// What differs from run to run, put out of the way: lengths of time, moments, ports.
fn steady(value: Value, name: &str) -> Value {
    let is_measured = name.contains("seconds") || matches!(name, "time" | "rate" | "failed");
    match value {
        Value::Number(_) | Value::String(_) if is_measured => "…".into(),
        Value::Array(_) if is_measured => Value::Array(Vec::new()),
        Value::String(text) => match text.split_once("127.0.0.1:") {
            Some((before, after)) => {
                let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{before}127.0.0.1:PORT{rest}").into()
            }
            None => text.into(),
        },
        Value::Array(list) => list.into_iter().map(|of| steady(of, name)).collect(),
        Value::Object(members) => {
            let steady = |(key, value): (String, Value)| (key.clone(), steady(value, &key));
            Value::Object(members.into_iter().map(steady).collect())
        }
        other => other,
    }
}

/// Programs rely on each name and each word.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_status_as_programs_read_it() {
    let provider = AuthorizationServer::start();
    let (gatepass, _upstream) = start(&provider).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let ended = r#"gatepass_requests_total{route="root",status_class="2xx"}"#;
    gatepass.wait_for_metric(ended, 1.0).await;
    provider.otherwise(Reply::Json(400, r#"{"error":"invalid_client"}"#.into()));
    fail_to_refresh(&gatepass).await;
    let mut status = status(&gatepass).await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_seconds"].as_u64().unwrap() < 60);
    status["version"] = "…".into();
    // How long it is until then differs from run to run.
    let reason = status["findings"][0]["reason"].as_str().unwrap();
    let (why, _) = reason.split_once("; next attempt in ").unwrap();
    status["findings"][0]["reason"] = why.into();
    // What there is to say of the machine is another thing on each.
    let events = status["events"].as_array_mut().unwrap();
    events.retain(|event| event["fields"]["credential"] == "envase");
    for event in events {
        event["number"] = "…".into();
    }
    let status = serde_json::to_string_pretty(&steady(status, "")).unwrap();
    insta::assert_snapshot!("status", status);
}

/// The configuration at work, with where each value comes from; to operators of this machine alone.
/// Whoever looks right after a start is not to take it for an outage.
#[tokio::test(flavor = "multi_thread")]
async fn until_the_first_attempts_are_over_it_is_starting() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Silence);
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
    let status = status(&gatepass).await;
    assert_eq!(status["state"], "starting");
    assert_ne!(status["findings"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_at_work_is_shown_without_its_secrets() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    let shown = get(gatepass.admin(), "/api/config").await.into_body();
    let has = |shown: &str, wanted: &str| {
        let mut lines = shown.lines();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(lines.any(|line| words(line) == wanted), "{wanted}: {shown}");
    };
    has(&shown, "client_secret = \"•••\" # line 5");
    has(&shown, "listen = \"127.0.0.1:0\" # GATEPASS__PROXY__LISTEN");
    has(&shown, "timeouts.connect = \"5s\" # default");
    has(&shown, "scheme = \"Bearer\" # default");
    assert!(!shown.contains(CANARY), "{shown}");
    let page = get(gatepass.admin(), "/").await.into_body();
    assert!(page.contains("<i>  # line 5</i>"), "{page}");
    assert!(!page.contains(CANARY), "{page}");

    let more = format!("shutdown.grace = \"7s\"\n{config}");
    gatepass.reload(&more).await;
    let shown = get(gatepass.admin(), "/api/config").await.into_body();
    has(&shown, "grace = \"7s\" # line 1");

    // Lines have moved, and nothing else has changed.
    gatepass.write_config(&format!("# This week.\n{more}"));
    gatepass.wait_for_event("what runs stays as it is");
    let shown = get(gatepass.admin(), "/api/config").await.into_body();
    has(&shown, "grace = \"7s\" # line 2");

    let wide = [("GATEPASS__ADMIN__LISTEN", "0.0.0.0:0")];
    let wide = Gatepass::start_with(&config, &wide).ready().await;
    let refused = get(wide.admin(), "/api/config").await;
    assert_eq!(refused.status(), 403);
    assert!(
        !get(wide.admin(), "/")
            .await
            .body()
            .contains("client_secret")
    );
}

/// What has happened is told for those who have no log at hand.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_happened_lately_is_told() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    upstream.check_tokens(provider.introspection());
    upstream.refuse(Refusal::OfBadTokens("Bearer error=\"invalid_token\""));
    provider.introspection().revoke_all();
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    provider.otherwise(Reply::Json(400, r#"{"error":"invalid_client"}"#.into()));
    fail_to_refresh(&gatepass).await;
    let status = status(&gatepass).await;
    let events = status["events"].as_array().unwrap();
    // What there is to say of the machine is another thing on each.
    let of_credentials = events
        .iter()
        .filter(|event| event["fields"]["credential"] == "envase");
    let told: Vec<_> = of_credentials
        .map(|event| {
            let text = |name: &str| event[name].as_str().unwrap();
            let message = text("message").split(": ").next().unwrap();
            format!("{} {} {message}", text("level"), event["times"])
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    warn 1 token refresh failed, the token at hand stays in use
    info 1 an operator asks for a new token
    info 2 new token
    warn 1 an upstream refuses the token before its end
    ");
    let page = get(gatepass.admin(), "/").await.into_body();
    for part in [
        "Recent events",
        "an upstream refuses the token",
        "usable 59 min",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

/// Whose a token is and what it is good for may be seen; whom it is about only if somebody allows it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_says_of_itself_is_shown_but_not_whom_it_is_about() {
    let payload = r#"{"iss":"https://id.example","aud":"api://trips","scope":"trips/read","sub":"canary@example.com"}"#;
    let token = format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(payload));
    for allowed in [false, true] {
        let provider = AuthorizationServer::start();
        let words =
            format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#);
        provider.otherwise(Reply::Words(3600.0, words));
        let upstream = Upstream::start().await;
        let config = simple_config(&provider, &upstream);
        let config = format!("admin.show_subject = {allowed}\n{config}");
        let gatepass = Gatepass::start(&config).ready().await;
        let claims = &status(&gatepass).await["credentials"][0]["token"];
        assert_eq!(claims["form"], "jwt");
        assert_eq!(claims["issuer"], "https://id.example");
        assert_eq!(claims["audience"], json!(["api://trips"]));
        assert_eq!(claims["scopes"], json!(["trips/read"]));
        assert_eq!(claims["subject"].is_string(), allowed, "{claims}");
        let page = get(gatepass.admin(), "/").await.into_body();
        assert!(page.contains("https://id.example"), "{page}");
        assert_eq!(page.contains("canary@example.com"), allowed, "{page}");
        assert!(!page.contains(&token), "{page}");
    }
}
