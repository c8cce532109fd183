//! Mistakes where a configuration comes from: a file that is not there or is no TOML, the environment,
//! flags.

use std::io::Write;
use std::process::Stdio;

use crate::config_mistakes::{GOOD, mistakes, mistakes_with, with};
use crate::support::gatepass::{command, run, run_with};

#[test]
fn a_file_that_is_not_there() {
    let finished = run(&["check", "--config", "elsewhere.toml"], &[]);
    assert_eq!(finished.code, Some(78));
    insta::assert_snapshot!("no_file", finished.stderr);
}

#[test]
fn an_empty_file() {
    insta::assert_snapshot!("empty", mistakes(""));
}

#[test]
fn a_configuration_may_come_through_a_pipe() {
    let mut child = command()
        .args(["check", "--config", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(GOOD.as_bytes()).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn syntax_error_on_a_line_with_a_secret() {
    let config = with(
        "client_secret = \"canary-secret\"",
        "client_secret = \"canary-secret",
    );
    insta::assert_snapshot!("syntax_error", mistakes(&config));
}

#[test]
fn syntax_errors_show_the_line() {
    let slips = [
        with("[credentials.envase]", "[credentials.envase"),
        with("path = \"/connect\"", "path = /connect"),
        with("client_id = \"tms\"", "client_id \"tms\""),
        with("\"tms\"\nclient_secret", "\"tms\" client_secret"),
        with(
            "client_id = \"tms\"",
            "client_id = \"tms\"\nclient_id = \"tms\"",
        ),
        with("\"canary-secret\"", "\"\"\"\ncanary\\canary\"\"\""),
        with("\"tms\"", r#""C:\Users\tms""#),
    ];
    let said: Vec<_> = slips.iter().map(|config| mistakes(config)).collect();
    insta::assert_snapshot!("syntax_errors", said.join("\n"));
}

#[test]
fn a_secret_in_the_environment_goes_over_the_files() {
    let variable = "GATEPASS__CREDENTIALS__ENVASE__CLIENT_SECRET_FILE";
    let files = [("gatepass.toml", GOOD), ("secret", "canary")];
    let finished = run_with(&["check"], &files, &[(variable, "secret")]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains(variable), "{}", finished.stdout);
}

#[test]
fn a_credential_that_only_the_environment_knows() {
    let variable = ("GATEPASS__CREDENTIALS__OTHER__CLIENT_SECRET", "canary");
    insta::assert_snapshot!("environment_alone", mistakes_with(GOOD, &[variable]));
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    let environment = [
        ("GATEPASS__PROXY__LISTEN", "everywhere"),
        ("GATEPASS__PROXY__WORKERZ", "2"),
        ("GATEPASS__SHUTDOWN__GRACE", "soon"),
        ("GATEPASS_PORT", "tcp://10.0.0.1:80"),
    ];
    insta::assert_snapshot!("environment", mistakes_with(GOOD, &environment));
}

/// They mean nothing, and somebody may wonder why. Those of Kubernetes and of profiles are as they should be.
#[test]
fn a_variable_with_too_few_underscores_is_warned_of() {
    let environment = [
        ("GATEPASS_PROXY_LISTEN", "127.0.0.1:7000"),
        ("GATEPASS_CREDENTIALS_ENVASE_CLIENT_ID", "other"),
        ("GATEPASS_LOG__LEVEL", "debug"),
        ("GATEPASS_PROFILE", ""),
        ("GATEPASS_PORT", "tcp://10.0.0.1:80"),
        ("GATEPASS_PROXY_PORT", "tcp://10.0.0.1:80"),
        ("GATEPASS_PROXY_SERVICE_HOST", "10.0.0.1"),
    ];
    let checked = run_with(&["check"], &[("gatepass.toml", GOOD)], &environment);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let warnings = checked.stdout.lines();
    let mut warnings: Vec<_> = warnings
        .filter(|line| line.starts_with("Warning"))
        .collect();
    warnings.sort_unstable();
    insta::assert_snapshot!(warnings.join("\n"));
}

#[test]
fn mistakes_in_flags_name_the_flag() {
    let finished = run(&["check", "--listen", "here"], &[("gatepass.toml", GOOD)]);
    assert_eq!(finished.code, Some(64));
    insta::assert_snapshot!("flags", finished.stderr);
}
