//! A configuration is written by questions or flags.

mod deployment;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{KeyPair, PKCS_ED25519};

use crate::support::gatepass::{Finished, command, run};
use crate::support::terminal::{END_OF_INPUT, Terminal};
use crate::support::{AuthorizationServer, CANARY, CLIENT_SECRET, Reply};

const FLAGS: [&str; 11] = [
    "init",
    "--preset",
    "keycloak",
    "--domain",
    "id.example",
    "--realm",
    "acme",
    "--client-id",
    "tms",
    "--upstream",
    "https://api.example/v1",
];

fn init(further: &[&str], files: &[(&str, &str)]) -> Finished {
    run(&[&FLAGS[..], further].concat(), files)
}

/// Providers limit sign-ins, and each start is one where no session is kept.
#[test]
fn where_a_user_signs_in_a_place_for_the_session_is_shown() {
    for (preset, has_sessions) in [("masmovil", true), ("gdso-tis", false)] {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("gatepass.toml");
        let flags = [
            "init",
            "--preset",
            preset,
            "--domain",
            "id.example",
            "--username",
            "tms",
            "--password-file",
            "./later",
            "--upstream",
            "https://api.example",
            "--output",
            output.to_str().unwrap(),
        ];
        let client = ["--client-id", "tms", "--client-secret-file", "./secret"];
        let client = if has_sessions { &client[..] } else { &[] };
        let written = run(&[&flags[..], client].concat(), &[]);
        assert_eq!(written.code, Some(0), "{}", written.stderr);
        let config = fs::read_to_string(&output).unwrap();
        let shown = config.contains(&format!("\n# session_file = \"./{preset}.session\""));
        assert_eq!(shown, has_sessions, "{config}");
        let used = config.replace("# session_file", "session_file");
        let files = [("gatepass.toml", &*used), ("later", "x"), ("secret", "y")];
        let checked = run(&["check"], &files);
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    }
}

#[test]
fn where_nobody_answers_flags_say_it_all() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("keycloak.toml").display().to_string();
    let flags = [
        "--output",
        &output,
        "--client-secret-file",
        "./later",
        "--path",
        "/orders",
        "--scope",
        "orders",
        "--name",
        "orders",
    ];
    let written = init(&flags, &[]);
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let told = written.stdout.replace(&output, "FILE");
    let config = fs::read_to_string(&output).unwrap();
    insta::assert_snapshot!("init", format!("{told}\n{config}"));
    let checked = run(
        &["check"],
        &[("gatepass.toml", &config), ("later", CLIENT_SECRET)],
    );
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(
        checked.stdout.contains("/orders → https://api.example/v1"),
        "{}",
        checked.stdout
    );

    let again = init(&flags, &[]);
    assert_eq!(again.code, Some(64));
    let said = again.stderr.replace(&output, "FILE");
    let replaced = init(&[&flags[..], &["--force"]].concat(), &[]);
    assert_eq!(replaced.code, Some(0), "{}", replaced.stderr);
    let untested = init(&[&flags[..], &["--force", "--test"]].concat(), &[]);
    assert_eq!(untested.code, Some(69));
    let missing = init(&[], &[]);
    assert_eq!(missing.code, Some(64));
    let misplaced = init(&["--client-secret-file", CANARY], &[]);
    assert_eq!(misplaced.code, Some(64));
    assert!(!misplaced.stderr.contains(CANARY), "{}", misplaced.stderr);
    let misnamed = [
        "--client-secret-file",
        "./later",
        "--path",
        "connect",
        "--output",
        "x",
    ];
    let misnamed = init(&misnamed, &[]);
    assert_eq!(misnamed.code, Some(64));
    let untested = untested.stderr.replace(&output, "FILE");
    let all = [
        said,
        untested,
        missing.stderr,
        misplaced.stderr,
        misnamed.stderr,
    ];
    insta::assert_snapshot!("init_failures", all.join("\n"));
}

/// A person's session needs a place, and there is one by the time that somebody logs in.
#[test]
fn a_login_is_written_with_a_store_for_its_session() {
    let directory = tempfile::tempdir().unwrap();
    let gatepass = |arguments: &[&str]| {
        let mut gatepass = command();
        let output = gatepass.args(arguments).current_dir(directory.path());
        output.output().unwrap()
    };
    let flags = [
        "init",
        "--grant-type",
        "authorization_code",
        "--issuer",
        "https://id.example",
        "--client-id",
        "tms",
        "--upstream",
        "https://api.example",
        "--name",
        "clerk",
    ];
    let written = gatepass(&flags);
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    let told = String::from_utf8(written.stdout).unwrap();
    let config = fs::read_to_string(directory.path().join("gatepass.toml")).unwrap();
    insta::assert_snapshot!("init_of_a_login", format!("{told}\n{config}"));
    let mode = |name: &str| {
        let metadata = fs::metadata(directory.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!([mode("sessions"), mode("sessions-key")], [0o700, 0o600]);
    let key = fs::read(directory.path().join("sessions-key")).unwrap();
    let again = gatepass(&[&flags[..], &["--force"]].concat());
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    let kept = fs::read(directory.path().join("sessions-key")).unwrap();
    assert_eq!(kept, key, "there may be sessions that it opens");
    let checked = gatepass(&["check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let deployed = gatepass(&[&flags[..], &["--force", "--deployment", "systemd"]].concat());
    assert_eq!(deployed.status.code(), Some(64), "{deployed:?}");
}

/// What is missing beside a provider that flags name is asked for, and not the provider again.
#[tokio::test(flavor = "multi_thread")]
async fn flags_that_name_the_provider_answer_the_first_question() {
    let asked = tokio::task::spawn_blocking(|| {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["init", "--token-file", "./token"];
        let mut terminal = Terminal::run(&arguments, directory.path(), &[]);
        terminal.answer("upstream (", "http//api.example");
        terminal.wait_for("  expected  ");
        terminal.answer("upstream: ", "https://api.example");
        terminal.wait_for("is written.");
        terminal.wait_for("or Enter for nothing: ");
        terminal.press(END_OF_INPUT);
        terminal.end()
    });
    let (code, seen) = asked.await.unwrap();
    assert_eq!(code, Some(0), "{seen}");
    assert!(!seen.contains("provider: "), "{seen}");
    // Somebody else writes it.
    assert!(!seen.contains("Paste the secret"), "{seen}");
    let next = "have ./token written by whoever renews the token";
    assert!(seen.contains(next), "{seen}");
}

/// A key has several lines, and half of one is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_to_its_last_line() {
    let pem = KeyPair::generate_for(&PKCS_ED25519)
        .unwrap()
        .serialize_pem();
    let pem = pem.trim().to_owned();
    let key = pem.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let directory = tempfile::tempdir().unwrap();
        let flags = [
            "init",
            "--token-endpoint",
            "https://id.example/token",
            "--client-id",
            "tms",
            "--private-key-file",
            "./key.pem",
            "--upstream",
            "https://api.example",
        ];
        let mut terminal = Terminal::run(&flags, directory.path(), &[]);
        terminal.answer("scope (", "");
        terminal.answer("Paste the secret", &key);
        terminal.answer("Ask the provider for a token now", "n");
        terminal.answer("Print what a deployment needs?", "");
        let (code, seen) = terminal.end();
        let file = directory.path().join("key.pem");
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        (code, seen, fs::read_to_string(file).unwrap(), mode)
    });
    let (code, seen, kept, mode) = asked.await.unwrap();
    assert_eq!(code, Some(0), "{seen}");
    assert_eq!(kept, pem);
    assert_eq!(mode, 0o600);
    for line in pem.lines() {
        assert!(!seen.contains(line), "a line of the key was shown: {seen}");
    }
}

/// A shell shows what it is told, runs it and keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_pasted_too_much_is_no_answer_and_no_command() {
    let asked = tokio::task::spawn_blocking(|| {
        let directory = tempfile::tempdir().unwrap();
        let init = |then: &str| {
            let flags = "--token-endpoint https://id.example/token --upstream https://api.example";
            format!(
                "gatepass init --client-id tms {flags} {then}; echo ended; \
                 IFS= read -r line; echo \"told: $line\""
            )
        };
        // At the question for the secret itself,
        let secret = "--client-secret-file ./secret --scope x --output x.toml";
        let mut terminal = Terminal::run_line(&init(secret), directory.path());
        let pasted = format!("{CLIENT_SECRET}\n{CANARY} of the next line\n");
        terminal.answer("Paste the secret", &pasted);
        terminal.wait_for("Ask the provider for a token now");
        terminal.press(END_OF_INPUT);
        terminal.wait_for("or Enter for nothing: ");
        terminal.press(END_OF_INPUT);
        terminal.answer("ended", "shell");
        terminal.wait_for("told: shell");
        let (_, first) = terminal.end();
        let kept = fs::read_to_string(directory.path().join("secret")).unwrap();
        assert_eq!(kept, CLIENT_SECRET);

        // and at the one for its file, which shows what is typed, but not that of later questions.
        let mut terminal = Terminal::run_line(&init(""), directory.path());
        terminal.answer("[./client-secret]: ", &format!("{CANARY}\nyes\nno\n"));
        terminal.answer("[./client-secret]: ", "");
        terminal.answer("scope (", "");
        terminal.wait_for("Paste the secret");
        terminal.press(END_OF_INPUT);
        terminal.wait_for("no configuration is written");
        terminal.answer("ended", "shell");
        terminal.wait_for("told: shell");
        (first, terminal.end().1)
    });
    let (first, _) = asked.await.unwrap();
    assert!(!first.contains(CANARY), "a secret was shown: {first}");
}

/// What is named is there by the time that somebody wants to write to it.
#[test]
fn a_directory_for_secrets_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let mut gatepass = command();
    let flags = [&FLAGS[..], &["--client-secret-file", "./secrets/tms/key"]].concat();
    let written = gatepass.args(flags).current_dir(directory.path());
    let written = written.output().unwrap();
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    let made = fs::metadata(directory.path().join("secrets/tms")).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o700);
    let next = "write the secret into ./secrets/tms/key, for you alone to read (chmod 600)";
    let told = String::from_utf8(written.stdout).unwrap();
    assert!(told.contains(next), "{told}");
}

/// The file is there, whatever comes of the trial, and so is a way to go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_fails_says_how_to_go_on() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Json(401, r#"{"error":"invalid_client"}"#.into()));
    let endpoint = provider.token_endpoint();
    let authority = provider.address().to_string();
    let tried = tokio::task::spawn_blocking(move || {
        let flags = [
            "init",
            "--token-endpoint",
            &endpoint,
            "--client-id",
            "tms",
            "--client-secret-file",
            "secret",
            "--upstream",
            "https://api.example",
            "--test",
            "--output",
            "x.toml",
            "--deployment",
            "systemd",
        ];
        run(&flags, &[("secret", CLIENT_SECRET)])
    });
    let tried = tried.await.unwrap();
    assert_eq!(tried.code, Some(69), "{}", tried.stdout);
    let without_port = tried.stderr.replace(&authority, "PROVIDER");
    insta::assert_snapshot!(without_port);
    assert!(tried.stdout.contains("ExecStart="), "{}", tried.stdout);
}

/// The advice names keys that the file has.
#[test]
fn a_trial_by_a_preset_names_what_the_file_has() {
    let domain = "127.0.0.1:1";
    let flags: Vec<_> = FLAGS
        .iter()
        .map(|flag| flag.replace("id.example", domain))
        .collect();
    let flags = flags.iter().map(String::as_str);
    let further = ["--client-secret-file", "secret", "--test"];
    let tried = run(
        &flags.chain(further).collect::<Vec<_>>(),
        &[("secret", CLIENT_SECRET)],
    );
    assert_eq!(tried.code, Some(69), "{}", tried.stdout);
    let advice =
        "next      check domain and realm, and whether the provider is up: nothing listens there";
    assert!(tried.stderr.contains(advice), "{}", tried.stderr);
}

#[test]
fn an_upstream_without_tls_is_warned_of() {
    for (upstream, is_warned_of) in [
        ("http://api.example", true),
        ("h2c://api.example", true),
        ("http://localhost:7000", false),
        ("http://[::1]:7000", false),
        ("https://api.example", false),
    ] {
        for (file, files) in [
            ("./later", &[][..]),
            ("secret", &[("secret", CLIENT_SECRET)]),
        ] {
            let flags = ["--client-secret-file", file];
            let flags: Vec<_> = [&FLAGS[..FLAGS.len() - 1], &[upstream], &flags].concat();
            let written = run(&flags, files);
            assert_eq!(written.code, Some(0), "{}", written.stderr);
            let told = written
                .stdout
                .contains("in the clear to http://api.example;")
                || written
                    .stdout
                    .contains("in the clear to h2c://api.example;");
            assert_eq!(told, is_warned_of, "{}", written.stdout);
        }
    }
}
