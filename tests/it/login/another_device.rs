//! Logins on another device, RFC 8628.

use std::time::Duration;

use serde_json::json;
use url::Url;

use super::place::{Place, parameter};
use crate::support::{Gatepass, LoggingIn, Reply, get};

#[tokio::test(flavor = "multi_thread")]
async fn on_another_device() {
    let place = Place::new("device_code").await;
    place.provider.plan([
        begun(),
        Reply::Json(400, r#"{"error":"authorization_pending"}"#.into()),
        place.tokens("none"),
    ]);
    let (code, told) = place.log_in(&[]).ended();
    // There is no nonce in this flow.
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("https://id.example/device") && told.contains("ABCD-EFGH"),
        "{told}"
    );
    let requests = place.provider.requests();
    assert!(requests[0].head.starts_with("POST /device "));
    assert_eq!(
        requests[0].parameter("scope").unwrap(),
        "openid offline_access"
    );
    assert_eq!(
        requests[2].parameter("device_code").unwrap(),
        "canary-device"
    );
    let gatepass = Gatepass::start(&place.config()).ready().await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(place.provider.count(), 3);
}

/// Nobody is there to log in again.
#[tokio::test(flavor = "multi_thread")]
async fn one_mistake_of_the_provider_does_not_end_the_session() {
    let place = Place::new("device_code").await;
    place.provider.plan([begun(), place.tokens("none")]);
    let (code, told) = place.log_in(&[]).ended();
    assert_eq!(code, Some(0), "{told}");
    let gatepass = Gatepass::start(&place.config()).ready().await;
    let refusal = r#"{"error":"invalid_grant","error_description":"unheard of"}"#;
    place.provider.plan([Reply::Json(400, refusal.into())]);
    gatepass.order_refresh("clerk").await;
    let told = gatepass.output_with("token refresh failed");
    assert!(told.contains("unheard of"), "{told}");
    // It is taken from the store each time.
    place.provider.wait_for_requests(4).await;
    let shown = place.provider.requests();
    for request in &shown[2..] {
        let refresh_token = request.parameter("refresh_token").unwrap();
        assert_eq!(refresh_token, "canary-refresh-1");
    }
    let fetched = r#"gatepass_token_origins_total{credential="clerk",origin="provider"}"#;
    gatepass.wait_for_metric(fetched, 1.0).await;
}

/// A person types as long as the code is good, whatever happens to the provider meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_in_trouble_is_asked_later_and_does_not_end_the_login() {
    let place = Place::new("device_code").await;
    let busy = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 4\r\nContent-Length: 0\r\n\r\n";
    let google = json!({
        "device_code": "canary-device", "user_code": "ABCD-EFGH", "expires_in": "600",
        "interval": 0.5, "verification_url": "https://id.example/device",
    });
    place.provider.plan([
        Reply::Json(200, google.to_string()),
        Reply::Json(503, "{}".into()),
        Reply::Bytes(busy.into()),
        place.tokens("none"),
    ]);
    let (code, told) = place.log_in(&[]).ended();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("https://id.example/device"), "{told}");
    let requests = place.provider.requests();
    let pauses: Vec<_> = requests
        .windows(2)
        .map(|two| two[1].at - two[0].at)
        .collect();
    for (pause, least) in pauses.iter().zip([1, 2, 4]) {
        assert!(*pause >= Duration::from_secs(least), "{pauses:?}");
    }
}

/// What the provider says when a login on another device begins.
pub(super) fn begun() -> Reply {
    let begun = json!({
        "device_code": "canary-device", "user_code": "ABCD-EFGH", "expires_in": 600, "interval": 1,
        "verification_uri": "https://id.example/device",
    });
    Reply::Json(200, begun.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_browser_is_another_device_is_taken() {
    for (environment, why) in [
        (&[][..], "there is no display"),
        (&[("SSH_TTY", "/dev/pts/1")], "this is a session of SSH"),
        (
            &[("DISPLAY", ":0"), ("PATH", "/nonexistent")],
            "xdg-open is not installed",
        ),
    ] {
        let place = Place::new("authorization_code").await;
        place.provider.plan([begun(), place.tokens("none")]);
        let login = LoggingIn::begin_with(place.directory.path(), &[], environment);
        let (code, told) = login.ended();
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains(&format!("as {why}:")), "{told}");
        assert!(told.contains("ABCD-EFGH"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_may_not_use_another_device_is_sent_to_a_browser() {
    let place = Place::new("authorization_code").await;
    let refusal = r#"{"error":"unauthorized_client"}"#;
    place.provider.plan([Reply::Json(400, refusal.into())]);
    let url = place.log_in(&[]).line_with("http");
    assert!(url.contains("/authorize?"), "{url}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_there_is_called_by_its_own_name() {
    let place = Place::new("device_code").await;
    place.provider.plan([Reply::Json(404, "{}".into())]);
    let (code, told) = place.log_in(&[]).ended();
    assert_eq!(code, Some(69), "{told}");
    assert!(
        told.contains("check device_authorization_endpoint\n"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_device_is_told() {
    let place = Place::new("device_code").await;
    place.provider.plan([
        begun(),
        Reply::Json(400, r#"{"error":"access_denied"}"#.into()),
    ]);
    let (code, told) = place.log_in(&[]).ended();
    assert_eq!(code, Some(69));
    assert!(told.contains("consent was denied"), "{told}");
}

/// The browser of the machine that somebody sits at comes back to its own loopback.
#[tokio::test(flavor = "multi_thread")]
async fn by_ssh_the_way_back_is_told() {
    let place = Place::new("authorization_code").await;
    let environment = [("SSH_CONNECTION", "10.0.0.2 50000 10.0.0.1 22")];
    let directory = place.directory.path();
    let mut login = LoggingIn::begin_with(directory, &["--no-browser"], &environment);
    let url: Url = login.line_with("http").parse().unwrap();
    let back: Url = parameter(&url, "redirect_uri").parse().unwrap();
    let port = back.port().unwrap();
    let told = login.line_with("ssh -L");
    let command = format!("ssh -L {port}:127.0.0.1:{port} HOST` on your own machine");
    assert!(told.starts_with(&command), "{told}");
}
