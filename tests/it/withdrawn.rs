//! A changed configuration that is taken back, or takes something away, leaves nothing behind that
//! alerts and operators go by.

use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get, simple_config};

/// Of the credential at work, whatever is tried beside it.
const GAUGES: [&str; 6] = [
    r#"gatepass_token_usable{credential="envase"}"#,
    r#"gatepass_token_consecutive_failures{credential="envase"}"#,
    r#"gatepass_token_generation{credential="envase"}"#,
    r#"gatepass_token_next_refresh_timestamp_seconds{credential="envase"}"#,
    r#"gatepass_token_expiry_timestamp_seconds{credential="envase"}"#,
    r#"gatepass_token_requests_left{credential="envase"}"#,
];

async fn gauges(gatepass: &Gatepass) -> Vec<f64> {
    let mut values = Vec::new();
    for gauge in GAUGES {
        values.push(gatepass.metric(gauge).await);
    }
    values
}

/// Times are told by two clocks, which are read one after the other.
fn are_same(some: &[f64], others: &[f64]) -> bool {
    let mut pairs = some.iter().zip(others);
    pairs.all(|(one, other)| (one - other).abs() < 0.5)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_waits_or_is_withdrawn_says_nothing_of_what_runs() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream)
        .replace("client_id", "token_requests_per_hour = 10\nclient_id");
    let gatepass = Gatepass::start(&config).ready().await;
    let before = gauges(&gatepass).await;

    provider.otherwise(Reply::HangUp);
    let changed = config.replace("client_id = \"tms\"", "client_id = \"another\"");
    let further = config
        .replace("envase", "further")
        .replace("path = \"/\"", "path = \"/further\"");
    gatepass.write_config(&format!("{changed}\n{further}"));
    gatepass.output_with("the changed configuration waits for its first token");
    let meanwhile = gauges(&gatepass).await;
    assert!(are_same(&meanwhile, &before), "{meanwhile:?} {before:?}");

    gatepass.write_config(&config);
    gatepass.wait_for_event("what runs stays as it is");
    let after = gauges(&gatepass).await;
    assert!(are_same(&after, &before), "{after:?} {before:?}");
    let metrics = get(gatepass.admin(), "/metrics").await.into_body();
    for gauge in ["token_usable", "token_requests_left"] {
        let of_none = format!("gatepass_{gauge}{{credential=\"further\"}}");
        assert!(!metrics.contains(&of_none), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_taken_away_is_not_spent_any_more() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let limited = config.replace("client_id", "token_requests_per_hour = 1\nclient_id");
    let gatepass = Gatepass::start(&limited).ready().await;
    let left = r#"gatepass_token_requests_left{credential="envase"}"#;
    // By the first token, and not first by the next attempt, which may be an hour later.
    gatepass.wait_for_metric(left, 0.0).await;
    gatepass.reload(&config).await;
    let metrics = get(gatepass.admin(), "/metrics").await.into_body();
    assert!(!metrics.contains(left), "{metrics}");
}

/// One after the other: a mistake, what waits for a token, another mistake, and what runs.
#[tokio::test(flavor = "multi_thread")]
async fn operators_are_told_of_what_is_written_and_of_nothing_before_it() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    let told = async || {
        let ready = get(gatepass.admin(), "/readyz").await.into_body();
        let is_told = |words| ready.contains(words);
        let successful = gatepass.metric("gatepass_config_last_reload_successful");
        let of_both = [
            is_told("was changed and is not taken up"),
            is_told("was changed and waits for the first token"),
        ];
        (of_both, successful.await)
    };
    let failures = r#"gatepass_config_reloads_total{outcome="failure"}"#;
    let good = ([false, false], 1.0);
    assert_eq!(told().await, good);

    gatepass.write_config("[[");
    gatepass.wait_for_metric(failures, 1.0).await;
    assert_eq!(told().await, ([true, false], 0.0));

    provider.otherwise(Reply::HangUp);
    gatepass.write_config(&config.replace("client_id = \"tms\"", "client_id = \"another\""));
    gatepass.output_with("the changed configuration waits for its first token");
    assert_eq!(told().await, ([false, true], 0.0));

    gatepass.write_config("[[");
    gatepass.wait_for_metric(failures, 2.0).await;
    assert_eq!(told().await, ([true, false], 0.0));

    gatepass.write_config(&config);
    gatepass.wait_for_event("the configuration is good again, and is what runs");
    assert_eq!(told().await, good);

    gatepass.write_config(&config.replace("client_id = \"tms\"", "client_id = \"another\""));
    gatepass
        .wait_for_metric("gatepass_config_last_reload_successful", 0.0)
        .await;
    gatepass.write_config(&config);
    gatepass.wait_for_event("what runs stays as it is");
    assert_eq!(told().await, good);
}
