//! Variables whose values are no text: a secret that is sent as something like it is another secret.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::gatepass::command;

/// What `check` says of a configuration whose secret is in a variable, with another one of bytes.
fn check(secret: &str, variable: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "[credentials.a]\ntoken_endpoint = \"https://id.example/token\"\nclient_id = \"x\"\n{secret}\n\
         [[routes]]\npath = \"/\"\nupstream = \"https://api.example\"\ncredential = \"a\"\n"
    );
    std::fs::write(directory.path().join("gatepass.toml"), config).unwrap();
    let output = command()
        .arg("check")
        .env(variable, OsStr::from_bytes(b"canary\xff"))
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("canary"), "{said}");
    said
}

#[test]
fn that_of_a_key_is_refused() {
    insta::assert_snapshot!(check("", "GATEPASS__CREDENTIALS__A__CLIENT_SECRET"), @r"
    gatepass: 1 problem has to be mended in the configuration before anything can run.

    GATEPASS__CREDENTIALS__A__CLIENT_SECRET
        found     bytes that are not UTF-8
        expected  text in UTF-8
    ");
}

#[test]
fn one_that_a_key_names_is_refused() {
    insta::assert_snapshot!(check("client_secret_env = \"ENVASE\"", "ENVASE"), @r"
    gatepass: 1 problem has to be mended in the configuration before anything can run.

    gatepass.toml:4: credentials.a.client_secret_env
        found     ENVASE, which holds bytes that are not UTF-8
        expected  the name of an environment variable that holds the secret
    ");
}

#[test]
fn that_of_the_profile_is_refused() {
    insta::assert_snapshot!(check("client_secret = \"x\"", "GATEPASS_PROFILE"), @r"
    gatepass: 1 problem has to be mended in the configuration before anything can run.

    GATEPASS_PROFILE
        found     bytes that are not UTF-8
        expected  text in UTF-8
    ");
}
