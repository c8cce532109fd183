//! People log in at a certified provider, in a browser that others wrote, and `run` goes on from
//! there.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::oidc_provider::OidcProvider;
use crate::server::directory;
use crate::support::gatepass::command;
use crate::support::{Gatepass, LoggingIn, get};
use crate::waiting::renew;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

struct Place {
    provider: OidcProvider,
    directory: TempDir,
}

impl Place {
    fn new(grant: &str, code_seconds: u32) -> Self {
        let client = |id: &str, grant_types: Value, response_types: Value, redirect_uris: Value| {
            json!({
                "client_id": id, "grant_types": grant_types, "response_types": response_types,
                "redirect_uris": redirect_uris, "application_type": "native",
                "token_endpoint_auth_method": "none",
            })
        };
        let callback = json!(["http://127.0.0.1/callback"]);
        let device = "urn:ietf:params:oauth:grant-type:device_code";
        let provider = OidcProvider::start_with(&json!({
            "clients": [
                client(
                    "authorization_code",
                    json!(["authorization_code", "refresh_token"]),
                    json!(["code"]),
                    callback.clone(),
                ),
                client("device_code", json!([device, "refresh_token"]), json!([]), json!([])),
                client("implicit", json!(["implicit"]), json!(["id_token token"]), callback),
            ],
            "token_seconds": 60,
            "code_seconds": code_seconds,
            "logins": true,
        }));
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), KEY).unwrap();
        std::fs::create_dir(directory.path().join("store")).unwrap();
        let place = Self {
            provider,
            directory,
        };
        let config = place.config(grant);
        std::fs::write(place.directory.path().join("gatepass.toml"), config).unwrap();
        place
    }

    fn config(&self, grant: &str) -> String {
        let directory = self.directory.path().display();
        let further = match grant {
            "implicit" => "response_type = \"id_token token\"",
            _ => "",
        };
        format!(
            r#"
            [stores.here]
            kind = "file"
            directory = "{directory}/store"
            key_file = "{directory}/key"

            [credentials.oidc]
            grant_type = "{grant}"
            issuer = "{}"
            client_id = "{grant}"
            scope = "openid offline_access"
            store = "here"
            {further}

            [[routes]]
            path = "/"
            upstream = "http://{}"
            credential = "oidc"
            "#,
            self.provider.issuer(),
            self.provider.address(),
        )
    }

    fn log_in(&self, arguments: &[&str]) -> LoggingIn {
        LoggingIn::begin(self.directory.path(), arguments)
    }

    fn log_out(&self) {
        let logout = command()
            .arg("logout")
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        assert_eq!(logout.status.code(), Some(0), "{logout:?}");
    }
}

/// What a person at a browser sees in the end.
fn browse(url: &str, does: &str, code: Option<&str>) -> String {
    let settings = json!({ "url": url, "does": does, "code": code });
    let output = Command::new("node")
        .args(["browser.mjs", &settings.to_string()])
        .current_dir(directory())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "run tests/real/run if something is missing: {told}"
    );
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    shown["text"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_with_pkce() {
    let place = Place::new("authorization_code", 60);
    let mut login = place.log_in(&["--no-browser"]);
    let url = login.line_with("http://127.0.0.1");
    // Somebody else's answer comes first.
    let asked: Url = url.parse().unwrap();
    let redirect = asked.query_pairs().find(|(name, _)| name == "redirect_uri");
    let redirect: Url = redirect.unwrap().1.parse().unwrap();
    let address = redirect.socket_addrs(|| None).unwrap()[0];
    let foreign = get(address, "/callback?code=evil&state=guess").await;
    assert_eq!(foreign.status(), 400);
    let text = browse(&url, "logs in", None);
    assert!(text.contains("Go back to the terminal"), "{text}");
    let (code, told) = login.ended();
    assert_eq!(code, Some(0), "{told}");

    let gatepass = Gatepass::start(&place.config("authorization_code"))
        .ready()
        .await;
    assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
    for _ in 0..3 {
        renew(&gatepass, "oidc").await;
        assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
    }
    let counts = place.provider.counts().await;
    assert_eq!(counts["grants"]["authorization_code"], 1);
    assert_eq!(
        counts["grants"]["refresh_token"], 3,
        "each rotated: {counts}"
    );
    drop(gatepass);
    place.log_out();
    let gatepass = Gatepass::start(&place.config("authorization_code"));
    let told = gatepass.output_with("gatepass login");
    assert!(told.contains("nobody has logged in"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_that_is_denied() {
    let place = Place::new("authorization_code", 60);
    let mut login = place.log_in(&["--no-browser"]);
    let text = browse(&login.line_with("http://127.0.0.1"), "denies", None);
    assert!(text.contains("The login has not worked"), "{text}");
    let (code, told) = login.ended();
    assert_eq!(code, Some(69));
    assert!(
        told.contains("access_denied") && told.contains("consent was denied"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_has_expired() {
    // It ends the moment that it is handed out.
    let place = Place::new("authorization_code", 0);
    let mut login = place.log_in(&["--no-browser"]);
    browse(&login.line_with("http://127.0.0.1"), "logs in", None);
    let (code, told) = login.ended();
    assert_eq!(code, Some(69), "{told}");
    assert!(told.contains("invalid_grant"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_is_closed() {
    let place = Place::new("authorization_code", 60);
    let mut login = place.log_in(&["--no-browser", "--timeout", "20s"]);
    browse(&login.line_with("http://127.0.0.1"), "closes", None);
    let (code, told) = login.ended();
    assert_eq!(code, Some(69));
    assert!(
        told.contains("the browser has not come back within 20s"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_another_device() {
    let place = Place::new("device_code", 60);
    let mut login = place.log_in(&[]);
    let url = login.line_with("http://127.0.0.1");
    let code = login.line_with("the code ");
    let code = code.trim_start_matches("the code ").trim_end_matches('.');
    browse(&url, "logs in", Some(code));
    let (code, told) = login.ended();
    assert_eq!(code, Some(0), "{told}");
    let gatepass = Gatepass::start(&place.config("device_code")).ready().await;
    assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
    renew(&gatepass, "oidc").await;
    assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_code() {
    let place = Place::new("implicit", 60);
    let mut login = place.log_in(&["--no-browser"]);
    let text = browse(&login.line_with("http://127.0.0.1"), "logs in", None);
    assert!(text.contains("Go back to the terminal"), "{text}");
    let (code, told) = login.ended();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("Warning"), "{told}");
    let gatepass = Gatepass::start(&place.config("implicit")).ready().await;
    assert_eq!(get(gatepass.proxy(), "/verify").await.status(), 204);
}
