//! `gatepass token`: one token, told without being shown.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::support::gatepass::{Finished, run};
use crate::support::{AuthorizationServer, CANARY, Gatepass, Reply, Upstream, simple_config};

/// Runs it beside the servers of the test.
async fn token(arguments: &[&str], config: &str) -> Finished {
    let arguments: Vec<_> = ["token"]
        .iter()
        .chain(arguments)
        .map(ToString::to_string)
        .collect();
    let config = config.to_owned();
    let running = tokio::task::spawn_blocking(move || {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        run(&arguments, &[("gatepass.toml", &config)])
    });
    running.await.unwrap()
}

fn jwt(claims: &str) -> String {
    let part = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
    let header = part(r#"{"alg":"RS256","kid":"key-1"}"#);
    format!("{header}.{}.{CANARY}", part(claims))
}

fn answer(token: &str) -> Reply {
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#);
    Reply::Json(200, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_told_and_not_shown() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let claims =
        r#"{"iss":"https://id.example","aud":["orders","\u001b[31m"],"scope":"a b","sub":"tms"}"#;
    let token_itself = jwt(claims);
    provider.otherwise(answer(&token_itself));
    let config = simple_config(&provider, &upstream);
    let told = token(&["envase"], &config).await;
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert_eq!(
        told.stderr, "",
        "nobody looks who would want to know that it works"
    );
    let signature = token_itself.rsplit('.').next().unwrap();
    assert!(!told.stdout.contains(signature), "{}", told.stdout);
    let shown = told
        .stdout
        .replace(&provider.token_endpoint(), "TOKEN_ENDPOINT");
    insta::assert_snapshot!("token", shown);
    // Without a name it is the only one.
    assert_eq!(token(&[], &config).await.stdout, told.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_the_token_itself() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    provider.otherwise(answer("opaque-token"));
    let config = simple_config(&provider, &upstream);
    let raw = token(&["--raw"], &config).await;
    assert_eq!(raw.code, Some(0), "{}", raw.stderr);
    assert_eq!(raw.stdout, "opaque-token\n");
    let told = token(&[], &config).await;
    assert!(!told.stdout.contains("opaque-token"), "{}", told.stdout);
    assert!(told.stdout.contains("opaque: only"), "{}", told.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_asked_first_unless_somebody_wants_another_token() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "[stores.machine]\nkind = \"file\"\ndirectory = \"{}\"\nunencrypted = true\n{}",
        directory.path().display(),
        simple_config(&provider, &upstream)
            .replace("client_id", "store = \"machine\"\n        client_id")
    );
    let from_provider = token(&[], &config).await;
    assert_eq!(from_provider.code, Some(0), "{}", from_provider.stderr);
    assert!(
        from_provider.stdout.contains("/token\n"),
        "{}",
        from_provider.stdout
    );
    let from_store = token(&[], &config).await;
    let wanted = "store \"machine\", where a login or another gatepass has left it";
    assert!(from_store.stdout.contains(wanted), "{}", from_store.stdout);
    assert_eq!(provider.count(), 1);
    let refreshed = token(&["--refresh"], &config).await;
    assert!(!refreshed.stdout.contains(wanted), "{}", refreshed.stdout);
    assert_eq!(provider.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_told() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    provider.otherwise(Reply::Json(400, r#"{"error":"invalid_client"}"#.into()));
    let refused = token(&[], &config).await;
    assert_eq!(refused.code, Some(69));
    let said = refused
        .stderr
        .replace(&provider.token_endpoint(), "TOKEN_ENDPOINT");
    let unknown = token(&["envas"], &config).await;
    assert_eq!(unknown.code, Some(64));
    insta::assert_snapshot!("token_failures", [said, unknown.stderr].join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_a_gatepass_has_in_use_is_left_alone() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let words = r#"{"access_token":"TOKEN","refresh_token":"REFRESH","expires_in":3600}"#;
    provider.otherwise(Reply::Words(3600.0, words.into()));
    let directory = tempfile::tempdir().unwrap();
    let config = simple_config(&provider, &upstream).replace(
        "client_id",
        &format!(
            "grant_type = \"password\"\nusername = \"u\"\npassword = \"{CANARY}\"\n\
             session_file = \"{}/session\"\nclient_id",
            directory.path().display()
        ),
    );
    let gatepass = Gatepass::start(&config).ready().await;
    let running = format!("admin.listen = \"{}\"\n{config}", gatepass.admin());
    let refused = token(&[], &running).await;
    assert_eq!(refused.code, Some(69), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("belongs to the gatepass that runs at"),
        "{}",
        refused.stderr
    );
    assert_eq!(provider.count(), 1);
    let admin = gatepass.admin();
    drop(gatepass);
    let alone = format!("admin.listen = \"{admin}\"\n{config}");
    let got = token(&[], &alone).await;
    assert_eq!(got.code, Some(0), "{}", got.stderr);
}
