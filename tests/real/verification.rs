//! Tokens that a certified provider signed, checked by the keys that it publishes, all of it found
//! by the provider's name.

use serde_json::json;

use crate::oidc_provider::OidcProvider;
use crate::support::{Gatepass, get};
use crate::waiting::{renew, the_line_with};

const SECRET: &str = "canary+/%:=& s3cret";
const AUDIENCE: &str = "https://api.gatepass.test";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_this_audience_is_used_and_new_keys_are_found() {
    for algorithm in ["RS256", "ES256"] {
        let provider = provider(algorithm);
        let gatepass = Gatepass::start(&config(&provider, AUDIENCE)).ready().await;
        assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);

        // The next token is signed with a key that was not there when the keys were read.
        provider.rotate_keys().await;
        for _ in 0..2 {
            renew(&gatepass, "oidc").await;
            assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
        }
        let counts = provider.counts().await;
        assert_eq!(counts["issued"], 3, "{algorithm}");
        assert_eq!(counts["bad"], 0, "{algorithm}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_audience_is_not_used() {
    let provider = provider("RS256");
    let other = "https://other.gatepass.test";
    let gatepass = Gatepass::start(&config(&provider, other));
    let line = the_line_with(&gatepass, other);
    assert!(line.contains("\"oidc\""), "{line}");
    assert!(line.contains(&provider.token_endpoint()), "{line}");

    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 503);
    assert!(
        ready.body().contains("credential \"oidc\""),
        "{}",
        ready.body()
    );
    assert!(ready.body().contains(other), "{}", ready.body());

    assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 503);
    let counts = provider.counts().await;
    assert_eq!(counts["issued"], 1, "the provider saw nothing wrong");
    assert_eq!(counts["bad"], 0, "nothing was sent");
}

fn provider(algorithm: &str) -> OidcProvider {
    OidcProvider::start_with(&json!({
        "clients": [{ "client_id": "tms", "client_secret": SECRET }],
        "token_seconds": 60,
        "jwt": { "audience": AUDIENCE, "alg": algorithm },
    }))
}

fn config(provider: &OidcProvider, audience: &str) -> String {
    format!(
        r#"
        [credentials.oidc]
        issuer = "{}"
        client_id = "tms"
        client_secret = "{SECRET}"
        scope = "connectdata/events"
        verify.audience = "{audience}"

        [[routes]]
        path = "/"
        upstream = "http://{}"
        credential = "oidc"
        "#,
        provider.issuer(),
        provider.address(),
    )
}
