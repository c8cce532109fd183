//! People log in, and `run` goes on from there. The browser is played by the test.

mod before;

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::support::client::{Answer, PATIENCE};
use crate::support::gatepass::command;
use crate::support::{
    AuthorizationServer, CANARY, Gatepass, LoggingIn, Reply, Upstream, get, problem, request,
};

const OTHER_KEY: &str = "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// A provider, an upstream, and a store for one session.
struct Place {
    provider: AuthorizationServer,
    upstream: Upstream,
    directory: TempDir,
    grant: &'static str,
}

impl Place {
    async fn new(grant: &'static str) -> Self {
        let endpoints = [
            ("authorization", "authorize"),
            ("device_authorization", "device"),
            ("revocation", "revoke"),
        ];
        Self::with(grant, &endpoints).await
    }

    /// Where the provider tells of these endpoints alone.
    async fn with(grant: &'static str, endpoints: &[(&str, &str)]) -> Self {
        let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
        let issuer = format!("http://{}", provider.address());
        let mut metadata = json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/token"),
            "authorization_response_iss_parameter_supported": true,
        });
        for (name, path) in endpoints {
            metadata[format!("{name}_endpoint")] = format!("{issuer}/{path}").into();
        }
        provider.publish("/.well-known/openid-configuration", metadata);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), KEY).unwrap();
        std::fs::create_dir(directory.path().join("store")).unwrap();
        let place = Self {
            provider,
            upstream,
            directory,
            grant,
        };
        std::fs::write(place.directory.path().join("gatepass.toml"), place.config()).unwrap();
        place
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.provider.address())
    }

    fn config(&self) -> String {
        let directory = self.directory.path().display();
        format!(
            r#"
            [stores.here]
            kind = "file"
            directory = "{directory}/store"
            key_file = "{directory}/key"

            [credentials.clerk]
            grant_type = "{}"
            issuer = "{}"
            client_id = "tms"
            scope = "openid offline_access"
            store = "here"

            [[routes]]
            path = "/"
            upstream = "{}"
            credential = "clerk"
            "#,
            self.grant,
            self.issuer(),
            self.upstream.origin(),
        )
    }

    fn log_in(&self, arguments: &[&str]) -> LoggingIn {
        LoggingIn::begin(self.directory.path(), arguments)
    }

    /// The answer of a token endpoint to a login, with an id token that says this.
    fn tokens(&self, nonce: &str) -> Reply {
        let claims = json!({ "iss": self.issuer(), "aud": "tms", "nonce": nonce });
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        let words = json!({
            "access_token": "TOKEN", "refresh_token": "REFRESH", "token_type": "Bearer",
            "expires_in": 3600, "id_token": format!("e30.{claims}.sig"),
        });
        Reply::Words(3600.0, words.to_string())
    }
}

fn parameter(url: &Url, name: &str) -> String {
    let found = url.query_pairs().find(|(found, _)| found == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {url}"))
        .1
        .into_owned()
}

/// Comes back as a browser does.
async fn come_back(url: &Url, fields: &[(&str, &str)]) -> Answer {
    let redirect: Url = parameter(url, "redirect_uri").parse().unwrap();
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    get(address(&redirect), &format!("{}?{query}", redirect.path())).await
}

fn address(url: &Url) -> SocketAddr {
    let host = url.host_str().unwrap();
    format!("{host}:{}", url.port().unwrap()).parse().unwrap()
}

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
    let until_opened = async {
        while !opened.exists() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, until_opened).await.unwrap();
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
        place.provider.plan([self::begun(), place.tokens("none")]);
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

/// What the provider says when a login on another device begins.
fn begun() -> Reply {
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
    let post = Request::post(redirect.path()).header("host", "localhost");
    let post = post.body(Full::from(fragment)).unwrap();
    let page = request(address(&redirect), post).await;
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
    place.provider.plan([begun(), place.tokens("none")]);
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
