//! Mistakes that are seldom made.

use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use serde_json::json;

use crate::support::CANARY;
use crate::support::gatepass::run;

/// What `check` says of a configuration, with these files beside it.
fn check(config: &str, files: &[(&str, &str)]) -> String {
    let files = [&[("gatepass.toml", config)], files].concat();
    let checked = run(&["check"], &files);
    assert!(!checked.stderr.contains(CANARY), "{}", checked.stderr);
    checked.stdout + &checked.stderr
}

#[test]
fn of_everything() {
    let config = r#"
[proxy]
listen = []
limits.header_bytes = "1KiB"
callers.key_file = "/"

[stores.cluster]
kind = "redis"
topology = "cluster"
url = "redis://127.0.0.1/1"
unencrypted = true

[stores.nowhere]
kind = "redis"
url = ["redis://", "what"]
unencrypted = true
tls.ca_file = "none.pem"

[stores.keyless]
kind = "file"
directory = "."
key_file = "empty"

[credentials.a]
token_endpoint = "https://id.example/token"
client_id = "a"
client_secret = ""

[credentials.b]
token_endpoint = "https://id.example/token"
client_id = "b"
client_secret_env = "NO_SUCH_VARIABLE"

[credentials.c]
grant_type = "jwt_bearer"
token_endpoint = "https://id.example/token"
private_key_file = "key.pem"

[credentials.d]
token_endpoint = "https://id.example/token"
client_id = "d"
client_secret = "canary"
scope = 'a"b'
headers = { "x-a" = "1", "X-A" = "2" }

[credentials.e]
issuer = "https://id.example/?tenant=e"
client_id = "e"
client_secret_file = "large"

[credentials.f]
preset = "entra"
tenant = "f"
client_id = "f"
private_key_file = "key.pem"

[credentials.g]
preset = "google-service-account"
service_account_file = "account.json"
assertion_claims = { scope = "a" }

[[routes]]
name = "same"
path = "/a"
upstream = "https://api.example"
credential = "none"

[[routes]]
name = "same"
path = "/b"
upstream = "https://api.example"
credential = "none"

[traces]
endpoint = "collector"
"#;
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256)
        .unwrap()
        .serialize_pem();
    let account = json!({ "client_email": "a@b.example", "private_key": key }).to_string();
    let large = "x".repeat(64 * 1024 + 1);
    let files = [
        ("key.pem", key.as_str()),
        ("account.json", &account),
        ("large", &large),
        ("empty", " \n"),
    ];
    insta::assert_snapshot!(check(config, &files));
}

#[test]
fn of_keys() {
    let curve = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let encrypted = curve
        .serialize_pem()
        .replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let mut told = Vec::new();
    for (what, key) in [
        ("a public key", curve.public_key_pem()),
        ("a key with a passphrase", encrypted),
        ("a key of another curve", curve.serialize_pem()),
    ] {
        let config = r#"
[credentials.a]
token_endpoint = "https://id.example/token"
client_id = "a"
private_key_file = "key.pem"

[[routes]]
path = "/"
upstream = "https://api.example"
credential = "a"
"#;
        told.push(format!(
            "## {what}\n{}",
            check(config, &[("key.pem", &key)])
        ));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn that_are_only_warned_of() {
    let config = r#"
[proxy.unix]
mode = "0660"

[stores.far]
kind = "redis"
url = "redis://store.example"
password = "canary"
unencrypted = true

[traces]
enabled = true
endpoint = "http://collector.example"
headers = { x-key = "canary" }

[credentials.pod]
token_file = "/run/later"

[[routes]]
path = "/"
upstream = "https://api.example"
credential = "pod"
"#;
    let told = check(config, &[]);
    let warnings = told.lines().filter(|line| line.starts_with("Warning"));
    insta::assert_snapshot!(warnings.collect::<Vec<_>>().join("\n"));
}

/// Whatever is wrong elsewhere, and where the same is wrong in two places.
#[test]
fn none_hides_another() {
    let config = r#"
[log]
level = "trace"

[log.access]
requests = "some"

[credentials.a]
token_endpoint = "https://id.example/token"
client_id = "a"
client_secret_file = "./none"
tls.ca_file = "none.pem"

[credentials.b]
token_endpoint = "https://id.example/token"
token_endpoint_auth_method = "key"
client_id = "b"
private_key_file = "./none.key"

[credentials.c]
token_endpoint = "https://id.example/token"
token_endpoint_auth_method = "secret"
client_id = "c"
client_secret_file = "./none"

[[routes]]
path = "/"
upstream = "https://api.example"
credential = "a"
tls.ca_file = "none.pem"

[traces]
endpoint = "collector"
tls.ca_file = "other.pem"
headers = { "a b" = "c" }
"#;
    insta::assert_snapshot!("none_hides_another", check(config, &[]));
}

/// An empty list would hold of everything, and who writes one means something else.
#[test]
fn that_would_be_passed_over() {
    let config = r#"
[stores.fleet]
kind = "redis"
url = "rediss://store.example"
unencrypted = true
tls.server_name = "other.example"

[traces]
tls.server_name = "other.example"

[credentials.a]
grant_type = "password"
issuer = "https://id.example"
client_id = "a"
username = "u"
password = "canary"
session_file = ""
verify = { audience = [] }

[[routes]]
path = "/"
host = []
methods = []
upstream = "https://api.example"
credential = "a"
"#;
    insta::assert_snapshot!(check(config, &[]));
}

#[test]
fn each_of_a_list() {
    let config = r#"
[[routes]]
path = "/"
methods = ["get", "post"]
remove_headers = ["host", "te"]
remove_response_headers = ["a b", "trailer"]
upstream = "https://api.example"
credential = "none"
"#;
    let told = check(config, &[]);
    for found in ["get", "post", "host", "te", "a b", "trailer"] {
        assert!(told.contains(&format!("found     {found:?}")), "{told}");
    }
}

/// A list is no table, whatever the order of its keys.
#[test]
fn of_another_kind() {
    let config = r#"
log = ["debug"]

[credentials.a]
token_endpoint = "https://id.example/token"
client_id = "c"
client_secret = "canary"
parameters = { a = { file = 5 }, b = { nothing = "x" }, c = {}, d = ["x"] }

[[routes]]
path = "/"
upstream = "https://api.example"
credential = "a"
methods = ["GET", 5, true]
retries = -1
max_connections = 1.5
strip_path = 3
headers = ["x"]
tls = "no"
"#;
    insta::assert_snapshot!(check(config, &[]));
}
