//! A password that is sent once: from there on refresh tokens, each good for one use, judged by
//! django-oauth-toolkit. The way of MasMovil's Authn.

use std::path::Path;

use serde_json::json;

use crate::django::{CLIENT_ID, Django, PASSWORD, SECRET, USER};
use crate::nginx::Nginx;
use crate::support::{Gatepass, Load, eventually, get};
use crate::waiting::{renew, the_line_with};

const CALLERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_under_load_and_is_begun_anew_when_it_is_broken() {
    // Refreshed after 1.5 s and sent for 2.25 s.
    let django = Django::start(3, &json!({}));
    let nginx = Nginx::start(django.address()).await;
    let route = format!(
        "upstream = \"{}\"\ntls.ca_file = \"{}\"",
        nginx.origin(),
        nginx.ca_file().display()
    );
    // This provider ends the old access token before it hands out the next one, while requests are
    // under way with it: they are sent again, and those 401s cost nothing.
    let gatepass = Gatepass::start(&config(&django, PASSWORD, "", &route))
        .ready()
        .await;

    let load = Load::start(gatepass.proxy(), CALLERS);
    let renewed = async |times| django.count("refresh_grants").await >= times;
    eventually("three renewals", async || renewed(3).await).await;
    assert_eq!(django.count("password_grants").await, 1);

    let before = django.count("refresh_grants").await;
    django.break_session().await;
    let signed_in = async || django.count("password_grants").await == 2;
    eventually("a second sign-in", signed_in).await;
    eventually("further renewals", async || renewed(before + 2).await).await;
    let failures = load.stop().await;

    let counts = django.counts().await;
    println!(
        "django-oauth-toolkit: {counts}, {} failures",
        failures.len()
    );
    assert_eq!(failures, []);
    assert_eq!(counts["password_grants"], 2);
    let refused = json!({ "refresh_token: invalid_grant": 1 });
    assert_eq!(counts["errors"], refused, "the broken session's, once");
    // Each caller has one request under way when a token is replaced, and sends it once more.
    let (bad, issued) = (counts["bad"].as_u64(), counts["issued"].as_u64());
    assert!(
        bad <= issued.map(|issued| issued * CALLERS as u64),
        "{counts}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_the_process() {
    let django = Django::start(60, &json!({}));
    let directory = tempfile::tempdir().unwrap();
    let config = config(
        &django,
        PASSWORD,
        &session_file(directory.path()),
        &upstream(&django),
    );
    for starts in 1..=3 {
        let gatepass = Gatepass::start(&config).ready().await;
        renew(&gatepass, "authn").await;
        assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
        drop(gatepass);
        let counts = django.counts().await;
        assert_eq!(counts["password_grants"], 1, "after {starts} starts");
        assert_eq!(counts["issued"], 2 * starts);
    }
    assert_eq!(django.count("refused").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_broken_between_two_processes_is_begun_anew() {
    let django = Django::start(60, &json!({}));
    let directory = tempfile::tempdir().unwrap();
    let config = config(
        &django,
        PASSWORD,
        &session_file(directory.path()),
        &upstream(&django),
    );
    drop(Gatepass::start(&config).ready().await);
    django.break_session().await;
    let gatepass = Gatepass::start(&config).ready().await;
    assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
    assert_eq!(django.count("password_grants").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_in_one_line() {
    let django = Django::start(60, &json!({}));
    let config = config(&django, "canary wrong", "", &upstream(&django));
    let gatepass = Gatepass::start(&config);
    let line = the_line_with(&gatepass, "invalid_grant");
    for told in [
        "authn",
        &django.token_endpoint(),
        "Invalid credentials given.",
        "password",
    ] {
        assert!(line.contains(told), "no {told} in {line}");
    }
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 503);
    for told in [
        "credential \"authn\"",
        &django.token_endpoint(),
        "invalid_grant",
    ] {
        assert!(ready.body().contains(told), "no {told} in {}", ready.body());
    }
    assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 503);
    let counts = django.counts().await;
    assert_eq!(counts["errors"], json!({ "password: invalid_grant": 1 }));
}

fn session_file(directory: &Path) -> String {
    format!("session_file = \"{}\"", directory.join("session").display())
}

/// The server itself, which judges tokens at `/verify`.
fn upstream(django: &Django) -> String {
    format!("upstream = \"http://{}\"", django.address())
}

fn config(django: &Django, password: &str, further: &str, route: &str) -> String {
    format!(
        r#"
        [credentials.authn]
        grant_type = "password"
        token_endpoint = "{}"
        client_id = "{CLIENT_ID}"
        client_secret = "{SECRET}"
        username = "{USER}"
        password = "{password}"
        {further}

        [[routes]]
        path = "/"
        credential = "authn"
        {route}
        "#,
        django.token_endpoint(),
    )
}
