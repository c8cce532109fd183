//! Refresh tokens that are good for one use, over a restart. A certified provider ends the whole
//! session when one of them comes twice.

use std::path::Path;

use serde_json::json;

use crate::oidc_provider::OidcProvider;
use crate::support::{Gatepass, get};
use crate::waiting::renew;

const SECRET: &str = "canary+/%:=& s3cret";

#[tokio::test(flavor = "multi_thread")]
async fn no_refresh_token_is_used_twice_over_a_restart() {
    let confidential = format!("client_secret = \"{SECRET}\"");
    survive_restarts("confidential", &confidential).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_by_a_client_without_a_secret() {
    survive_restarts("public", "token_endpoint_auth_method = \"none\"").await;
}

async fn survive_restarts(client: &str, authentication: &str) {
    let provider = OidcProvider::start_with(&json!({
        "clients": [
            {
                "client_id": "confidential",
                "client_secret": SECRET,
                "grant_types": ["refresh_token"],
            },
            {
                "client_id": "public",
                "token_endpoint_auth_method": "none",
                "grant_types": ["refresh_token"],
            },
        ],
        "token_seconds": 60,
    }));
    let first = provider.grant_refresh_token(client).await;
    let directory = tempfile::tempdir().unwrap();
    let session_file = directory.path().join("session");
    let config = config(&provider, client, authentication, &first, &session_file);

    let starts = 3;
    let renewals = 2;
    for _ in 0..starts {
        let gatepass = Gatepass::start(&config).ready().await;
        for _ in 0..renewals {
            assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
            renew(&gatepass, "oidc").await;
        }
        assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
        assert!(!gatepass.output().contains(&first), "a secret was printed");
        // What is in the file is a secret as well.
        let saved = std::fs::read_to_string(&session_file).unwrap();
        let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
        let refresh_token = saved["refresh_token"].as_str().unwrap();
        assert_ne!(refresh_token, first);
        assert!(
            !gatepass.output().contains(refresh_token),
            "a secret was printed"
        );
        // Killed, as by a machine that loses its power.
        drop(gatepass);
    }
    let counts = provider.counts().await;
    let expected = starts * (1 + renewals);
    assert_eq!(counts["grants"], json!({ "refresh_token": expected }));
    assert_eq!(counts["errors"], json!({}));
    assert_eq!(counts["bad"], 0);
}

fn config(
    provider: &OidcProvider,
    client: &str,
    authentication: &str,
    refresh_token: &str,
    session_file: &Path,
) -> String {
    format!(
        r#"
        [credentials.oidc]
        grant_type = "refresh_token"
        token_endpoint = "{}"
        client_id = "{client}"
        {authentication}
        refresh_token = "{refresh_token}"
        session_file = "{}"

        [[routes]]
        path = "/"
        upstream = "http://{}"
        credential = "oidc"
        "#,
        provider.token_endpoint(),
        session_file.display(),
        provider.address(),
    )
}
