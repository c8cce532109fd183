//! How the command ends, whatever gatepass is told of its children, and whoever they are.

use std::process::Output;

use tokio::process::Command;
use tokio::time::timeout;

use crate::support::client::PATIENCE;
use crate::support::{AuthorizationServer, Upstream, simple_config};

/// Runs `gatepass exec` for a script, by a line of bash that has the two for `"$@"`.
async fn exec_by(line: &str, script: &str) -> Output {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gatepass.toml");
    std::fs::write(&file, simple_config(&provider, &upstream)).unwrap();
    let bash = Command::new("bash")
        .args(["-c", line, "bash", env!("CARGO_BIN_EXE_gatepass")])
        .args(["exec", "--config"])
        .arg(&file)
        .args(["--", "sh", "-c", script])
        .kill_on_drop(true)
        .output();
    timeout(PATIENCE, bash).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_ignores_the_end_of_children_has_the_exit_code() {
    let ended = exec_by("trap '' CHLD; exec \"$@\"", "exit 7").await;
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
}

/// One whose parent has ended comes to the first process, and stays as a zombie unless that waits for
/// it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "tests/soak/run has it run: not every machine lets everybody make namespaces"]
async fn the_first_process_of_a_container_waits_for_all() {
    let namespace = "unshare --map-root-user --pid --fork --kill-child";
    let script = "orphan=$(sh -c 'sleep 0.1 >&- & echo $!'); \
                  for i in $(seq 500); do kill -0 $orphan || exit 7; sleep 0.01; done";
    let ended = exec_by(&format!("exec {namespace} \"$@\""), script).await;
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
}
