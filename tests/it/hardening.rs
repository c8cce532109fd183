//! What keeps secrets from others on the same machine.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::{Signal, getuid};

use crate::support::gatepass::run;
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};

/// Where nobody's core is written this proves nothing; what the kernel goes by is in the next test.
#[tokio::test(flavor = "multi_thread")]
async fn no_core_is_written() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    // Where one would be, it goes with the directory of the configuration.
    let before = "cd \"${1%/*}\" && ulimit -c unlimited";
    let mut gatepass = Gatepass::start_after(before, &config).ready().await;
    gatepass.signal(Signal::ABORT);
    let status = gatepass.ended().await;
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped());
}

/// A process of which no core may be written, and of which nothing is known to others of its user
/// (`PR_SET_DUMPABLE`, ptrace(2)).
#[tokio::test(flavor = "multi_thread")]
async fn others_of_its_user_cannot_look_into_it() {
    // Root has the right to look into whatever runs, and gives it up here on both sides.
    let as_user = match getuid().is_root() {
        true => "setpriv --bounding-set=-sys_ptrace",
        false => "",
    };
    let looks_into = |whom: &str| {
        let look = format!("{as_user} sh -c 'readlink /proc/{whom}/exe && true'");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(look).output().unwrap().status.success()
    };
    assert!(looks_into("$$"), "others are looked into");

    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = simple_config(&provider, &upstream);
    fs::write(directory.path().join("gatepass.toml"), config).unwrap();
    let line = format!("{as_user} gatepass run --config gatepass.toml");
    let gatepass = Gatepass::start_in(directory, &line).ready().await;
    assert!(!looks_into(&gatepass.pid().to_string()));
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

/// What a preset fills in is nobody's secret, and in no file.
#[test]
fn what_a_preset_fills_in_is_exposed_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let file = directory.path().join("gatepass.toml");
    let config = "secrets.readable_by_others = \"refuse\"\n[credentials.a]\npreset = \"itc-compliance\"\n\
                  domain = \"id.example\"\nclient_id = \"x\"\nclient_secret_env = \"SECRET\"\n[[routes]]\n\
                  path = \"/\"\nupstream = \"https://api.example\"\ncredential = \"a\"\n";
    fs::write(&file, config).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let mut check = crate::support::gatepass::command();
    check
        .args(["check", "--config"])
        .arg(&file)
        .env("SECRET", "canary");
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}
