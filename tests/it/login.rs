//! People log in, and `run` goes on from there. The browser is played by the test.

mod another_device;
mod before;
mod failures;
mod place;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Request;
use http_body_util::Full;
use url::Url;

use place::{Place, address, come_back, parameter};

use crate::support::gatepass::command;
use crate::support::{CANARY, Gatepass, LoggingIn, Reply, eventually, get, problem, request};

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_of_the_machine_is_sent_to_the_login_page() {
    let place = Place::new("authorization_code").await;
    let browser = place.directory.path().join("browser");
    let opened = place.directory.path().join("opened");
    // Renamed, so that it is there as a whole or not at all.
    let script = "#!/bin/sh\nprintf %s \"$1\" > new && mv new opened\n";
    std::fs::write(&browser, script).unwrap();
    std::fs::set_permissions(&browser, Permissions::from_mode(0o700)).unwrap();
    let environment = [("BROWSER", browser.to_str().unwrap())];
    let mut login = LoggingIn::begin_with(place.directory.path(), &[], &environment);
    let told = login.line_with("http");
    eventually("the browser is opened", async || opened.exists()).await;
    assert_eq!(std::fs::read_to_string(&opened).unwrap(), told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_with_pkce_becomes_a_session_that_run_goes_on_with() {
    let place = Place::new("authorization_code").await;
    // It waits for somebody to log in.
    let gatepass = Gatepass::start(&place.config());
    let refused = get(gatepass.proxy(), "/").await;
    assert_eq!(refused.status(), 503);

    let mut login = place.log_in(&["--no-browser"]);
    let url: Url = login.line_with("http").parse().unwrap();
    assert!(
        url.as_str()
            .starts_with(&format!("{}/authorize?", place.issuer()))
    );
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "tms"),
        ("scope", "openid offline_access"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(parameter(&url, name), value);
    }
    let (state, nonce, issuer) = (
        parameter(&url, "state"),
        parameter(&url, "nonce"),
        place.issuer(),
    );
    let foreign = come_back(
        &url,
        &[("code", "evil"), ("state", "guess"), ("iss", &issuer)],
    )
    .await;
    assert_eq!(foreign.status(), 400, "nothing is done for a wrong state");
    let redirect: Url = parameter(&url, "redirect_uri").parse().unwrap();
    let beside = format!("/beside?code=evil&state={state}&iss={issuer}");
    let beside = get(address(&redirect), &beside).await;
    assert_eq!(beside.status(), 404, "nor where nobody is sent back to");
    let before = place.provider.count();
    place.provider.plan([place.tokens(&nonce)]);
    let page = come_back(
        &url,
        &[("code", "canary-code"), ("state", &state), ("iss", &issuer)],
    )
    .await;
    assert_eq!(page.status(), 200);
    assert!(
        page.body().contains("Go back to the terminal"),
        "{}",
        page.body()
    );
    let (code, told) = login.ended();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("the session goes on by itself"), "{told}");

    let redeemed = place.provider.requests()[before].clone();
    assert_eq!(redeemed.parameter("code").unwrap(), "canary-code");
    assert_eq!(
        redeemed.parameter("redirect_uri").unwrap(),
        parameter(&url, "redirect_uri")
    );
    let verifier = redeemed.parameter("code_verifier").unwrap();
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    assert_eq!(parameter(&url, "code_challenge"), challenge);

    for file in std::fs::read_dir(place.directory.path().join("store")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(
            !String::from_utf8_lossy(&bytes).contains(CANARY),
            "it is encrypted"
        );
    }

    let gatepass = gatepass.ready().await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(
        place.upstream.last().all("authorization"),
        ["Bearer canary-token-1"]
    );
    assert_eq!(place.provider.count(), before + 1, "its token is used");

    gatepass.order_refresh("clerk").await;
    place.provider.wait_for_requests(before + 2).await;
    let refresh = place.provider.requests()[before + 1].clone();
    assert_eq!(
        refresh.parameter("refresh_token").unwrap(),
        "canary-refresh-1"
    );

    // The refresh has to be over before its refresh token can be taken back.
    let fetched = r#"gatepass_token_origins_total{credential="clerk",origin="provider"}"#;
    gatepass.wait_for_metric(fetched, 1.0).await;
    let turn = r#"gatepass_store_lease_held{credential="clerk"}"#;
    gatepass.wait_for_metric(turn, 0.0).await;
    place.provider.plan([Reply::Json(200, String::new())]);
    let logout = command()
        .arg("logout")
        .current_dir(place.directory.path())
        .output()
        .unwrap();
    assert_eq!(logout.status.code(), Some(0), "{logout:?}");
    let revocation = place.provider.requests().pop().unwrap();
    assert!(
        revocation.head.starts_with("POST /revoke "),
        "{}",
        revocation.head
    );
    assert_eq!(revocation.parameter("token").unwrap(), "canary-refresh-1");
    assert_eq!(
        revocation.parameter("token_type_hint").unwrap(),
        "refresh_token"
    );
    let count = place.provider.count();
    drop(gatepass);
    let gatepass = Gatepass::start(&place.config());
    let told = gatepass.output_with("gatepass login");
    assert!(told.contains("nobody has logged in"), "{told}");
    let why = problem(&get(gatepass.proxy(), "/").await);
    assert_eq!(why["reason"], "no_token");
    assert_eq!(place.provider.count(), count, "the provider is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_code_the_fragment_is_taken() {
    let place = Place::new("implicit").await;
    let mut login = place.log_in(&["--no-browser"]);
    let url: Url = login.line_with("http").parse().unwrap();
    assert_eq!(parameter(&url, "response_type"), "token");
    let redirect: Url = parameter(&url, "redirect_uri").parse().unwrap();
    let relay = get(address(&redirect), redirect.path()).await;
    assert!(relay.body().contains("location.hash"), "{}", relay.body());
    let fragment = format!(
        "access_token=canary-implicit&token_type=Bearer&expires_in=3600&state={}&iss={}",
        parameter(&url, "state"),
        place.issuer(),
    );
    let come_back = async |fragment: String| {
        let post = Request::post(redirect.path()).header("host", "localhost");
        let post = post.body(Full::from(fragment)).unwrap();
        request(address(&redirect), post).await
    };
    let endless = format!("{fragment}&padding={}", "x".repeat(256 * 1024));
    assert_eq!(come_back(endless).await.status(), 400, "it is no token's");
    let page = come_back(fragment).await;
    assert!(
        page.body().contains("Go back to the terminal"),
        "{}",
        page.body()
    );
    let (code, told) = login.ended();
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("Warning: with grant_type = \"implicit\""),
        "{told}"
    );
    let gatepass = Gatepass::start(&place.config()).ready().await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(
        place.upstream.last().all("authorization"),
        ["Bearer canary-implicit"]
    );
    assert_eq!(place.provider.count(), 0);
}

/// To ask for one would use up the refresh token.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_takes_the_token_of_a_session() {
    let place = Place::new("device_code").await;
    let doctor = || {
        let doctor = command()
            .args(["doctor", "--call", "--listen", "127.0.0.1:0"])
            .args(["--admin-listen", "127.0.0.1:0"])
            .current_dir(place.directory.path())
            .output();
        String::from_utf8(doctor.unwrap().stdout).unwrap()
    };
    let told = doctor();
    let nobody = "nobody is logged in; `gatepass login clerk` does that";
    assert!(told.contains(nobody), "{told}");
    assert!(!told.contains("/readyz"), "{told}");
    place
        .provider
        .plan([another_device::begun(), place.tokens("none")]);
    let (code, output) = place.log_in(&[]).ended();
    assert_eq!(code, Some(0), "{output}");
    let asked = place.provider.count();
    let told = doctor();
    assert!(
        told.contains("the store has one, and none is asked for"),
        "{told}"
    );
    assert!(told.contains("is answered with 200"), "{told}");
    assert_eq!(place.provider.count(), asked, "no token request");
    let sent = place.upstream.last();
    assert_eq!(sent.headers["authorization"], "Bearer canary-token-1");
}
