//! What goes wrong with a login, and what is told.

use serde_json::json;
use url::Url;

use super::another_device;
use super::place::{Place, come_back, parameter};
use crate::support::Reply;
use crate::support::gatepass::command;

const OTHER_KEY: &str = "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// What goes wrong, each with what is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_says_why() {
    let mut told = String::new();
    for (what, fields, reply) in [
        ("consent denied", vec![("error", "access_denied")], None),
        (
            "another issuer",
            vec![("code", "c"), ("iss", "https://evil.example")],
            None,
        ),
        ("no issuer", vec![("code", "c"), ("iss", "")], None),
        (
            "an expired code",
            vec![("code", "c")],
            Some(Reply::Json(400, r#"{"error":"invalid_grant"}"#.into())),
        ),
        ("another nonce", vec![("code", "c")], Some(Reply::HangUp)),
    ] {
        let place = Place::new("authorization_code").await;
        let mut login = place.log_in(&["--no-browser"]);
        let url: Url = login.line_with("http").parse().unwrap();
        let (state, issuer) = (parameter(&url, "state"), place.issuer());
        let mut fields = fields;
        fields.push(("state", &state));
        if !fields.iter().any(|(name, _)| *name == "iss") {
            fields.push(("iss", &issuer));
        }
        fields.retain(|(_, value)| !value.is_empty());
        match reply {
            Some(Reply::HangUp) => place.provider.plan([place.tokens("replayed")]),
            reply => place.provider.plan(reply),
        }
        let page = come_back(&url, &fields).await;
        assert!(
            page.body().contains("Go back to the terminal"),
            "{}",
            page.body()
        );
        let (code, output) = login.ended();
        assert_eq!(code, Some(69), "{output}");
        let (_, last) = output.split_once("gatepass: ").unwrap();
        let last = last.replace(&issuer, "ISSUER");
        told.push_str(&format!("## {what}\ngatepass: {last}\n"));
    }
    insta::assert_snapshot!(told);
}

/// What seldom goes wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_or_logout_that_cannot_be_says_why() {
    let mut told = String::new();
    let mut tell = |what: &str, place: &Place, output: &str| {
        let (_, said) = output.split_once("gatepass: ").unwrap();
        let said = said.replace(&place.issuer(), "ISSUER");
        told.push_str(&format!("## {what}\ngatepass: {said}\n"));
    };

    let place = Place::with("authorization_code", &[]).await;
    let (_, output) = place.log_in(&["--no-browser"]).ended();
    tell("no page to log in on", &place, &output);
    let (_, output) = place.log_in(&["--device"]).ended();
    tell("no place for other devices", &place, &output);

    let place = Place::new("device_code").await;
    place.provider.plan([Reply::Json(200, "{}".into())]);
    let (_, output) = place.log_in(&[]).ended();
    tell("no code for a device", &place, &output);
    let begun = json!({
        "device_code": "canary-device", "user_code": "ABCD", "expires_in": 1, "interval": 2,
        "verification_uri": "https://id.example/device",
    });
    place.provider.plan([Reply::Json(200, begun.to_string())]);
    let (_, output) = place.log_in(&[]).ended();
    tell("nobody who types it in", &place, &output);

    for (what, fields) in [
        ("a browser without a code", &[][..]),
        ("a store that fails meanwhile", &[("code", "c")]),
    ] {
        let place = Place::new("authorization_code").await;
        let mut login = place.log_in(&["--no-browser"]);
        let url: Url = login.line_with("http").parse().unwrap();
        let (state, issuer) = (parameter(&url, "state"), place.issuer());
        place
            .provider
            .plan([place.tokens(&parameter(&url, "nonce"))]);
        if !fields.is_empty() {
            std::fs::remove_dir_all(place.directory.path().join("store")).unwrap();
        }
        come_back(
            &url,
            &[fields, &[("state", &state), ("iss", &issuer)]].concat(),
        )
        .await;
        let (code, output) = login.ended();
        assert_eq!(code, Some(69), "{output}");
        let directory = place.directory.path().display().to_string();
        tell(what, &place, &output.replace(&directory, "DIRECTORY"));
    }

    for (what, endpoints, refusal) in [
        (
            "nowhere to take it back",
            &[("device_authorization", "device")][..],
            None,
        ),
        (
            "a provider that does not take it back",
            &[("device_authorization", "device"), ("revocation", "revoke")],
            Some(Reply::Json(500, "{}".into())),
        ),
        (
            "a store that fails",
            &[("device_authorization", "device")],
            None,
        ),
    ] {
        let place = Place::with("device_code", endpoints).await;
        place
            .provider
            .plan([another_device::begun(), place.tokens("none")]);
        let (code, output) = place.log_in(&[]).ended();
        assert_eq!(code, Some(0), "{output}");
        place.provider.plan(refusal);
        if what == "a store that fails" {
            std::fs::write(place.directory.path().join("key"), OTHER_KEY).unwrap();
        }
        let mut logout = command();
        let logout = logout.arg("logout").current_dir(place.directory.path());
        let output = String::from_utf8(logout.output().unwrap().stderr).unwrap();
        tell(what, &place, &output);
    }
    insta::assert_snapshot!(told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_is_closed_is_not_waited_for_for_ever() {
    let place = Place::new("authorization_code").await;
    let (code, told) = place.log_in(&["--no-browser", "--timeout", "1s"]).ended();
    assert_eq!(code, Some(69));
    assert!(
        told.contains("the browser has not come back within 1s"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_needs_a_store() {
    let place = Place::new("authorization_code").await;
    let config = place.config().replace(
        "store = \"here\"",
        "redirect_uri = \"https://app.example/\"",
    );
    std::fs::write(place.directory.path().join("gatepass.toml"), config).unwrap();
    let (code, told) = place.log_in(&[]).ended();
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(told);
}

/// Before anybody has logged in for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_could_not_be_kept_is_not_begun() {
    for way in ["--no-browser", "--device"] {
        let place = Place::new("authorization_code").await;
        std::fs::remove_dir(place.directory.path().join("store")).unwrap();
        let (code, told) = place.log_in(&[way]).ended();
        assert_eq!(code, Some(69));
        assert_eq!(place.provider.count(), 0, "{way}: nobody is asked");
        let told = told.replace(&place.directory.path().display().to_string(), "HERE");
        insta::allow_duplicates! {
            insta::assert_snapshot!(told, @r#"
            gatepass: nobody is logged in to "clerk"
                why       its session could not be kept: the store in the directory HERE/store is no help: No such file or directory (os error 2)
                next      make it with mkdir -m 700, or let the user that gatepass runs as write to it (ls -ld)
            "#);
        }
    }
}
