//! Token requests as JSON, judged by django-oauth-toolkit. The way of ITC Compliance.

use serde_json::json;

use crate::django::{CLIENT_ID, Django, PASSWORD, SECRET, USER};
use crate::support::{Gatepass, get};
use crate::waiting::renew;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_asks_in_json() {
    let django = Django::start(
        60,
        &json!({ "body": "json", "grant": "client-credentials" }),
    );
    let keys = "grant_type = \"client_credentials\"\nscope = \"read write\"";
    renew_three_times(&django, keys).await;
    let counts = django.counts().await;
    assert_eq!(counts["client_credentials_grants"], 4);
    assert_eq!(counts["errors"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_asks_in_json() {
    let django = Django::start(60, &json!({ "body": "json" }));
    let keys =
        format!("grant_type = \"password\"\nusername = \"{USER}\"\npassword = \"{PASSWORD}\"");
    renew_three_times(&django, &keys).await;
    let counts = django.counts().await;
    assert_eq!(counts["password_grants"], 1);
    assert_eq!(counts["refresh_grants"], 3);
    assert_eq!(counts["errors"], json!({}));
}

async fn renew_three_times(django: &Django, keys: &str) {
    let config = format!(
        r#"
[credentials.compliance]
token_endpoint = "{}"
token_endpoint_auth_method = "client_secret_post"
body_format = "json"
client_id = "{CLIENT_ID}"
client_secret = "{SECRET}"
{keys}

[[routes]]
path = "/"
upstream = "http://{}"
credential = "compliance"
"#,
        django.token_endpoint(),
        django.address(),
    );
    let gatepass = Gatepass::start(&config).ready().await;
    for _ in 0..3 {
        renew(&gatepass, "compliance").await;
        assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
    }
}
