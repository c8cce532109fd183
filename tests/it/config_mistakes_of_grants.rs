//! Mistakes in what belongs to one way to a token or another; see `config_mistakes`.

use crate::config_mistakes::mistakes;
use crate::support::CANARY;
use crate::support::gatepass::run;

/// What is wrong with a credential of these keys.
fn of_credential(keys: &str) -> String {
    let said = mistakes(&format!(
        "[credentials.a]\n{keys}\n[[routes]]\npath = \"/\"\nupstream = \"https://api.example\"\n\
         credential = \"a\"\n"
    ));
    let (_, problems) = said.split_once("can run.\n\n").unwrap();
    problems.replace("gatepass.toml: credentials.a", "…")
}

const ENDPOINT: &str = "token_endpoint = \"https://id.example/token\"\nclient_id = \"tms\"\n";

fn grant(name: &str, keys: &str) -> String {
    of_credential(&format!("grant_type = \"{name}\"\n{ENDPOINT}{keys}"))
}

#[test]
fn what_is_missing_is_named() {
    let said = [
        grant("password", ""),
        grant("refresh_token", ""),
        grant("jwt_bearer", ""),
        grant("token_exchange", ""),
        of_credential("grant_type = \"http_basic\""),
        of_credential("preset = \"fulfillmenttools\""),
        of_credential("preset = \"google-service-account\""),
        of_credential("preset = \"gdso-tis\""),
        of_credential("preset = \"masmovil\""),
        of_credential("preset = \"okta\""),
        of_credential("grant_type = \"token_file\""),
    ];
    insta::assert_snapshot!("missing_of_grants", said.join("----\n"));
}

#[test]
fn what_is_not_used_is_not_passed_over() {
    let said = [
        grant(
            "client_credentials",
            "client_secret = \"canary\"\nusername = \"x\"",
        ),
        grant(
            "client_credentials",
            "token_endpoint_auth_method = \"none\"\nclient_secret = \"canary\"\n\
             private_key_file = \"/no/such\"\nclient_assertion_file = \"/proc/x\"\n\
             signing_algorithm = \"RS256\"\nassertion_audience = \"z\"",
        ),
        of_credential("token_file = \"/proc/self/token\"\nclient_id = \"x\"\nscope = \"y\""),
        of_credential(
            "preset = \"gdso-tis\"\ndomain = \"id.example\"\nusername = \"x\"\n\
             password = \"canary\"\nclient_secret = \"canary\"",
        ),
    ];
    insta::assert_snapshot!("unused_of_grants", said.join("----\n"));
}

#[test]
fn what_contradicts_itself_is_told() {
    let said = [
        grant(
            "client_credentials",
            "client_secret = \"canary\"\nissuer = \"https://id.example\"",
        ),
        grant(
            "password",
            "username = \"x\"\npassword = \"canary\"\npassword_env = \"Y\"",
        ),
        grant(
            "jwt_bearer",
            "assertion_file = \"/proc/x\"\nservice_account_file = \"/proc/y\"",
        ),
        grant(
            "client_credentials",
            "client_secret = \"canary\"\ntls.client_cert_file = \"x\"",
        ),
        grant(
            "client_credentials",
            "client_secret = \"canary\"\nverify = {}",
        ),
        grant(
            "client_credentials",
            "client_secret = \"canary\"\nverify = { jwks_uri = \"https://id.example/jwks\" }",
        ),
        of_credential(
            "token_endpoint = \"http://127.0.0.1:1/token\"\nclient_id = \"x\"\n\
             client_secret = \"canary\"\negress_proxy = \"http://proxy.example:3128\"",
        ),
        grant(
            "jwt_bearer",
            "assertion_file = \"/proc/x\"\nassertion_subject = \"alice\"",
        ),
        of_credential(
            "grant_type = \"http_basic\"\ntoken_endpoint = \"https://id.example\"\n\
             username = \"a:b\"\npassword = \"canary\"",
        ),
        grant(
            "token_exchange",
            "subject_token_file = \"/proc/x\"\nactor_token_type = \"y\"",
        ),
        grant(
            "client_credentials",
            "token_endpoint_auth_method = \"tls_client_auth\"",
        ),
        of_credential(
            "client_id = \"x\"\nclient_secret = \"canary\"\nissuer = \"http://id.example\"",
        ),
        of_credential(
            "preset = \"salesforce\"\ndomain = \"login.salesforce.com\"\nclient_id = \"x\"\n\
             client_secret = \"canary\"",
        ),
    ];
    insta::assert_snapshot!("contradictions_of_grants", said.join("----\n"));
}

#[test]
fn what_may_be_a_secret_is_not_shown() {
    let pasted = "\"\"\"-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\"\"\"";
    let said = [
        grant(
            "client_credentials",
            &format!("private_key_file = {pasted}"),
        ),
        grant(
            "client_credentials",
            "client_assertion_file = \"canary.canary.canary\"",
        ),
        grant(
            "token_exchange",
            "subject_token_file = \"canary.canary.canary\"",
        ),
        grant(
            "jwt_bearer",
            "service_account_file = '{\"private_key\":\"canary\"}'",
        ),
        grant("jwt_bearer", "assertion_file = \"canary.canary.canary\""),
        of_credential("token_file = \"canary.canary.canary\""),
        grant(
            "client_credentials",
            "client_secret = \"canary\"\negress_proxy = \"socks5://a:canary@b\"",
        ),
        grant("refresh_token", "refresh_token_file = \"canary\""),
        grant("password", "username = \"x\"\npassword_env = \"canary\""),
        // Refresh tokens of Google's begin so.
        grant(
            "password",
            "username = \"x\"\npassword = \"canary\"\nsession_file = \"1//0canary\"",
        ),
        grant(
            "client_credentials",
            &format!(
                "client_secret = \"canary\"\ntls.client_cert_file = \"/proc/version\"\ntls.client_key_file = {pasted}"
            ),
        ),
        of_credential(
            "preset = \"fulfillmenttools\"\nusername = \"x\"\npassword = \"canary\"\n\
             token_endpoint = \"https://id.example/signIn?key=canary\"\napi_key = \"canary\"",
        ),
    ];
    for said in &said {
        assert!(!said.contains(CANARY), "{said}");
    }
    insta::assert_snapshot!("secrets_of_grants", said.join("----\n"));
}

#[test]
fn keys_that_cannot_sign_are_found_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let pair = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let good = file("good.pem", &pair);
    let said = [
        grant(
            "client_credentials",
            &format!("private_key_file = \"{}\"", file("bad", CANARY)),
        ),
        grant(
            "client_credentials",
            &format!("private_key_file = \"{good}\"\nsigning_algorithm = \"RS256\""),
        ),
        grant(
            "client_credentials",
            &format!("private_key_file = \"{good}\"\nsigning_algorithm = \"HS256\""),
        ),
        grant("jwt_bearer", &format!("service_account_file = \"{good}\"")),
        grant(
            "jwt_bearer",
            &format!("private_key_file = \"{good}\"\nassertion_claims = {{ exp = \"1\" }}"),
        ),
        grant(
            "password",
            "username = \"x\"\npassword = \"canary\"\nsession_file = \"/etc/none/session\"",
        ),
    ];
    insta::assert_snapshot!("keys_of_grants", said.join("----\n"));
}

#[test]
fn sessions_do_not_share_a_file() {
    let credential = |name: &str| {
        format!(
            "[credentials.{name}]\ngrant_type = \"password\"\n{ENDPOINT}username = \"x\"\n\
             password = \"canary\"\nsession_file = \"the-session\"\n"
        )
    };
    let route = |path: &str, name: &str| {
        format!(
            "[[routes]]\npath = \"{path}\"\nupstream = \"https://api.example\"\n\
             credential = \"{name}\"\n"
        )
    };
    let config = credential("a") + &credential("b") + &route("/a", "a") + &route("/b", "b");
    insta::assert_snapshot!("shared_session_file", mistakes(&config));
}

/// A key for each of two uses, the one an assertion and the other a client's.
#[test]
fn an_assertion_of_others_beside_a_key_of_ones_own_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.pem");
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let config = format!(
        "[credentials.a]\ngrant_type = \"jwt_bearer\"\n{ENDPOINT}assertion_file = \"/proc/x\"\n\
         token_endpoint_auth_method = \"private_key_jwt\"\nprivate_key_file = \"{}\"\n\
         [[routes]]\npath = \"/\"\nupstream = \"https://api.example\"\ncredential = \"a\"\n",
        key.display()
    );
    let finished = run(&["check"], &[("gatepass.toml", &config)]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}
