//! Mistakes in what replicas share their tokens in.

use std::os::unix::fs::PermissionsExt;

use crate::config_mistakes::mistakes;
use crate::support::gatepass::run;

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

/// Whoever pastes the key itself is told so once, and is not shown it.
#[test]
fn a_key_in_the_place_of_its_file_is_not_shown() {
    let stores = r#"
[stores.fleet]
kind = "redis"
url = "rediss://127.0.0.1"
unencrypted = true
tls.client_cert_file = "gatepass.toml"
tls.client_key_file = "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"

[stores.other]
kind = "redis"
url = "http://127.0.0.1"
unencrypted = true
tls.client_cert_file = "gatepass.toml"
tls.client_key_file = "canary/key"

[stores.third]
kind = "redis"
url = "rediss://127.0.0.1"
unencrypted = true
tls.ca_file = "/nonexistent/ca.pem"
"#;
    insta::assert_snapshot!(mistakes(&config(stores, "")));
}

/// A store is no condition: what is said of it is no mistake.
#[test]
fn a_directory_that_is_no_help_is_warned_of() {
    let warnings = |directory: &std::path::Path| {
        let store = format!(
            "[stores.machine]\nkind = \"file\"\ndirectory = \"{}\"\nunencrypted = true",
            directory.display()
        );
        let config = config(&store, "store = \"machine\"");
        let checked = run(&["check"], &[("gatepass.toml", &config)]);
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        let lines = checked.stdout.lines();
        let warnings: Vec<_> = lines
            .filter(|line| line.contains("stores.machine"))
            .collect();
        warnings
            .join("\n")
            .replace(&directory.display().to_string(), "DIRECTORY")
    };
    let directory = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(warnings(&directory.path().join("none")), @"Warning: stores.machine.directory: the store in the directory DIRECTORY is no help: No such file or directory (os error 2); until it is a directory that gatepass may write to, each process asks the provider by itself.");
    insta::assert_snapshot!(warnings(directory.path()), @"");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), open).unwrap();
    insta::assert_snapshot!(warnings(directory.path()), @"Warning: stores.machine.directory: every user of this machine can write to DIRECTORY, and take away what is kept there; better is a directory of gatepass's own (chmod 700).");
}

/// Where it does nothing, it is not read in silence.
#[test]
fn only_an_upstream_may_have_another_name_than_its_address() {
    let tables = "[stores.fleet]\nkind = \"redis\"\nurl = \"rediss://store.example\"\n\
                  unencrypted = true\ntls.server_name = \"inside.example\"\n\
                  [traces]\ntls.server_name = \"inside.example\"\n";
    let told = mistakes(&config(tables, "tls.server_name = \"inside.example\""));
    for (key, whose) in [
        ("stores.fleet.tls.server_name", "a server's"),
        ("traces.tls.server_name", "a collector's"),
        ("credentials.envase.tls.server_name", "a provider's"),
    ] {
        assert!(told.contains(key), "{told}");
        let expected = format!("nothing: {whose} certificate has the name of its address");
        assert!(told.contains(&expected), "{told}");
    }
}
