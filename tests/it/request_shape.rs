//! Providers that want it otherwise: what is sent to them, what they answer, and how the token goes
//! to the upstream.

use crate::support::gatepass::run;
use crate::support::{
    AuthorizationServer, CANARY, Gatepass, Reply, Upstream, get, raw, simple_config,
};

async fn start(
    credential_keys: &str,
    route_keys: &str,
    reply: Option<Reply>,
) -> (Gatepass, AuthorizationServer, Upstream) {
    let provider = AuthorizationServer::start();
    if let Some(reply) = reply {
        provider.otherwise(reply);
    }
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream)
        .replace("client_id", &format!("{credential_keys}\n client_id"));
    let gatepass = Gatepass::start(&format!("{config}\n{route_keys}"))
        .ready()
        .await;
    (gatepass, provider, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_body_with_a_versioned_accept_and_a_life_of_a_year_in_text() {
    let keys = r#"
        body_format = "json"
        token_endpoint_auth_method = "client_secret_post"
        scope = "legacy:autonomy.write legacy.autonomy.read"
        headers = { accept = "application/json; version=2" }
    "#;
    let answer = r#"{"token_type":"Bearer","expires_in":"31536000","access_token":"canary-year"}"#;
    let reply = Reply::Json(200, answer.into());
    let (gatepass, provider, upstream) = start(keys, "", Some(reply)).await;
    let request = &provider.requests()[0];
    assert_eq!(request.header("content-type").unwrap(), "application/json");
    assert_eq!(
        request.header("accept").unwrap(),
        "application/json; version=2"
    );
    assert_eq!(request.header("authorization"), None);
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "grant_type": "client_credentials",
            "client_id": "tms",
            "client_secret": "canary+s3cret/%:=& 42",
            "scope": "legacy:autonomy.write legacy.autonomy.read",
        })
    );
    get(gatepass.proxy(), "/").await;
    assert_eq!(upstream.last().all("authorization"), ["Bearer canary-year"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn further_parameters_resources_and_a_separator_of_its_own() {
    let keys = r#"
        scope = ["a:b", "c"]
        scope_separator = ","
        resource = ["https://one.example", "https://two.example"]
        token_endpoint_auth_method = "client_secret_basic_raw"
        parameters = { tenant = "t&1", pin = { env = "TMS_PIN" } }
    "#;
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config =
        simple_config(&provider, &upstream).replace("client_id", &format!("{keys}\n client_id"));
    let pin = [("TMS_PIN", "canary-1234")];
    let _gatepass = Gatepass::start_with(&config, &pin).ready().await;
    let request = &provider.requests()[0];
    assert_eq!(
        request.body,
        "grant_type=client_credentials&scope=a%3Ab%2Cc&resource=https%3A%2F%2Fone.example\
         &resource=https%3A%2F%2Ftwo.example&pin=canary-1234&tenant=t%261"
    );
    // tms:canary+s3cret/%:=& 42
    assert_eq!(
        request.header("authorization").unwrap(),
        "Basic dG1zOmNhbmFyeStzM2NyZXQvJTo9JiA0Mg=="
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_stand_elsewhere_in_the_answer() {
    let bare = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\ncanary.bare\r\n".to_vec();
    let both = r#"{"access_token":"canary-access","id_token":"canary-id"}"#;
    let nested = r#"{"data":{"token":"canary-nested"}}"#;
    for (field, reply, token) in [
        ("id_token", Reply::Json(200, both.into()), "canary-id"),
        (
            "/data/token",
            Reply::Json(200, nested.into()),
            "canary-nested",
        ),
        (".", Reply::Bytes(bare), "canary.bare"),
        (
            ".",
            Reply::Json(200, "\"canary.string\"".into()),
            "canary.string",
        ),
    ] {
        let keys = format!("token_field = \"{field}\"");
        let (gatepass, _provider, upstream) = start(&keys, "", Some(reply)).await;
        get(gatepass.proxy(), "/").await;
        assert_eq!(
            upstream.last().all("authorization"),
            [format!("Bearer {token}")]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_in_another_field_beside_a_static_key() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("api-key");
    std::fs::write(&key, format!("{CANARY}-key\n")).unwrap();
    let route_keys = format!(
        "headers = {{ X-Api-Key = {{ file = \"{}\" }}, x-version = \"2\" }}",
        key.display()
    );
    let keys = "header = \"X-Id-Token\"\n scheme = \"\"";
    let (gatepass, _provider, upstream) = start(keys, &route_keys, None).await;
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Id-Token: theirs\r\nX-Api-Key: theirs\r\n\
                X-Api-Key: theirs too\r\n\r\n";
    raw(gatepass.proxy(), head, |text| text.contains("\r\n\r\n")).await;
    let seen = upstream.last();
    assert_eq!(seen.all("x-id-token"), ["canary-token-1"]);
    assert_eq!(seen.all("x-api-key"), ["canary-key"]);
    assert_eq!(seen.all("x-version"), ["2"]);
    assert!(seen.all("authorization").is_empty());
}

#[test]
fn presets_know_their_token_endpoints() {
    let endpoint = |keys: &str| {
        let config = format!(
            "[credentials.a]\n{keys}\nclient_id = \"x\"\nclient_secret = \"canary\"\n\
             [[routes]]\npath = \"/\"\nupstream = \"https://api.example\"\ncredential = \"a\"\n"
        );
        let finished = run(&["check"], &[("gatepass.toml", &config)]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let line = finished
            .stdout
            .lines()
            .find(|line| line.starts_with("Tokens of"))
            .unwrap();
        line.split(" come from ").nth(1).unwrap().to_owned()
    };
    let envase =
        |environment| endpoint(&format!("preset=\"envase\"\nenvironment=\"{environment}\""));
    let found = [
        envase("development"),
        envase("staging"),
        envase("production"),
        endpoint("preset=\"cognito\"\ndomain=\"acme.auth.eu-west-1.amazoncognito.com\""),
        endpoint("preset=\"itc-compliance\"\ndomain=\"auth.example\""),
        endpoint("preset=\"entra\"\ntenant=\"acme\"\nscope=\"api://orders/.default\""),
        endpoint("preset=\"auth0\"\ndomain=\"acme.eu.auth0.com\"\naudience=\"https://api\""),
        endpoint("preset=\"keycloak\"\ndomain=\"id.example:8443\"\nrealm=\"orders\""),
        endpoint("preset=\"envase\"\ntoken_endpoint=\"http://127.0.0.1:9/token\""),
    ];
    insta::assert_snapshot!(found.join("\n"), @"
    https://envase-dev.auth.us-east-1.amazoncognito.com/oauth2/token
    https://envase-stg.auth.us-east-1.amazoncognito.com/oauth2/token
    https://envase.auth.us-east-1.amazoncognito.com/oauth2/token
    https://acme.auth.eu-west-1.amazoncognito.com/oauth2/token
    https://auth.example/oauth/token
    https://login.microsoftonline.com/acme/oauth2/v2.0/token
    https://acme.eu.auth0.com/oauth/token
    https://id.example:8443/realms/orders/protocol/openid-connect/token
    http://127.0.0.1:9/token
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preset_shapes_the_request_and_lets_every_key_be_set() {
    let keys = "preset = \"itc-compliance\"";
    let (_gatepass, provider, _upstream) = start(keys, "", None).await;
    let request = &provider.requests()[0];
    assert_eq!(request.header("content-type").unwrap(), "application/json");
    assert_eq!(
        request.header("accept").unwrap(),
        "application/json; version=2"
    );
    assert!(
        request.body.contains("\"client_secret\""),
        "{}",
        request.body
    );

    let keys = "preset = \"itc-compliance\"\n body_format = \"form\"\n\
                headers = { Accept = \"application/json; version=1\" }";
    let (_gatepass, provider, _upstream) = start(keys, "", None).await;
    let request = &provider.requests()[0];
    assert_eq!(
        request.header("accept").unwrap(),
        "application/json; version=1"
    );
    assert!(
        request.body.starts_with("grant_type=client_credentials&"),
        "{}",
        request.body
    );
}
