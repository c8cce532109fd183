//! `gatepass run` with flags alone.

use crate::support::gatepass::run;
use crate::support::{AuthorizationServer, CLIENT_SECRET, Gatepass, Upstream, get};

#[tokio::test(flavor = "multi_thread")]
async fn one_upstream_and_one_credential_by_flags() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let (endpoint, origin) = (provider.token_endpoint(), upstream.origin());
    let flags = [
        "--upstream",
        &origin,
        "--token-endpoint",
        &endpoint,
        "--client-id",
        "tms",
        "--client-secret-file",
        "secret",
        "--scope",
        "connectdata/events",
        "--scope",
        "other",
    ];
    let files = [("secret", CLIENT_SECRET)];
    let gatepass = Gatepass::start_by_flags(&flags, &files).ready().await;
    let answer = get(gatepass.proxy(), "/anything?x=1").await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let seen = upstream.last();
    let authorization = seen.all("authorization");
    assert!(authorization[0].starts_with("Bearer "), "{authorization:?}");
    let asked = &provider.requests()[0];
    assert_eq!(
        asked.parameter("scope").as_deref(),
        Some("connectdata/events other")
    );
}

/// The file that is printed can be run, and means the same.
#[test]
fn the_file_that_says_the_same() {
    let flags = [
        "--upstream",
        "https://api.example/v1",
        "--preset",
        "envase",
        "--environment",
        "staging",
        "--client-id",
        "t\"ms",
        "--client-secret-file",
        "secret",
        "--scope",
        "connectdata/events",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "[::1]:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let secret = ("secret", CLIENT_SECRET);
    let with = |before: &[&str], after: &[&str]| {
        let arguments = [before, &flags[..], after].concat();
        run(&arguments, &[secret])
    };
    let printed = with(&["run"], &["--print-config"]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    insta::assert_snapshot!("print_config", printed.stdout);
    let by_flags = with(&["check", "--show"], &[]);
    let files = [("gatepass.toml", printed.stdout.as_str()), secret];
    let by_file = run(&["check", "--show"], &files);
    assert_eq!(by_file.code, Some(0), "{}", by_file.stderr);
    let said = by_flags.stdout.replace("command line", "gatepass.toml");
    assert_eq!(by_file.stdout, said);
}

#[test]
fn mistakes_name_the_flag() {
    let slips = [
        &["--upstream", "api.example", "--preset", "envaze"][..],
        &["--token-endpoint", "http://id.example/token"],
        &["--upstream", "https://api.example", "--preset", "keycloak"],
        &["--upstream", "https://api.example"],
        &[
            "--upstream",
            "https://api.example",
            "--token-endpoint",
            "https://id.example/token?grant_type=client_credentials",
            "--grant-type",
            "refresh_token",
            "--username",
            "clerk",
        ],
        &["--grant-type", "tokenfile"],
        &[
            "--listen",
            "8080",
            "--admin-listen",
            "localhost:9090",
            "--upstream",
            "https://api.example",
            "--preset",
            "envase",
            "--environment",
            "prod",
            "--client-id",
            "tms",
            "--client-secret-file",
            "secret",
        ],
    ];
    let said: Vec<_> = slips
        .iter()
        .map(|flags| {
            let finished = run(&[&["run"][..], flags].concat(), &[]);
            assert_eq!(finished.code, Some(64), "{}", finished.stderr);
            let shown = run(&[&["check"][..], flags].concat(), &[]);
            assert_eq!(shown.stderr, finished.stderr);
            finished.stderr
        })
        .collect();
    insta::assert_snapshot!("mistakes_of_flags", said.join("\n"));
}

#[test]
fn a_file_and_flags_that_need_none_are_refused_together() {
    for flags in [
        &["--upstream", "https://api.example"][..],
        &["--client-id", "x"],
    ] {
        let arguments = [&["run", "--config", "gatepass.toml"][..], flags].concat();
        let finished = run(&arguments, &[("gatepass.toml", "")]);
        assert_eq!(finished.code, Some(64), "{}", finished.stderr);
    }
    let finished = run(&["run", "--print-config"], &[]);
    assert_eq!(finished.code, Some(64), "{}", finished.stderr);
    // What a file says is another command's to show.
    let arguments = ["run", "--config", "gatepass.toml", "--print-config"];
    let finished = run(&arguments, &[("gatepass.toml", "")]);
    assert_eq!(finished.code, Some(64), "{}", finished.stdout);
    insta::assert_snapshot!(finished.stderr);
}
