//! Signals that come to gatepass while it is there for a command.

use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::support::client::PATIENCE;
use crate::support::gatepass::command;
use crate::support::terminal::{INTERRUPT, Terminal};
use crate::support::{AuthorizationServer, Reply, Upstream, eventually, simple_config};

/// `gatepass exec` with this configuration, for a script.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    directory: TempDir,
}

impl Running {
    fn start(config: &str, script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("gatepass.toml"), config).unwrap();
        let mut exec = command();
        exec.args(["exec", "--variable", "API", "--timeout", "10m"])
            .args(["--", "sh", "-c", script])
            .current_dir(directory.path())
            .stdout(Stdio::piped());
        let mut child = tokio::process::Command::from(exec)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            directory,
        }
    }

    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        line.unwrap().unwrap().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.expect("an end in time").unwrap().code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_the_command_s() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let script = "trap 'curl -sS -o /dev/null -w \"%{http_code}\\n\" $API; exit 3' TERM; \
                  echo waiting; while :; do sleep 0.01; done";
    let mut exec = Running::start(&simple_config(&provider, &upstream), script);
    assert_eq!(exec.line().await, "waiting");
    exec.signal(Signal::TERM);
    // gatepass serves on while the command does what it has to.
    assert_eq!(exec.line().await, "200");
    assert_eq!(exec.exit_code().await, Some(3));
}

/// Whoever gives up while the tokens are waited for does not want the command after all.
#[tokio::test(flavor = "multi_thread")]
async fn before_the_command_they_end_gatepass() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Silence);
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    for (asked, (signal, code)) in [
        (Signal::TERM, 128 + 15),
        (Signal::INT, 128 + 2),
        (Signal::HUP, 128 + 1),
    ]
    .into_iter()
    .enumerate()
    {
        let mut exec = Running::start(&config, "touch started");
        provider.wait_for_requests(asked + 1).await;
        exec.signal(signal);
        assert_eq!(exec.exit_code().await, Some(code));
        assert!(!exec.directory.path().join("started").exists());
    }
}

/// What the command has left behind does not hold up whoever wants the end now.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_command_they_end_gatepass_at_once() {
    let provider = AuthorizationServer::start();
    // An upstream that never answers.
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = format!(
        "shutdown.grace = \"10m\"\n\
         [credentials.x]\ntoken_endpoint = \"{}\"\nclient_id = \"x\"\nclient_secret = \"x\"\n\
         [[routes]]\npath = \"/\"\nupstream = \"http://{}\"\ncredential = \"x\"\n",
        provider.token_endpoint(),
        upstream.local_addr().unwrap()
    );
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let script = "curl -sS --noproxy '*' \"$API\" >&- 2>&- & echo $$; read -r _ <go; exit 7";
        let mut exec = Running::start(&config, script);
        let go = exec.directory.path().join("go");
        let made = std::process::Command::new("mkfifo").arg(&go).status();
        assert!(made.unwrap().success());
        let command = PathBuf::from("/proc").join(exec.line().await);
        let (_in_flight, _) = timeout(PATIENCE, upstream.accept()).await.unwrap().unwrap();
        tokio::fs::write(&go, "\n").await.unwrap();
        eventually("the command ends", async || !command.exists()).await;
        exec.signal(signal);
        assert_eq!(exec.exit_code().await, Some(7), "that of the command");
    }
}

/// A directory with a configuration.
fn configured(config: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("gatepass.toml"), config).unwrap();
    directory
}

/// The terminal has sent it already, wherever standard input comes from.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_terminal_is_one_signal() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = configured(&simple_config(&provider, &upstream));
    for input in ["", "</dev/null"] {
        let directory = directory.path().to_owned();
        let typed = tokio::task::spawn_blocking(move || {
            let script = "trap 'echo interrupted' INT; trap 'echo done; exit 3' TERM; \
                          echo waiting; while :; do sleep 0.01; done";
            let line = format!("exec gatepass exec -- sh -c \"{script}\" {input}");
            let mut terminal = Terminal::run_line(&line, &directory);
            terminal.wait_for("waiting");
            // gatepass sees it later than the command, so that two signals would be two.
            terminal.signal(Signal::STOP);
            terminal.press(INTERRUPT);
            terminal.wait_for("interrupted");
            terminal.signal(Signal::CONT);
            // What gatepass would pass on it would pass on before this one.
            terminal.signal(Signal::TERM);
            terminal.wait_for("done");
            terminal.end()
        });
        let (code, seen) = typed.await.unwrap();
        assert_eq!(code, Some(3), "{seen}");
        assert_eq!(seen.matches("interrupted").count(), 1, "{seen}");
    }
}

/// A terminal whose keys do not reach gatepass has not sent the command anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_no_key_has_made_is_passed_on() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = configured(&simple_config(&provider, &upstream));
    let told = tokio::task::spawn_blocking(move || {
        let arguments = ["exec", "--", "sh", "-c", "echo waiting; exec sleep 20"];
        let mut terminal = Terminal::run(&arguments, directory.path(), &[]);
        terminal.wait_for("waiting");
        terminal.signal(Signal::INT);
        terminal.end()
    });
    let (code, seen) = told.await.unwrap();
    assert_eq!(code, Some(128 + 2), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_gives_up_leaves_the_terminal_as_it_was() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Silence);
    let upstream = Upstream::start().await;
    let directory = configured(&simple_config(&provider, &upstream));
    let given_up = tokio::task::spawn_blocking(move || {
        let line = "exec gatepass exec -- touch started";
        let mut terminal = Terminal::run_line(line, directory.path());
        terminal.wait_for("waiting for the tokens");
        terminal.press(INTERRUPT);
        let started = directory.path().join("started");
        let (code, seen) = terminal.end();
        (code, seen, started.exists())
    });
    let (code, seen, started) = given_up.await.unwrap();
    assert_eq!(code, Some(128 + 2), "{seen}");
    assert!(!started, "{seen}");
    assert!(seen.ends_with("\r\x1b[K"), "the line is gone: {seen:?}");
}

/// `nohup` and the `&` of a script are there for the command, which gatepass must not undo.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_ignored_at_the_start_stays_ignored() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = configured(&simple_config(&provider, &upstream));
    let script =
        "for signal in HUP INT QUIT; do kill -$signal $PPID; kill -$signal $$; done; exit 7";
    let shell = tokio::process::Command::new("sh")
        .args([
            "-c",
            "trap '' HUP INT QUIT; exec \"$0\" exec -- sh -c \"$1\"",
        ])
        .args([env!("CARGO_BIN_EXE_gatepass"), script])
        .current_dir(directory.path())
        .kill_on_drop(true)
        .output();
    let ended = timeout(PATIENCE, shell).await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
}
