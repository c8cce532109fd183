//! Mistakes in what replicas share their tokens in.

use crate::config_mistakes::mistakes;

/// A configuration with these tables of stores, and these lines of a credential.
fn config(stores: &str, credential: &str) -> String {
    format!(
        r#"
{stores}

[credentials.envase]
token_endpoint = "https://id.example/oauth2/token"
client_id = "tms"
client_secret = "canary-secret"
{credential}

[[routes]]
path = "/"
upstream = "https://api.example"
credential = "envase"
"#
    )
}

#[test]
fn stores_that_cannot_be() {
    let stores = r#"
[stores.memory]
kind = "file"
directory = "/nonexistent/tokens"
url = "redis://127.0.0.1"
unencrypted = true

[stores.a]
kind = "etcd"

[stores.b]
kind = "redis"
url = ["redis://user:canary-password@127.0.0.1", "http://127.0.0.1", "redis://127.0.0.1/x"]
service = "fleet"
unencrypted = true
key_file = "gatepass.toml"

[stores.c]
kind = "redis"
url = ["redis://127.0.0.1", "redis://127.0.0.2"]
key_file = "gatepass.toml"

[stores.d]
kind = "redis"
topology = "sentinel"
url = ["redis://127.0.0.1", "rediss://127.0.0.2"]
unencrypted = true
"#;
    insta::assert_snapshot!(mistakes(&config(stores, "")));
}

#[test]
fn credentials_that_cannot_share() {
    let stores =
        "[stores.fleet]\nkind = \"redis\"\nurl = \"redis://127.0.0.1\"\nunencrypted = true";
    let credential = r#"
store = "flet"
spread = "90%"
token_requests_per_hour = 100000
"#;
    insta::assert_snapshot!(mistakes(&config(stores, credential)));
    let credential = r#"
grant_type = "token_exchange"
subject_token_file = "/run/subject"
store = "fleet"
"#;
    insta::assert_snapshot!(mistakes(&config(stores, credential)));
    let credential = r#"
grant_type = "password"
username = "clerk"
password = "canary-password"
store = "fleet"
session_file = "session"
"#;
    insta::assert_snapshot!(mistakes(&config(stores, credential)));
}
