//! Sixty short-lived tokens of a certified provider roll over under load, judged by the provider
//! itself on behalf of a real HTTPS upstream.

use std::time::Duration;

use serde_json::json;

use crate::nginx::Nginx;
use crate::oidc_provider::OidcProvider;
use crate::support::{Gatepass, Load, within};

/// The shortest that leaves room for a refresh. The provider writes ends in whole seconds and cuts
/// the fraction off, so these truly live for anything between two and three, and are refreshed
/// after one and a half. Of those that are said to live for two, some end after one: in the very
/// moment at which half of the life is over.
const LIFE: Duration = Duration::from_secs(3);

/// With all that has to be encoded.
const SECRET: &str = "canary+/%:=& s3cret";

#[tokio::test(flavor = "multi_thread")]
async fn sixty_rollovers_by_basic() {
    roll_over("client_secret_basic", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_rollovers_by_post() {
    roll_over("client_secret_post", 5).await;
}

async fn roll_over(method: &str, tokens: u32) {
    let client = json!({
        "client_id": "tms:app",
        "client_secret": SECRET,
        "token_endpoint_auth_method": method,
    });
    let provider = OidcProvider::start(&client, LIFE);
    let nginx = Nginx::start(provider.address()).await;
    let config = format!(
        r#"
        [credentials.oidc]
        token_endpoint = "{}"
        token_endpoint_auth_method = "{method}"
        client_id = "tms:app"
        client_secret = "{SECRET}"
        scope = "connectdata/events"

        [[routes]]
        path = "/"
        upstream = "{}"
        credential = "oidc"
        tls.ca_file = "{}"
        "#,
        provider.token_endpoint(),
        nginx.origin(),
        nginx.ca_file().display(),
    );
    let gatepass = Gatepass::start(&config).ready().await;

    let load = Load::start(gatepass.proxy(), 16);
    let patience = Duration::from_secs(30) + LIFE * tokens;
    within(patience, "the tokens roll over", async || {
        provider.stats().await.issued >= u64::from(tokens)
    })
    .await;
    let failures = load.stop().await;

    let stats = provider.stats().await;
    println!("{method}: {stats:?}, {} failures", failures.len());
    assert_eq!(failures, []);
    assert_eq!(stats.bad, 0);
    assert!(stats.good > 100 * u64::from(tokens), "{stats:?}");
}
