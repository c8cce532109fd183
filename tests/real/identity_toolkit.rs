//! Google Identity Toolkit as Firebase's emulator speaks it. The way of fulfillmenttools.

use std::collections::BTreeSet;

use serde_json::json;

use crate::auth_emulator::AuthEmulator;
use crate::support::{Gatepass, Upstream, eventually, get};
use crate::waiting::{renew, the_line_with};

const USER: &str = "driver@example.com";
const PASSWORD: &str = "canary pässwörd+/&=%";
const API_KEY: &str = "canary-api+key/&";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_once_and_may_be_locked_out() {
    let emulator = AuthEmulator::start().await;
    let user = emulator.create_user(USER, PASSWORD).await;
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&emulator, &upstream, PASSWORD))
        .ready()
        .await;

    let mut tokens = BTreeSet::from([token_at(&gatepass, &upstream).await]);
    for _ in 0..3 {
        // The emulator's tokens of one second are all the same; between two orders lies a second.
        renew(&gatepass, "fft").await;
        tokens.insert(token_at(&gatepass, &upstream).await);
    }
    assert_eq!(tokens.len(), 4, "each renewal has brought another token");
    let counts = emulator.counts().await;
    assert_eq!(counts["sign_ins"], 1, "{counts}");
    assert_eq!(counts["refreshes"], 3, "{counts}");
    assert_eq!(counts["refused"], 0, "{counts}");

    emulator.disable(&user, true).await;
    gatepass.order_refresh("fft").await;
    let answered = format!("{} answered 400 USER_DISABLED", emulator.sign_in_endpoint());
    let line = the_line_with(&gatepass, &answered);
    assert!(line.contains("\"fft\""), "{line}");
    // What was handed out is good until it ends.
    assert_eq!(get(gatepass.admin(), "/readyz").await.status(), 200);
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);

    emulator.disable(&user, false).await;
    gatepass.order_refresh("fft").await;
    let signed_in = async || emulator.count("sign_ins").await == 2;
    eventually("a second sign-in", signed_in).await;

    refused(&emulator, &upstream).await;
}

/// Another gatepass, with a password that is wrong.
async fn refused(emulator: &AuthEmulator, upstream: &Upstream) {
    let gatepass = Gatepass::start(&config(emulator, upstream, "canary wrong"));
    let line = the_line_with(&gatepass, "400 INVALID_LOGIN_CREDENTIALS");
    for told in ["\"fft\"", &emulator.sign_in_endpoint(), "password"] {
        assert!(line.contains(told), "no {told} in {line}");
    }
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 503);
    for told in [
        "credential \"fft\"",
        &emulator.sign_in_endpoint(),
        "INVALID_LOGIN_CREDENTIALS",
    ] {
        assert!(ready.body().contains(told), "no {told} in {}", ready.body());
    }
    assert!(!ready.body().contains("canary"), "{}", ready.body());
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 503);
    let counts = emulator.counts().await;
    assert_eq!(counts["errors"]["INVALID_LOGIN_CREDENTIALS"], json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_forgot_everybody_is_signed_in_to_again() {
    let emulator = AuthEmulator::start().await;
    emulator.create_user(USER, PASSWORD).await;
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&emulator, &upstream, PASSWORD))
        .ready()
        .await;
    let token = token_at(&gatepass, &upstream).await;

    let port = emulator.port();
    drop(emulator);
    gatepass.order_refresh("fft").await;
    gatepass.output_with("token refresh failed, the token at hand stays in use");
    assert_eq!(token_at(&gatepass, &upstream).await, token);

    let emulator = AuthEmulator::start_at(port).await;
    emulator.create_user(USER, PASSWORD).await;
    // An attempt that came before the user was there has slowed gatepass down.
    gatepass.order_refresh("fft").await;
    let signed_in = async || emulator.count("sign_ins").await == 1;
    eventually("a sign-in", signed_in).await;
    let renewed = async || token_at(&gatepass, &upstream).await != token;
    eventually("a new token", renewed).await;
    let counts = emulator.counts().await;
    assert_eq!(
        counts["errors"]["INVALID_REFRESH_TOKEN"],
        json!(1),
        "{counts}"
    );
}

/// The token that a request carries now.
async fn token_at(gatepass: &Gatepass, upstream: &Upstream) -> String {
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let seen = upstream.last();
    let fields = seen.all("authorization");
    assert_eq!(fields.len(), 1, "{seen:?}");
    fields[0].strip_prefix("Bearer ").unwrap().to_owned()
}

fn config(emulator: &AuthEmulator, upstream: &Upstream, password: &str) -> String {
    format!(
        r#"
        [credentials.fft]
        grant_type = "identity_toolkit"
        token_endpoint = "{}"
        refresh_endpoint = "{}"
        api_key = "{API_KEY}"
        username = "{USER}"
        password = "{password}"

        [[routes]]
        path = "/"
        upstream = "{}"
        credential = "fft"
        "#,
        emulator.sign_in_endpoint(),
        emulator.refresh_endpoint(),
        upstream.origin(),
    )
}
