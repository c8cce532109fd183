//! What keeps secrets from others on the same machine.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use rustix::process::Signal;

use crate::support::gatepass::run;
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};

/// Dies of an abort under a limit that lets cores be written.
fn aborted() -> ExitStatus {
    let directory = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited; kill -ABRT $$"]);
    shell.current_dir(directory.path()).status().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_core_is_written() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let mut gatepass = Gatepass::start_after("ulimit -c unlimited", &config)
        .ready()
        .await;
    gatepass.signal(Signal::ABORT);
    let status = gatepass.ended().await;
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped());
    if !aborted().core_dumped() {
        #[expect(clippy::print_stderr, reason = "whoever runs this should know")]
        {
            eprintln!("this machine writes no cores at all: nothing is proved here");
        }
    }
}

/// Runs `check` with a secret in a file that everybody can read.
fn check(keys: &str, mode: u32) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "canary").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(mode)).unwrap();
    let config = format!(
        "{keys}\n[credentials.a]\ntoken_endpoint = \"https://id.example/token\"\nclient_id = \"x\"\n\
         client_secret_file = \"{file}\"\n[[routes]]\npath = \"/\"\ncredential = \"a\"\n\
         upstream = \"https://api.example\"\nheaders = {{ x-api-key = {{ file = \"{file}\" }} }}\n",
        file = secret.display()
    );
    let finished = run(&["check"], &[("gatepass.toml", &config)]);
    let said = format!("{}{}", finished.stdout, finished.stderr);
    (
        finished.code,
        said.replace(&secret.display().to_string(), "SECRET"),
    )
}

#[test]
fn a_secret_that_everybody_can_read_is_told_or_refused() {
    let (code, said) = check("", 0o644);
    assert_eq!(code, Some(0));
    let warned = said.matches("Warning: ").count();
    assert_eq!(warned, 1, "one file, one warning: {said}");
    insta::assert_snapshot!(said.lines().find(|line| line.starts_with("Warning")).unwrap(), @"Warning: routes[0].headers.x-api-key: every user of this machine can read SECRET; better is a file that only its owner and group can read (chmod o-r; in Kubernetes defaultMode 0440 with an fsGroup).");

    let (code, said) = check("secrets.readable_by_others = \"refuse\"", 0o644);
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @r#"
    gatepass: 1 problem has to be mended in the configuration before anything can run.

    gatepass.toml:10: routes[0].headers.x-api-key
        found     SECRET, which every user of this machine can read
        expected  a file that only its owner and group can read (chmod o-r; in Kubernetes defaultMode 0440 with an fsGroup); or secrets.readable_by_others = "warn"
    "#);

    for (keys, mode) in [
        ("", 0o640),
        ("secrets.readable_by_others = \"allow\"", 0o644),
    ] {
        let (code, said) = check(keys, mode);
        assert_eq!(code, Some(0));
        assert!(!said.contains("Warning"), "{said}");
    }
}
