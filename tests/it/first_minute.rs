//! A new user's first minute, and what a terminal gets to see that a pipe does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::support::gatepass::{Finished, command, run};
use crate::support::terminal::Terminal;
use crate::support::{
    AuthorizationServer, CANARY, CLIENT_SECRET, Gatepass, Reply, Upstream, simple_config,
};

/// From nothing but the binary to an answer of the upstream, by what the commands print.
#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_an_answer_in_a_minute() {
    let start = Instant::now();
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (endpoint, origin) = (provider.token_endpoint(), upstream.origin());
    let here = directory.path().to_owned();
    let steps = tokio::task::spawn_blocking(move || {
        let mut terminal = Terminal::run(&["init"], &here, &[]);
        // What is wrong is said at once, and asked again.
        terminal.answer("provider: ", "envaze");
        terminal.wait_for("did you mean envase?");
        // The same question: an address is as good an answer as before.
        terminal.answer("provider: ", "id.example/token");
        terminal.wait_for("expected  https://id.example/token");
        terminal.answer("provider: ", "https://id.example/token");
        terminal.wait_for("client_id (");
        terminal.press(END_OF_INPUT);
        let (code, seen) = terminal.end();
        assert_eq!(code, Some(64), "{seen}");
        assert!(seen.contains("no configuration is written"), "{seen}");
        assert!(!here.join("gatepass.toml").exists(), "{seen}");

        let mut terminal = Terminal::run(&["init"], &here, &[]);
        terminal.answer("provider: ", &endpoint);
        terminal.answer(
            "client_id (the identifier that the provider gave this client): ",
            "tms",
        );
        // A secret in the place of its file does not get into the file.
        terminal.answer("[./client-secret]: ", CLIENT_SECRET);
        // Nor does what may be one; the usual file is offered again.
        terminal.wait_for("with ./ before it");
        terminal.answer("[./client-secret]: ", "secrets/later");
        terminal.wait_for("with ./ before it");
        terminal.answer("[./client-secret]: ", "");
        terminal.answer("upstream (", &origin);
        terminal.answer("scope (", "");
        terminal.answer("Paste the secret", CLIENT_SECRET);
        terminal.wait_for("is written.");
        terminal.answer("Ask the provider for a token now", "y");
        terminal.wait_for("A token of \"default\" has come:");
        terminal.answer("Print what a deployment needs?", "k8s");
        terminal.wait_for("there are files for kubernetes and for systemd");
        // All that was needed is there: the end of input is a no.
        terminal.wait_for("or Enter for nothing: ");
        terminal.press(END_OF_INPUT);
        terminal.wait_for("Next:");
        let (code, seen) = terminal.end();
        assert_eq!(code, Some(0), "{seen}");
        let (_, after_the_slip) = seen.split_once("with ./ before it").unwrap();
        assert!(
            !after_the_slip.contains(CANARY),
            "a secret was echoed or shown: {seen}"
        );
        let steps = seen.split("\nNext:\n").nth(1).unwrap();
        let steps = steps.lines().take_while(|line| line.starts_with("  "));
        steps.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    });
    let steps = steps.await.unwrap();
    let [check, serve, curl] = steps.as_slice() else {
        panic!("{steps:?}");
    };
    let written = fs::read_to_string(directory.path().join("gatepass.toml")).unwrap();
    assert!(!written.contains(CANARY), "{written}");
    let secret = fs::metadata(directory.path().join("client-secret")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);

    let shell = |line: &str| {
        let path = path_with_gatepass();
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(line)
            .current_dir(directory.path())
            .env("PATH", path);
        shell
    };
    let checked = shell(check).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let gatepass = Gatepass::start_in(directory, serve);
    gatepass.wait_for_probe("/readyz").await;
    // The ports of the test are its own.
    let curl = curl.replace("127.0.0.1:8080", &gatepass.proxy().to_string());
    let curl = curl.replace("curl ", "curl -sS -o /dev/null -w '%{http_code}' ");
    let answered = Command::new("sh")
        .args(["-c", &curl])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&answered.stdout), "200");
    assert_eq!(upstream.last().all("authorization").len(), 1);
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_on_a_terminal_has_colours_unless_they_are_refused() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = simple_config(&provider, &upstream);
    let ports = "proxy.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"";
    let config = format!("{ports}\n{config}");
    fs::write(directory.path().join("gatepass.toml"), config).unwrap();
    let ran = tokio::task::spawn_blocking(move || {
        for (environment, green) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
            let mut terminal = Terminal::run(&["run"], directory.path(), environment);
            terminal.wait_for("INFO");
            terminal.wait_for("listening");
            assert_eq!(terminal.seen().contains("\x1b[32m INFO"), green);
        }
    });
    ran.await.unwrap();
}

/// Ctrl-D
const END_OF_INPUT: u8 = 4;

/// Where the binary is, before what is there anyway.
fn path_with_gatepass() -> String {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_gatepass"));
    let directory = binary.parent().unwrap().display();
    format!("{directory}:{}", std::env::var("PATH").unwrap())
}

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

#[test]
fn what_a_deployment_needs_is_printed() {
    let printed = |deployment| {
        let further = ["--client-secret-file", "./secret", "--path", "/orders"];
        let flags = [&further[..], &["--deployment", deployment]].concat();
        let written = init(&flags, &[("secret", CLIENT_SECRET)]);
        assert_eq!(written.code, Some(0), "{}", written.stderr);
        written.stdout
    };
    let pod = printed("kubernetes");
    for part in [
        "# kubectl create secret generic gatepass --from-file=client-secret=./secret\n",
        "\n    client_secret_file = \"/run/secrets/gatepass/client-secret\"",
        "\n    upstream = \"https://api.example/v1\"\n",
        "value: \"http://127.0.0.1:8080/orders\"",
        "mountPath: /run/secrets/gatepass,",
    ] {
        assert!(pod.contains(part), "{part}: {pod}");
    }
    let unit = printed("systemd");
    for part in [
        "\n# install -D -m 600 ./secret /etc/gatepass/client-secret\n",
        "client_secret_file = \"/run/credentials/gatepass.service/client-secret\"",
        "\nLoadCredential=client-secret:/etc/gatepass/client-secret\n",
        "\nExecStart=",
    ] {
        assert!(unit.contains(part), "{part}: {unit}");
    }
}

/// Files of the same name in two directories are two secrets.
#[test]
fn a_deployment_tells_secrets_apart() {
    let flags = [
        "--grant-type",
        "password",
        "--username",
        "clerk",
        "--client-secret-file",
        "./client/secret",
        "--password-file",
        "./clerk/secret",
        "--deployment",
        "systemd",
    ];
    let written = init(&flags, &[]);
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    for (key, name, file) in [
        ("client_secret_file", "client-secret", "./client/secret"),
        ("password_file", "password", "./clerk/secret"),
    ] {
        for part in [
            format!("# install -D -m 600 {file} /etc/gatepass/{name}\n"),
            format!("\nLoadCredential={name}:/etc/gatepass/{name}\n"),
            format!("\n{key} = \"/run/credentials/gatepass.service/{name}\""),
        ] {
            assert!(written.stdout.contains(&part), "{part}: {}", written.stdout);
        }
    }
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
        terminal.answer("Paste the secret", "");
        terminal.wait_for("is written.");
        terminal.wait_for("or Enter for nothing: ");
        terminal.press(END_OF_INPUT);
        terminal.end()
    });
    let (code, seen) = asked.await.unwrap();
    assert_eq!(code, Some(0), "{seen}");
    assert!(!seen.contains("provider: "), "{seen}");
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
    let (before, deployment) = tried.stdout.split_once("\n# ---- ").unwrap();
    let (deployment, next) = deployment.split_once("\nNext:\n").unwrap();
    insta::assert_snapshot!(format!("{before}\n{next}"));
    assert!(deployment.contains("ExecStart="), "{deployment}");
    assert!(tried.stderr.contains("invalid_client"), "{}", tried.stderr);
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
    let advice = "next      check domain and realm, the DNS, and whether the provider is up";
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

/// A person is told what comes next; what reads a pipe is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_good_check_says_what_comes_next() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = simple_config(&provider, &upstream);
    fs::write(directory.path().join("gatepass.toml"), &config).unwrap();
    let next = "Next: `gatepass doctor` to try it, `gatepass run` to serve";
    let piped = run(&["check"], &[("gatepass.toml", &config)]);
    assert_eq!(piped.stderr, "");
    assert!(!piped.stdout.contains("Next:"), "{}", piped.stdout);
    let ran = tokio::task::spawn_blocking(move || {
        let on_terminal =
            |arguments: &[&str]| Terminal::run(arguments, directory.path(), &[]).end().1;
        [
            on_terminal(&["check"]),
            on_terminal(&["check", "--listen", "127.0.0.1:7001"]),
        ]
    });
    let [plain, with_flags] = ran.await.unwrap();
    assert!(plain.trim_end().ends_with(next), "{plain}");
    let wanted = format!("{next}, with the same flags");
    assert!(with_flags.trim_end().ends_with(&wanted), "{with_flags}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_printed_to_a_terminal_by_chance() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = simple_config(&provider, &upstream);
    fs::write(directory.path().join("gatepass.toml"), config).unwrap();
    provider.think_for(Duration::from_secs(1));
    let ran = tokio::task::spawn_blocking(move || {
        let on_terminal =
            |arguments: &[&str]| Terminal::run(arguments, directory.path(), &[]).end();
        [
            on_terminal(&["token", "--raw"]),
            on_terminal(&["token"]),
            on_terminal(&["token", "--raw", "--to-terminal"]),
        ]
    });
    let [refused, told, shown] = ran.await.unwrap();
    assert_eq!(refused.0, Some(64), "{}", refused.1);
    assert!(
        refused.1.contains("or say --to-terminal as well"),
        "{}",
        refused.1
    );
    assert!(!refused.1.contains("-token-"), "{}", refused.1);
    let alive = "  … asking http://";
    assert!(told.1.contains(alive), "it is alive: {}", told.1);
    assert!(told.1.contains("\x1b[1mcredential"), "{}", told.1);
    assert!(!told.1.contains("-token-"), "{}", told.1);
    assert!(shown.1.contains("canary-token-"), "{}", shown.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_on_a_terminal_has_colours_and_is_drawn_again() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let admin = gatepass.admin().to_string();
    let ran = tokio::task::spawn_blocking(move || {
        let here = std::env::temp_dir();
        let arguments = ["status", "--admin-listen", &admin];
        let coloured = Terminal::run(&arguments, &here, &[]).end().1;
        let plain = Terminal::run(&arguments, &here, &[("NO_COLOR", "1")])
            .end()
            .1;
        let mut watching = Terminal::run(&[&arguments[..], &["--watch"]].concat(), &here, &[]);
        watching.wait_for("\x1b[H\x1b[J");
        watching.wait_for("\x1b[H\x1b[J");
        let mut waiting = Terminal::run(&["wait", "--admin-listen", "127.0.0.1:1"], &here, &[]);
        waiting.wait_for("waiting for the gatepass at 127.0.0.1:1, ");
        (coloured, plain)
    });
    let (coloured, plain) = ran.await.unwrap();
    assert!(coloured.contains("is \x1b[32mready\x1b[0m"), "{coloured}");
    assert!(plain.contains("is ready"), "{plain}");
    assert!(!plain.contains('\x1b'), "{plain}");
}
