//! What the command line prints, and how it ends.

use crate::support::gatepass::run;

#[test]
fn help() {
    let finished = run(&["--help"], &[]);
    assert_eq!(finished.code, Some(0));
    insta::assert_snapshot!("help", finished.stdout);
}

#[test]
fn help_of_each_command() {
    for command in ["run", "check", "demo"] {
        let finished = run(&[command, "--help"], &[]);
        assert_eq!(finished.code, Some(0));
        insta::assert_snapshot!(format!("help_{command}"), finished.stdout);
    }
}

#[test]
fn version() {
    let finished = run(&["--version"], &[]);
    assert_eq!(
        finished.stdout,
        concat!("gatepass ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_wrong_command_line_exits_with_64() {
    for arguments in [&["--nonsense"][..], &["rum"], &[], &["run", "--config"]] {
        let finished = run(arguments, &[]);
        assert_eq!(finished.code, Some(64), "{arguments:?}");
        assert!(
            finished.stderr.contains("--help"),
            "{arguments:?}: {}",
            finished.stderr
        );
    }
}

#[test]
fn no_configuration_anywhere() {
    let finished = run(&["check"], &[]);
    assert_eq!(finished.code, Some(78));
    insta::assert_snapshot!(finished.stderr, @"
    gatepass: 1 problem has to be mended in the configuration before anything can run.

    no configuration
        found     neither gatepass.toml nor /etc/gatepass/gatepass.toml
        expected  one of them, or another file by --config FILE; config.example.toml shows every key, and `gatepass demo` needs none
    ");
}

#[test]
fn an_address_that_is_taken_exits_with_69() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let finished = run(
        &[
            "demo",
            "--listen",
            &address,
            "--admin-listen",
            "127.0.0.1:0",
        ],
        &[],
    );
    assert_eq!(finished.code, Some(69));
    insta::assert_snapshot!(finished.stderr.replace(&address, "ADDRESS"), @"gatepass: the proxy listener cannot use ADDRESS: Address already in use (os error 98); another process listens there: stop it, or choose another address with --listen");
}

#[test]
fn a_good_configuration_is_summed_up() {
    let config = r#"
        [credentials.envase]
        token_endpoint = "https://id.example/oauth2/token"
        client_id = "tms"
        client_secret_file = "secret"

        [credentials.spare]
        token_endpoint = "https://id.example/oauth2/token"
        client_id = "tms"
        client_secret_file = "secret"

        [[routes]]
        path = "/connect"
        upstream = "https://api.example/v1"
        credential = "envase"

        [[routes]]
        path = "/public"
        upstream = "http://localhost:8000"
        credential = "none"
    "#;
    let finished = run(
        &["check"],
        &[("gatepass.toml", config), ("secret", "canary\n")],
    );
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    insta::assert_snapshot!(finished.stdout, @r#"
    The configuration is good: gatepass.toml

    Applications call http://127.0.0.1:8080
      /connect → https://api.example/v1 with a token of "envase"
      /public → http://localhost:8000 with no token

    Tokens of "envase" come from https://id.example/oauth2/token

    Warning: no route uses credential "spare": no token is fetched for it.

    Operators look at http://127.0.0.1:9090/readyz and /metrics
    "#);
}
