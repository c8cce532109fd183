//! Sixty short-lived tokens of a certified provider roll over under load, judged by the provider
//! itself on behalf of a real HTTPS upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::nginx::Nginx;
use crate::oidc_provider::OidcProvider;
use crate::support::Gatepass;
use crate::support::client::{connect, get_request, read};

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

async fn roll_over(method: &str, tokens: u64) {
    let client = json!({
        "client_id": "tms:app",
        "client_secret": SECRET,
        "token_endpoint_auth_method": method,
    });
    let provider = OidcProvider::start(&client, 2);
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

    let done = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (address, done) = (gatepass.proxy(), Arc::clone(&done));
        callers.spawn(async move {
            let mut caller = connect::<Full<Bytes>>(address).await;
            let mut failures = Vec::new();
            while !done.load(Ordering::Relaxed) {
                caller.ready().await.unwrap();
                let answer = read(caller.send_request(get_request("/")).await.unwrap()).await;
                if answer.status() != 200 {
                    failures.push((answer.status(), answer.into_body()));
                }
            }
            failures
        });
    }
    // A life of 2 s is refreshed after 1 s.
    let patience = Duration::from_secs(30 + 2 * tokens);
    let rolling = async {
        while provider.stats().await.issued < tokens {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(patience, rolling)
        .await
        .expect("the tokens roll over in time");
    done.store(true, Ordering::Relaxed);
    let failures: Vec<_> = callers.join_all().await.into_iter().flatten().collect();

    let stats = provider.stats().await;
    println!("{method}: {stats:?}, {} failures", failures.len());
    assert_eq!(failures, []);
    assert_eq!(stats.bad, 0);
    assert!(stats.good > 100 * tokens, "{stats:?}");
}
