//! A new user's first minute, and what a terminal gets to see that a pipe does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::support::gatepass::run;
use crate::support::terminal::{END_OF_INPUT, Terminal};
use crate::support::{
    AuthorizationServer, CANARY, CLIENT_SECRET, Gatepass, Upstream, simple_config,
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

/// Where the binary is, before what is there anyway.
fn path_with_gatepass() -> String {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_gatepass"));
    let directory = binary.parent().unwrap().display();
    format!("{directory}:{}", std::env::var("PATH").unwrap())
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
async fn the_status_fits_a_narrow_terminal() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let path = format!("path = \"/{}\"", "partner/".repeat(20));
    let config = simple_config(&provider, &upstream).replace("path = \"/\"", &path);
    let gatepass = Gatepass::start(&config).ready().await;
    let line = format!(
        "export NO_COLOR=1; stty columns 80; gatepass status --admin-listen {}",
        gatepass.admin()
    );
    let shown = tokio::task::spawn_blocking(move || {
        Terminal::run_line(&line, &std::env::temp_dir()).end().1
    });
    let shown = shown.await.unwrap();
    assert!(shown.contains("  /partner/…  "), "{shown}");
    let widest = shown.lines().map(|line| line.chars().count()).max();
    assert_eq!(widest, Some(80), "{shown}");
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
