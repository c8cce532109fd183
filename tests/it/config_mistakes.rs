//! Mistakes in a configuration: all of them at once, each with its place, none with a secret, and
//! nothing started.

use crate::support::CANARY;
use crate::support::gatepass::{run, run_with};

pub const GOOD: &str = r#"
[credentials.envase]
token_endpoint = "https://id.example/oauth2/token"
client_id = "tms"
client_secret = "canary-secret"

[[routes]]
path = "/connect"
upstream = "https://api.example"
credential = "envase"
"#;

/// What `check` says, after making sure that `run` says the same and starts nothing.
pub fn mistakes(config: &str) -> String {
    mistakes_with(config, &[])
}

/// The same with variables of the environment.
pub fn mistakes_with(config: &str, environment: &[(&str, &str)]) -> String {
    let files = [("gatepass.toml", config)];
    let check = run_with(&["check"], &files, environment);
    assert_eq!(check.code, Some(78), "{}{}", check.stdout, check.stderr);
    assert_eq!(check.stdout, "");
    assert!(!check.stderr.contains(CANARY), "{}", check.stderr);
    let started = run_with(&["run"], &files, environment);
    assert_eq!(started.code, Some(78));
    assert_eq!(started.stderr, check.stderr);
    check.stderr
}

/// The good configuration with one thing replaced.
pub fn with(good: &str, bad: &str) -> String {
    assert!(GOOD.contains(good));
    GOOD.replace(good, bad)
}

#[test]
fn the_good_configuration_is_good() {
    let finished = run(&["check"], &[("gatepass.toml", GOOD)]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn everything_at_once() {
    let config = r#"
        [proxy]
        lisen = "127.0.0.1:8080"
        workers = "many"
        timeouts = { header_read = "10 parsecs", keep_alive = 5 }

        [admin]
        listen = "localhost"

        [credentials.envase]
        token_endpoint = "http://id.example/token"
        client_id = 7
        client_secret = 1234567890
        grant_type = "passwort"

        [credentials.none]
        token_endpoint = "https://id.example/token"
        client_id = "x"
        client_secret = "canary"
        client_secret_env = "SECRET"

        [[routes]]
        path = "connect"
        upstream = "ftp://api.example"
        credential = "envaze"
        strip_path = "maybe"

        [[routes]]
        path = "/a"

        [log]
        level = "loud"

        [shutdwon]
        grace = "1s"
    "#;
    insta::assert_snapshot!("everything_at_once", mistakes(config));
}

#[test]
fn unknown_key() {
    let config = with("client_id", "clientid");
    insta::assert_snapshot!("unknown_key", mistakes(&config));
}

/// By other products' names, and at other places.
#[test]
fn keys_of_other_names() {
    let config = r#"
        [credentials.envase]
        token_url = "https://id.example/oauth2/token"
        clientId = "tms"
        secret_file = "canary"
        cacert = "ca.pem"
        upstream = "https://api.example"

        [[routes]]
        path = "/connect"
        url = "https://api.example"
        ca_file = "ca.pem"
        credential = "envase"
    "#;
    insta::assert_snapshot!("keys_of_other_names", mistakes(config));
}

/// Nobody replaces what a shell would.
#[test]
fn paths_that_a_shell_would_have_replaced() {
    let config = r#"
        [stores.here]
        kind = "file"
        directory = "~/store"
        key_file = "$STATE/key"

        [credentials.envase]
        token_endpoint = "https://id.example/oauth2/token"
        client_id = "tms"
        client_secret_file = "~/secret"
        tls.ca_file = "~tms/ca.pem"

        [credentials.pod]
        token_file = "$HOME/token"

        [credentials.clerk]
        grant_type = "refresh_token"
        token_endpoint = "https://id.example/oauth2/token"
        client_id = "tms"
        refresh_token = "canary"
        session_file = "${HOME}/session"

        [[routes]]
        path = "/"
        upstream = "https://api.example"
        credential = "envase"
        tls = { client_cert_file = "~/cert.pem", client_key_file = "~/key.pem" }
    "#;
    let named = run(&["check", "--config", "~/gatepass.toml"], &[]);
    assert_eq!(named.code, Some(78), "{}", named.stderr);
    let said = [mistakes(config), named.stderr];
    insta::assert_snapshot!("paths_for_a_shell", said.join("\n"));
    // One that is called so is a path like any other.
    let config = with(
        "client_secret = \"canary-secret\"",
        "client_secret_file = \"./~\"",
    );
    let finished = run(&["check"], &[("gatepass.toml", &config), ("~", CANARY)]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn wrong_type() {
    let config = with("path = \"/connect\"", "path = [\"/connect\"]");
    insta::assert_snapshot!("wrong_type", mistakes(&config));
}

#[test]
fn missing_secret_file() {
    let config = with(
        "client_secret = \"canary-secret\"",
        "client_secret_file = \"no/such/file\"",
    );
    insta::assert_snapshot!("missing_secret_file", mistakes(&config));
}

#[test]
fn a_secret_in_place_of_its_file_is_not_shown() {
    for key in ["client_secret_file", "client_secret_env"] {
        let config = with("client_secret =", &format!("{key} ="));
        insta::assert_snapshot!(format!("secret_as_{key}"), mistakes(&config));
        for secret in [
            "wJalr/K7MDENG+bPx",
            "abc/DEF+ghi==",
            "a.b.c",
            "/x/y",
            "1234567890",
            "K7GNSH2LQ9ABCDEF",
        ] {
            let config = with(
                "client_secret = \"canary-secret\"",
                &format!("{key} = \"{secret}\""),
            );
            let said = mistakes(&config);
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[test]
fn an_endpoint_that_cannot_be_parsed_is_not_shown() {
    let config = with("id.example", "tms:canary@id.example:port");
    insta::assert_snapshot!("unparsable_endpoint", mistakes(&config));
}

#[test]
fn a_route_to_gatepass_itself() {
    let config = with("https://api.example", "http://localhost:8080");
    insta::assert_snapshot!("loop", mistakes(&config));
}

#[test]
fn usual_slips() {
    let route = GOOD.split_once("[[routes]]").unwrap().1;
    let slips = [
        with("[[routes]]", "[routes]"),
        with("[credentials.envase]", "[credentials]"),
        format!("routes = []\n{}", with(&format!("[[routes]]{route}"), "")),
        with("/connect", "/connect/*"),
        with("https://api.example", "127.0.0.1:7002"),
        format!("proxy.listen = \"8081\"\n{GOOD}"),
        format!("proxy.limits.connections = 9000000000000000000\n{GOOD}"),
        with("credentials.envase", "credentials.Envase"),
    ];
    let said: Vec<_> = slips.iter().map(|config| mistakes(config)).collect();
    insta::assert_snapshot!("usual_slips", said.join("\n"));
}

#[test]
fn a_token_in_the_clear_is_warned_of() {
    let config = with("https://api.example", "http://api.example");
    let finished = run(&["check"], &[("gatepass.toml", &config)]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    insta::assert_snapshot!("in_the_clear", finished.stdout);
}

#[test]
fn unreadable_secret_file() {
    let config = with(
        "client_secret = \"canary-secret\"",
        "client_secret_file = \"./\"",
    );
    insta::assert_snapshot!("unreadable_secret_file", mistakes(&config));
}

#[test]
fn two_routes_with_the_same_match() {
    let config = format!(
        "{GOOD}\n[[routes]]\npath = \"/connect/\"\nupstream = \"https://b.example\"\ncredential = \"none\"\n"
    );
    insta::assert_snapshot!("same_match", mistakes(&config));
}

#[test]
fn unknown_credential() {
    let config = with("credential = \"envase\"", "credential = \"envas\"");
    insta::assert_snapshot!("unknown_credential", mistakes(&config));
}

#[test]
fn plain_http_beyond_loopback() {
    let config = with("https://id.example", "http://id.example");
    insta::assert_snapshot!("plain_http", mistakes(&config));
}

#[test]
fn parameters_in_the_query_of_the_token_endpoint() {
    let pasted = "https://envase-stg.auth.us-east-1.amazoncognito.com/oauth2/token?\
                  grant_type=client_credentials&client_id=tms&client_secret=canary";
    let config = with("https://id.example/oauth2/token", pasted);
    insta::assert_snapshot!("query_parameters", mistakes(&config));
}

#[test]
fn a_listener_that_other_machines_reach() {
    let config = format!("[proxy]\nlisten = \"0.0.0.0:8080\"\n{GOOD}");
    insta::assert_snapshot!("wide_listener", mistakes(&config));
    let trusting = config.replace("[proxy]", "[proxy]\ntrust_network = true");
    let finished = run(&["check"], &[("gatepass.toml", &trusting)]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn a_bad_certificate_file() {
    let config = format!("{GOOD}\ntls = {{ ca_file = \"gatepass.toml\" }}\n");
    insta::assert_snapshot!("bad_ca_file", mistakes(&config));
}

#[test]
fn mistakes_in_what_is_sent_and_read() {
    let keys = r#"client_id = "tms"
        parameters = { scope = "canary", good = 7, worse = { path = "canary" } }
        headers = { Authorization = "canary", "no name" = "canary", x = { file = "canary" } }
        body_format = "xml"
        token_field = ""
        scheme = "two words"
        header = "Connection"
        refresh_on_401 = "sometimes"
        refreshes_on_401_per_minute = 1000
    "#;
    let config = with("client_id = \"tms\"", keys);
    let route = "headers = { host = \"canary\", x-key = \"a\\ncanary\" }\nreplay_limit = \"1GiB\"";
    let config = format!("{config}\n{route}\n");
    insta::assert_snapshot!("sent_and_read", mistakes(&config));
}

#[test]
fn mistakes_with_presets() {
    let endpoint = "token_endpoint = \"https://id.example/oauth2/token\"";
    let slips = [
        with(endpoint, "preset = \"envaze\""),
        with(endpoint, "preset = \"envase\""),
        with(
            endpoint,
            "preset = \"envase\"\nenvironment = \"stage\"\nrealm = \"x\"",
        ),
        with(
            endpoint,
            "preset = \"keycloak\"\ndomain = \"https://id.example\"",
        ),
        with(
            endpoint,
            "preset = \"auth0\"\ndomain = \"acme.eu.auth0.com\"",
        ),
        with(
            endpoint,
            "preset = \"entra\"\ntenant = \"acme\"\nscope = \"api://orders\"",
        ),
        with(endpoint, &format!("{endpoint}\ntenant = \"acme\"")),
        with(
            "https://id.example/oauth2/token",
            "https://acme.auth.eu-west-1.amazoncognito.com",
        ),
    ];
    let said: Vec<_> = slips.iter().map(|config| mistakes(config)).collect();
    insta::assert_snapshot!("presets", said.join("\n"));
}
